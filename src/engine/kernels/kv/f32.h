/* f32: keys and values as they were computed. */
#include "engine/kernels/attend.h"

namespace {

void kv_f32_store(void* row, const float* x, int64_t head_dim) {
    __builtin_memcpy(row, x, size_t(head_dim) * sizeof(float));
}

const hearth_kv_type kv_f32 = {
    "f32",
    kv_plain<float>::bytes,
    kv_f32_store,
    kv_scores<kv_plain<float>>,
    kv_weigh<kv_plain<float>>,
    1,
};

}  // namespace
