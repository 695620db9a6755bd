#include "journal/links.h"

#include <sys/stat.h>

#include "base/crypto.h"
#include "base/file.h"
#include "base/format.h"
#include "base/json.h"

namespace hearth::journal {
namespace {

constexpr std::size_t kChainIdBytes = 16;

}  // namespace

std::string keys_folder_of(const JournalOptions& options) {
    return options.keys_folder.empty() ? options.folder + "-keys" : options.keys_folder;
}

Row own_row(const char* event, std::string json) {
    return {
        .event = event, .request_id = {}, .json = std::move(json), .sync_first = false, .sums = {}};
}

Links::Links(std::string key)
    : key_(std::move(key)), key_id_(audit::chain_key_id(key_)), hmac_(key_) {}

Result<Links> Links::load(const std::string& keys_folder) {
    HEARTH_CHECK_OK(make_folders(keys_folder));
    ::chmod(keys_folder.c_str(), 0700);
    HEARTH_TRY(std::string key, audit::read_or_make_key_file(keys_folder + "/chain.key"));
    return Links(std::move(key));
}

audit::Trust Links::trust() const {
    return {.chain_key = key_, .public_keys = {}, .from_seq = 0, .anchors = {}};
}

void Links::resume(std::string slot, std::optional<audit::ChainState> state) {
    slot_ = std::move(slot);
    state_ = state ? std::move(*state) : audit::ChainState();
    if (!state) state_.chain = to_hex(random_bytes(kChainIdBytes));
}

Digest Links::next(const Row& row, std::int64_t wall_ns) {
    columns_.clear();
    for (const Row::Value& value : row.sums) {
        audit::Column column{.name = value.name};
        if (const auto* text = std::get_if<std::string>(&value.value)) {
            column.is_text = true;
            column.text = *text;
        } else {
            column.number = std::get<std::int64_t>(value.value);
        }
        columns_.push_back(column);
    }
    const audit::EntryView entry{.seq = state_.seq + 1,
                                 .wall_ns = wall_ns,
                                 .event = row.event,
                                 .request_id = row.request_id,
                                 .json = row.json,
                                 .columns = columns_};
    const Digest leaf = audit::leaf_of(slot_, entry, scratch_);
    state_.mac = audit::link_mac(hmac_, state_.mac, leaf);
    state_.root = audit::next_root(state_.root, state_.mac, leaf);
    ++state_.seq;
    return state_.mac;
}

std::vector<Row> Links::opening(const Opening& o) const {
    JsonWriter w;
    w.begin_object().field("chain", state_.chain).field("slot", o.slot).field("file", o.file);
    w.field("version", HEARTH_VERSION).field("chain_key", key_id_);
    w.key("previous").raw(audit::to_json(state_));
    if (o.continues) w.field("continues", true);
    if (!o.set_aside.empty()) w.field("set_aside", o.set_aside);
    if (!o.fault.empty()) w.field("fault", o.fault);
    w.end_object();
    std::vector<Row> rows;
    rows.push_back(own_row("audit.open", w.take()));
    if (o.unclosed) {
        JsonWriter r;
        r.begin_object().field("last_seq", o.unclosed->state.seq);
        r.field("n_unsealed", o.unclosed->n_unsealed).field("wal_bytes", o.wal_bytes).end_object();
        rows.push_back(own_row("audit.recovered", r.take()));
    }
    return rows;
}

CheckpointRequest Links::checkpoint_request(const std::string& slot, std::int64_t wall_ns,
                                            std::int64_t n_served) const {
    return {.slot = slot,
            .chain = state_.chain,
            .seq = state_.seq,
            .n_entries = state_.seq,
            .head = state_.mac,
            .root = state_.root,
            .wall_ns = wall_ns,
            .n_served = n_served};
}

}  // namespace hearth::journal
