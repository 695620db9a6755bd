/* q5_0: 32 weights in 22 bytes: a scale, fifth bits and nibbles (quant_nibble.h).
 *
 *   w[j] = d * (q[j] - 16),   q in 0..31
 *
 * Dot: quant_dot.h, with exact sums of (q - 16) a: at most 32 * 16 * 127 < 2^24.
 * Source: GGUF tensor type 6.
 */
#include "engine/kernels/quant_nibble.h"

namespace {

const hearth_format format_q5_0 =
    nibble_format<quant_nibble</*Min*/ false, /*Fifths*/ true>>("q5_0", 6);

}  // namespace
