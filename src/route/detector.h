// Detector: one kind of thing that the scan of route/sensitivity.h looks for. One file of
// route/detectors each, exporting `detector_<stem>`.
//
// The scan reads the bytes once and cuts them into words, tokens, chains of digits and marks. A
// detector says which of these it wants and is called at those places only; it then looks at the
// bytes around. Words that matter are listed as keywords: the scan notes where each group of them
// was last seen, so that asking for context before a place costs one comparison.
//
//   word     letters, bytes >= 0x80 included                                 "Hauptstraße"
//   token    letters, digits and '_' together, at least one digit, an ASCII letter beside it
//                                                                            "GB82", "ghp_3Fa…"
//   chain    groups of digits with one to three separators between them      "+46 (0)157 548 89"
//   mark     one of @ : = and, where something may stand around it, of . and - (byte_kinds.h)
//
// Rules for a detector: pure, no state; every walk over the text is bounded by a constant, so that
// the whole scan is linear in the text's length.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <span>

#include "route/limits.h"
#include "route/sensitivity.h"

namespace hearth::route {

using chat::Sensitivity;

inline constexpr std::size_t kNowhere = std::numeric_limits<std::size_t>::max();

// ASCII only, whatever the locale: bytes of UTF-8 sequences are neither digits nor letters here.
constexpr bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
constexpr bool is_upper(char c) {
    return c >= 'A' && c <= 'Z';
}
constexpr bool is_lower(char c) {
    return c >= 'a' && c <= 'z';
}
constexpr bool is_alpha(char c) {
    return is_upper(c) || is_lower(c);
}
constexpr bool is_alnum(char c) {
    return is_alpha(c) || is_digit(c);
}
constexpr bool is_word(char c) {  // what a word or a token is made of
    return is_alnum(c) || c == '_' || (unsigned char)c >= 0x80;
}
constexpr bool is_letter(char c) {
    return is_word(c) && !is_digit(c);
}
constexpr char lower(char c) {
    return is_upper(c) ? char(c + 32) : c;
}
constexpr bool is_hex(char c) {
    return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'f');
}

// Digits with separators between them, all on one line.
struct Chain {
    static constexpr std::size_t kGroupsMax = 24;
    struct Group {
        std::size_t start = 0;
        std::size_t n = 0;  // digits
        std::size_t end() const { return start + n; }
    };
    std::array<Group, kGroupsMax> groups;
    std::size_t n = 0;       // groups, at least 1
    std::size_t digits = 0;  // of all groups
    bool glued = false;      // a letter follows the last group: "308T", "3560x4587", "12th"
    std::size_t start() const { return groups[0].start; }
    std::size_t end() const { return groups[n - 1].end(); }
};

struct Keyword {
    const char* text;        // lower case; may hold spaces; the first byte is a word byte
    std::uint8_t group = 0;  // the detector's own numbering, below kGroupsPerDetector
    bool prefix = false;     // begins a word instead of being one; three bytes or more, in its case
};
inline constexpr std::size_t kGroupsPerDetector = 64;

class Scan;

struct Detector {
    const char* name;                        // the file's stem
    std::span<const char* const> entities;   // all that it may report
    std::span<const Keyword> keywords = {};  // context, and where on_keyword is called
    const char* marks = "";                  // where on_mark is called
    void (*on_keyword)(Scan&, std::size_t start, std::size_t end, std::uint8_t group) = nullptr;
    void (*on_chain)(Scan&, const Chain&) = nullptr;
    void (*on_token)(Scan&, std::size_t start, std::size_t end) = nullptr;
    void (*on_mark)(Scan&, std::size_t at) = nullptr;
    std::size_t chain_digits_min = 0;  // of a chain that on_chain is called for
    std::size_t token_bytes_min = 0;   // of a token that on_token is called for
};
extern const Detector* const detector_table[];
extern const std::size_t detector_table_size;

class KeywordIndex;

// What a detector sees and writes to.
class Scan {
  public:
    Scan(std::string_view text, const KeywordIndex& index)
        : text(text), index_(&index), seen_(detector_table_size * kGroupsPerDetector, kNowhere) {}

    const std::string_view text;

    // The byte at i, 0 past either end: most looks around a place need no check of their own.
    char at(std::size_t i) const { return i < text.size() ? text[i] : '\0'; }
    char before(std::size_t i) const { return i > 0 && i <= text.size() ? text[i - 1] : '\0'; }

    // The detector's keywords of a group were last seen at most `within` bytes before `place`.
    bool seen(std::uint8_t group, std::size_t place, std::size_t within) const {
        const std::size_t last = seen_[base_ + group];
        return last != kNowhere && last <= place && place - last <= within;
    }
    // Where the last of them ended; kNowhere where none was seen.
    std::size_t last_seen(std::uint8_t group) const { return seen_[base_ + group]; }
    // One of the detector's keywords of a group begins in [from, from + within), on a word's edge.
    // Requires: from is no earlier than the place that the detector was called for.
    bool ahead(std::uint8_t group, std::size_t from, std::size_t within);
    bool around(std::uint8_t group, std::size_t start, std::size_t end, std::size_t within) {
        return seen(group, start, within) || ahead(group, end, within);
    }
    // As seen(), and no word stands between that keyword and place but such as a number follows:
    // "account no. 12", where `leads` holds "no"; not "account balance: 12".
    bool leads_to(std::uint8_t group, std::size_t place, std::size_t within,
                  std::span<const std::string_view> leads) const {
        return seen(group, place, within) && is_led_to(last_seen(group), place, leads);
    }
    // A character of three bytes from U+3000 on ends before i, or begins at i: scripts that write
    // without blanks.
    bool unspaced_before(std::size_t i) const {
        return i >= 3 && (unsigned char)before(i) >= 0x80 && is_unspaced(at(i - 3));
    }
    static bool is_unspaced(char c) { return (unsigned char)c >= 0xE3 && (unsigned char)c <= 0xEF; }
    // Letters of either case at place.
    bool is_here(std::size_t place, std::string_view lower_text) const;

    void add(std::size_t start, std::size_t end, std::string_view entity, Sensitivity sensitivity,
             double confidence);

    // For the driver of the scan.
    void stand_at(std::size_t place) { place_ = place; }  // never further back than before
    void enter(std::size_t base) { base_ = base; }
    void note(std::size_t slot, std::size_t end) { seen_[slot] = end; }
    bool full() const { return findings_.size() >= kFindingsMax; }
    std::vector<Finding>& findings() { return findings_; }

  private:
    void look_ahead(std::size_t to);
    bool is_led_to(std::size_t from, std::size_t place,
                   std::span<const std::string_view> leads) const;

    const KeywordIndex* index_;
    std::size_t place_ = 0;          // of the present call
    std::size_t base_ = 0;           // the first slot of the current detector's groups
    std::vector<std::size_t> seen_;  // by slot: the end of the last keyword
    std::vector<Finding> findings_;
    // The keywords that begin before ahead_to_, from place_ on at least, in order: each byte is
    // looked at once, however many detectors ask.
    struct Ahead {
        std::size_t start, slot;
    };
    std::vector<Ahead> ahead_;
    std::size_t ahead_to_ = 0, n_ahead_max_ = 256;
};

}  // namespace hearth::route
