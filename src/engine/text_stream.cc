#include "engine/text_stream.h"

#include <algorithm>

#include "base/format.h"
#include "base/utf8.h"
#include "engine/limits.h"

namespace hearth::engine {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

// Room for the text of a token between two pushes; a longer one grows the buffer once.
constexpr std::size_t kTokenBytes = 256;

std::vector<std::uint32_t> borders_of(std::string_view stop) {
    std::vector<std::uint32_t> borders(stop.size(), 0);
    for (std::size_t i = 1; i < stop.size(); ++i) {
        std::uint32_t n = borders[i - 1];
        while (n > 0 && stop[i] != stop[n]) n = borders[n - 1];
        borders[i] = n + (stop[i] == stop[n]);
    }
    return borders;
}

}  // namespace

Status check_stops(std::span<const std::string> stops) {
    const auto bad = [](std::string message) {
        return fail(Error{
            .kind = ErrorKind::invalid_request, .message = std::move(message), .param = "stop"});
    };
    if (stops.size() > kMaxStops)
        return bad(format("{} stop strings, at most {} are allowed", stops.size(), kMaxStops));
    for (std::size_t i = 0; i < stops.size(); ++i) {
        if (stops[i].empty()) return bad(format("stop[{}] is empty; leave it out", i));
        if (stops[i].size() > kMaxStopBytes)
            return bad(format("stop[{}] has {} bytes, at most {} are allowed", i, stops[i].size(),
                              kMaxStopBytes));
        if (!is_utf8(stops[i])) return bad(format("stop[{}] is not UTF-8", i));
    }
    return {};
}

TextStream::TextStream(std::vector<std::string> stops) : stops_(std::move(stops)) {
    std::size_t longest = 0;
    for (const std::string& stop : stops_) {
        borders_.push_back(borders_of(stop));
        longest = std::max(longest, stop.size());
    }
    states_.resize(stops_.size());
    partial_.reserve(kTokenBytes);
    held_.reserve(longest + 4 * kTokenBytes);
}

// Takes text, whole code points, one byte after the other through every automaton.
bool TextStream::match(std::string_view text, std::string& out) {
    for (const char c : text) {
        held_ += c;
        std::size_t complete = 0, longest = 0;
        for (std::size_t s = 0; s < stops_.size(); ++s) {
            std::uint32_t n = states_[s];
            while (n > 0 && stops_[s][n] != c) n = borders_[s][n - 1];
            n += stops_[s][n] == c;
            states_[s] = n;
            longest = std::max<std::size_t>(longest, n);
            if (n == stops_[s].size()) complete = std::max<std::size_t>(complete, n);
        }
        if (complete > 0) {
            // Every stop string that is still growing began after the end of the shown text.
            out.append(held_, 0, held_.size() - complete);
            held_.clear();
            partial_.clear();
            return true;
        }
        if (held_.size() > longest) {
            const std::size_t n_free = held_.size() - longest;
            out.append(held_, 0, n_free);
            held_.erase(0, n_free);
        }
    }
    return false;
}

bool TextStream::push(std::string_view bytes, std::string& out) {
    partial_ += bytes;
    std::string_view rest = partial_;
    rest = rest.substr(0, utf8_complete_prefix(rest));
    const std::size_t n_taken = rest.size();
    while (!rest.empty()) {
        const std::size_t n = utf8_sequence_length(rest);
        if (match(n == 0 ? kReplacement : rest.substr(0, n), out)) return true;
        rest.remove_prefix(std::max<std::size_t>(n, 1));
    }
    partial_.erase(0, n_taken);
    return false;
}

bool TextStream::finish(std::string& out) {
    for (std::size_t i = 0; i < partial_.size(); ++i)
        if (match(kReplacement, out)) return true;
    partial_.clear();
    out += held_;
    held_.clear();
    return false;
}

}  // namespace hearth::engine
