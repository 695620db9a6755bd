/* f16: one weight in 2 bytes, IEEE 754 binary16, little-endian.
 *
 * Decoding is exact; encoding rounds to nearest even, values of 65520 and above become infinite.
 * Dot with f32 activations; order and error bound in float_dot.h.
 * Source: GGUF tensor type 1.
 */
#include "engine/kernels/float_dot.h"

namespace {

const hearth_format format_f16 = {
    "f16",
    1,
    1,
    2,
    float_decode<uint16_t>,
    float_encode<uint16_t>,
    float_act_bytes,
    float_make_act,
    float_matmul<widened<uint16_t>>,
    HEARTH_ACT_F32,
    nullptr,
    nullptr,
    0,
};

}  // namespace
