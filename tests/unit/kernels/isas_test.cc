// All ISAs against each other: random verbs, shapes and bytes, extreme values among them. The
// comparison is a function of bytes, which the fuzzer calls as well.
#include "unit/kernels/isas_compare.h"

#include "unit/kernels/kernels_support.h"

namespace hearth::test {
namespace {

TEST(Isas, agree_bit_for_bit_on_random_work) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (int round = 0; round < 2000; ++round) {
        std::vector<std::uint8_t> bytes(std::size_t(random.integer(8, 3000)));
        const bool floats = round % 2 == 0;  // otherwise any bytes: NaN, infinity, subnormal
        for (std::uint8_t& byte : bytes) byte = std::uint8_t(random.integer(0, 255));
        if (floats)
            for (std::size_t i = 4; i + 4 <= bytes.size(); i += 4) {
                const float x = random.normal();
                std::memcpy(bytes.data() + i, &x, 4);
            }
        const std::string difference = compare_isas(bytes);
        ASSERT_EQ(difference, "") << "round " << round;
    }
}

}  // namespace
}  // namespace hearth::test
