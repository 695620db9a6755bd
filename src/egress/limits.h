// Every bound of the door, with its reason.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hearth::egress {

// One control message. The allow-list is the largest: 256 rules of about 500 bytes. It must also
// fit the kernel's default socket buffer (212,992 bytes), because a message is sent whole or not at
// all.
inline constexpr std::size_t kMessageBytesMax = 160u << 10;
inline constexpr std::size_t kRulesMax = 256;       // rules are destinations a person configured
inline constexpr std::size_t kHostBytesMax = 253;   // RFC 1035, 2.3.4, as text without the last dot
inline constexpr std::size_t kNameBytesMax = 128;   // request ids, names of rules
inline constexpr std::size_t kPathBytesMax = 4096;  // PATH_MAX
inline constexpr std::size_t kTextBytesMax = 1024;  // one sentence for a person
// Open connections through the broker. An upstream allows a client far fewer; each costs two
// descriptors and two buffers here.
inline constexpr std::size_t kConnectionsMax = 256;
// Requests without their receipt: as many again are closed already while their receipts are on the
// way, or while the broker has not ended them yet.
inline constexpr std::size_t kPendingMax = 2 * kConnectionsMax;
// Per direction and connection. Two TLS records (16 KiB each): more only adds latency.
inline constexpr std::size_t kRelayBytes = 32u << 10;
// getaddrinfo cannot be cancelled: a dead name server holds a thread for its whole timeout (10 s
// and more), so a few names may hang without stopping the others.
inline constexpr int kResolverThreads = 4;
inline constexpr std::size_t kAddressesMax = 16;  // of one name; the first that answers is taken
// One address gets at least this long before the next is tried: two SYN retransmissions (1 s, 2 s).
inline constexpr std::int64_t kAttemptMsMin = 3'500;
// After both sides have ended, what the program wrote before gets so long to be read by the server.
inline constexpr std::int64_t kDrainMs = 10'000;
// After the program has closed, the rest of an answer gets so long to arrive, the server's end with
// it: the round trip of a far server, thrice. A server that sends more than an answer's last words
// is still at work, and is cut off; so is the oldest one where all connections are taken.
inline constexpr std::int64_t kLingerMs = 1'000;
inline constexpr std::size_t kLingerBytes = 64u << 10;
inline constexpr std::int64_t kConnectTimeoutMsMax = 120'000;
// From exec to the broker's first word: loading CA bundles takes 50 ms, a sanitizer build on a busy
// machine far longer.
inline constexpr std::int64_t kBrokerStartMs = 30'000;
// How long the broker waits for another broker that replaces the counters in the same folder: that
// takes microseconds, so this long means that it was stopped.
inline constexpr std::int64_t kBrokerLockMs = 2'000;
// counters.json: 62 days of 200 bytes and 128 checkpoints of 800 bytes are 115 KB.
inline constexpr std::size_t kCounterBytesMax = 1u << 20;
inline constexpr std::size_t kCounterDaysMax = 62;  // `egress report --since 30d`, twice over
// Slots are at most 64, and a slot begins a new chain only when it was damaged.
inline constexpr std::size_t kCheckpointsKeptMax = 128;
inline constexpr std::size_t kCheckpointBytesMax = 4096;  // one as JSON has about 700
// Signing takes under a millisecond; this long means that the broker is stopped or gone.
inline constexpr std::int64_t kSignMs = 5'000;
// How long a child gets to end by itself, or to say its last, before it is killed.
inline constexpr std::int64_t kChildEndMs = 3'000;

}  // namespace hearth::egress
