// The scan: one walk over the text, 64 bytes at a time, cut into words, tokens, chains and marks;
// detectors are called only where their kind of place is.
//
// The words of 64 bytes are looked up together, without a branch (route/keyword_index.h); the walk
// then stops only where a keyword may be, at digits and at marks.
#include "route/sensitivity.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>

#include "base/check.h"
#include "base/format.h"
#include "route/byte_kinds.h"
#include "route/detector.h"
#include "route/keyword_index.h"
#include "route/limits.h"
#include "route/user_detector.h"

namespace hearth::route {
namespace {

// How many bytes a separator inside a chain takes at i: one of ' ' - . / ( ) or a no-break space, a
// thin one, a hyphen that is not '-'; 0 for anything else.
std::size_t separator_at(std::string_view text, std::size_t i) {
    static constexpr auto kPlain = [] {
        std::array<bool, 128> plain{};
        for (const char c : {' ', '-', '.', '/', '(', ')'}) plain[std::size_t(c)] = true;
        return plain;
    }();
    const char c = text[i];
    if ((unsigned char)c < kPlain.size()) return kPlain[std::size_t(c)] ? 1 : 0;
    if (c == '\xC2' && i + 1 < text.size() && text[i + 1] == '\xA0') return 2;
    if (c == '\xE2' && i + 2 < text.size() && text[i + 1] == '\x80' &&
        (text[i + 2] == '\x89' || text[i + 2] == '\x91' || text[i + 2] == '\x93' ||
         text[i + 2] == '\xAF'))
        return 3;
    return 0;
}

// Letters beyond ASCII do not go on in digits: scripts without blanks write "电话13812345678", and
// signs such as № stand before numbers.
bool joins_digits(char c) {
    return is_word(c) && (unsigned char)c < 0x80;
}

}  // namespace

void Scan::add(std::size_t start, std::size_t end, std::string_view entity, Sensitivity sensitivity,
               double confidence) {
    if (full() || start >= end || end > text.size()) return;
    findings_.push_back({start, end, std::string(entity), sensitivity, float(confidence)});
}

bool Scan::is_here(std::size_t place, std::string_view lower_text) const {
    if (place > text.size() || text.size() - place < lower_text.size()) return false;
    for (std::size_t i = 0; i < lower_text.size(); ++i)
        if (lower(text[place + i]) != lower_text[i]) return false;
    return true;
}

bool Scan::ahead(std::uint8_t group, std::size_t from, std::size_t within) {
    const std::size_t stop = std::min(text.size(), from + within), slot = base_ + group;
    look_ahead(stop);
    auto hit = std::ranges::lower_bound(ahead_, from, {}, &Ahead::start);
    for (; hit != ahead_.end() && hit->start < stop; ++hit)
        if (hit->slot == slot) return true;
    return false;
}

bool Scan::is_led_to(std::size_t from, std::size_t place,
                     std::span<const std::string_view> leads) const {
    std::size_t end = place;
    while (end > from && !is_letter(before(end))) --end;
    std::size_t word = end;
    while (word > from && is_letter(before(word))) --word;
    return word == end || std::ranges::any_of(leads, [&](std::string_view lead) {
               return end - word == lead.size() && is_here(word, lead);
           });
}

void Scan::look_ahead(std::size_t to) {
    if (ahead_to_ <= place_) ahead_.clear(), ahead_to_ = place_;
    if (ahead_.size() > n_ahead_max_) {  // those passed by are dropped, not too often
        std::erase_if(ahead_, [&](const Ahead& hit) { return hit.start < place_; });
        n_ahead_max_ = 2 * ahead_.size() + 256;
    }
    for (std::size_t& i = ahead_to_; i < to; ++i)
        if (is_letter(text[i]) && (i == 0 || !is_word(text[i - 1])))
            index_->for_each_at(*this, i, [&](const KeywordIndex::Entry& entry, std::size_t) {
                ahead_.push_back({ahead_to_, entry.slot});
            });
}

// What the scan looks up; made once, then only read.
struct Detectors::Tables {
    KeywordIndex keywords;
    struct Place {
        const Detector* detector;
        std::size_t base;  // its first group's slot
    };
    using Places = std::vector<Place>;
    std::array<Places, 256> on_mark;
    // Who is called for a chain of so many digits, a token of so many bytes; the last is for more.
    static constexpr std::size_t kSizes = 17;
    std::array<Places, kSizes> on_chain, on_token;
    static const Places& of_size(const std::array<Places, kSizes>& places, std::size_t size) {
        return places[std::min(size, kSizes - 1)];
    }
    UserDetectors user;

