#include <charconv>

#include "base/format.h"
#include "chat/jinja/parser.h"

namespace hearth::chat::jinja {

ExprPtr Parser::expression(bool with_choice) {
    const Nest nest(*this);
    return with_choice ? choice() : either();
}

ExprPtr Parser::choice() {
    ExprPtr e = either();
    while (is_name("if")) {
        ExprPtr out = make(Expr::Kind::choice, take().pos);
        out->kids.push_back(std::move(e));
        out->kids.push_back(either());
        out->kids.push_back(skip_name("else") ? expression() : nullptr);
        e = finish(std::move(out));
    }
    return e;
}

ExprPtr Parser::either() {
    ExprPtr e = both();
    if (!is_name("or")) return e;
    ExprPtr out = make(Expr::Kind::either, now().pos);
    out->kids.push_back(std::move(e));
    while (skip_name("or")) out->kids.push_back(both());
    return finish(std::move(out));
}

ExprPtr Parser::both() {
    ExprPtr e = negation();
    if (!is_name("and")) return e;
    ExprPtr out = make(Expr::Kind::both, now().pos);
    out->kids.push_back(std::move(e));
    while (skip_name("and")) out->kids.push_back(negation());
    return finish(std::move(out));
}

ExprPtr Parser::negation() {
    if (!is_name("not")) return comparison();
    const Nest nest(*this);
    ExprPtr out = make(Expr::Kind::unary, take().pos);
    out->op = Op::not_;
    out->kids.push_back(negation());
    return finish(std::move(out));
}

ExprPtr Parser::comparison() {
    static constexpr std::pair<std::string_view, Op> kOps[] = {{"==", Op::eq}, {"!=", Op::ne},
                                                               {"<=", Op::le}, {">=", Op::ge},
                                                               {"<", Op::lt},  {">", Op::gt}};
    ExprPtr e = sum();
    ExprPtr out;
    for (;;) {
        const Pos pos = now().pos;
        std::optional<Op> op;
        for (const auto& [text, one] : kOps) {
            if (is_op(text)) op = one;
        }
        if (is_name("in")) op = Op::in;
        if (op) {
            take();
        } else if (is_name("not") && tokens_[at_ + 1].kind == Kind::name &&
                   tokens_[at_ + 1].text == "in") {
            take();
            take();
            op = Op::not_in;
        } else {
            return out ? finish(std::move(out)) : std::move(e);
        }
        if (!out) {
            out = make(Expr::Kind::compare, pos);
            out->kids.push_back(std::move(e));
        }
        out->ops.push_back(*op);
        out->kids.push_back(sum());
    }
}

ExprPtr Parser::binary(ExprPtr left, Op op, ExprPtr right, Pos pos) {
    ExprPtr out = make(Expr::Kind::binary, pos);
    out->op = op;
    out->kids.push_back(std::move(left));
    out->kids.push_back(std::move(right));
    return finish(std::move(out));
}

ExprPtr Parser::sum() {
    ExprPtr e = concatenation();
    while (is_op("+") || is_op("-")) {
        const Op op = is_op("+") ? Op::add : Op::sub;
        const Pos pos = take().pos;
        e = binary(std::move(e), op, concatenation(), pos);
    }
    return e;
}

ExprPtr Parser::concatenation() {
    ExprPtr e = product();
    if (!is_op("~")) return e;
    ExprPtr out = make(Expr::Kind::concat, now().pos);
    out->kids.push_back(std::move(e));
    while (skip_op("~")) out->kids.push_back(product());
    return finish(std::move(out));
}

ExprPtr Parser::product() {
    static constexpr std::pair<std::string_view, Op> kOps[] = {
        {"*", Op::mul}, {"//", Op::floor_div}, {"/", Op::div}, {"%", Op::mod}};
    ExprPtr e = power();
    for (;;) {
        std::optional<Op> op;
        for (const auto& [text, one] : kOps) {
            if (is_op(text)) op = one;
        }
        if (!op) return e;
        const Pos pos = take().pos;
        e = binary(std::move(e), *op, power(), pos);
    }
}

ExprPtr Parser::power() {
    ExprPtr e = unary();
    while (is_op("**")) {
        const Pos pos = take().pos;
        e = binary(std::move(e), Op::pow, unary(), pos);
    }
    return e;
}

ExprPtr Parser::unary(bool with_filter) {
    const Nest nest(*this);
    ExprPtr e;
    if (is_op("-") || is_op("+")) {
        const Op op = is_op("-") ? Op::neg : Op::plus;
        e = make(Expr::Kind::unary, take().pos);
        e->op = op;
        e->kids.push_back(unary(false));
        e = finish(std::move(e));
    } else {
        e = primary();
    }
    e = postfix(std::move(e));
    return with_filter ? filters_and_tests(std::move(e)) : std::move(e);
}

ExprPtr Parser::primary() {
    switch (now().kind) {
        case Kind::name:
            return name_or_constant();
        case Kind::string:
            return string();
        case Kind::integer:
        case Kind::real:
            return number();
        case Kind::op:
            break;
        default:
            fail_here("an expression");
    }
    if (is_op("(")) {
        take();
        ExprPtr e = tuple(true, false, true);
        expect_op(")");
        return e;
    }
    if (is_op("[")) return list();
    if (is_op("{")) return dict();
    fail_here("an expression");
}

ExprPtr Parser::name_or_constant() {
    const Token token = take();
    ExprPtr e = make(Expr::Kind::constant, token.pos);
    const std::string& name = token.text;
    if (name == "true" || name == "True") {
        e->value = Value(true);
    } else if (name == "false" || name == "False") {
        e->value = Value(false);
    } else if (name == "none" || name == "None") {
        e->value = Value::none();
    } else {
        e->kind = Expr::Kind::name;
        e->symbol = symbol(name);
        if (!macros_.empty()) {
            MacroStmt& macro = *macros_.back();
            macro.uses_varargs = macro.uses_varargs || e->symbol == kVarargs;
            macro.uses_kwargs = macro.uses_kwargs || e->symbol == kKwargs;
            macro.uses_caller = macro.uses_caller || e->symbol == kCaller;
        }
    }
    return e;
}

ExprPtr Parser::string() {
    ExprPtr e = make(Expr::Kind::constant, now().pos);
    std::string text;
    while (now().kind == Kind::string) text += take().text;  // adjacent strings are one
    e->value = Value(std::move(text));
    return e;
}

ExprPtr Parser::number() {
    const Token token = take();
    ExprPtr e = make(Expr::Kind::constant, token.pos);
    const std::string& text = token.text;
    const char* from = text.data();
    const char* to = from + text.size();
    if (token.kind == Kind::real) {
        double value = 0;
        if (std::from_chars(from, to, value).ec != std::errc())
            throw SyntaxError{token.pos, "this number is out of range"};
        e->value = Value(value);
        return e;
    }
    int base = 10;
    if (text.size() > 1 && text[0] == '0' && text[1] > '9') {
        base = text[1] == 'x' ? 16 : text[1] == 'o' ? 8 : 2;
        from += 2;
    }
    std::int64_t value = 0;
    if (std::from_chars(from, to, value, base).ec != std::errc())
        throw SyntaxError{token.pos, "this number is out of range"};
    e->value = Value(value);
    return e;
}

ExprPtr Parser::list() {
    ExprPtr e = make(Expr::Kind::list, take().pos);
    while (!is_op("]")) {
        if (!e->kids.empty()) expect_op(",");
        if (is_op("]")) break;
        e->kids.push_back(expression());
    }
    take();
    return finish(std::move(e));
}

ExprPtr Parser::dict() {
    ExprPtr e = make(Expr::Kind::dict, take().pos);
    while (!is_op("}")) {
        if (!e->kids.empty()) expect_op(",");
        if (is_op("}")) break;
        e->kids.push_back(expression());
        expect_op(":");
        e->kids.push_back(expression());
    }
    take();
    return finish(std::move(e));
}

ExprPtr Parser::postfix(ExprPtr e) {
    for (;;) {
        if (is_op(".") || is_op("[")) {
            e = subscript(std::move(e));
        } else if (is_op("(")) {
            ExprPtr call = make(Expr::Kind::call, now().pos);
            call->kids.push_back(std::move(e));
            call->args = arguments();
            e = finish(std::move(call));
        } else {
            return e;
        }
    }
}

ExprPtr Parser::subscript(ExprPtr of) {
    const Pos pos = now().pos;
    if (skip_op(".")) {
        if (now().kind == Kind::integer) {
            ExprPtr e = make(Expr::Kind::subscript, pos);
            e->kids.push_back(std::move(of));
            e->kids.push_back(number());
            return finish(std::move(e));
        }
        ExprPtr e = make(Expr::Kind::attribute, pos);
        e->text = expect_name("the name of an attribute");
        e->kids.push_back(std::move(of));
        return finish(std::move(e));
    }
    take();  // [
    ExprPtr e = make(Expr::Kind::subscript, pos);
    e->kids.push_back(std::move(of));
    ExprPtr item = subscript_item();
    if (is_op(",")) {
        ExprPtr items = make(Expr::Kind::tuple, pos);
        items->kids.push_back(std::move(item));
        while (skip_op(",") && !is_op("]")) items->kids.push_back(subscript_item());
        item = finish(std::move(items));
    }
    expect_op("]");
    e->kids.push_back(std::move(item));
    return finish(std::move(e));
}

ExprPtr Parser::subscript_item() {
    const Pos pos = now().pos;
    ExprPtr first;
    if (!is_op(":")) {
        first = expression();
        if (!is_op(":")) return first;
    }
    ExprPtr e = make(Expr::Kind::slice, pos);
    e->kids.push_back(std::move(first));
    for (int i = 0; i < 2; ++i) {
        const bool more = skip_op(":") && !is_op("]") && !is_op(",") && !is_op(":");
        e->kids.push_back(more ? expression() : nullptr);
    }
    return finish(std::move(e));
}

ExprPtr Parser::filters_and_tests(ExprPtr e) {
    for (;;) {
        if (is_op("|")) {
            e = filter_chain(std::move(e), false);
        } else if (is_name("is")) {
            e = test(std::move(e));
        } else if (is_op("(")) {
            e = postfix(std::move(e));
        } else {
            return e;
        }
    }
}

std::string Parser::dotted_name(std::string_view what) {
    std::string name = expect_name(what);
    while (skip_op(".")) name += "." + expect_name(what);
    return name;
}

// at_first_name: the head of a filter block, which has no bar.
ExprPtr Parser::filter_chain(ExprPtr e, bool at_first_name) {
    while (at_first_name || skip_op("|")) {
        at_first_name = false;
        ExprPtr out = make(Expr::Kind::filter, now().pos);
        out->text = dotted_name("the name of a filter");
        if (is_op("(")) out->args = arguments();
        out->kids.push_back(std::move(e));
        e = finish(std::move(out));
    }
    return e;
}

ExprPtr Parser::test(ExprPtr e) {
    take();  // is
    const bool negated = skip_name("not");
    ExprPtr out = make(Expr::Kind::test, now().pos);
    out->text = dotted_name("the name of a test");
    out->kids.push_back(std::move(e));
    const bool word = now().kind == Kind::name && !is_name("else") && !is_name("or") &&
                      !is_name("and") && !is_name("if") && !is_name("in") && !is_name("not");
    if (is_op("(")) {
        out->args = arguments();
    } else if (word || now().kind == Kind::string || now().kind == Kind::integer ||
               now().kind == Kind::real || is_op("[") || is_op("{")) {
        if (is_name("is")) fail("tests cannot be chained with 'is'");
        // One argument without parentheses: x is divisibleby 3.
        out->args.push_back({Argument::Kind::positional, "", postfix(primary())});
    }
    out = finish(std::move(out));
    if (!negated) return out;
    ExprPtr inverse = make(Expr::Kind::unary, out->pos);
    inverse->op = Op::not_;
    inverse->kids.push_back(std::move(out));
    return finish(std::move(inverse));
}

std::vector<Argument> Parser::arguments() {
    using K = Argument::Kind;
    std::vector<Argument> out;
    expect_op("(");
    bool named = false;
    while (!is_op(")")) {
        if (!out.empty()) expect_op(",");
        if (is_op(")")) break;
        Argument arg;
        if (skip_op("**")) {
            arg.kind = K::star_star;
        } else if (skip_op("*")) {
            arg.kind = K::star;
        } else if (now().kind == Kind::name && tokens_[at_ + 1].kind == Kind::op &&
                   tokens_[at_ + 1].text == "=") {
            arg.kind = K::named;
            arg.name = take().text;
            take();
        } else if (named) {
            fail("an argument without a name follows one with a name");
        }
        named = named || arg.kind == K::named || arg.kind == K::star_star;
        arg.value = expression();
        out.push_back(std::move(arg));
    }
    take();
    return out;
}

ExprPtr Parser::tuple(bool with_choice, bool ends_at_recursive, bool in_parentheses) {
    const Nest nest(*this);
    const Pos pos = now().pos;
    const auto ends = [&] {
        return now().kind == Kind::variable_end || now().kind == Kind::block_end || is_op(")") ||
               (ends_at_recursive && is_name("recursive"));
    };
    std::vector<ExprPtr> parts;
    bool comma = false;
    while (!ends()) {
        parts.push_back(expression(with_choice));
        comma = is_op(",");
        if (!skip_op(",")) break;
    }
    if (parts.empty() && !in_parentheses) fail_here("an expression");
    if (parts.size() == 1 && !comma) return std::move(parts[0]);
    ExprPtr e = make(Expr::Kind::tuple, pos);
    e->kids = std::move(parts);
    return finish(std::move(e));
}

}  // namespace hearth::chat::jinja
