// Every bound of the wire, with its reason.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hearth::net {

// Agents send tens of KB of tools in bodies, never in headers; 32 KiB is what common proxies allow.
inline constexpr std::size_t kHeaderBytesMax = 32u << 10;
// 200,000 tokens of text are about 1 MB; 32 MiB leaves room for several images in base64.
inline constexpr std::size_t kBodyBytesMax = 32u << 20;
inline constexpr std::int64_t kConnectionsMax = 1024;
inline constexpr std::int64_t kHeaderTimeoutMs = 10'000;
inline constexpr std::int64_t kBodyTimeoutMs = 60'000;
inline constexpr std::int64_t kIdleTimeoutMs = 75'000;
// Pipelined bytes kept while a reply streams; a client that sends more waits in its own socket.
inline constexpr std::size_t kPipelineBytesMax = 64u << 10;
// A reader that is this far behind pauses its sequence; it resumes below the low mark.
inline constexpr std::size_t kWriteHighWater = 256u << 10;
inline constexpr std::size_t kWriteLowWater = 64u << 10;
// An upstream's response: headers, one SSE event, a non-streamed error body.
inline constexpr std::size_t kUpstreamHeaderBytesMax = 64u << 10;
inline constexpr std::size_t kSseEventBytesMax = 4u << 20;
inline constexpr std::size_t kUpstreamErrorBytesMax = 256u << 10;

}  // namespace hearth::net
