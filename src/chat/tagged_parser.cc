#include "chat/tagged_parser.h"

#include <nlohmann/json.hpp>

#include "base/format.h"
#include "chat/limits.h"

namespace hearth::chat {
namespace {

constexpr std::string_view kCallOpen = "<tool_call>", kCallClose = "</tool_call>";
constexpr std::string_view kThinkOpen = "<think>", kThinkClose = "</think>";
constexpr std::string_view kSpace = " \t\r\n";

// How many bytes at the end of text are a proper beginning of tag.
std::size_t partial_at_end(std::string_view text, std::string_view tag) {
    for (std::size_t n = std::min(text.size(), tag.size() - 1); n > 0; --n) {
        if (text.ends_with(tag.substr(0, n))) return n;
    }
    return 0;
}

std::uint64_t fnv1a(std::uint64_t hash, std::string_view text) {
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    return hash;
}

// The text of member `name` of the JSON object in `text`, as it is written there.
// Requires: text is valid JSON, an object.
std::string_view raw_member(std::string_view text, std::string_view name) {
    int depth = 0;
    bool is_key = false;
    std::string_view key;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (c == '"') {
            const std::size_t from = i + 1;
            for (++i; text[i] != '"'; ++i) i += text[i] == '\\';
            if (depth == 1 && is_key) key = text.substr(from, i - from);
        } else if (c == '{' || c == '[') {
            ++depth;
            is_key = true;
        } else if (c == '}' || c == ']') {
            --depth;
        } else if (c == ',' && depth == 1) {
            is_key = true;
        } else if (c == ':' && depth == 1) {
            is_key = false;
            if (key != name) continue;
            // The value ends at the comma or brace of this level.
            std::size_t end = i + 1;
            for (int inner = 0; end < text.size(); ++end) {
                const char d = text[end];
                if (d == '"') {
                    for (++end; text[end] != '"'; ++end) end += text[end] == '\\';
                } else if (inner == 0 && (d == ',' || d == '}')) {
                    break;
                } else {
                    inner += (d == '{' || d == '[') - (d == '}' || d == ']');
                }
            }
            std::string_view value = text.substr(i + 1, end - i - 1);
            value.remove_prefix(std::min(value.find_first_not_of(kSpace), value.size()));
            return value.substr(0, value.find_last_not_of(kSpace) + 1);
        }
    }
    return "";
}

// {"name": …, "arguments": {…}}; some models write "parameters", some the arguments as JSON text.
std::optional<ToolCall> read_call(std::string_view text) {
    const auto json = parse_json(text);
    if (!json || !json->is_object()) return std::nullopt;
    const auto name = json->find("name");
    if (name == json->end() || !name->is_string() || name->get_ref<const std::string&>().empty() ||
        name->get_ref<const std::string&>().size() > kToolNameBytesMax)
        return std::nullopt;
    ToolCall call{"", name->get<std::string>(), "{}"};
    for (const char* member : {"arguments", "parameters"}) {
        const auto at = json->find(member);
        if (at == json->end() || at->is_null()) continue;
        if (at->is_string()) {
            call.arguments = at->get<std::string>();
        } else if (at->is_object()) {
            call.arguments = raw_member(text, member);
        } else {
            return std::nullopt;
        }
        break;
    }
    return call;
}

class TaggedParser final : public AnswerParser {
  public:
    TaggedParser(std::int64_t answer_index, std::uint64_t id_seed, const TagSyntax& syntax)
        : index_(answer_index), id_seed_(id_seed), syntax_(syntax) {
        if (syntax.thinking && syntax.starts_thinking) state_ = State::thinking;
        at_start_ = syntax.thinking && !syntax.starts_thinking;
    }

    std::vector<Event> feed(std::string_view text) override {
        held_ += text;
        while (step()) {
        }
        return std::move(out_);
    }

    std::vector<Event> finish(FinishReason& reason) override {
        if (state_ == State::call) {
            // A model may stop right behind the JSON, without the closing tag.
            const std::string_view inside = std::string_view(held_).substr(call_from_);
            auto call = reason == FinishReason::stop ? read_call(inside) : std::nullopt;
            if (call) {
                emit_call(std::move(*call), inside);
            } else {
                emit_text(held_);
            }
        } else if (state_ == State::thinking) {
            emit_thinking(held_);
        } else {
            emit_text(held_);
        }
        held_.clear();
        if (n_calls_ > 0 && reason == FinishReason::stop) reason = FinishReason::tool_calls;
        return std::move(out_);
    }

  private:
    enum class State : std::uint8_t { text, thinking, call };

    // One transition. False: more text is needed.
    bool step() {
        switch (state_) {
            case State::text:
                return step_text();
            case State::thinking:
                return step_thinking();
            case State::call:
                return step_call();
        }
        return false;
    }

