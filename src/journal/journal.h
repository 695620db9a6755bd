// Journal: what was decided, and what came of it. Append-only; a decision is written before the
// first byte leaves.
//
// Written means handed to the kernel: it survives kill -9 of every process. `sync` chooses safety
// against power loss: none, group (fsync at most 50 ms later), each (fsync before acknowledging). A
// decision may ask for `each` by itself.
// Disk form: SQLite, WAL, one connection on one thread that also checkpoints
// (docs/formats/journal.md).
//
// Thread: `journal` writes; append() from any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "chat/chat.h"
#include "egress/permit.h"
#include "journal/audit.h"
#include "route/ledger.h"

namespace hearth::journal {

enum class Sync : std::uint8_t { none, group, each };

// A text that is kept beside the entry, encrypted (journal/content.h), where the installation asks
// for it; the entry says its ciphertext's digest, or why there is none.
struct BodyRecord {
    std::string text;       // empty: none
    std::string not_kept;   // "class", "unclassified", …; empty: it is kept, or none was wanted
    std::string json = {};  // set by the journal: what the entry says
};

// Ids, counts and codes; never prompt text, which only `body` has, and no entry.
struct DecisionRecord {
    std::string request_id;
    std::string endpoint;  // "/v1/chat/completions", "cli run"
    std::string peer;      // "127.0.0.1:51234", "unix", "terminal"
    std::string model_asked, model, upstream, route, reason;
    std::string sensitivity;
    std::string decision_json;  // route::to_json: replayable
    std::string prompt_digest;  // keyed; of the tokens for a local model, else of the texts
    std::string key_id;         // whose key asked; empty: nobody's
    std::int64_t n_prompt_tokens = 0;
    int http_status = 0;  // refusals: what the caller got; 0 otherwise
    // Safe against power loss before it counts as written, whatever `sync` says: what is
    // confidential and leaves.
    bool sync_first = false;
    BodyRecord body = {};  // the prompt
};
struct OutcomeRecord {
    std::string request_id;
    std::string outcome;  // "finished", "failed", "cancelled", "refused"
    std::string error;    // kind and message of a failure; of invalid_request its field only
    std::string model, upstream, route;  // where it was answered in the end
    std::int64_t n_fallbacks = 0;
    chat::Usage usage;             // where it was answered in the end
    chat::Usage usage_failed;      // of the places that failed before it, together
    bool usage_estimated = false;  // some of both is from bytes, because nobody counted
    chat::Timings timings;
    std::int64_t total_ns = 0;
    std::int64_t cost_microusd = 0;  // of all places
    std::string key_id;              // whose key asked; empty: nobody's
    std::string task;                // as the caller stated it
    route::LedgerRow ledger;         // what it took of this machine; cost_microusd is its paid part
    std::string redaction_json;      // of an answer whose request left redacted: what came back
    std::string repro_json;  // local answers: what replay needs (model sha, numerics, isa, …)
    BodyRecord body = {};    // the answer
};

// What happened beside requests: keys made and revoked, callers turned away, exports.
struct EventRecord {
    std::string event;  // "key.created": lower-case letters, digits, '.' and '_'
    std::string actor;  // who did it: a key's id, "terminal", "unix", "local", or a peer's address
    std::string json;   // one object that says what it was done to; never a secret
};

struct JournalEntry {  // one line of `audit tail`
    std::int64_t seq = 0;
    std::int64_t wall_ns = 0;
    std::string event;  // "decision", "outcome", "egress", or an EventRecord's
    std::string request_id;
    std::string json;       // the record as one JSON object
    std::string slot = {};  // "journal-0"; seq orders the records of one slot
};

struct JournalOptions {
    std::string folder;  // state/hearth/journal
    Sync sync = Sync::group;
    // Where the chain's key and the digests' lie; empty: beside the folder, `<folder>-keys`. Not in
    // it, so that a copy of the folder can be given away to be verified.
    std::string keys_folder = {};
    // Signs checkpoints of the chain; without one they are written unsigned, and verify says so.
    // Runs on a thread of its own.
    CheckpointSigner signer = nullptr;
    // Requests ended so far, counted apart from the journal, each after its outcome was appended.
    std::function<std::int64_t()> n_served = nullptr;
    std::int64_t rotate_bytes = 0;  // a file past this is left and another begun; 0: never
    // Files whose newest entry is older are deleted, and texts that are older erased; 0: never.
    std::int64_t keep_ns = 0;
};

class Journal {
  public:
    // Takes the first free writer slot in the folder (one file per writing process; a lock guards
    // it).
    static Result<std::unique_ptr<Journal>> open(const JournalOptions& options,
                                                 const Clock& clock = system_clock());
    virtual ~Journal() = default;  // writes what is queued, then closes

    // on_written runs on the journal thread when the record is written (or could not be: the
    // error). Nothing may leave the machine before it ran without error.
    using Done = std::function<void(Status)>;
    virtual void append(DecisionRecord record, Done on_written) = 0;
    virtual void append(OutcomeRecord record, Done on_written = nullptr) = 0;
    virtual void append(egress::Receipt receipt, Done on_written = nullptr) = 0;
    virtual void append(EventRecord record, Done on_written = nullptr) = 0;
    // Waits until everything appended so far is written.
    virtual Status flush() = 0;
    // Signs all that is written, for the last time: the signer is not called afterwards. For an end
    // at which the signer goes before the journal does.
    virtual void release_signer() {}
    // A keyed digest of a prompt, 64 hex digits: tells whether two are the same, and nothing else
    // to who has not the key. Empty where there is no journal. Any thread.
    virtual std::string prompt_digest(std::string_view) const { return {}; }
};

// What readers are shown: records, or also what the journal says of itself (`audit.*`).
enum class Shown : std::uint8_t { records, all };

// The newest n entries of all slots, oldest first. Read-only: does not disturb a writer.
Result<std::vector<JournalEntry>> read_tail(const std::string& folder, std::int64_t n,
                                            std::int64_t after_wall_ns = 0,
                                            Shown shown = Shown::records);

// The entries of one request, of all slots, in the order of time; at most kTailMax.
Result<std::vector<JournalEntry>> read_request(const std::string& folder,
                                               const std::string& request_id);
// Where the chain's key, the digests' and the bodies' lie.
std::string keys_folder_of(const JournalOptions& options);

// How far each slot has been read: its name, and the newest seq seen. Stamps cannot say it:
// an earlier one may be committed later, in another slot or after a clock was set back.
using Cursor = std::map<std::string, std::int64_t>;
// The end of every slot at this moment.
Result<Cursor> cursor_at_end(const std::string& folder);
// What was written after the cursor, at most n_max of each slot, in the order of their stamps and
// within a slot of seq. Moves the cursor past what it returns. A slot that was set aside and begun
// anew is read from its start.
Result<std::vector<JournalEntry>> read_after(const std::string& folder, Cursor& cursor,
                                             std::int64_t n_max, Shown shown = Shown::records);

}  // namespace hearth::journal
