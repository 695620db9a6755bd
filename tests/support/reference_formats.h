// Values of a tensor in float64, read from its bytes by the layout of each format alone.
//
// Each value is decoded by itself, from the definition of its position; nothing is shared with the
// kernels, which decode whole blocks and never look at one value.
#pragma once

#include <string>
#include <vector>

#include "engine/model/gguf.h"

namespace hearth::test {

// Throws for a type that is not known here.
std::vector<double> values_of(const model::GgufTensor& tensor);
bool is_quantized(std::uint32_t type);

}  // namespace hearth::test
