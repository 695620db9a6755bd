// A Jinja evaluator for chat templates: the language as Jinja2 3.1 has it, set up as Hugging Face
// transformers sets it up (immutable sandbox, trim_blocks, lstrip_blocks, loop controls, a
// generation tag, tojson without HTML escapes, raise_exception, strftime_now).
//
//   source → lexer.cc (tokens) → parser*.cc (ast.h) → exec.cc, eval.cc (tree walk over value.h)
//
// Templates come with downloaded models, so they are hostile: parsing bounds the tree's depth,
// rendering counts steps, depth, and bytes made. There is no loader (include, import and extends
// are refused), no access to anything but the context, and no clock but the one given.
//
// What differs from the reference: map, select and their kin give lists (not generators), integers have
// 64 bits, text marked safe stays marked through +, trim and strip only, and case mapping covers Latin,
// Greek, Cyrillic and Armenian.
//
// Thread: any; a Template is immutable and may be rendered by several threads at once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace hearth::chat::jinja {

struct Ast;

struct Limits {
    std::int64_t steps = 20'000'000;  // nodes evaluated; a long chat with tools takes about 100,000
    std::int64_t depth = 400;         // nested evaluations; about 1 KB of stack each
    std::size_t output_bytes = 64u << 20;  // as one string of a request
    std::size_t made_bytes = 1024u << 20;  // all strings and lists ever made, so also those alive
};

struct RenderOptions {
    std::int64_t now_unix_s = 0;  // what strftime_now shows, in UTC
    Limits limits = {};
};

class Template {
  public:
    explicit Template(std::shared_ptr<const Ast> ast) : ast_(std::move(ast)) {}
    const Ast& ast() const { return *ast_; }

  private:
    std::shared_ptr<const Ast> ast_;  // shared: copies of a model's format use one tree
};

inline constexpr std::size_t kSourceBytesMax = 1u << 20;  // the largest known template has 60 KB

// Errors: invalid_request, "LINE:COLUMN: template error: …".
Result<Template> parse(std::string_view source);

// context: an object; each of its keys becomes a variable.
// Errors: invalid_request, "LINE:COLUMN: template error: …", or "LINE:COLUMN: the template refuses:
// …" where the template itself called raise_exception.
Result<std::string> render(const Template&, const Json& context, const RenderOptions&);

}  // namespace hearth::chat::jinja
