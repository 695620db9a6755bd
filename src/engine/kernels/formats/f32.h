/* f32: one weight in 4 bytes, IEEE 754 binary32, little-endian.
 *
 * Dot with f32 activations; order and error bound in float_dot.h.
 * Source: GGUF tensor type 0.
 */
#include "engine/kernels/float_dot.h"

namespace {

void f32_decode(float* out, const void* blocks, int64_t n) {
    __builtin_memcpy(out, blocks, size_t(n) * sizeof(float));
}
void f32_encode(void* blocks, const float* x, int64_t n) {
    __builtin_memcpy(blocks, x, size_t(n) * sizeof(float));
}

const hearth_format format_f32 = {
    "f32",
    0,
    1,
    4,
    f32_decode,
    f32_encode,
    float_act_bytes,
    float_make_act,
    float_matmul<widened<float>>,
    HEARTH_ACT_F32,
    nullptr,
    nullptr,
    0,
};

}  // namespace
