// The scan: one walk over the text, 64 bytes at a time, cut into words, tokens, chains and marks;
// detectors are called only where their kind of place is.
//
// Words are looked up by their first four letters in a bitmap of 8 KiB: an ordinary word costs one
// load. The few that pass are compared with the keywords of that beginning.
#include "route/sensitivity.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>

#include "base/format.h"
#include "route/byte_kinds.h"
#include "route/detector.h"
#include "route/limits.h"
#include "route/user_detector.h"

namespace hearth::route {
namespace {

// The first four letters, folded by setting bit 5, short ones padded with zeros. '_' and bytes
// >= 0x80 are letters; what falls together here is told apart when the whole word is compared.
inline std::uint32_t key_of(std::string_view text, std::size_t start, std::uint64_t letters) {
    constexpr auto kKept = [] {
        std::array<std::uint32_t, 16> kept{};
        for (unsigned bits = 0; bits < 16; ++bits) {
            std::array<std::uint8_t, 4> bytes{};
            for (int i = 0; i < std::countr_one(bits); ++i) bytes[std::size_t(i)] = 0xFF;
            kept[bits] = std::bit_cast<std::uint32_t>(bytes);
        }
        return kept;
    }();
    std::uint32_t key = 0;
    if (text.size() - start >= 4) [[likely]]
        std::memcpy(&key, text.data() + start, 4);
    else
        std::memcpy(&key, text.data() + start, text.size() - start);
    return (key | 0x20202020u) & kKept[letters & 15];
}
std::uint64_t first_of(std::size_t n) {  // n letters, as key_of takes them
    return n < 4 ? (1u << n) - 1 : 15;
}
std::uint32_t slot_of(std::uint32_t key) {
    return (key * 0x9E3779B1u) >> 16;
}

bool is_letter(char c) {
    return is_word(c) && !is_digit(c);
}

// How many bytes a separator inside a chain takes at i: one of ' ' - . / ( ) or a no-break space, a
// thin one, a hyphen that is not '-'; 0 for anything else.
std::size_t separator_at(std::string_view text, std::size_t i) {
    const char c = text[i];
    if (c == ' ' || c == '-' || c == '.' || c == '/' || c == '(' || c == ')') return 1;
    if (c == '\xC2' && i + 1 < text.size() && text[i + 1] == '\xA0') return 2;
    if (c == '\xE2' && i + 2 < text.size() && text[i + 1] == '\x80' &&
        (text[i + 2] == '\x89' || text[i + 2] == '\x91' || text[i + 2] == '\x93' ||
         text[i + 2] == '\xAF'))
        return 3;
    return 0;
}

}  // namespace

bool Scan::full() const {
    return findings_.size() >= kFindingsMax;
}

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

bool Scan::ahead(std::uint8_t group, std::size_t from, std::size_t within) const {
    const std::size_t stop = std::min(text.size(), from + within);
    for (std::size_t i = from; i < stop; ++i) {
        if (!is_word(text[i]) || (i > 0 && is_word(text[i - 1]))) continue;
        for (const Keyword& keyword : detector_->keywords) {
            if (keyword.group != group || lower(text[i]) != keyword.text[0]) continue;
            const std::string_view word = keyword.text;
            if (is_here(i, word) && (keyword.prefix || !is_word(at(i + word.size())))) return true;
        }
    }
    return false;
}

// What the scan looks up; made once, then only read.
struct Detectors::Tables {
    struct Entry {
        std::string_view text;
        std::uint32_t key;
        std::uint32_t detector;
        std::uint32_t slot;
        std::uint8_t group;
        bool prefix;
    };
    std::vector<std::uint64_t> bitmap = std::vector<std::uint64_t>(1024);
    std::vector<Entry> entries;              // by bucket
    std::vector<std::uint32_t> bucket_ends;  // 4,096 buckets: entries [ends[b - 1], ends[b])
    std::vector<std::size_t> bases;          // by detector: its first group's slot
    struct Place {
        const Detector* detector;
        std::size_t base;
    };
    std::array<std::vector<Place>, 256> on_mark;
    std::vector<Place> on_chain, on_token;
    UserDetectors user;

    static constexpr std::uint32_t kBuckets = 4096;
    static std::uint32_t bucket_of(std::uint32_t key) { return slot_of(key) % kBuckets; }

