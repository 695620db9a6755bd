// TaggedParser: answers that mark calls as <tool_call>{"name", "arguments"}</tool_call> and
// thinking as <think>…</think>, which is what most open models do.
//
// clang-format off
//   text ──<think>──▶ thinking ──</think>──▶ text        (the first thing of an answer only)
//   text ──<tool_call>──▶ call ──</tool_call>──▶ text    (the tag counts outside JSON strings only)
// clang-format on
//
// Text that may still become a tag is held back. One newline before and one after a call belong to
// its markup. A call is shown when it is complete; if its text is no call it comes out as text,
// unchanged.
//
// Ids of calls are made from what the conversation and the answer hold, so a repeated run gives the
// same.
#pragma once

#include "chat/format.h"

namespace hearth::chat {

struct TagSyntax {
    bool calls = false;            // the request has tools that may be called
    bool thinking = false;         // the model marks thinking
    bool starts_thinking = false;  // the prompt already opened it
};

std::unique_ptr<AnswerParser> make_tagged_parser(const ChatRequest& request,
                                                 std::int64_t answer_index,
                                                 const TagSyntax& syntax);

}  // namespace hearth::chat
