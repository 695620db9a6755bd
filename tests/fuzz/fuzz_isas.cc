// All ISAs against the scalar oracle: any verb, any shape, any bytes.
#include <cstdlib>

#include "../unit/kernels/isas_compare.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (!hearth::test::compare_isas({data, size}).empty()) std::abort();
    return 0;
}
