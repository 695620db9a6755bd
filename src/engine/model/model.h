// Model: a GGUF file made usable: config, tokenizer, chat template, and the network on a device.
// Immutable once loaded but for the network's scratch, which the engine thread owns.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/file.h"
#include "engine/model/arch.h"
#include "engine/model/tokenizer.h"

namespace hearth::model {

// Changes only when the order of some sum can change; recorded with every reproducible answer.
inline constexpr int kNumericsId = 1;

// Where a model's bytes come from: a path to map, or bytes that live as long as the program
// (`demo`).
struct ModelSource {
    std::string name;  // what the user calls it
    std::string path;  // empty: use bytes
    std::span<const std::byte> bytes;
};

struct LoadOptions {
    std::int64_t max_rows = 512;  // rows of a step (n_batch_tokens)
    std::int64_t max_logits = 64;
};

struct ModelInfo {
    std::string name, arch, format;  // format: the commonest matrix type, e.g. "q8_0"
    std::int64_t n_params = 0;
    std::size_t weights_bytes = 0;
    std::string general_name;
};

class Model {
  public:
    // Tokenizer and metadata only. Enough for tokenize and template commands.
    static Result<std::unique_ptr<Model>> open(const ModelSource& source);
    // Everything. Checks tensors against the config; messages name the tensor.
    static Result<std::unique_ptr<Model>> load(const ModelSource& source, Device& device,
                                               const LoadOptions& options);

    const ModelInfo& info() const { return info_; }
    const Gguf& gguf() const { return *gguf_; }
    const Tokenizer& tokenizer() const { return *tokenizer_; }
    const Config& config() const { return config_; }  // Requires: load()ed
    const std::string& chat_template() const { return chat_template_; }
    Network& network() { return *network_; }
    std::string sha256() const;  // of the file's bytes; computed on demand

  private:
    Model() = default;
    Status read(const ModelSource& source);
    Status build(Device& device, const LoadOptions& options);
    ModelInfo info_;
    MappedFile map_;
    std::span<const std::byte> bytes_;
    std::unique_ptr<Gguf> gguf_;
    std::unique_ptr<Tokenizer> tokenizer_;
    Config config_;
    std::string chat_template_;
    std::unique_ptr<Network> network_;
};

}  // namespace hearth::model
