#include "route/user_pattern.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "base/format.h"
#include "route/detector.h"
#include "route/limits.h"

namespace hearth::route {

// Recursive descent over: alternatives := sequence ('|' sequence)*, sequence := repeated*,
// repeated := atom [?*+{}]*. A repeat with counts parses its atom again for each copy, which keeps
// places distinct without copying automata.
struct UserPattern::Parser {
    static constexpr int kDepthMax = 32;

    std::string_view text;
    UserPattern& out;
    std::size_t i = 0;
    std::size_t n_edges = 0;
    int depth = 0;
    std::string error;

    bool stop(const std::string& why) {
        if (error.empty()) error = format("pattern, byte {}: {}", i + 1, why);
        return false;
    }
    bool more() const { return error.empty() && i < text.size(); }

    void connect(const Places& from, const Places& to) {
        for (const std::uint16_t f : from) {
            for (const std::uint16_t t : to) {
                Places& follow = out.follow_[f];
                if (std::ranges::find(follow, t) != follow.end()) continue;
                follow.push_back(t);
                if (++n_edges > kUserPatternEdgesMax) {
                    stop("the pattern is too large; shorten its repeats");
                    return;
                }
            }
        }
    }

    static void append(Places& to, const Places& more) {
        to.insert(to.end(), more.begin(), more.end());
    }

    void join(Part& left, const Part& right) {  // left becomes "left right"
        connect(left.last, right.first);
        if (left.may_be_empty) append(left.first, right.first);
        if (right.may_be_empty)
            append(left.last, right.last);
        else
            left.last = right.last;
        left.may_be_empty = left.may_be_empty && right.may_be_empty;
    }

    Part alternatives() {
        Part all = sequence();
        while (more() && text[i] == '|') {
            ++i;
            const Part other = sequence();
            append(all.first, other.first);
            append(all.last, other.last);
            all.may_be_empty |= other.may_be_empty;
        }
        return all;
    }

    Part sequence() {
        Part all{.first = {}, .last = {}, .may_be_empty = true};
        while (more() && text[i] != '|' && text[i] != ')') join(all, repeated());
        return all;
    }

    Part repeated() {
        const std::size_t from = i;
        Part part = atom();
        if (!more()) return part;
        std::size_t least = 1, most = 1;
        bool endless = false;
        switch (text[i]) {
            case '?':
                least = 0;
                break;
            case '*':
                least = 0, endless = true;
                break;
            case '+':
                endless = true;
                break;
            case '{':
                if (!counts(least, most, endless)) return part;
                break;
            default:
                return part;
        }
        const std::size_t after = ++i;
        if (more() && (text[i] == '?' || text[i] == '*' || text[i] == '+' || text[i] == '{'))
            stop("a repeat of a repeat; put the inner one in ( )");
        // The first copy stands already; its loop or its further copies follow.
        if (endless && most <= 1) connect(part.last, part.first);
        Part all = part;
        for (std::size_t n = 2; n <= most && error.empty(); ++n) {
            i = from;
            Part copy = atom();
            if (endless && n == most) connect(copy.last, copy.first);
            if (n > least) copy.may_be_empty = true;
            join(all, copy);
        }
        if (least == 0) all.may_be_empty = true;
        i = after;
        return all;
    }