    Tables() {
        for (std::size_t d = 0; d < detector_table_size; ++d) {
            const Detector& detector = *detector_table[d];
            const Place place{&detector, d * kGroupsPerDetector};
            CHECK(detector.chain_digits_min < kSizes && detector.token_bytes_min < kSizes);
            if (detector.on_chain)
                for (std::size_t n = detector.chain_digits_min; n < kSizes; ++n)
                    on_chain[n].push_back(place);
            if (detector.on_token)
                for (std::size_t n = detector.token_bytes_min; n < kSizes; ++n)
                    on_token[n].push_back(place);
            for (const char* m = detector.marks; *m; ++m)
                on_mark[(unsigned char)*m].push_back(place);
        }
    }
};

namespace {

// One walk; lives as long as one call of scan(). T is Detectors::Tables, whose name is private.
template <class T>
class Walker {
  public:
    Walker(const T& tables, Scan& scan) : t_(tables), scan_(scan), text_(scan.text) {}

    // Where the walk ended: before the text's end only when the findings were full.
    std::size_t run() {
        std::size_t i = 0;
        kinds_ = ByteKinds::of(text_, 0);
        next_ = ByteKinds::of(text_, ByteKinds::kBytes);
        while (i < text_.size()) {
            i = block(base_, i);
            if (scan_.full()) return i;
            const std::size_t from = i - i % ByteKinds::kBytes;
            kinds_ = from == base_ + ByteKinds::kBytes ? next_ : ByteKinds::of(text_, from);
            next_ = ByteKinds::of(text_, from + ByteKinds::kBytes);
            base_ = from;
        }
        return text_.size();
    }

  private:
    // Where the run of bytes of a kind ends that goes on at i; `bits` and `next` are the kind's in
    // these 64 bytes and those behind them. Up to 64 bytes it is counted without a branch on its
    // length, which nobody can guess.
    std::size_t run_end(std::size_t i, std::uint64_t bits, std::uint64_t next,
                        bool (*is)(char)) const {
        if (const std::size_t at = i - base_; at < ByteKinds::kBytes) {
            const auto n = std::size_t(std::countr_one(bits >> at | next << 1 << (63 - at)));
            if (n < ByteKinds::kBytes) return i + n;
        }
        while (i < text_.size() && is(text_[i])) ++i;
        return i;
    }
    std::size_t digits_end(std::size_t i) const {
        return run_end(i, kinds_.digits, next_.digits, is_digit);
    }
    std::size_t letters_end(std::size_t i) const {
        return run_end(i, kinds_.letters, next_.letters, is_letter);
    }
    std::size_t token_end(std::size_t i) const {
        return run_end(i, kinds_.letters | kinds_.digits, next_.letters | next_.digits, is_word);
    }

    // The words of these 64 bytes that may be keywords, a bit each; `starts` has one for every
    // word.
    std::uint64_t keywords_among(std::uint64_t starts, std::size_t base) const {
        char rest[ByteKinds::kBytes + KeywordIndex::kBytes];
        const char* bytes = text_.data() + base;
        if (text_.size() - base < sizeof rest) {  // the text's last bytes are read from a copy
            std::memset(rest, 0, sizeof rest);
            std::memcpy(rest, bytes, text_.size() - base);
            bytes = rest;
        }
        std::uint64_t may_be = 0;
        for (; starts != 0; starts &= starts - 1) {
            const int at = std::countr_zero(starts);
            const std::uint64_t letters = kinds_.letters >> at | next_.letters << 1 << (63 - at);
            may_be |= std::uint64_t(t_.keywords.may_be(bytes + at, letters)) << at;
        }
        return may_be;
    }

