/* bf16: one weight in 2 bytes, the upper half of an IEEE 754 binary32, little-endian.
 *
 * Decoding is exact; encoding rounds to nearest even, values above the largest bf16 and half a step
 * (3.3961e38) become infinite. Dot with f32 activations, each weight widened exactly; order and
 * error bound in float_dot.h. Where the ISA has a dot of bf16 pairs, activations are rounded to
 * bf16 instead (bf16_pairs.h). Source: GGUF tensor type 30.
 */
#include "engine/kernels/float_dot.h"
#ifdef __AVX512BF16__
#include "engine/kernels/bf16_pairs.h"
#endif

namespace {

const hearth_format format_bf16 = {
    "bf16",
    30,
    1,
    2,
    float_decode<bf16>,
    float_encode<bf16>,
#ifdef __AVX512BF16__
    pair_act_bytes,
    float_encode<bf16>,
    float_matmul<bf16_pairs>,
    HEARTH_ACT_BF16,
#else
    float_act_bytes,
    float_make_act,
    float_matmul<widened<bf16>>,
    HEARTH_ACT_F32,
#endif
    nullptr,
    nullptr,
    0,
};

}  // namespace
