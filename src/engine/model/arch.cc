#include "engine/model/arch.h"

#include <string_view>

namespace hearth::model {

const Arch* find_arch(std::string_view name) {
    for (std::size_t i = 0; i < arch_table_size; ++i)
        if (name == arch_table[i]->name) return arch_table[i];
    return nullptr;
}

}  // namespace hearth::model