    // What begins in the 64 bytes from base on, at i or later; returns where the walk goes on.
    std::size_t block(std::size_t base, std::size_t i) {
        const std::uint64_t left = base > 0 && is_letter(text_[base - 1]) ? 1 : 0;
        const std::uint64_t behind_letters = kinds_.letters << 1 | left;
        const auto from = [&](std::uint64_t bits, std::size_t place) {
            const std::size_t n = place - base;
            return n < ByteKinds::kBytes ? bits & ~std::uint64_t(0) << n : 0;
        };
        const std::uint64_t words = keywords_among(from(kinds_.letters & ~behind_letters, i), base);
        const std::uint64_t starts =
            words | kinds_.digits | kinds_.marks_that_count(text_, base, next_);
        for (std::uint64_t rest = from(starts, i); rest != 0; rest = from(starts, i)) {
            const auto at = std::size_t(std::countr_zero(rest));
            if (words >> at & 1) {
                i = word(base + at);
            } else if (kinds_.digits >> at & 1) {
                const bool joined = behind_letters >> at & 1 && joins_digits(text_[base + at - 1]);
                i = joined && base + at != cut_ ? token_around(base + at) : chain(base + at);
            } else {
                i = base + at + 1;
                // Behind another colon only an address with a scheme is anything.
                if (text_[i - 1] != ':' || scan_.before(i - 1) != ':' || scan_.at(i) == '/')
                    mark(i - 1);
            }
            if (scan_.full()) return i;
        }
        return std::max(i, base + ByteKinds::kBytes);
    }

    // Letters that may be a keyword; with digits behind them a token.
    std::size_t word(std::size_t start) {
        scan_.stand_at(start);
        t_.keywords.for_each_at(scan_, start,
                                [&](const KeywordIndex::Entry& entry, std::size_t end) {
                                    scan_.note(entry.slot, end);
                                    const Detector& detector = *detector_table[entry.detector];
                                    if (!detector.on_keyword) return;
                                    scan_.enter(entry.slot - entry.group);
                                    detector.on_keyword(scan_, start, end, entry.group);
                                });
        const std::size_t end = letters_end(start);
        return is_digit(scan_.at(end)) && joins_digits(text_[end - 1]) ? token(start, end) : end;
    }

    // A token whose letters were no keyword's; its first digit is at i.
    std::size_t token_around(std::size_t i) {
        std::size_t start = i;
        while (is_letter(scan_.before(start))) --start;
        return token(start, i);
    }

    std::size_t token(std::size_t start, std::size_t i) {
        i = token_end(i);
        scan_.stand_at(start);
        for (const auto& [detector, base] : t_.of_size(t_.on_token, i - start)) {
            scan_.enter(base);
            detector->on_token(scan_, start, i);
        }
        return i;
    }

    void mark(std::size_t at) {
        scan_.stand_at(at);
        for (const auto& [detector, base] : t_.on_mark[(unsigned char)text_[at]]) {
            scan_.enter(base);
            detector->on_mark(scan_, at);
        }
    }

    // Groups of digits from start on; returns where the walk goes on. A chain longer than
    // kGroupsMax is handed over in pieces that share their last groups, so that nothing of up to
    // kShared groups is lost at a cut.
    std::size_t chain(std::size_t start) {
        constexpr std::size_t kShared = 8, kSeparatorsMax = 3;
        scan_.stand_at(start);
        Chain& chain = chain_;
        chain.n = chain.digits = 0, chain.glued = false;
        const std::size_t n = text_.size();
        std::size_t i = start;
        while (true) {
            const std::size_t from = i;
            i = digits_end(i);
            chain.groups[chain.n++] = {.start = from, .n = i - from};
            chain.digits += i - from;
            if (i < n && joins_digits(text_[i])) {
                chain.glued = true;
                break;
            }
            if (chain.n == Chain::kGroupsMax) break;
            std::size_t next = i;
            for (std::size_t k = 0; k < kSeparatorsMax && next < n; ++k) {
                const std::size_t bytes = separator_at(text_, next);
                if (bytes == 0) break;
                next += bytes;
            }
            if (next == i || next >= n || !is_digit(text_[next])) break;
            i = next;
        }
        for (const auto& [detector, base] : t_.of_size(t_.on_chain, chain.digits)) {
            scan_.enter(base);
            detector->on_chain(scan_, chain);
        }
        if (chain.glued) return token(chain.groups[chain.n - 1].start, i);
        if (chain.n == Chain::kGroupsMax)
            return cut_ = chain.groups[Chain::kGroupsMax - kShared].start;
        return i;
    }

