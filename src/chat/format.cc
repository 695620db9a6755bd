#include "chat/format.h"

namespace hearth::chat {

Result<const Format*> find_format(const FormatModel& model) {
    for (std::size_t i = 0; i < format_table_size; ++i) {
        if (format_table[i]->matches(model)) return format_table[i];
    }
    return fail(ErrorKind::invalid_request,
                "this model's file carries no chat template; use --raw, or the completions "
                "endpoint with a prompt");
}

}  // namespace hearth::chat
