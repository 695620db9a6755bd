/* f16: keys and values rounded to IEEE 754 binary16, nearest even: relative 2^-11 from 2^-14 on,
 * absolute 2^-25 below it, infinite from 65520 on. */
#include "engine/kernels/attend.h"

namespace {

void kv_f16_store(void* row, const float* x, int64_t head_dim) {
    uint16_t* h = (uint16_t*)row;
    int64_t d = 0;
    for (; d + 16 <= head_dim; d += 16) f_store_h(h + d, f_load(x + d));
    if (d < head_dim) f_store_h_n(h + d, f_load_n(x + d, head_dim - d), head_dim - d);
}

const hearth_kv_type kv_f16 = {
    "f16",
    kv_plain<uint16_t>::bytes,
    kv_f16_store,
    kv_scores<kv_plain<uint16_t>>,
    kv_weigh<kv_plain<uint16_t>>,
    1,
};

}  // namespace