    Tables() {
        bases.resize(detector_table_size);
        for (std::uint32_t d = 0; d < detector_table_size; ++d) {
            const Detector& detector = *detector_table[d];
            bases[d] = d * kGroupsPerDetector;
            const Place place{&detector, bases[d]};
            if (detector.on_chain) on_chain.push_back(place);
            if (detector.on_token) on_token.push_back(place);
            for (const char* m = detector.marks; *m; ++m)
                on_mark[(unsigned char)*m].push_back(place);
            for (const Keyword& keyword : detector.keywords) add(keyword, d);
        }
        std::ranges::stable_sort(entries, {}, [](const Entry& e) { return bucket_of(e.key); });
        bucket_ends.assign(kBuckets + 1, 0);
        for (const Entry& entry : entries) ++bucket_ends[bucket_of(entry.key) + 1];
        for (std::uint32_t b = 0; b < kBuckets; ++b) bucket_ends[b + 1] += bucket_ends[b];
    }

    void insert(const Keyword& keyword, std::uint32_t key, std::uint32_t detector) {
        entries.push_back({keyword.text, key, detector,
                           std::uint32_t(bases[detector] + keyword.group), keyword.group,
                           keyword.prefix});
        const std::uint32_t bit = slot_of(key);
        bitmap[bit / 64] |= std::uint64_t(1) << (bit % 64);
    }

