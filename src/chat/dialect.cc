#include "chat/dialect.h"

namespace hearth::chat {

const Dialect* find_dialect(std::string_view name) {
    for (std::size_t i = 0; i < dialect_table_size; ++i) {
        if (dialect_table[i]->name == name) return dialect_table[i];
    }
    return nullptr;
}

}  // namespace hearth::chat
