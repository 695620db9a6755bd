// Run: one verification as a command line asks for it; what `hearth audit verify` and
// hearth-audit-verify share.
#pragma once

#include <string>
#include <vector>

#include "audit/verify.h"

namespace hearth::audit {

struct VerifyRequest {
    std::string path;                      // a folder; a file of lines; "-": lines from stdin
    std::string chain_key;                 // a file; empty: macs are not checked
    std::vector<std::string> public_keys;  // files: PEM, or 64 hex digits
    std::vector<std::string> anchors;      // files of checkpoints, one a line
    Trust known;                           // what the caller knows besides
    std::int64_t from_seq = 0;
    int n_threads = 0;
};
// Errors: not_found, invalid_request: what was asked cannot be done.
Result<Verdict> run_verify(const VerifyRequest& request);

// Integrity is broken, something is missing, or must be there and is not known to be.
bool is_bad(const Verdict& verdict, bool require_complete);

// Raw bytes of a public key's file. Errors: invalid_request.
Result<std::string> parse_public_key(std::string_view text);

}  // namespace hearth::audit
