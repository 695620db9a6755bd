// Bounds of the journal room, each with its reason. Values that reach the disk are in schema.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hearth::journal {

// Records that wait to be written. A write takes about 20 us in a batch, so that 4,096 are a tenth
// of a second behind; a disk that stalls longer refuses new requests instead of holding them.
inline constexpr std::size_t kQueueRecords = 4096;
// Decisions are refused earlier, so that what was already decided can still be written down.
inline constexpr std::size_t kQueueDecisions = 3072;
// Their text. A decision with 100 targets is about 30 KiB.
inline constexpr std::size_t kQueueBytes = 64u << 20;
// One record's text. Beyond it something is wrong upstream of the journal.
inline constexpr std::size_t kRecordBytes = 1u << 20;
// Records of one transaction: bounds how long the first of them waits for the last.
inline constexpr std::size_t kBatchRecords = 256;

// Writing processes at one time: a server, a few commands beside it, and room.
inline constexpr int kSlotsMax = 64;

// Sync::group: the longest time between written and safe against power loss.
inline constexpr std::int64_t kGroupSyncMs = 50;
// Pages of 4 KiB in the WAL that start a checkpoint: 4 MiB, SQLite's own default.
inline constexpr int kCheckpointPages = 1000;
// Readers hold the WAL open; from here on the writer waits for them, so that it cannot grow
// forever.
inline constexpr int kCheckpointPagesForced = 16'000;
// A quiet writer checkpoints after this long, so that readers find a small WAL.
inline constexpr std::int64_t kCheckpointIdleMs = 1000;
// The WAL file is cut to this after a checkpoint that reset it.
inline constexpr std::int64_t kWalBytesKept = 4 << 20;

// A reader that repairs the WAL's index after a crash holds the writer's lock for milliseconds.
inline constexpr int kBusyMs = 5000;

// A file up to this size is checked whole when it is opened (about 0.2 s); of a larger one only its
// header, its schema and its last record.
inline constexpr std::int64_t kQuickCheckBytes = 64 << 20;

// A prompt or an answer that is kept. A context of a million tokens is 4 MB of text; with images as
// base64 it can be more than this, and is then not kept, which the entry says.
inline constexpr std::size_t kBodyBytes = 16u << 20;
// The id that names it: "req-" and 32 digits have 36.
inline constexpr std::size_t kBodyIdBytes = 63;

// Entries that one read_tail() returns.
inline constexpr std::int64_t kTailMax = 100'000;

// A file of sysfs; the names and numbers of a power domain have at most 20 bytes.
inline constexpr std::size_t kPowercapBytes = 4096;
// A package of 1,000 W, more than any, uses a microjoule in a nanosecond. An interval in which it
// could have used more than its counter's range may have gone round twice: after 65 to 262 s.
inline constexpr std::int64_t kNsPerMicrojoule = 1;
// Long answers take a reading this often, far below that.
inline constexpr std::int64_t kReadingAgeNs = 10'000'000'000;

// Entries between two checkpoints of the chain. A signature takes 40 us to make and 100 us to
// check: a third of a microsecond and less than one for each entry, and nobody waits for it.
// Verification that is taken up at a checkpoint has half of this to read again.
inline constexpr std::int64_t kSealEvery = 128;
// What was written last is sealed after this long without more, so that little is without a
// signature while nothing happens.
inline constexpr std::int64_t kSealIdleMs = 2000;
// A writer with nothing to write says that it is there: an end of the journal that is older than
// this, while it should be running, is one that was cut.
inline constexpr std::int64_t kHeartbeatMs = 3'600'000;
// How often files are looked at whether their time is over.
inline constexpr std::int64_t kRetireMs = 3'600'000;

}  // namespace hearth::journal