    const T& t_;
    Scan& scan_;
    const std::string_view text_;
    std::size_t base_ = 0;        // of the 64 bytes that are walked over
    ByteKinds kinds_, next_;      // of the 64 bytes that are walked over, and of those behind them
    Chain chain_;                 // of the groups only the first n are of now
    std::size_t cut_ = kNowhere;  // where a chain goes on, whatever stands before it
};

// Of overlapping spans the first in this order stays.
bool outranks(const Finding& a, const Finding& b) {
    if (a.sensitivity != b.sensitivity) return a.sensitivity > b.sensitivity;
    if (a.confidence != b.confidence) return a.confidence > b.confidence;
    if (a.end - a.start != b.end - b.start) return a.end - a.start > b.end - b.start;
    return a.start < b.start;
}

std::vector<Finding> without_overlaps(std::vector<Finding> found) {
    std::ranges::stable_sort(found, outranks);
    // Kept spans by start; a new one fits if its neighbours leave room.
    const auto by_start = [&](std::size_t a, std::size_t b) {
        return found[a].start < found[b].start;
    };
    std::set<std::size_t, decltype(by_start)> kept(by_start);
    for (std::size_t i = 0; i < found.size(); ++i) {
        const auto next = kept.lower_bound(i);
        if (next != kept.end() && found[*next].start < found[i].end) continue;
        if (next != kept.begin() && found[*std::prev(next)].end > found[i].start) continue;
        kept.insert(next, i);
    }
    std::vector<Finding> out;
    out.reserve(kept.size());
    for (const std::size_t i : kept) out.push_back(std::move(found[i]));
    return out;
}

}  // namespace

Detectors::Detectors(std::unique_ptr<const Tables> tables) : tables_(std::move(tables)) {}
Detectors::Detectors(Detectors&&) noexcept = default;
Detectors& Detectors::operator=(Detectors&&) noexcept = default;
Detectors::~Detectors() = default;

Result<Detectors> Detectors::make(std::vector<UserDetector> user) {
    auto tables = std::make_unique<Tables>();
    HEARTH_TRY(tables->user, UserDetectors::make(std::move(user)));
    return Detectors(std::move(tables));
}

std::vector<Finding> Detectors::scan(std::string_view text) const {
    Scan scan(text.substr(0, kScanBytesMax), tables_->keywords);
    std::size_t read = Walker(*tables_, scan).run();
    if (!scan.full()) read = std::min(read, tables_->user.scan(scan));
    const bool cut = read < text.size() || scan.full();
    std::vector<Finding> found = without_overlaps(std::move(scan.findings()));
    if (!cut) return found;
    // What stands before the cut stays as it was found; the rest is one restricted span.
    const std::size_t from = std::min(read, text.size() - 1);
    std::erase_if(found, [&](const Finding& f) { return f.end > from; });
    found.push_back({from, text.size(), kUnscanned, Sensitivity::restricted, 1.0f});
    return found;
}

Sensitivity Detectors::class_of(std::string_view text, const std::vector<Finding>& findings) {
    if (text.size() > kScanBytesMax) return Sensitivity::restricted;
    Sensitivity highest = Sensitivity::internal;
    for (const Finding& finding : findings) highest = std::max(highest, finding.sensitivity);
    return highest;
}

std::vector<std::string> Detectors::entities() const {
    std::set<std::string> names{kUnscanned};
    for (std::size_t d = 0; d < detector_table_size; ++d)
        for (const char* entity : detector_table[d]->entities) names.insert(entity);
    for (const std::string& name : tables_->user.names()) names.insert(name);
    return {names.begin(), names.end()};
}

}  // namespace hearth::route
