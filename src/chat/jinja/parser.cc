#include "chat/jinja/parser.h"

#include "base/format.h"

namespace hearth::chat::jinja {

Parser::Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {
    for (const char* name : {"loop", "caller", "varargs", "kwargs", "self"}) symbol(name);
}

Ast Parser::parse() {
    ast_.body = body({});
    return std::move(ast_);
}

bool Parser::skip_op(std::string_view op) {
    if (!is_op(op)) return false;
    take();
    return true;
}

bool Parser::skip_name(std::string_view name) {
    if (!is_name(name)) return false;
    take();
    return true;
}

void Parser::expect_op(std::string_view op) {
    if (!skip_op(op)) fail_here(format("'{}'", op));
}

void Parser::expect(Kind kind, std::string_view what) {
    if (now().kind != kind) fail_here(what);
    take();
}

std::string Parser::expect_name(std::string_view what) {
    if (now().kind != Kind::name) fail_here(what);
    return take().text;
}

void Parser::fail(std::string message) const {
    throw SyntaxError{now().pos, std::move(message)};
}

void Parser::fail_here(std::string_view expected) const {
    const Token& token = now();
    std::string found;
    switch (token.kind) {
        case Kind::end:
            found = "the end of the template";
            break;
        case Kind::data:
            found = "text";
            break;
        case Kind::block_begin:
            found = "'{%'";
            break;
        case Kind::block_end:
            found = "'%}'";
            break;
        case Kind::variable_begin:
            found = "'{{'";
            break;
        case Kind::variable_end:
            found = "'}}'";
            break;
        case Kind::string:
            found = "a string";
            break;
        default:
            found = format("'{}'", token.text.substr(0, 40));
    }
    fail(format("expected {}, found {}", expected, found));
}

Symbol Parser::symbol(const std::string& name) {
    const auto [at, fresh] = symbols_.try_emplace(name, Symbol(ast_.symbols.size()));
    if (fresh) ast_.symbols.push_back(name);
    return at->second;
}

ExprPtr Parser::make(Expr::Kind kind, Pos pos) const {
    auto e = std::make_unique<Expr>();
    e->kind = kind;
    e->pos = pos;
    return e;
}

ExprPtr Parser::finish(ExprPtr e) const {
    for (const ExprPtr& kid : e->kids) {
        if (kid) e->depth = std::max(e->depth, kid->depth + 1);
    }
    for (const Argument& arg : e->args) e->depth = std::max(e->depth, arg.value->depth + 1);
    if (e->depth > kTreeDepthMax) throw SyntaxError{e->pos, "an expression nests too deeply"};
    return e;
}

Body Parser::body(std::initializer_list<std::string_view> ends) {
    const Nest nest(*this);
    Body out;
    for (;;) {
        const Pos pos = now().pos;
        if (now().kind == Kind::data) {
            out.push_back({pos, TextStmt{take().text}});
        } else if (now().kind == Kind::variable_begin) {
            take();
            out.push_back({pos, OutputStmt{tuple(true, false, false)}});
            expect(Kind::variable_end, "'}}'");
        } else if (now().kind == Kind::block_begin) {
            take();
            for (const auto end : ends) {
                if (is_name(end)) return out;
            }
            statement(out);
            expect(Kind::block_end, "'%}'");
        } else if (now().kind == Kind::end && ends.size() == 0) {
            return out;
        } else {
            fail_here(ends.size() == 0 ? "text or a tag" : format("'{}'", *(ends.end() - 1)));
        }
    }
}

// The body behind a block's own tag, up to one of `ends`.
Body Parser::block_body(std::initializer_list<std::string_view> ends) {
    skip_op(":");
    expect(Kind::block_end, "'%}'");
    return body(ends);
}

void Parser::statement(Body& to) {
    const Pos pos = now().pos;
    const std::string tag = expect_name("the name of a tag");
    Stmt out{pos, BreakStmt{}};
    if (tag == "set") {
        out = parse_set();
    } else if (tag == "if") {
        out = parse_if();
    } else if (tag == "for") {
        out = parse_for();
    } else if (tag == "macro") {
        out = parse_macro();
    } else if (tag == "call") {
        out = parse_call_block();
    } else if (tag == "filter") {
        out = parse_filter_block();
    } else if (tag == "with") {
        out = parse_with();
    } else if (tag == "generation") {
        out = parse_scope("endgeneration");
    } else if (tag == "block") {
        expect_name("the name of the block");
        skip_name("scoped");
        skip_name("required");
        out = parse_scope("endblock");
        if (now().kind == Kind::name) take();  // the name may be repeated
    } else if (tag == "autoescape") {
        expression();  // nothing is escaped here, as in the reference's setting
        out = parse_scope("endautoescape");
    } else if (tag == "print") {
        to.push_back({pos, OutputStmt{expression()}});
        while (skip_op(",")) to.push_back({pos, OutputStmt{expression()}});
        return;
    } else if (tag == "break" || tag == "continue") {
        if (n_loops_ == 0) throw SyntaxError{pos, format("'{}' outside of a loop", tag)};
        if (tag == "continue") out.what = ContinueStmt{};
    } else if (tag == "include" || tag == "import" || tag == "from" || tag == "extends") {
        throw SyntaxError{pos, format("'{}' needs other templates; a model has only one", tag)};
    } else {
        throw SyntaxError{pos, format("unknown tag '{}'", tag.substr(0, 40))};
    }
    out.pos = pos;
    to.push_back(std::move(out));
}

Stmt Parser::parse_set() {
    ExprPtr target = assign_target(false);
    if (skip_op("=")) return {{}, SetStmt{std::move(target), tuple(true, false, false)}};
    ExprPtr filter;
    if (is_op("|")) filter = filter_chain(nullptr, false);
    Body inner = block_body({"endset"});
    take();
    return {{}, SetBlockStmt{std::move(target), std::move(filter), std::move(inner)}};
}

Stmt Parser::parse_if() {
    IfStmt out;
    for (;;) {
        ExprPtr condition = tuple(false, false, false);
        Body inner = block_body({"elif", "else", "endif"});
        out.branches.push_back({std::move(condition), std::move(inner)});
        const std::string end = take().text;
        if (end == "elif") continue;
        if (end == "else") {
            out.otherwise = block_body({"endif"});
            take();
        }
        return {{}, std::move(out)};
    }
}

Stmt Parser::parse_for() {
    ForStmt out;
    out.target = assign_target(true);
    if (!skip_name("in")) fail_here("'in'");
    out.iterable = tuple(false, true, false);
    if (skip_name("if")) out.condition = expression();
    out.recursive = skip_name("recursive");
    ++n_loops_;
    out.body = block_body({"endfor", "else"});
    --n_loops_;
    if (take().text == "else") {
        out.otherwise = block_body({"endfor"});
        take();
    }
    return {{}, std::move(out)};
}

void Parser::parameters(MacroStmt& macro) {
    expect_op("(");
    while (!is_op(")")) {
        if (!macro.parameters.empty()) expect_op(",");
        if (is_op(")")) break;
        const std::string name = expect_name("the name of a parameter");
        MacroStmt::Parameter parameter{symbol(name), name, nullptr};
        if (skip_op("=")) {
            parameter.fallback = expression();
        } else if (!macro.parameters.empty() && macro.parameters.back().fallback) {
            fail("a parameter without default follows one with a default");
        }
        macro.parameters.push_back(std::move(parameter));
    }
    take();
}

Body Parser::macro_body(MacroStmt& macro, std::string_view end) {
    macros_.push_back(&macro);
    const int n_loops = std::exchange(n_loops_, 0);  // a macro cannot break its caller's loop
    Body out = block_body({end});
    n_loops_ = n_loops;
    macros_.pop_back();
    take();
    return out;
}

Stmt Parser::parse_macro() {
    MacroStmt macro;
    macro.name = expect_name("the name of the macro");
    macro.symbol = symbol(macro.name);
    parameters(macro);
    macro.body = macro_body(macro, "endmacro");
    if (now().kind == Kind::name) take();  // {% endmacro name %}
    return {{}, std::move(macro)};
}

Stmt Parser::parse_call_block() {
    MacroStmt caller;
    caller.name = "caller";
    caller.symbol = kCaller;
    if (is_op("(")) parameters(caller);
    ExprPtr call = expression();
    if (call->kind != Expr::Kind::call) fail("expected a call");
    caller.body = macro_body(caller, "endcall");
    return {{}, CallBlockStmt{std::move(call), std::move(caller)}};
}

Stmt Parser::parse_filter_block() {
    ExprPtr filter = filter_chain(nullptr, true);
    Body inner = block_body({"endfilter"});
    take();
    return {{}, FilterBlockStmt{std::move(filter), std::move(inner)}};
}

Stmt Parser::parse_with() {
    WithStmt out;
    while (now().kind != Kind::block_end) {
        if (!out.assignments.empty()) expect_op(",");
        ExprPtr target = assign_target(true);
        expect_op("=");
        out.assignments.push_back({std::move(target), expression()});
    }
    out.body = block_body({"endwith"});
    take();
    return {{}, std::move(out)};
}

Stmt Parser::parse_scope(std::string_view end) {
    WithStmt out;
    out.body = block_body({end});
    take();
    return {{}, std::move(out)};
}

// names_only: a loop or with target; else a set target, which may be an attribute of a namespace.
ExprPtr Parser::assign_target(bool names_only) {
    const Nest nest(*this);
    const Pos pos = now().pos;
    std::vector<ExprPtr> parts;
    bool comma = false;
    do {
        if (comma && (is_op("=") || is_op(")") || is_name("in"))) break;  // a comma at the end
        if (skip_op("(")) {
            parts.push_back(assign_target(names_only));
            expect_op(")");
        } else {
            const Pos at = now().pos;
            const std::string name = expect_name("a name to assign to");
            static constexpr std::string_view kConstants[] = {"true", "false", "none",
                                                              "True", "False", "None"};
            for (const auto constant : kConstants) {
                if (name == constant) throw SyntaxError{at, format("cannot assign to '{}'", name)};
            }
            ExprPtr part = make(Expr::Kind::name, at);
            part->symbol = symbol(name);
            if (!names_only && skip_op(".")) {
                ExprPtr attribute = make(Expr::Kind::attribute, at);
                attribute->text = expect_name("the name of an attribute");
                attribute->kids.push_back(std::move(part));
                part = finish(std::move(attribute));
            }
            parts.push_back(std::move(part));
        }
        comma = is_op(",");
    } while (skip_op(","));
    if (parts.size() == 1 && !comma) return std::move(parts[0]);
    ExprPtr out = make(Expr::Kind::tuple, pos);
    out->kids = std::move(parts);
    return finish(std::move(out));
}

}  // namespace hearth::chat::jinja
