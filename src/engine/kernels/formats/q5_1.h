/* q5_1: 32 weights in 24 bytes: a scale, a minimum, fifth bits and nibbles (quant_nibble.h).
 *
 *   w[j] = d * q[j] + m,   q in 0..31
 *
 * Dot: quant_dot.h with M = -m; exact sums of q a: at most 32 * 31 * 127 < 2^24.
 * Source: GGUF tensor type 7.
 */
#include "engine/kernels/quant_nibble.h"

namespace {

const hearth_format format_q5_1 =
    nibble_format<quant_nibble</*Min*/ true, /*Fifths*/ true>>("q5_1", 7);

}  // namespace
