// Strings as Python treats them: by code points, with its white space, case, repr and float texts.
// All text is well-formed UTF-8.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hearth::chat::jinja {

bool is_ascii(std::string_view text);
bool is_space(char32_t c);
bool is_alpha(char32_t c);  // letters of any script that this file knows; see text.cc
bool is_digit(char32_t c);
bool is_upper(char32_t c);
bool is_lower(char32_t c);
char32_t to_lower(char32_t c);
char32_t to_upper(char32_t c);

std::int64_t count_code_points(std::string_view text);
// Byte offset of code point n (clamped to the end).
std::size_t offset_of(std::string_view text, std::int64_t n);
std::vector<std::string_view> split_code_points(std::string_view text);

enum class Side : std::uint8_t { both, left, right };
std::string_view strip(std::string_view text, Side side = Side::both);
std::string_view strip(std::string_view text, std::string_view chars, Side side);

std::string lower(std::string_view text);
std::string upper(std::string_view text);
std::string capitalize(std::string_view text);
std::string title(std::string_view text);  // as str.title()

// 'text' in Python's quotes and escapes.
void append_quoted(std::string& out, std::string_view text);
// "text" in JSON, as json.dumps.
void append_json_quoted(std::string& out, std::string_view text, bool ensure_ascii);
std::string real_text(double number);  // repr(float)

}  // namespace hearth::chat::jinja
