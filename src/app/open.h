// What several commands open: models by name, engines with the settings applied, the house of an
// exchange.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "app/commands.h"
#include "serve/gate.h"
#include "serve/exchange.h"

namespace hearth::app {

// Errors: not_found with what there is.
Result<model::ModelSource> find_model(const Context& context, const std::string& name);
// Every local model that `serve` offers without --model: demo first, so that what `auto` means
// where nothing was chosen answers on any machine, then the store's.
Result<std::vector<model::ModelSource>> all_models(const Context& context);

backend::LocalOptions local_options(const Context& context, const std::string& model);
Result<std::unique_ptr<engine::Engine>> open_engine(const Context& context,
                                                    const std::string& model,
                                                    engine::EngineOptions options);
std::vector<serve::LocalPlace> local_places(const Context& context,
                                            std::vector<model::ModelSource> models);
engine::EngineOptions engine_options(const Context& context);
route::PolicySettings policy_settings(const Context& context);
serve::KeptContent kept_content(const Context& context);

// A house and all that it refers to, in the order of their lives: what the journal calls back finds
// the pool and the figures; an exchange that ends late still finds the journal; receipts of
// connections that close late are still written, before the journal's end is signed.
struct OwnedHouse {
    ~OwnedHouse();  // ends what is open: prep, exchanges, connects, places, and writes the rest
                    // down
    std::unique_ptr<serve::House> house;
    serve::Metrics metrics;
    std::unique_ptr<serve::Inspector> inspector;
    std::unique_ptr<serve::KeyStore> keys;
    std::unique_ptr<serve::Quota> quota;
    std::unique_ptr<serve::Gate> gate;
    std::unique_ptr<journal::Ledger> ledger;
    std::unique_ptr<serve::PrepPool> prep;
    std::unique_ptr<egress::Door> door;  // its broker signs the journal's last checkpoint
    std::unique_ptr<journal::Journal> journal;
    std::unique_ptr<serve::Places> places;
};
// Whether a house may do without a journal that cannot be opened. It may where nothing can leave:
// then local answers go on, and a decision for anything else is refused as not written down.
enum class NoJournal : std::uint8_t { fails, answers_locally };
Result<std::unique_ptr<OwnedHouse>> open_house(Context& context,
                                               std::vector<model::ModelSource> locals,
                                               NoJournal no_journal = NoJournal::fails);

// The keys of this machine, what they have used up, and the gate before both. Errors: keys.json or
// its companions are wrong, or readable by others.
Status open_gate(const Context& context, OwnedHouse& owned);
// door: whose broker signs the journal's checkpoints; nullptr: nobody does.
Result<std::unique_ptr<journal::Journal>> open_journal(const Context& context, egress::Door* door,
                                                       std::function<std::int64_t()> n_served = {});

// "1,2, 3" to ids. Errors: invalid_request.
Result<std::vector<TokenId>> parse_ids(const std::string& text);
// A file's text, or stdin for "-" and "". Errors: invalid_request past 256 MiB.
Result<std::string> read_text(const std::string& file);

}  // namespace hearth::app
