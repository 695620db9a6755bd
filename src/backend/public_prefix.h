// PublicPrefix: a system prompt that an operator marks, so that every key may share what was
// computed of it.
//
// What becomes public is the beginning of a rendered chat: the template's own text, and the marked
// one. It is found by rendering the mark with two different users at two different times, so that
// nothing that a caller or the clock writes can be in it.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "chat/format.h"

namespace hearth::backend {

struct PublicPrefix {
    std::string name;  // for logs, which hold no prompts: "public_prefix 1"
    std::string text;
};

// The beginning of every prompt that this format renders for a chat whose system message is text,
// up to the text's end. White space around the text does not count: many templates take it away.
// Errors: what render() says; invalid_request where the template alters the text, or writes a
// user's message or the time before it.
Result<std::string> public_part(const chat::Format& format, chat::FormatModel model,
                                std::string_view text);

}  // namespace hearth::backend
