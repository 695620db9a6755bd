// Folder: verifies the databases of a journal's folder, or of a copy of it. Opens read-only, reads
// nothing but the parts, and never checkpoints; a writer beside it is not disturbed.
//
// A part is cut at checkpoints into pieces that threads take: each begins where a checkpoint claims
// that the chain stood, and judge() compares the claim with where the piece before it ended.
#pragma once

#include <functional>
#include <string>

#include "audit/files.h"
#include "audit/verify.h"

namespace hearth::audit {

struct FolderOptions {
    int n_threads = 0;                    // 0: one per usable core
    std::int64_t piece_records = 20'000;  // less is not worth a connection of its own
    std::int64_t from_seq = 0;            // begin at the last checkpoint at or before it
};
Result<Verdict> verify_folder(const std::string& folder, const Trust& trust,
                              const FolderOptions& options = {});

// Calls take(entry, mac) for each entry after `after_seq` of a part, in order, until it says false.
// Errors: not a journal's file; invalid_request for one without a chain; what SQLite says.
Status read_part(const std::string& path, std::int64_t after_seq,
                 const std::function<bool(const EntryView&, const Digest&)>& take);

// How a part ends, taken from its last checkpoint on.
struct Tail {
    ChainState state;
    bool closed = false;          // its writer closed it
    std::int64_t n_unsealed = 0;  // entries that no checkpoint covers yet
    std::optional<Finding> finding;
};
// Nothing for a part without entries. Errors: as read_part().
Result<std::optional<Tail>> tail_of(const std::string& path, const std::string& slot,
                                    const Trust& trust);

// The last signed checkpoint of each slot; slots without one are left out.
Result<std::vector<SignedCheckpoint>> last_checkpoints(const std::string& folder);

}  // namespace hearth::audit
