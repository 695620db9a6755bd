#include "route/redact.h"

#include <algorithm>
#include <set>

#include "base/crypto.h"
#include "base/json.h"
#include "route/limits.h"

namespace hearth::route {
namespace {

// Without vowels, so that no word comes of it, and without 0, 1, I and O, which models mix up.
constexpr std::string_view kAlphabet = "23456789BCDFGHJKLMNPQRSTVWXZ";
constexpr std::size_t kTagBytes = 6;  // 28^6: two of 1,000 values meet once in a thousand requests

bool is_word(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}
char upper(char c) {
    return c >= 'a' && c <= 'z' ? char(c - 32) : c;
}

std::string kind_of(std::string_view entity) {
    std::string kind;
    for (const char c : entity.substr(0, kPseudonymKindBytesMax))
        kind += is_word(c) ? upper(c) : '_';
    return kind.empty() ? "VALUE" : kind;
}

}  // namespace

Pseudonyms::Pseudonyms(const Secret& key, std::string_view conversation)
    : key_(hmac_sha256(key.reveal(), "redact\n" + std::string(conversation))) {}

void Pseudonyms::avoid(std::string_view text) {
    for (std::size_t at = text.find('['); at != text.npos; at = text.find('[', at + 1)) {
        std::size_t end = at + 1;
        while (end < text.size() && end - at <= kPseudonymKindBytesMax + kTagBytes + 2 &&
               is_word(text[end]))
            ++end;
        if (end > at + 1 && end < text.size() && text[end] == ']')
            literals_.emplace(text.substr(at, end + 1 - at));
    }
}

const std::string& Pseudonyms::pseudonym_of(std::string_view value, std::string_view entity) {
    const std::string kind = kind_of(entity);
    std::string name = kind + "\n" + std::string(value);
    if (const auto it = by_value_.find(name); it != by_value_.end()) return it->second;
    // Almost always the first try; another where it is taken, by a value or by the text itself.
    std::string pseudonym;
    for (std::int64_t i = 0;; ++i) {
        const std::string digest = hmac_sha256(key_.reveal(), std::to_string(i) + "\n" + name);
        pseudonym = "[" + kind + "_";
        for (std::size_t k = 0; k < kTagBytes; ++k)
            pseudonym += kAlphabet[(unsigned char)digest[k] % kAlphabet.size()];
        pseudonym += "]";
        if (!literals_.contains(pseudonym) && !by_pseudonym_.contains(pseudonym)) break;
    }
    by_pseudonym_.emplace(pseudonym, Entry{std::string(value), std::string(entity)});
    return by_value_.emplace(std::move(name), std::move(pseudonym)).first->second;
}

std::string Pseudonyms::replace(std::string_view text, std::vector<Span> spans) {
    std::ranges::sort(spans, {}, &Span::start);
    std::string out;
    std::size_t at = 0;
    for (std::size_t i = 0; i < spans.size();) {
        Span whole = spans[i];
        for (++i; i < spans.size() && spans[i].start < whole.end; ++i)
            whole.end = std::max(whole.end, spans[i].end);
        out += text.substr(at, whole.start - at);
        out += pseudonym_of(text.substr(whole.start, whole.end - whole.start), whole.entity);
        at = whole.end;
    }
    out += text.substr(at);
    return out;
}

Restorer::Restorer(const Pseudonyms& pseudonyms, bool json) : pseudonyms_(pseudonyms), json_(json) {
    std::set<std::string> kinds;
    for (const auto& [pseudonym, entry] : pseudonyms.all()) {
        kinds.insert(kind_of(entry.entity));
        n_longest_ = std::max(n_longest_, pseudonym.size());
    }
    kinds_.assign(kinds.begin(), kinds.end());
}

void Restorer::keep(std::string& out, std::string_view text) {
    out += text;
    seen_ += text;
}

std::string Restorer::feed(std::string_view piece) {
    held_ += piece;
    std::string out;
    std::size_t at = 0;
    const std::string_view held = held_;
    const auto& all = pseudonyms_.all();
    while (at < held.size()) {
        const std::size_t open = std::min(held.find('[', at), held.size());
        keep(out, held.substr(at, open - at));
        at = open;
        if (at == held.size()) break;
        const std::string_view rest = held.substr(at);
        const std::size_t close = rest.find(']');
        if (close == rest.npos) {
            // The first pseudonym not before rest begins with it, if any does.
            const auto next = all.lower_bound(rest);
            if (next != all.end() && next->first.starts_with(rest)) break;
        } else if (const auto it = all.find(rest.substr(0, close + 1)); it != all.end()) {
            const std::string& value = it->second.value;
            const std::string escaped = json_ ? json_text(value) : std::string();
            out += json_ ? escaped.substr(1, escaped.size() - 2) : value;
            seen_ += '\n';  // what is beside it is no part of it
            ++n_restored_;
            at += close + 1;
            continue;
        }
        keep(out, rest.substr(0, 1));
        ++at;
    }
    held_.erase(0, at);
    look(false);
    return out;
}

std::string Restorer::finish() {
    std::string out;
    keep(out, held_);
    held_.clear();
    look(true);
    return out;
}

// Counts "email_k7q2mx", "[EMAIL-K7Q2MX]" and their like in what was passed on unchanged, where
// nothing that is still to come can change it.
void Restorer::look(bool at_end) {
    if (kinds_.empty()) return seen_.clear();  // and nothing was looked at
    const std::size_t n_ahead = n_longest_;
    std::size_t at = n_looked_;
    for (; at < seen_.size() && (at_end || at + n_ahead < seen_.size()); ++at) {
        if (at > 0 && is_word(seen_[at - 1])) continue;
        for (const std::string& kind : kinds_) {
            const std::size_t tag = at + kind.size() + 1;
            if (tag + kTagBytes > seen_.size()) continue;
            const std::string_view name = std::string_view(seen_).substr(at, kind.size());
            const char joint = seen_[tag - 1];
            if (!std::ranges::equal(name, kind, {}, upper) ||
                (joint != '_' && joint != '-' && joint != ' '))
                continue;
            const auto word = [&](std::size_t i) { return i < seen_.size() && is_word(seen_[i]); };
            bool all = !word(tag + kTagBytes);
            for (std::size_t k = 0; k < kTagBytes; ++k)
                all = all && word(tag + k) && kAlphabet.contains(upper(seen_[tag + k]));
            // Of the caller's own making.
            const bool own = at > 0 && pseudonyms_.is_literal(std::string_view(seen_).substr(
                                           at - 1, kind.size() + kTagBytes + 3));
            if (!all || own) continue;
            ++n_altered_;
            break;
        }
    }
    // One byte of what was looked at stays: whether a word begins after it.
    n_looked_ = at > 0 ? 1 : 0;
    seen_.erase(0, at - n_looked_);
}

}  // namespace hearth::route
