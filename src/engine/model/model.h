// Model: a GGUF file made usable: config, tokenizer, chat template, and the network on a device.
// Immutable once loaded but for the network's scratch, which the engine thread owns.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "engine/model/arch.h"
#include "engine/model/packing.h"
#include "engine/model/shards.h"
#include "engine/model/tokenizer.h"

namespace hearth::model {

// Changes only when the order of some sum can change; recorded with every reproducible answer.
inline constexpr int kNumericsId = 2;

// Where a model's bytes come from: a path to map, or bytes that live as long as the program
// (`demo`).
struct ModelSource {
    std::string name;  // what the user calls it
    std::string path;  // empty: use bytes; of a model in parts, the first
    std::span<const std::byte> bytes;
    OpenFile open_file = MappedFile::open_regular;  // of the path, and of a model's other parts
};

struct ModelInfo {
    std::string name, arch, format;  // format: the commonest matrix type, e.g. "q8_0"
    std::int64_t n_params = 0;
    std::size_t weights_bytes = 0;
    // What one decoded token reads: without the experts that it does not pass, and without the
    // embedding where that is not the output matrix too.
    std::int64_t n_params_active = 0;
    std::size_t weights_bytes_active = 0;
    std::int64_t n_expert = 0, n_expert_used = 0;  // 0 in dense models
    std::string general_name;
};

// Does it hold all experts of a layer: blk.0.ffn_up_exps.weight and its like.
bool is_of_experts(const GgufTensor& tensor);

class Model {
  public:
    // Tokenizer and metadata only. Enough for tokenize and template commands. Errors: as
    // Shards::open, Gguf::parse and make_tokenizer; messages begin with the model's name.
    static Result<std::unique_ptr<Model>> open(const ModelSource& source);
    // Everything. Checks tensors against the config. Errors: as open and unchanged; invalid_request
    // for an unknown architecture or a key out of bounds, not_found or invalid_request for a
    // tensor, which is named; does_not_fit for buffers beyond the limits.
    static Result<std::unique_ptr<Model>> load(const ModelSource& source, Device& device,
                                               const LoadOptions& options);

    const ModelInfo& info() const { return info_; }
    const Gguf& gguf() const { return shards_ ? shards_->gguf() : *gguf_; }
    const Tokenizer& tokenizer() const { return *tokenizer_; }
    const Config& config() const { return config_; }  // Requires: load()ed
    const std::string& chat_template() const { return chat_template_; }
    Network& network() { return *network_; }
    // Of the file's bytes (of several files: shards.h); computed on demand. Where stop becomes true
    // before the end: empty.
    std::string sha256(const std::atomic<bool>* stop = nullptr) const;
    // Errors: invalid_request if a file was written to since it was opened.
    Status unchanged() const;
    // Packed weights: adopt() between steps, settle() before measuring. Null where none are wanted.
    Packing* packing() { return packing_.get(); }

  private:
    Model() = default;
    Status read(const ModelSource& source);
    Status build(Device& device, const LoadOptions& options);
    void count_weights();
    ModelInfo info_;
    std::optional<Shards> shards_;      // of a path
    std::span<const std::byte> bytes_;  // where there is no path
    std::unique_ptr<Gguf> gguf_;
    std::unique_ptr<Tokenizer> tokenizer_;
    Config config_;
    std::string chat_template_;
    std::unique_ptr<Network> network_;
    std::unique_ptr<Packing> packing_;  // reads shards_
};

}  // namespace hearth::model
