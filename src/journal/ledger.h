// Ledger: fills what a request cost into its outcome. The arithmetic is route/ledger.h's; here is
// what it needs of this machine and of this process: the meter, the settings, what roundings left
// over.
//
// Thread: any; a mutex guards the rest of the roundings.
#pragma once

#include <mutex>
#include <optional>
#include <string>

#include "base/json.h"
#include "journal/energy.h"
#include "journal/journal.h"
#include "route/decide.h"

namespace hearth::journal {

struct LedgerOptions {
    route::CostSettings settings = {};
    std::optional<route::Price> reference = {};  // see route::LedgerInputs
    std::string reference_label = {};
    std::optional<route::LocalSpeed> speed = {};
    std::string powercap = "/sys/class/powercap";
};

class Ledger {
  public:
    explicit Ledger(LedgerOptions options, const Clock& clock = system_clock());

    // begin() where a local answer starts to be computed, end() when it has ended in whatever way.
    EnergyMeter& meter() { return meter_; }

    // Sets record.ledger and record.cost_microusd from record.usage. `place` is where it was
    // answered in the end, nullptr for a refusal; paid_before_microusd went to places that failed
    // before; energy is all that was computed here for this request.
    void enter(OutcomeRecord& record, const route::Target* place, std::int64_t paid_before_microusd,
               const route::EnergyReading& energy);

  private:
    const LedgerOptions options_;
    EnergyMeter meter_;
    std::mutex mutex_;
    route::LedgerRest rest_;
};

// The member `ledger` of an outcome's JSON (docs/formats/journal.md).
void write_ledger(JsonWriter& w, const route::LedgerRow& row);

}  // namespace hearth::journal
