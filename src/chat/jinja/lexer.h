// Template source → tokens, with Jinja's white space control already applied to the text between
// tags.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "chat/jinja/failure.h"

namespace hearth::chat::jinja {

struct Token {
    enum class Kind : std::uint8_t {
        data,            // text between tags, as it will be printed
        block_begin,     // {%
        block_end,       // %}
        variable_begin,  // {{
        variable_end,    // }}
        name,
        string,  // text: without quotes, escapes resolved
        integer,
        real,
        op,
        end,
    };
    Kind kind = Kind::end;
    std::string text;
    Pos pos;
};

// What failed and where, while there is no interpreter to say it.
struct SyntaxError {
    Pos pos;
    std::string message;
};

// The last token is `end`. Throws SyntaxError. Requires: well-formed UTF-8.
std::vector<Token> tokenize(std::string_view source);

}  // namespace hearth::chat::jinja
