/* q4_0: 32 weights in 18 bytes: a scale and nibbles (quant_nibble.h).
 *
 *   w[j] = d * (q[j] - 8),   q in 0..15
 *
 * Dot: quant_dot.h, with exact sums of (q - 8) a: at most 32 * 8 * 127 < 2^24.
 * Source: GGUF tensor type 2.
 */
#include "engine/kernels/quant_nibble.h"

namespace {

const hearth_format format_q4_0 =
    nibble_format<quant_nibble</*Min*/ false, /*Fifths*/ false>>("q4_0", 2);

}  // namespace
