/* q4_1: 32 weights in 20 bytes: a scale, a minimum and nibbles (quant_nibble.h).
 *
 *   w[j] = d * q[j] + m,   q in 0..15
 *
 * Dot: quant_dot.h with M = -m; exact sums of q a: at most 32 * 15 * 127 < 2^24.
 * Source: GGUF tensor type 3.
 */
#include "engine/kernels/quant_nibble.h"

namespace {

const hearth_format format_q4_1 =
    nibble_format<quant_nibble</*Min*/ true, /*Fifths*/ false>>("q4_1", 3);

}  // namespace
