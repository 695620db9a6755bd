// The tree of a parsed template. Names of variables are numbers (symbols), resolved once.
//
// Invariant: no path from the root is longer than kTreeDepthMax, so that code may recurse over it.
#pragma once

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "chat/jinja/value.h"

namespace hearth::chat::jinja {

inline constexpr int kTreeDepthMax = 250;  // known templates reach about 30

using Symbol = int;
// Names with a meaning of their own; the parser gives them these numbers.
inline constexpr Symbol kLoop = 0, kCaller = 1, kVarargs = 2, kKwargs = 3, kSelf = 4;

enum class Op : std::uint8_t {
    add,
    sub,
    mul,
    div,
    floor_div,
    mod,
    pow,
    eq,
    ne,
    lt,
    le,
    gt,
    ge,
    in,
    not_in,
    neg,
    plus,
    not_,
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Argument {
    enum class Kind : std::uint8_t { positional, named, star, star_star };
    Kind kind = Kind::positional;
    std::string name;  // named only
    ExprPtr value;
};

struct Expr {
    enum class Kind : std::uint8_t {
        constant,   // value
        name,       // symbol
        tuple,      // kids
        list,       // kids
        dict,       // kids: key, value, key, value, …
        unary,      // op kids[0]
        binary,     // kids[0] op kids[1]
        compare,    // kids[0] ops[0] kids[1] ops[1] kids[2] …
        both,       // kids[0] and kids[1] and …
        either,     // kids[0] or kids[1] or …
        concat,     // kids[0] ~ kids[1] ~ …
        choice,     // kids[0] if kids[1] else kids[2]; kids[2] may be null
        attribute,  // kids[0].text
        subscript,  // kids[0][kids[1]]
        slice,      // kids[0]:kids[1]:kids[2], each may be null; only as kids[1] of a subscript
        call,       // kids[0](args)
        filter,     // kids[0]|text(args); kids[0] is null at the head of a filter block
        test,       // kids[0] is text(args)
    };
    Kind kind = Kind::constant;
    Pos pos;
    int depth = 1;
    Op op = Op::add;
    Symbol symbol = 0;
    Value value;
    std::string text;
    std::vector<Op> ops;
    std::vector<ExprPtr> kids;
    std::vector<Argument> args;
};

struct Stmt;
using Body = std::vector<Stmt>;

struct TextStmt {
    std::string text;
};
struct OutputStmt {
    ExprPtr value;
};
struct SetStmt {
    ExprPtr target;  // name, tuple of targets, or attribute of a namespace
    ExprPtr value;
};
struct SetBlockStmt {
    ExprPtr target;
    ExprPtr filter;  // chain of filters whose innermost input is null; may be null
    Body body;
};
struct IfStmt {
    struct Branch {
        ExprPtr condition;
        Body body;
    };
    std::vector<Branch> branches;
    Body otherwise;
};
struct ForStmt {
    ExprPtr target, iterable, condition;  // condition may be null
    bool recursive = false;
    Body body, otherwise;
};
struct MacroStmt {
    struct Parameter {
        Symbol symbol;
        std::string name;
        ExprPtr fallback;  // may be null
    };
    std::string name;  // "caller" for the body of a call block
    Symbol symbol = 0;
    std::vector<Parameter> parameters;
    bool uses_varargs = false, uses_kwargs = false, uses_caller = false;
    Body body;
};
struct CallBlockStmt {
    ExprPtr call;
    MacroStmt caller;
};
struct FilterBlockStmt {
    ExprPtr filter;
    Body body;
};
struct WithStmt {
    std::vector<SetStmt> assignments;
    Body body;  // block, generation and autoescape too: a scope without assignments
};
struct BreakStmt {};
struct ContinueStmt {};

struct Stmt {
    Pos pos;
    std::variant<TextStmt, OutputStmt, SetStmt, SetBlockStmt, IfStmt, ForStmt, MacroStmt,
                 CallBlockStmt, FilterBlockStmt, WithStmt, BreakStmt, ContinueStmt>
        what;
};

struct Ast {
    Body body;
    std::vector<std::string> symbols;  // names by number
};

}  // namespace hearth::chat::jinja
