// The built-in model `demo`: its file is part of the executable (models/ORIGIN.md).
#pragma once

#include <cstddef>
#include <span>

namespace hearth::app {
std::span<const std::byte> demo_model();
}
