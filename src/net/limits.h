// Every bound of the wire, with its reason.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hearth::net {

// Agents send tens of KB of tools in bodies, never in headers; 32 KiB is what common proxies allow.
inline constexpr std::size_t kHeaderBytesMax = 32u << 10;
// 200,000 tokens of text are about 1 MB; 32 MiB leaves room for several images in base64.
inline constexpr std::size_t kBodyBytesMax = 32u << 20;
// All bodies of requests that are being read or answered. A megabyte for each of 512 open requests:
// far more than a machine answers at a time, and what it can spare besides a model.
inline constexpr std::size_t kBodiesBytesMax = 512u << 20;
// Browsers send about 20 fields, SDKs about 25; each costs two strings beyond its bytes.
inline constexpr std::size_t kHeaderFieldsMax = 128;
inline constexpr std::int64_t kConnectionsMax = 1024;
inline constexpr std::int64_t kHeaderTimeoutMs = 10'000;
inline constexpr std::int64_t kBodyTimeoutMs = 60'000;
// The body's deadline moves on by the timeout with each such piece: about 1 KiB/s at the least.
inline constexpr std::size_t kBodyProgressBytes = 64u << 10;
inline constexpr std::int64_t kIdleTimeoutMs = 75'000;
// A peer that takes nothing of what waits for it for so long is cut.
inline constexpr std::int64_t kWriteTimeoutMs = 120'000;
// After our last byte we read on for the peer's end, so that it gets the answer instead of a reset:
// so many bytes (a refused body of the default limit, and as much again) for so long.
inline constexpr std::size_t kLingerBytesMax = 64u << 20;
inline constexpr std::int64_t kLingerMs = 5'000;
inline constexpr std::int64_t kLingerDrainMs = 250;
// Connections over the limit that are being told so; beyond, they are closed without a word.
inline constexpr std::int64_t kRefusedMax = 64;
// Pause of accept(2) when descriptors or memory run out.
inline constexpr std::int64_t kAcceptPauseMs = 100;
// Pipelined bytes kept while a reply streams; a client that sends more waits in its own socket.
inline constexpr std::size_t kPipelineBytesMax = 64u << 10;
// So often it is looked at meanwhile whether that client has left: its end stands behind its bytes.
inline constexpr std::int64_t kHangUpCheckMs = 250;
// A reader that is this far behind pauses its sequence; it resumes below the mark.
inline constexpr std::size_t kWriteLowWater = 64u << 10;
// A stream's writer that does not heed the mark is cut here.
inline constexpr std::size_t kWriteQueueMax = 16u << 20;
// Bytes taken from a socket at once.
inline constexpr std::size_t kReadBytes = 64u << 10;
// An upstream's response: headers, one SSE event, a non-streamed error body.
inline constexpr std::size_t kUpstreamHeaderBytesMax = 64u << 10;
// 100 and 103 before a response; more of them is a peer that plays for time.
inline constexpr int kInterimResponsesMax = 8;
inline constexpr std::size_t kSseEventBytesMax = 4u << 20;
inline constexpr std::size_t kUpstreamErrorBytesMax = 256u << 10;

}  // namespace hearth::net
