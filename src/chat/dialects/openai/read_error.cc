// An upstream's refusal as an Error of ours.
//
// The kind says who has to act: a wrong key or an unknown path is the operator's (upstream_failed),
// a request that the upstream finds wrong is the caller's (invalid_request). The upstream's words
// are shortened, and what they quote is left out unless it looks like a field's name: a message may
// quote the prompt or the key. They are for the caller alone (Error::n_foreign).
#include "base/format.h"
#include "base/utf8.h"
#include "chat/dialects/openai/openai.h"
#include "chat/fields.h"
#include "chat/limits.h"

namespace hearth::chat::openai {
namespace {

bool is_name_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-' || c == '[' || c == ']';
}

bool looks_like_name(std::string_view text) {
    if (text.empty() || text.size() > 64) return false;
    for (const char c : text) {
        if (!is_name_char(c)) return false;
    }
    return true;
}

// The text with quoted pieces that are no names replaced by "…", keys too, control characters as
// spaces.
std::string without_quotes(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
        const char c = text[i];
        // An apostrophe inside a word opens no quotation.
        const bool opens =
            c == '"' || c == '`' || (c == '\'' && (i == 0 || !is_name_char(text[i - 1])));
        if (opens) {
            const std::size_t end = text.find(c, i + 1);
            const auto quoted = text.substr(i + 1, end == text.npos ? text.npos : end - i - 1);
            const bool plain =
                end != text.npos && looks_like_name(quoted) && !quoted.starts_with("sk-");
            out += c;
            out += plain ? quoted : "…";
            out += c;
            if (end == text.npos) break;
            i = end + 1;
        } else if (text.substr(i).starts_with("sk-")) {
            while (i < text.size() && (is_name_char(text[i]) || text[i] == '*')) ++i;
            out += "…";
        } else {
            out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
            ++i;
        }
    }
    return out;
}

std::string shortened(std::string_view text) {
    // Cut before the scan: an error body may be as long as a prompt.
    const bool cut = text.size() > kUpstreamMessageBytesMax;
    text = text.substr(0, kUpstreamMessageBytesMax);
    text = text.substr(0, utf8_complete_prefix(text));
    return utf8_repaired(without_quotes(text)) + (cut ? "…" : "");
}

struct Words {
    std::string message, type, code, param;
    std::int64_t n_prompt_tokens = 0, n_ctx = 0, status = 0;
};

std::string text_at(const Json& object, const char* name) {
    const auto at = object.find(name);
    return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
}

std::int64_t count_at(const Json& object, const char* name) {
    const auto at = object.find(name);
    if (at == object.end()) return 0;
    return std::clamp<std::int64_t>(whole_number(*at).value_or(0), 0, kTokensMax);
}

Words words_of(const Json& error) {
    Words out;
    if (error.is_string()) out.message = error.get<std::string>();
    if (!error.is_object()) return out;
    out.message = text_at(error, "message");
    out.type = text_at(error, "type");
    out.code = text_at(error, "code");
    out.param = text_at(error, "param");
    out.status = count_at(error, "code");  // llama-server and vLLM put the status there
    out.n_prompt_tokens = count_at(error, "n_prompt_tokens");
    out.n_ctx = count_at(error, "n_ctx");
    return out;
}

bool has(const std::string& text, std::string_view piece) {
    return text.find(piece) != text.npos;
}

ErrorKind kind_of(const Words& words, std::int64_t status) {
    const std::string& type = words.type;
    if (has(type, "exceed_context") || has(words.code, "context_length"))
        return ErrorKind::context_overflow;
    if (status == 429 || status == 503 || status == 529 || has(type, "rate_limit") ||
        has(type, "overloaded") || has(type, "unavailable") || has(words.code, "rate_limit"))
        return ErrorKind::overloaded;
    if (status == 408 || status == 504 || has(type, "timeout")) return ErrorKind::timeout;
    if (status == 400 || status == 413 || status == 422) return ErrorKind::invalid_request;
    if (status == 0 && type == "invalid_request_error") return ErrorKind::invalid_request;
    return ErrorKind::upstream_failed;
}

}  // namespace

Error error_from(const Json& error, int http_status) {
    const Words words = words_of(error);
    std::int64_t status = http_status;
    if (status == 0 && words.status >= 400 && words.status <= 599) status = words.status;
    Error out{.kind = kind_of(words, status), .message = "the upstream"};
    out.message += status > 0 ? format(" answered HTTP {}", status) : " reported an error";
    const std::string& name = words.code.empty() ? words.type : words.code;
    if (looks_like_name(name)) out.message += format(" ({})", name);
    if (status == 401 || status == 403) {
        out.message += ": check the key that is configured for it";
    } else if (!words.message.empty()) {
        const std::string said = ": " + shortened(words.message);
        out.message += said;
        out.n_foreign = said.size();
    }
    if (looks_like_name(words.param)) out.param = words.param;
    if (out.kind == ErrorKind::context_overflow) {
        out.n_prompt_tokens = words.n_prompt_tokens;
        out.n_ctx = words.n_ctx;
    }
    return out;
}

Error read_error(int http_status, std::string_view body) {
    const auto json = parse_json(body, {.depth = 16, .nodes = 10'000});
    if (!json || !json->is_object()) return error_from(nullptr, http_status);
    if (const auto at = json->find("error"); at != json->end()) return error_from(*at, http_status);
    // FastAPI servers answer {"detail": …}; some answer the error's members at the top.
    if (const auto at = json->find("detail"); at != json->end())
        return error_from(*at, http_status);
    return error_from(*json, http_status);
}

}  // namespace hearth::chat::openai
