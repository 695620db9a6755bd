#include "engine/model/text_index.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"

namespace hearth::model {
namespace {

// Both halves of a 128-bit product, folded: every bit of the input reaches every bit of the result.
std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
    __extension__ using Wide = unsigned __int128;
    const Wide product = Wide(a) * b;
    return std::uint64_t(product) ^ std::uint64_t(product >> 64);
}

std::uint64_t key_of(std::int32_t left, std::int32_t right) {
    return (std::uint64_t(std::uint32_t(left)) << 32) | std::uint32_t(right);
}

constexpr std::uint64_t kOdd = 0x9e3779b97f4a7c15u;  // 2^64 / golden ratio

}  // namespace

void TextIndex::reset(std::span<const std::string_view> texts) {
    texts_ = texts;
    slots_.assign(std::bit_ceil(std::max<std::size_t>(2 * texts.size(), 16)), Slot{});
    seed_ = random_u64();
    longest_ = 0;
}

std::uint64_t TextIndex::hash_of(std::string_view text) const {
    std::uint64_t h = seed_ ^ (text.size() * kOdd);
    const char* p = text.data();
    std::size_t left = text.size();
    for (; left >= 8; left -= 8, p += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, p, 8);
        h = mix(h ^ word, kOdd ^ seed_);
    }
    std::uint64_t tail = 0;
    if (left) std::memcpy(&tail, p, left);
    return mix(h ^ tail, kOdd + 2 * (seed_ >> 1));
}

std::size_t TextIndex::slot_of(std::uint64_t hash, std::string_view text) const {
    const std::size_t mask = slots_.size() - 1;
    std::size_t i = hash & mask;
    const auto high = std::uint32_t(hash >> 32);  // the low half chose the slot already
    while (slots_[i].id >= 0 &&
           (slots_[i].hash != high || texts_[std::size_t(slots_[i].id)] != text))
        i = (i + 1) & mask;
    return i;
}

void TextIndex::add(std::int32_t id) {
    const std::string_view text = texts_[std::size_t(id)];
    const std::uint64_t hash = hash_of(text);
    slots_[slot_of(hash, text)] = {std::uint32_t(hash >> 32), id};
    longest_ = std::max(longest_, text.size());
}

std::uint64_t TextIndex::ask(std::string_view text) const {
    const std::uint64_t hash = hash_of(text);
    if (!slots_.empty()) __builtin_prefetch(&slots_[hash & (slots_.size() - 1)]);
    return hash;
}

std::int32_t TextIndex::find(std::string_view text, std::uint64_t hash) const {
    if (slots_.empty() || text.size() > longest_) return -1;
    return slots_[slot_of(hash, text)].id;
}

void PairIndex::reset(std::size_t n) {
    slots_.assign(std::bit_ceil(std::max<std::size_t>(2 * n, 16)), Slot{});
    seed_ = random_u64() | 1;
}

std::size_t PairIndex::home_of(std::uint64_t key) const {
    return mix(key ^ seed_, kOdd) & (slots_.size() - 1);
}

std::size_t PairIndex::slot_of(std::uint64_t key) const {
    const std::size_t mask = slots_.size() - 1;
    std::size_t i = home_of(key);
    while (slots_[i].merge.rank >= 0 && slots_[i].key != key) i = (i + 1) & mask;
    return i;
}

void PairIndex::add(std::int32_t left, std::int32_t right, Merge merge) {
    CHECK(left >= 0 && right >= 0 && merge.rank >= 0);
    const std::uint64_t key = key_of(left, right);
    Slot& slot = slots_[slot_of(key)];
    if (slot.merge.rank < 0) slot = {key, merge};
}

PairIndex::Merge PairIndex::find(std::int32_t left, std::int32_t right) const {
    if (left < 0 || right < 0 || slots_.empty()) return {};
    return slots_[slot_of(key_of(left, right))].merge;
}

void PairIndex::ask(std::int32_t left, std::int32_t right) const {
    __builtin_prefetch(&slots_[home_of(key_of(left, right))], 1);
}

}  // namespace hearth::model
