// BrokerState: what the broker keeps from one run to the next, in a folder that the main process
// cannot open (the sandbox's file rules leave it out, and the broker's memory is closed).
//
//   <folder>/            0700
//     key                0600, 64 bytes: Ed25519 seed, then the key of the payload digests
//     public.pem         0600, the public half; copy it to where logs are checked
//     counters.json      0600, connections and bytes counted here, checkpoints signed (below)
//     lock               0600, flock(2)ed while counters.json is read and replaced: a server and a
//                        command beside it have a broker each, and one folder
//
// counters.json is replaced by rename(2), so a reader sees one state or the next. A connection is
// counted before the first connect(2), so that a broker that was killed leaves more `opened` than
// `closed`. It is not synced for connections (kill -9 loses nothing, a power cut the last ones) and
// is synced for checkpoints, which must never go back.
//
// An unreadable counters.json is set aside as counters.damaged-<ns>.json and begun anew with
// `n_damaged` one higher, because a machine that lost power must start again; the gap shows.
//
// With an empty folder name (tests) all is kept in memory and the keys are made for this process.
//
// Thread: the broker's loop. Errors: internal, with what the file system says.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "audit/checkpoint.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/result.h"
#include "egress/permit.h"

namespace hearth::egress {

struct ConnectionCounts {
    std::int64_t n_opened = 0;  // connections that the broker set out to make
    std::int64_t n_closed = 0;  // receipts of those
    std::int64_t bytes_out = 0, bytes_in = 0;
    std::int64_t wire_bytes_out = 0, wire_bytes_in = 0;
    ConnectionCounts& operator+=(const ConnectionCounts& other);
    friend bool operator==(const ConnectionCounts&, const ConnectionCounts&) = default;
};

struct BrokerCounters {
    std::string public_key;  // 32 raw bytes
    std::int64_t since_wall_ns = 0;
    std::int64_t last_number = 0;  // of a receipt
    std::int64_t n_signed = 0;     // checkpoints
    std::int64_t n_damaged = 0;
    ConnectionCounts total;
    std::map<std::string, ConnectionCounts> days;      // "2026-11-20", UTC; n_closed by closing
    std::vector<audit::SignedCheckpoint> checkpoints;  // the newest of each slot and chain
};
std::string to_json(const BrokerCounters& counters);
// Errors: invalid_request for anything that to_json() does not write.
Result<BrokerCounters> parse_counters(std::string_view json);
// For commands, before they enter the sandbox. Errors: not_found where no broker ever ran.
Result<BrokerCounters> read_counters(const std::string& folder);
// "2026-11-20" of a time, UTC.
std::string day_of(std::int64_t wall_ns);

class BrokerState {
  public:
    // Makes what is not there.
    static Result<BrokerState> open(const std::string& folder);

    const std::string& public_key() const { return signer_.public_key(); }
    // Counts a request and, where connects, a connection. The receipt's number. Nothing may be
    // connected where this fails.
    Result<std::int64_t> begin(bool connects, std::int64_t wall_ns);
    // Counts what the connection carried, digests and signs. connects: as begin() was told.
    void end(Receipt& receipt, bool connects, const std::string& sha256_out);
    // Refuses (forbidden_by_policy) a seq that is not above the last one of this slot and chain.
    Result<audit::SignedCheckpoint> sign(const audit::CheckpointRequest& request,
                                         std::int64_t n_connections);

  private:
    BrokerState(std::string folder, std::string_view keys);
    template <class Change>
    Status change(bool sync, Change&& change);
    Result<BrokerCounters> load();

    std::string folder_;
    SigningKey signer_;
    std::string digest_key_;
    BrokerCounters memory_;     // the counters where there is no folder
    ConnectionCounts unsaved_;  // what could not be written at an end; the next one adds it
};

}  // namespace hearth::egress
