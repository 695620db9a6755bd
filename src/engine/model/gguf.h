// GGUF: the file format of models. Parses header, metadata and tensor table from bytes, and checks
// every offset, size, count and type before it is used; the file is hostile until parsed.
//
// The parsed file points into the bytes it was given; whoever maps them keeps them. Memory used
// while parsing is at most 4 times the file. Versions 2 and 3 (2 differs in nothing we read).
//
// A map can change while it is read. Whoever parses one copies its first head_bytes() and parses
// that copy: then no length, offset or text is read twice from what may change. Source: the GGUF
// specification, ggml/docs/gguf.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"

namespace hearth::model {

enum class GgufType : std::uint32_t {
    u8 = 0,
    i8,
    u16,
    i16,
    u32,
    i32,
    f32,
    boolean,
    string,
    array,
    u64,
    i64,
    f64
};

// An array keeps its place in the file: a vocabulary of 150,000 strings is not copied.
struct GgufArray {
    GgufType element = GgufType::u8;
    std::uint64_t count = 0;
    std::span<const std::byte> bytes;  // the packed elements, already checked to be well formed
};

using GgufValue =
    std::variant<std::uint64_t, std::int64_t, double, bool, std::string_view, GgufArray>;

struct GgufTensor {
    std::string_view name;
    std::uint32_t type = 0;           // GGUF tensor type number
    std::vector<std::int64_t> shape;  // outermost first (the file stores innermost first)
    std::span<const std::byte> bytes;
    std::int64_t n_values() const;
};

class Gguf {
  public:
    // Errors: invalid_request; the message names the key or tensor and the offset.
    // Requires: bytes outlive the result.
    static Result<Gguf> parse(std::span<const std::byte> bytes) { return parse(bytes, bytes); }
    // The same with header, metadata and tensor table read from `head` (the file's first bytes, at
    // least head_bytes() of them) and only the tensors' data pointing into `file`.
    static Result<Gguf> parse(std::span<const std::byte> head, std::span<const std::byte> file);
    // Bytes up to the end of the tensor table. Errors: as parse. Sound even while bytes change.
    static Result<std::size_t> head_bytes(std::span<const std::byte> bytes);
    // Adds the tensors of another part of the same model. Errors: invalid_request, naming the
    // tensor, if one occurs twice or there are more than kGgufTensorsMax.
    Status append(Gguf&& part);

    std::uint32_t version() const { return version_; }
    const std::vector<GgufTensor>& tensors() const { return tensors_; }
    const GgufTensor* find_tensor(std::string_view name) const;
    const GgufValue* find(std::string_view key) const;
    const std::vector<std::pair<std::string_view, GgufValue>>& metadata() const {
        return metadata_;
    }
    // Where the last pair's bytes end. Those of a pair begin 8 bytes before its key.
    const char* metadata_end() const { return metadata_end_; }

    // Typed reads. A fallback is returned as it is, whatever the bounds. Errors: not_found if
    // absent (where no fallback is given), invalid_request if of another type or outside the
    // bounds; messages name the key.
    Result<std::int64_t> integer(std::string_view key, std::int64_t low, std::int64_t high,
                                 std::optional<std::int64_t> fallback = std::nullopt) const;
    Result<double> number(std::string_view key,
                          std::optional<double> fallback = std::nullopt) const;
    Result<std::string_view> text(std::string_view key,
                                  std::optional<std::string_view> fallback = std::nullopt) const;
    Result<bool> boolean(std::string_view key, std::optional<bool> fallback = std::nullopt) const;
    Result<std::vector<std::string_view>> texts(std::string_view key) const;
    Result<std::vector<std::int64_t>> integers(std::string_view key) const;
    Result<std::vector<float>> numbers(std::string_view key) const;

  private:
    std::uint32_t version_ = 0;
    const char* metadata_end_ = nullptr;
    std::vector<std::pair<std::string_view, GgufValue>> metadata_;
    std::vector<GgufTensor> tensors_;
    std::vector<std::uint32_t> key_order_, tensor_order_;  // indices in the order of the names
};

}  // namespace hearth::model
