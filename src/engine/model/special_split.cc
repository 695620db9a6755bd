#include "engine/model/special_split.h"

#include <algorithm>

#include "base/check.h"
#include "engine/model/limits.h"

namespace hearth::model {

std::int32_t SpecialSplit::child(std::int32_t node, char c) const {
    const auto& next = nodes_[std::size_t(node)].next;
    const auto it = std::lower_bound(next.begin(), next.end(), c,
                                     [](const auto& edge, char key) { return edge.first < key; });
    return it == next.end() || it->first != c ? -1 : it->second;
}

void SpecialSplit::add(std::string_view text, std::int32_t token, bool user_defined) {
    CHECK(!text.empty() && text.size() <= kSpecialBytesMax);
    std::int32_t at = 0;
    for (const char c : text) {
        std::int32_t to = child(at, c);
        if (to < 0) {
            to = std::int32_t(nodes_.size());
            nodes_.emplace_back();
            nodes_.back().length = nodes_[std::size_t(at)].length + 1;
            nodes_.back().parent = at;
            auto& next = nodes_[std::size_t(at)].next;
            next.insert(std::upper_bound(next.begin(), next.end(), std::pair{c, to}), {c, to});
        }
        at = to;
    }
    nodes_[std::size_t(at)].token = token;
    nodes_[std::size_t(at)].user_defined = user_defined;
    const auto length = std::int32_t(text.size());
    const auto place =
        std::lower_bound(lengths_.begin(), lengths_.end(), length, std::greater<std::int32_t>());
    if (place == lengths_.end() || *place != length) lengths_.insert(place, length);
}

void SpecialSplit::finish() {
    for (const std::int32_t length : lengths_) reach_ += std::size_t(length);
    for (std::size_t i = 1; i < nodes_.size(); ++i) {
        const std::int32_t parent = nodes_[i].parent;
        const Node& above = nodes_[std::size_t(parent)];
        nodes_[i].shorter = above.token >= 0 ? parent : above.shorter;
    }
}

// The node itself or the nearest one above whose token may match; -1 if there is none.
std::int32_t SpecialSplit::usable(std::int32_t node, bool parse_special) const {
    while (node >= 0) {
        const Node& n = nodes_[std::size_t(node)];
        if (n.token >= 0 && (parse_special || n.user_defined)) return node;
        node = n.shorter;
    }
    return -1;
}

SpecialSplit::Parts::Parts(const SpecialSplit& split, std::string_view text, bool parse_special,
                           std::int64_t* n_steps, std::size_t stretch_bytes)
    : split_(split),
      text_(text),
      parse_special_(parse_special),
      n_steps_(n_steps),
      // Reading more than is decided must not cost more than deciding does.
      stretch_bytes_(std::max(stretch_bytes, split.reach_)) {
    if (split.lengths_.empty()) decided_ = text.size();
}

// The longest match at each place of a stretch.
void SpecialSplit::Parts::find_matches(std::string_view stretch) {
    open_.clear();
    std::int64_t steps = 0;
    for (std::size_t at = 0; at < stretch.size(); ++at) {
        std::int32_t node = 0;
        std::size_t end = at;
        for (; end < stretch.size(); ++end) {
            const std::int32_t to = split_.child(node, stretch[end]);
            if (to < 0) break;
            node = to;
        }
        steps += std::int64_t(end - at) + 1;
        if (const std::int32_t best = split_.usable(node, parse_special_); best > 0)
            open_.push_back({at, best});
    }
    if (n_steps_) *n_steps_ += steps;
}

// From the longest length down, each match that overlaps none before it wins; others shrink.
void SpecialSplit::Parts::hand_out(std::size_t n_bytes) {
    won_.clear();
    taken_.assign(open_.empty() ? 0 : n_bytes, false);
    std::int64_t steps = 0;
    for (const std::int32_t length : split_.lengths_) {
        if (open_.empty()) break;
        steps += std::int64_t(open_.size());
        std::size_t kept = 0;
        for (Match m : open_) {
            const Node& node = split_.nodes_[std::size_t(m.node)];
            if (node.length == length) {
                // What was taken before is at least this long, so it covers an end of any overlap.
                const std::size_t end = m.at + std::size_t(length);
                if (!taken_[m.at] && !taken_[end - 1]) {
                    std::fill(taken_.begin() + std::ptrdiff_t(m.at),
                              taken_.begin() + std::ptrdiff_t(end), true);
                    won_.push_back(m);
                    continue;
                }
                m.node = split_.usable(node.shorter, parse_special_);
            }
            if (m.node > 0) open_[kept++] = m;
        }
        open_.resize(kept);
    }
    std::sort(won_.begin(), won_.end(), [](const Match& a, const Match& b) { return a.at < b.at; });
    if (n_steps_) *n_steps_ += steps;
}

// Decides the next stretch. It begins behind all matches that won, so that nothing on its left
// matters to it.
void SpecialSplit::Parts::decide() {
    const std::string_view stretch = text_.substr(decided_, stretch_bytes_ + split_.reach_);
    find_matches(stretch);
    hand_out(stretch.size());
    won_begin_ = decided_;
    n_given_ = 0;
    if (decided_ + stretch.size() == text_.size()) {
        decided_ = text_.size();
        return;
    }
    while (!won_.empty() && won_.back().at >= stretch_bytes_) won_.pop_back();
    std::size_t end = stretch_bytes_;
    if (!won_.empty()) {
        const Match& last = won_.back();
        end = std::max(end, last.at + std::size_t(split_.nodes_[std::size_t(last.node)].length));
    }
    decided_ += end;
}

bool SpecialSplit::Parts::next(Part& part) {
    while (n_given_ == won_.size() && decided_ < text_.size()) decide();
    if (n_given_ == won_.size()) {  // the rest is plain
        part = {text_.substr(at_), -1};
        at_ = text_.size();
        return !part.text.empty();
    }
    const Match& m = won_[n_given_];
    const std::size_t begin = won_begin_ + m.at;
    if (begin > at_) {
        part = {text_.substr(at_, begin - at_), -1};
    } else {
        const Node& node = split_.nodes_[std::size_t(m.node)];
        part = {text_.substr(begin, std::size_t(node.length)), node.token};
        ++n_given_;
    }
    at_ += part.text.size();
    return true;
}

}  // namespace hearth::model
