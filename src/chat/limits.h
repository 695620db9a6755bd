// Bounds of the chat room, each with its reason. The size of a body and of its JSON are bounded
// before (net/limits.h, base/json.h); these bound what a small body could still ask for.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hearth::chat {

// Names of models reach the journal, messages and headers; the longest known have about 120 bytes.
inline constexpr std::size_t kModelNameBytesMax = 512;
inline constexpr std::int64_t kAnswersMax = 16;     // each is a sequence of its own in the engine
inline constexpr std::size_t kStopMax = 16;         // each is searched in every delta; OpenAI has 4
inline constexpr std::size_t kStopBytesMax = 1024;  // that many bytes of an answer are held back
inline constexpr std::int64_t kTopLogprobsMax = 20;  // as OpenAI; each is text in every chunk
inline constexpr std::size_t kToolNameBytesMax =
    256;                                        // OpenAI has 64; MCP bridges write longer ones
inline constexpr std::size_t kToolsMax = 1024;  // agents bring a few hundred
inline constexpr std::size_t kTemplateKwargsMax = 64;  // each becomes a variable of the template
inline constexpr std::int64_t kTokensMax = 1'000'000'000;  // above any context; keeps sums in range
inline constexpr double kTemperatureMax = 2;               // as OpenAI
inline constexpr double kPenaltyMax = 2;                   // as OpenAI, both signs
inline constexpr double kRepeatPenaltyMax = 10;  // 1 is off, 1.1 usual; 10 bans every repeat
inline constexpr double kLogitBiasMax = 100;     // as OpenAI, both signs

// A model may open a call and never end it: as much is held back before it is shown as text.
inline constexpr std::size_t kCallBytesMax = 1u << 20;

// What an upstream may make us hold while it streams one answer.
inline constexpr std::size_t kUpstreamCallsMax = 1024;  // tool calls of one answer
inline constexpr std::size_t kUpstreamPendingBytesMax = 1u
                                                        << 20;  // arguments that came before a name
inline constexpr std::size_t kUpstreamMessageBytesMax = 300;    // of an upstream's error text

}  // namespace hearth::chat
