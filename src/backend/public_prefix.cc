#include "backend/public_prefix.h"

#include <algorithm>

namespace hearth::backend {
namespace {

// To another year, month, day of the month and of the week, hour, minute and second.
constexpr std::int64_t kLaterS = 400 * 86'400 + 13 * 3600 + 60 + 1;

chat::ChatRequest request_of(std::string_view system, const char* user) {
    chat::ChatRequest request;
    request.messages.resize(2);
    request.messages[0].role = chat::Role::system;
    request.messages[0].parts.push_back(chat::TextPart{std::string(system)});
    request.messages[1].parts.push_back(chat::TextPart{user});
    return request;
}

std::string_view trimmed(std::string_view text) {
    constexpr const char* kWhite = " \t\r\n";
    const std::size_t from = text.find_first_not_of(kWhite);
    if (from == text.npos) return {};
    return text.substr(from, text.find_last_not_of(kWhite) + 1 - from);
}

}  // namespace

Result<std::string> public_part(const chat::Format& format, chat::FormatModel model,
                                std::string_view text) {
    const std::string_view mark = trimmed(text);
    if (mark.empty()) return fail(ErrorKind::invalid_request, "the text is empty");
    HEARTH_TRY(std::string first, format.render(model, request_of(text, "1")));
    model.now_unix_s += kLaterS;
    HEARTH_TRY(const std::string second, format.render(model, request_of(text, "2")));
    first.erase(std::ranges::mismatch(first, second).in1, first.end());
    const std::size_t at = first.rfind(mark);
    if (at == first.npos)
        return fail(ErrorKind::invalid_request,
                    "the template takes no system message, alters it, or writes the time or the "
                    "user's message before it");
    first.resize(at + mark.size());
    return first;
}

}  // namespace hearth::backend
