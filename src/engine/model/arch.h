// Arch: one architecture family. A file of engine/model/arch reads like the paper: config from GGUF
// keys, tensor table with shapes, forward. It exports `arch_<stem>`, named as general.architecture.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "engine/model/device.h"
#include "engine/model/gguf.h"

namespace hearth::model {

struct Config {
    std::int64_t n_vocab = 0, n_embd = 0, n_layer = 0, n_ff = 0;
    std::int64_t n_head = 0, n_head_kv = 0, head_dim = 0;
    std::int64_t n_ctx_train = 0;
    std::int64_t n_rot = 0;
    // Mixtures of experts; all 0 in dense models.
    std::int64_t n_expert = 0, n_expert_used = 0, n_ff_expert = 0;
    float rope_freq_base = 10000.0f;
    float rope_freq_scale = 1.0f;  // positions are multiplied by it (linear scaling)
    float rms_eps = 1e-5f;
};

// One step: T rows of several sequences.
struct Step {
    std::span<const TokenId> ids;              // [T]
    std::span<const Slice> slices;             // cover [0, T), in order
    std::span<const std::int64_t> logit_rows;  // rows whose logits are wanted, ascending
};

// What scratch buffers are made for.
struct LoadOptions {
    std::int64_t max_rows = 512;               // rows of a step (n_batch_tokens)
    std::int64_t max_logits = 64;              // rows with logits
    std::size_t scratch_bytes_max = SIZE_MAX;  // the memory at hand; kScratchBytesMax holds as well
    std::string packed_folder = {};            // for packed weights (packing.h); empty: none
};

// A loaded model of one family: its weights and its scratch buffers.
class Network {
  public:
    virtual ~Network() = default;
    // Logits [logit_rows.size(), V] for the step, valid until the next call. Writes the rows' keys
    // and values into kv. Requires: 1 <= T <= max_rows and logit_rows.size() <= max_logits of what
    // load was given; ids within the vocabulary.
    virtual std::span<const float> forward(Device& device, KvStore& kv, const Step& step) = 0;
};

struct Arch {
    const char* name;  // "llama"
    // Errors: not_found or invalid_request, naming the key.
    Result<Config> (*read_config)(const Gguf&);
    // Scratch is allocated here. Errors: invalid_request or not_found, naming the tensor;
    // does_not_fit where scratch would be beyond the limits.
    Result<std::unique_ptr<Network>> (*load)(const Gguf&, const Config&, Device&,
                                             const LoadOptions&);
};
extern const Arch* const arch_table[];
extern const std::size_t arch_table_size;
const Arch* find_arch(std::string_view name);  // null: unknown

}  // namespace hearth::model
