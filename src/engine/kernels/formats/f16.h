/* f16: one weight in 2 bytes, IEEE 754 binary16, little-endian.
 *
 * Decoding is exact; encoding rounds to nearest even, values of 65520 and above become infinite.
 * Dot with f32 activations; order and error bound in float_dot.h.
 * Source: GGUF tensor type 1.
 */
#include "engine/kernels/float_dot.h"

namespace {

void f16_decode(float* out, const void* blocks, int64_t n) {
    const uint16_t* h = (const uint16_t*)blocks;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) f_store(out + i, f_load_h(h + i));
    if (i < n) f_store_n(out + i, f_load_h_n(h + i, n - i), n - i);
}
void f16_encode(void* blocks, const float* x, int64_t n) {
    uint16_t* h = (uint16_t*)blocks;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) f_store_h(h + i, f_load(x + i));
    if (i < n) f_store_h_n(h + i, f_load_n(x + i, n - i), n - i);
}

const hearth_format format_f16 = {
    "f16", 1, 1, 2, f16_decode, f16_encode, float_act_bytes, float_make_act, float_matmul<uint16_t>,
    HEARTH_ACT_F32,
};

}  // namespace
