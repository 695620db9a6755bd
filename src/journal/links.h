// Links: the writer's end of the chain (audit/chain.h): the key, where the chain stands, and what
// the journal says of itself.
//
//   audit.open        a writer began to write here; of a file's first entry also what it follows
//   audit.recovered   the writer before did not close: what was found of its last entries
//   audit.checkpoint  all entries up to one, under one digest, signed where there is a signer
//   audit.heartbeat   nothing else happened for an hour
//   audit.rotated     the file is full; the next one goes on
//   audit.deleted     a file whose time was over is deleted, and where the chain stood at its end
//   audit.close       the writer ended by itself
//
// Thread: the writer's. Source: docs/formats/journal.md, section 6.
#pragma once

#include <optional>
#include <string>

#include "audit/chain.h"
#include "audit/folder.h"
#include "journal/row.h"

namespace hearth::journal {

// "<folder>-keys", or what the options say.

class Links {
  public:
    // Makes the key where it is missing. Errors: what the file system says.
    static Result<Links> load(const std::string& keys_folder);

    const audit::ChainState& state() const { return state_; }
    audit::Trust trust() const;

    // Takes up the chain after `state`; nothing: begins a new one.
    void resume(std::string slot, std::optional<audit::ChainState> state);
    // The next entry's mac; `at` is what the chain goes back to where the entry was not written.
    Digest next(const Row& row, std::int64_t wall_ns);
    void back_to(audit::ChainState at) { state_ = std::move(at); }

    // What an `audit.open` may have to say.
    struct Opening {
        std::string slot, file;
        bool continues = false;               // the same writer, in another file
        std::string set_aside, fault;         // what became of the file before, if something did
        std::optional<audit::Tail> unclosed;  // how the writer before left it
        std::int64_t wal_bytes = 0;
    };
    // The rows that come before the next one. Requires: nothing is written between the call and
    // them.
    std::vector<Row> opening(const Opening& opening) const;

    CheckpointRequest checkpoint_request(const std::string& slot, std::int64_t wall_ns,
                                         std::int64_t n_served) const;

  private:
    explicit Links(std::string key);
    std::string key_, key_id_, slot_;
    audit::HmacSha256 hmac_;
    audit::ChainState state_;
    std::string scratch_;
    std::vector<audit::Column> columns_;
};

Row own_row(const char* event, std::string json);

}  // namespace hearth::journal
