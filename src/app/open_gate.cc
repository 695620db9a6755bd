// What stands before a server's routes: keys, quotas, and their records in the journal.
#include "app/open.h"

namespace hearth::app {

Status open_gate(const Context& context, OwnedHouse& owned) {
    const std::string& folder = context.folders.state;
    HEARTH_CHECK_OK(make_folders(folder));
    owned.keys = std::make_unique<serve::KeyStore>(folder);
    // A list that cannot be read would let nobody in: better said at the start.
    if (auto snapshot = owned.keys->current(); !snapshot) return fail(snapshot.error());
    HEARTH_TRY(owned.quota, serve::Quota::open(owned.keys->usage_path()));
    owned.gate = std::make_unique<serve::Gate>(*owned.keys, *owned.quota);
    owned.house->keys = owned.keys.get();
    const auto tell = [&journal = *owned.journal](journal::EventRecord event) {
        journal.append(std::move(event));
    };
    owned.quota->on_event = tell;
    owned.gate->on_event = tell;
    return {};
}

}  // namespace hearth::app
