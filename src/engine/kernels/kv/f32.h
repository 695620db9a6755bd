/* f32: keys and values as they were computed. */
#include "engine/kernels/attend.h"

namespace {

void kv_f32_store(void* row, const float* x, int64_t head_dim) {
    __builtin_memcpy(row, x, size_t(head_dim) * sizeof(float));
}
void kv_f32_store_key(void* block, int64_t at, const float* x, int64_t head_dim) {
    for (int64_t d = 0; d < head_dim; ++d) ((float*)block)[d * HEARTH_KV_KEYS + at] = x[d];
}

const hearth_kv_type kv_f32 = {
    "f32",
    kv_plain<float>::bytes,
    kv_f32_store,
    kv_f32_store_key,
    kv_scores<kv_plain<float>>,
    kv_weigh<kv_plain<float>>,
    1,
};

}  // namespace