    void add(const Keyword& keyword, std::uint32_t detector) {
        const std::string_view text = keyword.text;
        std::size_t letters = 0;
        while (letters < text.size() && is_word(text[letters]) && !is_digit(text[letters]))
            ++letters;
        const std::uint32_t key = key_of(text, 0, first_of(letters));
        insert(keyword, key, detector);
        // A prefix of fewer than four letters that more letters may follow has any of their keys.
        if (!keyword.prefix || letters != text.size() || letters >= 4) return;
        std::string longer(text);
        longer.push_back('_');
        for (const char c : std::string_view("abcdefghijklmnopqrstuvwxyz_")) {
            longer.back() = c;
            insert(keyword, key_of(longer, 0, first_of(longer.size())), detector);
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
        while (i < text_.size()) {
            i = block(i - i % ByteKinds::kBytes, i);
            if (scan_.full()) return i;
        }
        return text_.size();
    }

  private:
    // What begins in the 64 bytes from base on, at i or later; returns where the walk goes on.
    std::size_t block(std::size_t base, std::size_t i) {
        const ByteKinds kinds = ByteKinds::of(text_, base);
        const std::uint64_t left = base > 0 && is_letter(text_[base - 1]) ? 1 : 0;
        const std::uint64_t letters = kinds.letters & ~(kinds.letters << 1 | left);
        const std::uint64_t starts = letters | kinds.digits | kinds.marks_that_count(text_, base);
        const auto from = [&](std::size_t place) {
            const std::size_t n = place - base;
            return n < ByteKinds::kBytes ? starts & ~std::uint64_t(0) << n : 0;
        };
        for (std::uint64_t rest = from(i); rest != 0;) {
            const auto at = std::size_t(std::countr_zero(rest));
            if (letters >> at & 1) {
                rest &= rest - 1;
                const std::uint32_t key = key_of(text_, base + at, kinds.letters >> at);
                const std::uint32_t bit = slot_of(key);
                if (at + 4 <= ByteKinds::kBytes && !(t_.bitmap[bit / 64] >> (bit % 64) & 1))
                    continue;
                i = word(base + at);
            } else if (kinds.digits >> at & 1) {
                const bool behind_letters = (kinds.letters << 1 | left) >> at & 1;
                i = behind_letters && base + at != cut_ ? token_around(base + at)
                                                        : chain(base + at);
            } else {
                i = base + at + 1;
                // Behind another colon only an address with a scheme is anything.
                if (text_[i - 1] != ':' || scan_.before(i - 1) != ':' || scan_.at(i) == '/')
                    mark(i - 1);
            }
            if (scan_.full()) return i;
            rest = from(i);
        }
        return std::max(i, base + ByteKinds::kBytes);
    }

    // Letters; with digits behind them a token.
    std::size_t word(std::size_t start) {
        std::size_t end = start + 1;
        while (is_letter(scan_.at(end))) ++end;
        const std::uint32_t key = key_of(text_, start, first_of(end - start));
        const std::uint32_t bit = slot_of(key);
        if (t_.bitmap[bit / 64] >> (bit % 64) & 1) keywords(key, start, end);
        if (is_digit(scan_.at(end))) return token(start, end);
        return scan_.at(end) == ' ' ? end + 1 : end;
    }

    // A token whose letters were no keyword's; its first digit is at i.
    std::size_t token_around(std::size_t i) {
        std::size_t start = i;
        while (is_letter(scan_.before(start))) --start;
        return token(start, i);
    }

    std::size_t token(std::size_t start, std::size_t i) {
        while (i < text_.size() && is_word(text_[i])) ++i;
        for (const auto& [detector, base] : t_.on_token) {
            scan_.enter(*detector, base);
            detector->on_token(scan_, start, i);
        }
        return i;
    }

    void keywords(std::uint32_t key, std::size_t start, std::size_t end) {
        const std::uint32_t bucket = T::bucket_of(key);
        for (std::uint32_t e = t_.bucket_ends[bucket]; e < t_.bucket_ends[bucket + 1]; ++e) {
            const auto& entry = t_.entries[e];
            if (entry.key != key) continue;
            std::size_t stop = start + entry.text.size();
            // The last byte tells most apart: "he has" from "he was", "sk_live_" from "sk_test_".
            const char last = scan_.at(stop - 1), last_wanted = entry.text.back();
            if (entry.prefix) {
                if (last != last_wanted || !text_.substr(start).starts_with(entry.text)) continue;
            } else {
                if (lower(last) != last_wanted || is_word(scan_.at(stop))) continue;
                if (!scan_.is_here(start, entry.text)) continue;
                stop = std::max(stop, end);
            }
            scan_.note(entry.slot, stop);
            const Detector& detector = *detector_table[entry.detector];
            if (!detector.on_keyword) continue;
            scan_.enter(detector, t_.bases[entry.detector]);
            detector.on_keyword(scan_, start, stop, entry.group);
        }
    }

    void mark(std::size_t at) {
        for (const auto& [detector, base] : t_.on_mark[(unsigned char)text_[at]]) {
            scan_.enter(*detector, base);
            detector->on_mark(scan_, at);
        }
    }

    // Groups of digits from start on; returns where the walk goes on. A chain longer than
    // kGroupsMax is handed over in pieces that share their last groups, so that nothing of up to
    // kShared groups is lost at a cut.
    std::size_t chain(std::size_t start) {
        constexpr std::size_t kShared = 8, kSeparatorsMax = 3;
        Chain& chain = chain_;
        chain.n = chain.digits = 0, chain.glued = false;
        const std::size_t n = text_.size();
        std::size_t i = start;
        while (true) {
            const std::size_t from = i;
            while (i < n && is_digit(text_[i])) ++i;
            chain.groups[chain.n++] = {.start = from, .n = i - from};
            if (i < n && is_word(text_[i]) && separator_at(text_, i) == 0) {
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
        for (std::size_t g = 0; g < chain.n; ++g) chain.digits += chain.groups[g].n;
        for (const auto& [detector, base] : t_.on_chain) {
            if (chain.digits < detector->chain_digits_min) continue;
            scan_.enter(*detector, base);
            detector->on_chain(scan_, chain);
        }
        for (std::size_t g = 0; g + 1 < chain.n; ++g) dots_between(chain.groups[g].end());
        if (chain.glued) return token(chain.groups[chain.n - 1].start, i);
        if (chain.n == Chain::kGroupsMax)
            return cut_ = chain.groups[Chain::kGroupsMax - kShared].start;
        return i;
    }

    // Marks that the chain stepped over are handed over all the same.
    void dots_between(std::size_t at) {
        for (; at < text_.size() && !is_digit(text_[at]); ++at)
            if (text_[at] == '.' || text_[at] == '-') mark(at);
    }

    const T& t_;
    Scan& scan_;
    const std::string_view text_;
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
    Scan scan(text.substr(0, kScanBytesMax));
    scan.resize_groups(detector_table_size * kGroupsPerDetector);
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
