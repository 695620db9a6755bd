#include "chat/format.h"

namespace hearth::chat {

Result<const Format*> find_format(const FormatModel& model) {
    for (std::size_t i = 0; i < format_table_size; ++i) {
        if (format_table[i]->matches(model)) return format_table[i];
    }
    return fail(ErrorKind::invalid_request,
                "this model's file carries no chat template, so that it can only continue a text "
                "(`hearth run MODEL --raw PROMPT`); for messages choose a model made for chat");
}

}  // namespace hearth::chat
