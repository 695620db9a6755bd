#include "route/user_detector.h"

#include <algorithm>

#include "base/format.h"
#include "route/limits.h"

namespace hearth::route {
namespace {

// No letter or digit goes on beyond an edge of the span that is one.
bool on_edges(std::string_view text, std::size_t start, std::size_t end) {
    if (start > 0 && is_alnum(text[start]) && is_alnum(text[start - 1])) return false;
    return end == text.size() || !is_alnum(text[end - 1]) || !is_alnum(text[end]);
}

bool is_name(std::string_view name) {
    if (name.empty() || name.size() > 64 || !is_lower(name[0])) return false;
    return std::ranges::all_of(name, [](char c) { return is_lower(c) || is_digit(c) || c == '_'; });
}

std::uint32_t hash_of(std::uint32_t from, unsigned char byte) {
    return (from * 256 + byte) * 0x9E3779B1u;
}

}  // namespace

Result<UserDetectors> UserDetectors::make(std::vector<UserDetector> blocks) {
    UserDetectors made;
    const auto refuse = [](const UserDetector& block, const std::string& why) {
        return fail(ErrorKind::invalid_request,
                    format("[[detector]] {}: {}", block.name.empty() ? "?" : block.name, why));
    };
    if (blocks.size() > kUserDetectorsMax)
        return fail(ErrorKind::invalid_request,
                    format("{} [[detector]] blocks, at most {}; give several words to one block",
                           blocks.size(), kUserDetectorsMax));
    made.states_.emplace_back();
    std::size_t n_bytes = 0;
    for (const UserDetector& block : blocks) {
        if (!is_name(block.name))
            return refuse(block,
                          "name must be lower-case letters, digits and _, beginning with "
                          "a letter, at most 64");
        for (const Block& other : made.blocks_)
            if (other.name == block.name) return refuse(block, "a second block of this name");
        if (block.words.empty() == block.pattern.empty())
            return refuse(block, "give words = [ … ] or pattern = \"…\", one of them");
        const auto index = std::uint32_t(made.blocks_.size());
        made.blocks_.push_back({block.name, block.sensitivity});
        for (const std::string& word : block.words) {
            n_bytes += word.size();
            if (word.size() < kUserWordBytesMin || word.size() > kUserWordBytesMax)
                return refuse(block, format("each word has {} to {} bytes; one has {}",
                                            kUserWordBytesMin, kUserWordBytesMax, word.size()));
            if (n_bytes > kUserWordsBytesMax)
                return refuse(
                    block, format("all words together have at most {} bytes", kUserWordsBytesMax));
            made.add_word(word, index);
        }
        if (block.pattern.empty()) continue;
        auto pattern = UserPattern::parse(block.pattern);
        if (!pattern) return refuse(block, pattern.error().message);
        made.patterns_.push_back({std::move(*pattern), index});
    }
    made.make_fails();
    return made;
}

void UserDetectors::add_word(const std::string& word, std::uint32_t block) {
    std::uint32_t state = 0;
    for (const char c : word) {
        const auto byte = (unsigned char)lower(c);
        std::uint32_t next = state == 0 ? roots_[byte] : step(state, byte);
        if (next == 0) {
            next = std::uint32_t(states_.size());
            states_.emplace_back();
            edges_.push_back({state, next, byte});
            if (state == 0) roots_[byte] = next;
            insert({state, next, byte});
        }
        state = next;
    }
    if (states_[state].length != 0) return;  // the first block that names a word has it
    states_[state].length = std::uint32_t(word.size());
    states_[state].block = block;
}

// At most half of the places are taken, so that a look-up ends soon.
void UserDetectors::insert(Step added) {
    if (2 * (n_steps_ + 1) > steps_.size()) {
        std::vector<Step> old = std::move(steps_);
        steps_.assign(std::max<std::size_t>(64, 2 * old.size()), {});
        n_steps_ = 0;
        for (const Step& s : old)
            if (s.to != 0) insert(s);
    }
    const std::size_t mask = steps_.size() - 1;
    std::size_t i = hash_of(added.from, added.byte) >> 7 & mask;
    while (steps_[i].to != 0) i = (i + 1) & mask;
    steps_[i] = added;
    ++n_steps_;
}

std::uint32_t UserDetectors::step(std::uint32_t state, unsigned char byte) const {
    if (steps_.empty()) return 0;
    const std::size_t mask = steps_.size() - 1;
    for (std::size_t i = hash_of(state, byte) >> 7 & mask; steps_[i].to != 0; i = (i + 1) & mask)
        if (steps_[i].from == state && steps_[i].byte == byte) return steps_[i].to;
    return 0;
}

// The longest proper suffix of each state that is itself a state, breadth first: edges are made
// word by word, so they are ordered by depth first.
void UserDetectors::make_fails() {
    std::vector<std::uint32_t> depth(states_.size());
    for (const Step& edge : edges_) depth[edge.to] = depth[edge.from] + 1;
    std::ranges::stable_sort(edges_, {}, [&](const Step& e) { return depth[e.to]; });
    for (const Step& edge : edges_) {
        if (edge.from == 0) continue;  // fails to the root
        std::uint32_t at = states_[edge.from].fail;
        std::uint32_t to = 0;
        while (true) {
            to = at == 0 ? roots_[edge.byte] : step(at, edge.byte);
            if (to != 0 || at == 0) break;
            at = states_[at].fail;
        }
        states_[edge.to].fail = to;
        states_[edge.to].output = states_[to].length != 0 ? to : states_[to].output;
    }
    edges_ = {};
}

std::size_t UserDetectors::scan(Scan& scan) const {
    const std::string_view text = scan.text;
    std::size_t read = text.size();
    if (states_.size() > 1) read = scan_words(scan);
    for (const Pattern& p : patterns_) {
        const Block& block = blocks_[p.block];
        p.pattern.scan(text, [&](std::size_t start, std::size_t end) {
            scan.add(start, end, block.name, block.sensitivity, 1.0);
            if (scan.full()) read = std::min(read, start);
            return !scan.full();
        });
    }
    return read;
}

std::size_t UserDetectors::scan_words(Scan& scan) const {
    const std::string_view text = scan.text;
    std::uint32_t state = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto byte = (unsigned char)lower(text[i]);
        std::uint32_t next = 0;
        while (state != 0 && (next = step(state, byte)) == 0) state = states_[state].fail;
        state = state == 0 ? roots_[byte] : next;
        std::uint32_t out = states_[state].length != 0 ? state : states_[state].output;
        for (; out != 0; out = states_[out].output) {
            const std::size_t start = i + 1 - states_[out].length;
            if (!on_edges(text, start, i + 1)) continue;
            const Block& block = blocks_[states_[out].block];
            scan.add(start, i + 1, block.name, block.sensitivity, 1.0);
            break;  // the longest word that ends here
        }
        if (scan.full()) return i + 1;
    }
    return text.size();
}

std::vector<std::string> UserDetectors::names() const {
    std::vector<std::string> names;
    for (const Block& block : blocks_) names.push_back(block.name);
    return names;
}

}  // namespace hearth::route
