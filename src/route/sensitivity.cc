// The scan: one walk over the bytes, cut into words, tokens, chains and marks; detectors are called
// only where their kind of place is.
//
// Words are looked up by their first four letters in a bitmap of 8 KiB, so that an ordinary word
// costs one load; the few that pass are compared with the keywords of that beginning.
#include "route/sensitivity.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>

#include "base/format.h"
#include "route/detector.h"
#include "route/limits.h"
#include "route/user_detector.h"

namespace hearth::route {
namespace {

enum Kind : std::uint8_t { kOther, kLetter, kDigit, kMark };

constexpr std::array<std::uint8_t, 256> kKinds = [] {
    std::array<std::uint8_t, 256> kinds{};
    for (int c = 0; c < 256; ++c) {
        if (is_digit(char(c)))
            kinds[c] = kDigit;
        else if (is_word(char(c)))
            kinds[c] = kLetter;
    }
    for (const char c : {'@', ':', '=', '.', '-'}) kinds[(unsigned char)c] = kMark;
    return kinds;
}();

Kind kind_of(char c) {
    return Kind(kKinds[(unsigned char)c]);
}

// The first four letters, folded by setting bit 5, short ones padded with zeros. '_' and bytes
// >= 0x80 are letters; what falls together here is told apart when the whole word is compared.
std::uint32_t key_of(const char* text, std::size_t n) {
    std::uint32_t key = 0;
    if (n >= 4) {
        std::memcpy(&key, text, 4);
        return key | 0x20202020u;
    }
    char four[4] = {};
    for (std::size_t i = 0; i < n; ++i) four[i] = char(text[i] | 0x20);
    std::memcpy(&key, four, 4);
    return key;
}
std::uint32_t slot_of(std::uint32_t key) {
    return (key * 0x9E3779B1u) >> 16;
}

// Where the letters that begin at i end. Eight bytes at a time: a word's length is what a branch
// predictor knows least, and this asks it once per eight letters. '_' ends a step of eight and is
// taken by the loop below it.
std::size_t letters_end(std::string_view text, std::size_t i) {
    constexpr std::uint64_t kOnes = 0x0101010101010101u, kHigh = 0x80 * kOnes;
    if constexpr (std::endian::native == std::endian::little) {
        while (i + 8 <= text.size()) {
            std::uint64_t bytes;
            std::memcpy(&bytes, text.data() + i, 8);
            const std::uint64_t small = (bytes & ~kHigh) | 0x20 * kOnes;
            const std::uint64_t from_a = small + (0x80 - 'a') * kOnes;
            const std::uint64_t past_z = small + (0x80 - 'z' - 1) * kOnes;
            const std::uint64_t others = ~((from_a & ~past_z) | bytes) & kHigh;
            if (others != 0) {
                i += std::size_t(std::countr_zero(others)) / 8;
                break;
            }
            i += 8;
        }
    }
    while (i < text.size() && kind_of(text[i]) == kLetter) ++i;
    return i;
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
    std::array<std::vector<std::uint32_t>, 256> on_mark;
    std::vector<std::uint32_t> on_chain, on_token;
    UserDetectors user;

    static constexpr std::uint32_t kBuckets = 4096;
    static std::uint32_t bucket_of(std::uint32_t key) { return slot_of(key) % kBuckets; }

    Tables() {
        bases.resize(detector_table_size);
        for (std::uint32_t d = 0; d < detector_table_size; ++d) {
            const Detector& detector = *detector_table[d];
            bases[d] = d * kGroupsPerDetector;
            if (detector.on_chain) on_chain.push_back(d);
            if (detector.on_token) on_token.push_back(d);
            for (const char* m = detector.marks; *m; ++m) on_mark[(unsigned char)*m].push_back(d);
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
        const std::uint32_t key = key_of(text.data(), letters);
        insert(keyword, key, detector);
        // A prefix of fewer than four letters that more letters may follow has any of their keys.
        if (!keyword.prefix || letters != text.size() || letters >= 4) return;
        std::string longer(text);
        longer.push_back('_');
        for (const char c : std::string_view("abcdefghijklmnopqrstuvwxyz_")) {
            longer.back() = c;
            insert(keyword, key_of(longer.data(), longer.size()), detector);
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
        const std::size_t n = text_.size();
        std::size_t i = 0;
        while (i < n) {
            switch (kind_of(text_[i])) {
                case kOther:
                    ++i;
                    break;
                case kLetter:
                    i = word(i);
                    if (i < n && text_[i] == ' ') ++i;  // by far the commonest
                    break;
                case kDigit:
                    i = chain(i);
                    break;
                case kMark:
                    mark(i++);
                    break;
            }
            if (scan_.full()) return i;
        }
        return n;
    }

  private:
    // Letters; with digits among them a token.
    std::size_t word(std::size_t start) {
        const std::size_t n = text_.size();
        const std::size_t i = letters_end(text_, start + 1);
        const std::uint32_t key = key_of(text_.data() + start, i - start);
        const std::uint32_t bit = slot_of(key);
        if (t_.bitmap[bit / 64] >> (bit % 64) & 1) keywords(key, start, i);
        if (i < n && kind_of(text_[i]) == kDigit) return token(start, i);
        return i;
    }

    std::size_t token(std::size_t start, std::size_t i) {
        while (i < text_.size() && is_word(text_[i])) ++i;
        for (const std::uint32_t d : t_.on_token) {
            const Detector& detector = *detector_table[d];
            scan_.enter(detector, t_.bases[d]);
            detector.on_token(scan_, start, i);
        }
        return i;
    }

    void keywords(std::uint32_t key, std::size_t start, std::size_t end) {
        const std::uint32_t bucket = T::bucket_of(key);
        for (std::uint32_t e = t_.bucket_ends[bucket]; e < t_.bucket_ends[bucket + 1]; ++e) {
            const auto& entry = t_.entries[e];
            if (entry.key != key) continue;
            std::size_t stop = start + entry.text.size();
            if (entry.prefix) {
                if (text_.substr(start, entry.text.size()) != entry.text) continue;
            } else {
                if (!scan_.is_here(start, entry.text) || is_word(scan_.at(stop))) continue;
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
        for (const std::uint32_t d : t_.on_mark[(unsigned char)text_[at]]) {
            const Detector& detector = *detector_table[d];
            scan_.enter(detector, t_.bases[d]);
            detector.on_mark(scan_, at);
        }
    }

    // Groups of digits from start on; returns where the walk goes on. A chain longer than
    // kGroupsMax is handed over in pieces that share their last groups, so that nothing of up to
    // kShared groups is lost at a cut.
    std::size_t chain(std::size_t start) {
        constexpr std::size_t kShared = 8, kSeparatorsMax = 3;
        Chain chain;
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
        for (const std::uint32_t d : t_.on_chain) {
            const Detector& detector = *detector_table[d];
            scan_.enter(detector, t_.bases[d]);
            detector.on_chain(scan_, chain);
        }
        for (std::size_t g = 0; g + 1 < chain.n; ++g) dots_between(chain.groups[g].end());
        if (chain.glued) return token(chain.groups[chain.n - 1].start, i);
        if (chain.n == Chain::kGroupsMax) return chain.groups[Chain::kGroupsMax - kShared].start;
        return i;
    }

    // Marks that the chain stepped over are handed over all the same.
    void dots_between(std::size_t at) {
        for (; at < text_.size() && !is_digit(text_[at]); ++at)
            if (kind_of(text_[at]) == kMark) mark(at);
    }

    const T& t_;
    Scan& scan_;
    const std::string_view text_;
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
