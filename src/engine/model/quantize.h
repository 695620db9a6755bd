// quantize: a model file written again with its matrices in another format.
//
// Metadata are copied byte for byte but for general.file_type and general.quantization_version;
// vectors, norms and routers stay as they are. A row that is no multiple of a format's block takes
// the nearest format with blocks of 32 (q4_k → q5_0, q5_k → q5_1, q6_k → q8_0), else f16, as the
// usual quantizers write them. The encoders are the formats' own (engine/kernels/formats).
//
// Thread: the caller's, with the pool's help; rows are encoded independently.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "engine/model/gguf.h"

namespace hearth::model {

// One kind of file: "q4_k_m" is q4_k with more bits where they matter most.
struct QuantizeType {
    const char* name;      // lower case: "q4_k_m"
    std::uint32_t tensor;  // GGUF tensor type of most matrices
    std::uint32_t more;    // of the output head and, with `mixed`, of some value and down matrices
    bool mixed;
    std::int64_t file_type;  // general.file_type
};
// nullptr for an unknown name; upper and lower case are the same.
const QuantizeType* find_quantize_type(std::string_view name);
std::string quantize_type_names();  // "f32, f16, …"

struct QuantizeReport {
    std::int64_t n_tensors = 0, n_quantized = 0;
    std::size_t bytes_in = 0, bytes_out = 0;
    std::vector<std::string>
        fallbacks;  // "blk.0.ffn_down.weight: rows of 172, f16 instead of q8_0"
};

// progress: tensors done and all; called between tensors.
// Errors: invalid_request for a source format without kernels, for a weight that is no finite
// number or becomes none in the format (naming tensor, place and value), for an out_path that names
// something else than a file, or what writing says. The file appears under its name only when it is
// complete; after an error nothing of it is left, and what had the name before still has it.
Result<QuantizeReport> quantize(const Gguf& in, const std::string& out_path,
                                const QuantizeType& type, ThreadPool& pool,
                                const std::function<void(std::int64_t, std::int64_t)>& progress);

}  // namespace hearth::model
