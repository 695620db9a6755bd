/* bf16: keys and values rounded to bfloat16, nearest even: relative 2^-9 in the whole normal range
 * of f32. */
#include "engine/kernels/attend.h"

namespace {

const hearth_kv_type kv_bf16 = {
    "bf16",
    kv_plain<bf16>::bytes,
    float_encode<bf16>,
    kv_plain<bf16>::store_key,
    kv_scores<kv_plain<bf16>>,
    kv_weigh<kv_plain<bf16>>,
    1,
};

}  // namespace
