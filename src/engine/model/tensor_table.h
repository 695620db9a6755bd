// TensorTable: a file's tensors for an architecture that says which it expects: each is checked
// against its shape before it is used, and none of the file may be left out. ArchKeys: the
// architecture's own keys, bounded.
//
// A tensor that a file has and we do not use would change every answer without a word, so it is an
// error: the family is not the one that the file names, or a variant of it that we do not compute.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "engine/model/arch.h"

namespace hearth::model {

class TensorTable {
  public:
    TensorTable(const Gguf& gguf, Device& device) : gguf_(gguf), device_(device) {}

    // Loads a tensor of exactly that shape. `from` names the keys that the shape comes from.
    // Errors: not_found if absent; invalid_request, naming the tensor, for another shape or a type
    // without kernels.
    Status take(Weight& out, const std::string& name, const std::vector<std::int64_t>& shape,
                std::string_view from);
    bool has(std::string_view name) const { return gguf_.find_tensor(name) != nullptr; }
    // The values of an f32 vector, which stay on the host. Requires: has(name).
    Result<std::vector<float>> take_numbers(const std::string& name, std::int64_t n,
                                            std::string_view from);
    // Errors: invalid_request, naming the first tensor that nobody took.
    Status all_taken(std::string_view arch) const;

  private:
    Result<const GgufTensor*> expect(const std::string& name,
                                     const std::vector<std::int64_t>& shape, std::string_view from);
    const Gguf& gguf_;
    Device& device_;
    std::unordered_set<const GgufTensor*> taken_;
};

// Keys of one architecture: "<arch>.<name>".
class ArchKeys {
  public:
    ArchKeys(const Gguf& gguf, std::string arch) : gguf_(gguf), arch_(std::move(arch)) {}
    std::string key(std::string_view name) const { return arch_ + "." + std::string(name); }
    bool has(std::string_view name) const { return gguf_.find(key(name)) != nullptr; }
    // From 1 (or low) to high; a fallback is returned as it is. Errors: as Gguf::integer.
    Result<std::int64_t> count(std::string_view name, std::int64_t high,
                               std::optional<std::int64_t> fallback = std::nullopt,
                               std::int64_t low = 1) const;
    // Finite and above zero. Errors: as Gguf::number.
    Result<float> positive(std::string_view name,
                           std::optional<double> fallback = std::nullopt) const;
    Result<std::string_view> text(std::string_view name, std::string_view fallback) const;

  private:
    const Gguf& gguf_;
    std::string arch_;
};

}  // namespace hearth::model
