// Bounds of the model room. Everything that a file or a text can make us do ends at one of these.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hearth::model {

// Real files have under 200 keys and under 4,000 tensors; tables of this size still parse at once.
inline constexpr std::uint64_t kGgufKeysMax = 65'536;
inline constexpr std::uint64_t kGgufTensorsMax = 65'536;
// The specification allows keys of 65,535 bytes and tensor names of 64.
inline constexpr std::uint64_t kGgufKeyBytesMax = 65'535;
inline constexpr std::uint64_t kGgufNameBytesMax = 128;
inline constexpr std::uint32_t kGgufDimsMax = 4;  // by the specification
// Arrays of arrays appear in no known file; the walk over them is recursive and must end.
inline constexpr int kGgufNestingMax = 4;
// The specification asks for a multiple of 8; f32 data needs 4. A huge one would only hold holes.
inline constexpr std::uint64_t kGgufAlignmentMin = 8, kGgufAlignmentMax = 1u << 20;

// The largest vocabularies in use have 262,144 tokens.
inline constexpr std::uint64_t kVocabMax = 1u << 22;
// The longest special tokens in use have under 64 bytes; each byte of text may be compared this
// far.
inline constexpr std::size_t kSpecialBytesMax = 1024;
// All of them together: each byte is a node of a trie, about 80 bytes of memory. The most in use,
// some 6,000 tokens, have under 100 KB.
inline constexpr std::size_t kSpecialBytesAllMax = std::size_t(4) << 20;

// Sanity bounds of a config, each well above the largest open model (2026: n_embd 18,432, 126
// layers, 128 heads of 576, n_ff 53,248, 10 M context). Products of them stay far below 2^63.
inline constexpr std::int64_t kEmbdMax = 1 << 17, kLayerMax = 1 << 10, kHeadMax = 1 << 12;
inline constexpr std::int64_t kHeadDimMax = 1 << 10, kFfMax = 1 << 20, kCtxMax = 1 << 26;
// The largest mixtures have 512 experts, of which 10 are used.
inline constexpr std::int64_t kExpertMax = 1 << 12;
// Parts of one model: the largest come in about 200. Each is an open file and a mapping.
inline constexpr std::int64_t kShardMax = 1024;
// Buffers of one step. The largest models above need about 500 MiB for 512 rows; a small file can
// still claim a shape whose buffers are larger than any machine.
inline constexpr std::size_t kScratchBytesMax = std::size_t(4) << 30;

}  // namespace hearth::model
