/* bf16: keys and values rounded to bfloat16, nearest even: relative 2^-9 in the whole normal range
 * of f32. */
#include "engine/kernels/attend.h"

namespace {

void kv_bf16_store(void* row, const float* x, int64_t head_dim) {
    bf16* b = (bf16*)row;
    int64_t d = 0;
    for (; d + 16 <= head_dim; d += 16) f_store_b(b + d, f_load(x + d));
    if (d < head_dim) f_store_b_n(b + d, f_load_n(x + d, head_dim - d), head_dim - d);
}

const hearth_kv_type kv_bf16 = {
    "bf16",
    kv_plain<bf16>::bytes,
    kv_bf16_store,
    kv_scores<kv_plain<bf16>>,
    kv_weigh<kv_plain<bf16>>,
    1,
};

}  // namespace
