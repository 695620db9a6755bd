#include "journal/ledger.h"

namespace hearth::journal {

Ledger::Ledger(LedgerOptions options, const Clock& clock)
    : options_(std::move(options)), meter_(options_.powercap, options_.settings, clock) {}

void Ledger::enter(OutcomeRecord& record, const route::Target* place,
                   std::int64_t paid_before_microusd, const route::EnergyReading& energy) {
    route::LedgerInputs inputs{.usage = record.usage,
                               .paid_before_microusd = paid_before_microusd,
                               .energy = energy,
                               .settings = options_.settings};
    if (place) {
        inputs.tier = place->tier;
        inputs.price = route::price_of(*place).value_or(route::Price{});
        inputs.reference = options_.reference;
        inputs.reference_label = options_.reference_label;
        inputs.speed = options_.speed;
    }
    const std::scoped_lock lock(mutex_);
    record.ledger = route::ledger_of(inputs, rest_);
    record.cost_microusd = record.ledger.paid_microusd;
}

void write_ledger(JsonWriter& w, const route::LedgerRow& row) {
    w.begin_object().field("busy_ns", row.busy_ns).field("idle_ns", row.idle_ns);
    w.field("energy_uj", row.energy_uj).field("energy_source", route::name_of(row.energy_source));
    w.field("energy_microusd", row.energy_microusd);
    w.field("amortisation_microusd", row.amortisation_microusd);
    w.field("idle_microusd", row.idle_microusd);
    if (row.other_microusd)
        w.field("other", row.other).field("other_microusd", *row.other_microusd);
    w.end_object();
}

}  // namespace hearth::journal
