// Text operations that methods and filters share.
#pragma once

#include <string_view>
#include <vector>

#include "chat/jinja/interp.h"
#include "chat/jinja/text.h"

namespace hearth::chat::jinja {

// count < 0: all. An empty `old` is found between all code points.
Value replaced(Interp& interp, std::string_view text, std::string_view old, std::string_view fresh,
               std::int64_t count);
// As str.splitlines().
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);
// As str.split() without a separator; max < 0: all.
std::vector<std::string_view> split_words(std::string_view text, std::int64_t max);
// As str.center, ljust (Side::right: padding there) and rjust.
Value padded(Interp& interp, std::string_view text, std::int64_t width, std::string_view fill,
             Side where);

}  // namespace hearth::chat::jinja
