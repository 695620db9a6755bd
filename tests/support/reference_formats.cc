#include "support/reference_formats.h"

#include <cmath>
#include <cstring>
#include <stdexcept>

#include "support/tiny_model.h"

namespace hearth::test {
namespace {

using Bytes = const unsigned char*;

double f16_at(Bytes p) {
    return from_f16(std::uint16_t(p[0] | p[1] << 8));
}
double f32_at(Bytes p) {
    float f = 0;
    std::memcpy(&f, p, 4);
    return f;
}
double bf16_at(Bytes p) {
    const std::uint32_t bits = std::uint32_t(p[0] | p[1] << 8) << 16;
    float f = 0;
    std::memcpy(&f, &bits, 4);
    return f;
}

// Weights 0..15 of a block of 32 are the low nibbles of 16 bytes, weights 16..31 the high ones.
int nibble_of_32(Bytes nibbles, int i) {
    return i < 16 ? nibbles[i] & 15 : nibbles[i - 16] >> 4;
}
int fifth_bit(Bytes bits, int i) {
    return (bits[i / 8] >> i % 8 & 1) * 16;
}

// q4_K and q5_K: sub-block j of 32 has a scale and a minimum of 6 bits each, in 12 bytes:
//   bytes 0..3   low 6 bits: scales 0..3;  high 2 bits: high bits of scales 4..7
//   bytes 4..7   low 6 bits: minima 0..3;  high 2 bits: high bits of minima 4..7
//   bytes 8..11  low nibbles: low bits of scales 4..7;  high nibbles: of minima 4..7
int k_scale(Bytes packed, int j) {
    return j < 4 ? packed[j] & 63 : (packed[j + 4] & 15) + (packed[j - 4] >> 6) * 16;
}
int k_minimum(Bytes packed, int j) {
    return j < 4 ? packed[j + 4] & 63 : (packed[j + 4] >> 4) + (packed[j] >> 6) * 16;
}
// Each 64 weights share 32 bytes: the first 32 the low nibbles, the others the high ones.
int nibble_of_k(Bytes nibbles, int i) {
    const int byte = nibbles[i / 64 * 32 + i % 32];
    return i % 64 < 32 ? byte & 15 : byte >> 4;
}

double q6_k_at(Bytes block, int i) {
    const Bytes low = block, high = block + 128, scales = block + 192;
    const int half = i / 128, quarter = i % 128 / 32, at = i % 32;
    // Quarters 0 and 2 share 32 bytes of low bits, as do 1 and 3; each byte of high bits has two
    // for every quarter.
    const int byte = low[half * 64 + quarter % 2 * 32 + at];
    const int q =
        (quarter < 2 ? byte & 15 : byte >> 4) + (high[half * 32 + at] >> 2 * quarter & 3) * 16;
    const int scale = static_cast<signed char>(scales[i / 16]);
    return f16_at(block + 208) * scale * (q - 32);
}

double value_at(Bytes block, std::uint32_t type, int i) {
    switch (type) {
        case kF32:
            return f32_at(block);
        case kF16:
            return f16_at(block);
        case kBF16:
            return bf16_at(block);
        case kQ4_0:
            return f16_at(block) * (nibble_of_32(block + 2, i) - 8);
        case kQ4_1:
            return f16_at(block) * nibble_of_32(block + 4, i) + f16_at(block + 2);
        case kQ5_0:
            return f16_at(block) * (nibble_of_32(block + 6, i) + fifth_bit(block + 2, i) - 16);
        case kQ5_1:
            return f16_at(block) * (nibble_of_32(block + 8, i) + fifth_bit(block + 4, i)) +
                   f16_at(block + 2);
        case kQ8_0:
            return f16_at(block) * static_cast<signed char>(block[2 + i]);
        case kQ4_K:
            return f16_at(block) * k_scale(block + 4, i / 32) * nibble_of_k(block + 16, i) -
                   f16_at(block + 2) * k_minimum(block + 4, i / 32);
        case kQ5_K: {
            const int high = (block[16 + i % 32] >> i / 32 & 1) * 16;
            return f16_at(block) * k_scale(block + 4, i / 32) *
                       (nibble_of_k(block + 48, i) + high) -
                   f16_at(block + 2) * k_minimum(block + 4, i / 32);
        }
        case kQ6_K:
            return q6_k_at(block, i);
        default:
            throw std::runtime_error("no such type");
    }
}

}  // namespace

std::vector<double> values_of(const model::GgufTensor& tensor) {
    const BlockShape block = block_shape(tensor.type);  // throws for an unknown type
    const auto* bytes = reinterpret_cast<const unsigned char*>(tensor.bytes.data());
    std::vector<double> out(std::size_t(tensor.n_values()));
    for (std::size_t i = 0; i < out.size(); ++i)
        out[i] = value_at(bytes + std::int64_t(i) / block.n * block.bytes, tensor.type,
                          int(std::int64_t(i) % block.n));
    return out;
}

bool is_quantized(std::uint32_t type) {
    return type != kF32 && type != kF16 && type != kBF16;
}

}  // namespace hearth::test