    bool step_text() {
        if (after_call_ && !held_.empty()) {
            if (held_[0] == '\n') held_.erase(0, 1);
            after_call_ = false;
        }
        if (at_start_) {
            const std::size_t from = held_.find_first_not_of(kSpace);
            const std::string_view rest =
                std::string_view(held_).substr(std::min(from, held_.size()));
            if (rest.starts_with(kThinkOpen)) {
                held_.erase(0, from + kThinkOpen.size());
                at_start_ = false;
                trim_thinking_ = true;
                state_ = State::thinking;
                return true;
            }
            if (kThinkOpen.starts_with(rest)) return false;
            at_start_ = false;
        }
        if (!syntax_.calls) {
            emit_text(held_);
            held_.clear();
            return false;
        }
        const std::size_t open = held_.find(kCallOpen);
        if (open != held_.npos) {
            const std::size_t text_end = open > 0 && held_[open - 1] == '\n' ? open - 1 : open;
            emit_text(std::string_view(held_).substr(0, text_end));
            held_.erase(0, text_end);
            call_from_ = open - text_end + kCallOpen.size();
            scanned_ = call_from_;
            in_string_ = false;
            state_ = State::call;
            return true;
        }
        std::size_t kept = partial_at_end(held_, kCallOpen);
        const std::size_t before = held_.size() - kept;
        if (before > 0 && held_[before - 1] == '\n') ++kept;
        emit_text(std::string_view(held_).substr(0, held_.size() - kept));
        held_.erase(0, held_.size() - kept);
        return false;
    }

    bool step_thinking() {
        if (trim_thinking_) {
            held_.erase(0, std::min(held_.find_first_not_of(kSpace), held_.size()));
            if (held_.empty()) return false;
            trim_thinking_ = false;
        }
        const std::size_t close = held_.find(kThinkClose);
        if (close != held_.npos) {
            const std::string_view inside = std::string_view(held_).substr(0, close);
            emit_thinking(inside.substr(0, inside.find_last_not_of(kSpace) + 1));
            held_.erase(0, close + kThinkClose.size());
            state_ = State::text;
            trim_text_ = true;
            return true;
        }
        // White space before the closing tag is the tag's; it stays until it is clear what follows.
        std::string_view shown(held_);
        shown.remove_suffix(partial_at_end(held_, kThinkClose));
        shown = shown.substr(0, shown.find_last_not_of(kSpace) + 1);
        emit_thinking(shown);
        held_.erase(0, shown.size());
        return false;
    }

    bool step_call() {
        for (; scanned_ < held_.size(); ++scanned_) {
            const char c = held_[scanned_];
            if (in_string_ && c == '\\') {
                if (scanned_ + 1 == held_.size()) return false;
                ++scanned_;
            } else if (c == '"') {
                in_string_ = !in_string_;
            } else if (c == '<' && !in_string_) {
                const std::string_view rest = std::string_view(held_).substr(scanned_);
                if (rest.starts_with(kCallClose)) {
                    close_call();
                    return true;
                }
                if (kCallClose.starts_with(rest)) return false;
            }
        }
        if (held_.size() - call_from_ <= kCallBytesMax) return false;
        emit_text(held_);
        held_.clear();
        state_ = State::text;
        return false;
    }

    void close_call() {
        const std::string_view inside =
            std::string_view(held_).substr(call_from_, scanned_ - call_from_);
        const std::size_t end = scanned_ + kCallClose.size();
        if (auto call = read_call(inside)) {
            emit_call(std::move(*call), inside);
            after_call_ = true;
        } else {
            emit_text(std::string_view(held_).substr(0, end));
        }
        held_.erase(0, end);
        state_ = State::text;
    }

    void emit_text(std::string_view text) {
        if (trim_text_) {
            text.remove_prefix(std::min(text.find_first_not_of(kSpace), text.size()));
            trim_text_ = text.empty();
        }
        if (!text.empty()) out_.push_back(TextDelta{index_, std::string(text), {}});
    }
    void emit_thinking(std::string_view text) {
        if (!text.empty()) out_.push_back(ThinkingDelta{index_, std::string(text)});
    }
    void emit_call(ToolCall call, std::string_view text) {
        trim_text_ = false;
        id_seed_ = fnv1a(id_seed_ + 1, text);
        const std::string id = format("call_{:016x}", id_seed_);
        out_.push_back(ToolCallStart{index_, n_calls_, id, std::move(call.name)});
        out_.push_back(ToolCallDelta{index_, n_calls_, std::move(call.arguments)});
        ++n_calls_;
    }

    const std::int64_t index_;
    std::uint64_t id_seed_;
    const TagSyntax syntax_;
    State state_ = State::text;
    bool at_start_ = false;       // nothing but white space came; thinking may still open
    bool trim_thinking_ = false;  // white space behind <think> is the tag's
    bool trim_text_ = false;      // and so is that behind </think>
    bool after_call_ = false;     // and one newline behind a call
    std::string held_;            // not shown yet
    std::size_t call_from_ = 0;   // in held_: behind <tool_call>
    std::size_t scanned_ = 0;     // in held_: where the search for the end goes on
    bool in_string_ = false;      // at scanned_, inside a JSON string
    std::int64_t n_calls_ = 0;
    std::vector<Event> out_;
};

}  // namespace

std::unique_ptr<AnswerParser> make_tagged_parser(const ChatRequest& request,
                                                 std::int64_t answer_index,
                                                 const TagSyntax& syntax) {
    std::uint64_t seed = 0xcbf29ce484222325;
    seed = fnv1a(seed, std::to_string(answer_index));
    for (const Message& message : request.messages) {
        seed = fnv1a(seed, name_of(message.role));
        seed = fnv1a(seed, text_of(message));
        for (const ToolCall& call : message.tool_calls) seed = fnv1a(seed, call.id);
    }
    return std::make_unique<TaggedParser>(answer_index, seed, syntax);
}

}  // namespace hearth::chat
