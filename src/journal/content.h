// ContentStore: prompts and answers at rest, for installations that ask for it (journal.content).
//
// Each text is a *body*: AES-256-GCM under a random key of its own. The chained entry of the
// decision or the outcome holds the SHA-256 of the ciphertext and nothing else of it, so that the
// chain attests what was kept and stays valid when the keys are gone. Two files, made with the
// first body, shared by all processes that write:
//
//   <folder>/content.bodies        the ciphertexts one after the other
//   <keys folder>/content.keys     a header and a record of 128 bytes for each body: its key, where
//                                  it lies, whose it is
//
// Erasing overwrites records with zeros, in place, and syncs; without the key a body cannot be read
// by anybody, here or in a copy of the folder. It is a file of fixed records and no database
// because a database keeps copies of pages in journals of its own.
//
// An erasure says in the header what it is about to erase, then has it recorded in the chain, then
// erases, then clears the header: the one that an end cut off is recorded and finished by the next
// who opens the journal (finish_erasure).
//
// Thread:     one per object; several objects and processes meet under flock(2) of content.keys.
// Invariants: (1) a record's body is whole before the record is there.
//             (2) nothing is erased before `record` said that it is on record.
// Source:     docs/formats/journal.md, section 12.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "journal/journal.h"

namespace hearth::journal {

enum class BodyKind : std::uint8_t { prompt = 1, answer = 2 };
const char* name_of(BodyKind kind);

struct KeptBody {
    std::string sha256;        // of the ciphertext, hex
    std::int64_t n_bytes = 0;  // of the ciphertext
    std::int64_t place = 0;    // of its record
};
struct Body {
    BodyKind kind = BodyKind::prompt;
    std::int64_t wall_ns = 0;
    std::string sha256;  // of the ciphertext as it lies there
    std::string text;
    std::string error;  // why there is no text
};
// Which bodies: of one request, or all that were kept before a time.
struct ErasureRange {
    std::string request_id;
    std::int64_t before_wall_ns = 0;  // where request_id is empty
};

// The entry that comes before: `content.erased`. taken_up: of an erasure that was cut off.
EventRecord erasure_record(const std::string& actor, const ErasureRange& range, std::int64_t n,
                           bool taken_up = false);

class ContentStore {
  public:
    enum class Mode : std::uint8_t { make, existing };
    // Errors: not_found where there is nothing kept and Mode::existing; invalid_request for files
    // that are not ours.
    static Result<std::unique_ptr<ContentStore>> open(const std::string& folder,
                                                      const std::string& keys_folder, Mode mode);

    // after: the place of an earlier body of this request. Where that was erased meanwhile, so would
    // this one have been. Errors: invalid_request for a text past kBodyBytes or an id past
    // kBodyIdBytes; cancelled for one whose earlier body was erased.
    Result<KeptBody> keep(BodyKind kind, std::string_view request_id, std::int64_t wall_ns,
                          std::string_view plain, std::optional<std::int64_t> after = {});
    // Makes what was kept safe against power loss; nothing where there is nothing new.
    Status sync();

    // In the order of keeping; none for a request of which nothing is kept, or no longer.
    Result<std::vector<Body>> read(std::string_view request_id);
    Result<std::int64_t> count(const ErasureRange& range);

    // record(range, n) must return when the erasure of n bodies is in the chain; its error ends the
    // erasure before it began. Returns how many. Nobody else keeps or erases meanwhile.
    using Record = std::function<Status(const ErasureRange&, std::int64_t n)>;
    Result<std::int64_t> erase(const ErasureRange& range, const Record& record);
    // The same; nothing where another is at work in the files, for who must not wait for it.
    Result<std::optional<std::int64_t>> erase_if_free(const ErasureRange& range,
                                                      const Record& record);
    // What an end cut off. Nothing where there is none, or where its process is still at work.
    Result<std::optional<std::int64_t>> finish_erasure(const Record& record);

  private:
    struct Entry;
    ContentStore() = default;
    Status prepare_keys();
    Status each(const std::function<Status(std::int64_t index, const Entry& entry)>& take);
    Status put(std::int64_t index, std::string_view bytes);
    Result<std::optional<ErasureRange>> pending();
    Result<bool> is_there(std::int64_t place, std::string_view request_id);
    Result<std::int64_t> erase_locked(const ErasureRange& range, const Record& record);
    Status erase_now(const ErasureRange& range);
    void free_body(const Entry& entry);

    std::string keys_path_, bodies_path_;
    Fd keys_, bodies_;
    bool unsynced_ = false;
};

}  // namespace hearth::journal
