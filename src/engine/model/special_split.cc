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

std::vector<SpecialSplit::Match> SpecialSplit::longest_matches(std::string_view text,
                                                               bool parse_special,
                                                               std::int64_t& steps) const {
    std::vector<Match> out;
    for (std::size_t at = 0; at < text.size(); ++at) {
        std::int32_t node = 0;
        std::size_t end = at;
        for (; end < text.size(); ++end) {
            const std::int32_t to = child(node, text[end]);
            if (to < 0) break;
            node = to;
        }
        steps += std::int64_t(end - at) + 1;
        if (const std::int32_t best = usable(node, parse_special); best > 0)
            out.push_back({at, best});
    }
    return out;
}

std::vector<SpecialSplit::Part> SpecialSplit::split(std::string_view text, bool parse_special,
                                                    std::int64_t* n_steps) const {
    if (text.empty()) return {};
    if (lengths_.empty()) return {{text, -1}};
    std::int64_t steps = 0;
    std::vector<Match> open = longest_matches(text, parse_special, steps);
    std::vector<Match> won;
    std::vector<bool> taken(open.empty() ? 0 : text.size());
    for (const std::int32_t length : lengths_) {
        if (open.empty()) break;
        steps += std::int64_t(open.size());
        std::size_t kept = 0;
        for (Match m : open) {
            const Node& node = nodes_[std::size_t(m.node)];
            if (node.length == length) {
                // What was taken before is at least this long, so it covers an end of any overlap.
                const std::size_t end = m.at + std::size_t(length);
                if (!taken[m.at] && !taken[end - 1]) {
                    std::fill(taken.begin() + std::ptrdiff_t(m.at),
                              taken.begin() + std::ptrdiff_t(end), true);
                    won.push_back(m);
                    continue;
                }
                m.node = usable(node.shorter, parse_special);
            }
            if (m.node > 0) open[kept++] = m;
        }
        open.resize(kept);
    }
    std::sort(won.begin(), won.end(), [](const Match& a, const Match& b) { return a.at < b.at; });
    std::vector<Part> parts;
    std::size_t at = 0;
    for (const Match& m : won) {
        const Node& node = nodes_[std::size_t(m.node)];
        if (m.at > at) parts.push_back({text.substr(at, m.at - at), -1});
        parts.push_back({text.substr(m.at, std::size_t(node.length)), node.token});
        at = m.at + std::size_t(node.length);
    }
    if (at < text.size()) parts.push_back({text.substr(at), -1});
    if (n_steps) *n_steps += steps;
    return parts;
}

}  // namespace hearth::model