    // {n} {n,} {n,m}, i at the brace; ends at the closing one.
    bool counts(std::size_t& least, std::size_t& most, bool& endless) {
        std::size_t p = i + 1;
        const auto number = [&](std::size_t& to) {
            if (p >= text.size() || !is_digit(text[p])) return false;
            to = 0;
            for (; p < text.size() && is_digit(text[p]); ++p)
                to = std::min<std::size_t>(to * 10 + std::size_t(text[p] - '0'), 100'000);
            return true;
        };
        if (!number(least)) return stop("{ needs a count; write \\{ for the byte itself");
        most = least;
        if (p < text.size() && text[p] == ',') {
            ++p;
            if (!number(most)) most = std::max<std::size_t>(least, 1), endless = true;
        }
        if (p >= text.size() || text[p] != '}') return stop("a } is missing");
        if (most < least || most == 0) return stop("the second count must be the larger one");
        if (most > kUserPatternPlacesMax)
            return stop(format("a count may be at most {}", kUserPatternPlacesMax));
        i = p;
        return true;
    }

    Part atom() {
        const char c = text[i];
        if (c == '(') {
            if (++depth > kDepthMax) return stop("groups are nested too deeply"), Part{};
            ++i;
            Part inner = alternatives();
            if (error.empty() && (i >= text.size() || text[i] != ')')) stop("a ) is missing");
            ++i, --depth;
            return inner;
        }
        if (c == '?' || c == '*' || c == '+' || c == '{')
            return stop("nothing stands before this repeat"), Part{};
        if (c == '^' || c == '$') return stop("no anchors here; \\^ is the byte itself"), Part{};
        Bytes bytes;
        if (c == '[')
            set(bytes);
        else if (c == '.')
            bytes.set().reset('\n'), ++i;
        else if (c == '\\')
            escaped(bytes);
        else
            bytes.set((unsigned char)c), ++i;
        return place(bytes);
    }

    Part place(const Bytes& bytes) {
        if (out.bytes_.size() >= kUserPatternPlacesMax)
            return stop("the pattern is too large; shorten its repeats"), Part{};
        const auto p = std::uint16_t(out.bytes_.size());
        out.bytes_.push_back(bytes);
        out.follow_.emplace_back();
        return {.first = {p}, .last = {p}, .may_be_empty = false};
    }

    // \d and the like, or one byte; returns the byte, -1 for a class.
    int escaped(Bytes& bytes) {
        if (++i >= text.size()) return stop("a \\ at the end"), -1;
        const char c = text[i++];
        const auto all = [&](bool (*is)(char)) {
            for (int b = 0; b < 128; ++b)
                if (is(char(b))) bytes.set(std::size_t(b));
            return -1;
        };
        if (c == 'd') return all([](char b) { return is_digit(b); });
        if (c == 'w') return all([](char b) { return is_alnum(b) || b == '_'; });
        if (c == 's') return all([](char b) { return b == ' ' || (b >= '\t' && b <= '\r'); });
        if (is_alnum(c)) return stop(format("\\{} is not known; \\d \\w \\s are", c)), -1;
        bytes.set((unsigned char)c);
        return (unsigned char)c;
    }

    void set(Bytes& bytes) {
        ++i;
        const bool inverse = i < text.size() && text[i] == '^';
        if (inverse) ++i;
        for (bool first = true; i < text.size() && (first || text[i] != ']'); first = false) {
            int low = (unsigned char)text[i];
            if (text[i] == '\\')
                low = escaped(bytes);
            else
                ++i;
            if (!error.empty()) return;
            if (low < 0) continue;
            int high = low;
            if (i + 1 < text.size() && text[i] == '-' && text[i + 1] != ']') {
                ++i;
                Bytes ignored;
                high = text[i] == '\\' ? escaped(ignored) : (unsigned char)text[i++];
                if (high < low) {
                    stop("a range that ends before it begins");
                    return;
                }
            }
            for (int b = low; b <= high; ++b) bytes.set(std::size_t(b));
        }
        if (i >= text.size()) {
            stop("a ] is missing");
            return;
        }
        ++i;
        if (inverse) bytes.flip().reset('\n');
    }
};

Result<UserPattern> UserPattern::parse(std::string_view pattern) {
    UserPattern made;
    if (pattern.empty() || pattern.size() > kUserPatternBytesMax)
        return fail(ErrorKind::invalid_request, format("a pattern has 1 to {} bytes, this one {}",
                                                       kUserPatternBytesMax, pattern.size()));
    Parser parser{.text = pattern, .out = made, .error = {}};
    const Part all = parser.alternatives();
    if (parser.error.empty() && parser.i < pattern.size()) parser.stop("a ( is missing");
    if (parser.error.empty() && all.may_be_empty)
        parser.error = "the pattern also matches nothing at all; make a part of it required";
    if (!parser.error.empty()) return fail(ErrorKind::invalid_request, parser.error);
    made.first_ = all.first;
    made.accepts_.assign(made.bytes_.size(), 0);
    for (const std::uint16_t p : all.last) made.accepts_[p] = 1;
    for (const std::uint16_t p : all.first) made.begins_ |= made.bytes_[p];
    return made;
}

void UserPattern::scan(std::string_view text,
                       const std::function<bool(std::size_t, std::size_t)>& found) const {
    constexpr std::size_t kNone = std::size_t(-1);
    std::vector<std::size_t> starts(bytes_.size(), kNone), nexts(bytes_.size(), kNone);
    Places active, reached;
    std::size_t best_start = kNone, best_end = 0;
    std::size_t i = 0;
    const auto reach = [&](std::uint16_t place, unsigned char byte, std::size_t start) {
        if (!bytes_[place][byte]) return;
        if (nexts[place] == kNone) reached.push_back(place);
        nexts[place] = std::min(nexts[place], start);
    };
    // Clears what is under way; the search goes on behind the match.
    const auto settle = [&] {
        if (!found(best_start, best_end)) return false;
        for (const std::uint16_t p : active) starts[p] = kNone;
        active.clear();
        i = best_end;
        best_start = kNone;
        return true;
    };
    while (true) {
        if (active.empty()) {
            if (best_start != kNone && !settle()) return;
            while (i < text.size() && !begins_[(unsigned char)text[i]]) ++i;
        }
        if (i >= text.size()) {
            if (best_start == kNone || !settle()) return;
            continue;
        }
        const auto byte = (unsigned char)text[i];
        for (const std::uint16_t p : active)
            for (const std::uint16_t q : follow_[p]) reach(q, byte, starts[p]);
        const bool on_edge = i == 0 || !is_alnum(text[i]) || !is_alnum(text[i - 1]);
        if (best_start == kNone && on_edge)
            for (const std::uint16_t p : first_) reach(p, byte, i);
        for (const std::uint16_t p : active) starts[p] = kNone;
        active.clear();
        ++i;
        const bool may_end = i == text.size() || !is_alnum(text[i - 1]) || !is_alnum(text[i]);
        for (const std::uint16_t p : reached) {
            starts[p] = std::exchange(nexts[p], kNone);
            if (accepts_[p] && may_end && (best_start == kNone || starts[p] <= best_start))
                best_start = starts[p], best_end = i;
        }
        // What began later than the best cannot win any more.
        for (const std::uint16_t p : reached) {
            if (best_start != kNone && starts[p] > best_start)
                starts[p] = kNone;
            else
                active.push_back(p);
        }
        reached.clear();
    }
}

}  // namespace hearth::route
