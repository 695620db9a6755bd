#include "chat/chat.h"

namespace hearth::chat {

const char* name_of(Role role) {
    switch (role) {
        case Role::system: return "system";
        case Role::user: return "user";
        case Role::assistant: return "assistant";
        case Role::tool: return "tool";
    }
    return "user";
}

const char* name_of(Sensitivity sensitivity) {
    switch (sensitivity) {
        case Sensitivity::public_: return "public";
        case Sensitivity::internal: return "internal";
        case Sensitivity::confidential: return "confidential";
        case Sensitivity::restricted: return "restricted";
    }
    return "restricted";
}

std::optional<Sensitivity> sensitivity_from(std::string_view name) {
    for (const auto s : {Sensitivity::public_, Sensitivity::internal, Sensitivity::confidential,
                         Sensitivity::restricted}) {
        if (name == name_of(s)) return s;
    }
    return std::nullopt;
}

const char* name_of(FinishReason reason) {
    switch (reason) {
        case FinishReason::stop: return "stop";
        case FinishReason::length: return "length";
        case FinishReason::tool_calls: return "tool_calls";
        case FinishReason::content_filter: return "content_filter";
    }
    return "stop";
}

std::string text_of(const Message& message) {
    std::string text;
    for (const Part& part : message.parts) {
        if (const auto* p = std::get_if<TextPart>(&part)) text += p->text;
    }
    return text;
}

bool is_delta(const Event& event) {
    return !std::holds_alternative<Started>(event) && !is_terminal(event);
}

bool is_terminal(const Event& event) {
    return std::holds_alternative<Finished>(event) || std::holds_alternative<Failed>(event);
}

}  // namespace hearth::chat
