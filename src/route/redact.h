// Redaction: pseudonyms for what is sensitive in a request that may leave all the same, and the way
// back in the answer.
//
//   "mail jane@example.org" → "mail [EMAIL_K7Q2MX]" → … "I wrote to [EMAIL_K7Q2MX]" → "I wrote to
//   jane@example.org"
//
// A pseudonym says its kind, so that a model can work with it, and six characters of
// HMAC(conversation's key, kind and value), so that one value has one pseudonym in all of a
// conversation's requests without anything being kept, and another in every other conversation.
// It is made of ASCII letters, digits, `_` and brackets, which need no escape in JSON. Texts that
// stand in the request already are never made a pseudonym.
//
// What a model changes in a pseudonym is not guessed at: it stays as it is and is counted.
//
// Thread: each object one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/secret.h"

namespace hearth::route {

// Part of a text that is to be replaced: bytes start to end.
struct Span {
    std::size_t start = 0, end = 0;
    std::string_view entity;  // "email", "credit_card"
};

// The pseudonyms of one request.
class Pseudonyms {
  public:
    // conversation: whatever tells this conversation from others, and stays the same in it.
    Pseudonyms(const Secret& key, std::string_view conversation);

    // Before the first replace(), for every text of the request: what looks like a pseudonym there
    // is none of ours.
    void avoid(std::string_view text);
    // The text with its spans replaced. Spans that overlap become one. Requires: they lie in text.
    std::string replace(std::string_view text, std::vector<Span> spans);

    struct Entry {
        std::string value, entity;
    };
    const std::map<std::string, Entry, std::less<>>& all() const { return by_pseudonym_; }
    bool is_literal(std::string_view token) const { return literals_.contains(std::string(token)); }

  private:
    const std::string& pseudonym_of(std::string_view value, std::string_view entity);

    const Secret key_;  // of the conversation
    std::unordered_set<std::string> literals_;
    std::map<std::string, Entry, std::less<>> by_pseudonym_;
    std::map<std::string, std::string, std::less<>> by_value_;
};

// One stream of text on its way back. The pieces may end anywhere, also inside a pseudonym: what
// could still become one is held back, and nothing else.
class Restorer {
  public:
    // json: the stream is JSON text, in whose strings values are escaped.
    // Requires: the pseudonyms outlive it and do not change.
    Restorer(const Pseudonyms& pseudonyms, bool json);
    std::string feed(std::string_view piece);
    std::string finish();  // once, last

    std::int64_t n_restored() const { return n_restored_; }
    // What looks like a pseudonym and is none: the model altered one, or made one up.
    std::int64_t n_altered() const { return n_altered_; }

  private:
    void keep(std::string& out, std::string_view text);
    void look(bool at_end);

    const Pseudonyms& pseudonyms_;
    const bool json_;
    std::vector<std::string> kinds_;  // "EMAIL", of the pseudonyms there are
    std::size_t n_longest_ = 0;
    std::string held_;
    std::string seen_;          // the end of what was passed on unchanged, for look()
    std::size_t n_looked_ = 0;  // of it
    std::int64_t n_restored_ = 0, n_altered_ = 0;
};

}  // namespace hearth::route
