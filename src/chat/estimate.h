// Sizes of a request and of an answer where nobody has counted tokens: from bytes alone.
#pragma once

#include <cstdint>

#include "chat/chat.h"

namespace hearth::chat {

struct PromptSize {
    // About how many tokens: four bytes of text make one in common vocabularies. Images and sound
    // are not in it, because their bytes say little about their tokens.
    std::int64_t n_tokens = 0;
    // At least as many as any vocabulary makes of it: no token has less than one byte. Of images
    // there is no such bound; they are not in it.
    std::int64_t n_tokens_max = 0;
};
PromptSize size_of_prompt(const ChatRequest& request);

// About how many tokens so many bytes of text are; at least one where there is any.
std::int64_t estimated_tokens(std::int64_t n_bytes);
// The bytes of an answer that an event brings: text, thinking, names and arguments of calls.
std::int64_t answer_bytes(const Event& event);

}  // namespace hearth::chat
