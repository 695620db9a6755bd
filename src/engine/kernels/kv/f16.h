/* f16: keys and values rounded to IEEE 754 binary16, nearest even: relative 2^-11 from 2^-14 on,
 * absolute 2^-25 below it, infinite from 65520 on. */
#include "engine/kernels/attend.h"

namespace {

const hearth_kv_type kv_f16 = {
    "f16",
    kv_plain<uint16_t>::bytes,
    float_encode<uint16_t>,
    kv_plain<uint16_t>::store_key,
    kv_scores<kv_plain<uint16_t>>,
    kv_weigh<kv_plain<uint16_t>>,
    1,
};

}  // namespace
