// Tokens → tree, by recursive descent with the grammar and precedence of Jinja2.
//
// Statements are in parser.cc, expressions in parser_expr.cc.
#pragma once

#include <initializer_list>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "chat/jinja/ast.h"
#include "chat/jinja/lexer.h"

namespace hearth::chat::jinja {

class Parser {
  public:
    explicit Parser(std::vector<Token> tokens);
    Ast parse();  // throws SyntaxError

  private:
    using Kind = Token::Kind;

    const Token& now() const { return tokens_[at_]; }
    Token take() { return std::move(tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]); }
    bool is_op(std::string_view op) const { return now().kind == Kind::op && now().text == op; }
    bool is_name(std::string_view name) const {
        return now().kind == Kind::name && now().text == name;
    }
    bool skip_op(std::string_view op);
    bool skip_name(std::string_view name);
    void expect_op(std::string_view op);
    void expect(Kind kind, std::string_view what);
    std::string expect_name(std::string_view what);
    [[noreturn]] void fail(std::string message) const;
    [[noreturn]] void fail_here(std::string_view expected) const;

    Symbol symbol(const std::string& name);
    ExprPtr make(Expr::Kind kind, Pos pos) const;
    ExprPtr finish(ExprPtr e) const;  // sets the depth from the parts, and bounds it

    // Statements. A body ends at one of `ends`, which is left as the current token.
    Body body(std::initializer_list<std::string_view> ends);
    Body block_body(std::initializer_list<std::string_view> ends);
    void statement(Body& to);
    Stmt parse_set();
    Stmt parse_if();
    Stmt parse_for();
    Stmt parse_macro();
    Stmt parse_call_block();
    Stmt parse_filter_block();
    Stmt parse_with();
    Stmt parse_scope(std::string_view end);
    void parameters(MacroStmt& macro);
    Body macro_body(MacroStmt& macro, std::string_view end);
    ExprPtr assign_target(bool names_only);

    // Expressions, loosest first.
    ExprPtr expression(bool with_choice = true);
    ExprPtr choice();
    ExprPtr either();
    ExprPtr both();
    ExprPtr negation();
    ExprPtr comparison();
    ExprPtr sum();
    ExprPtr concatenation();
    ExprPtr product();
    ExprPtr power();
    ExprPtr unary(bool with_filter = true);
    ExprPtr primary();
    ExprPtr name_or_constant();
    ExprPtr string();
    ExprPtr number();
    ExprPtr list();
    ExprPtr dict();
    ExprPtr postfix(ExprPtr e);
    ExprPtr subscript(ExprPtr e);
    ExprPtr subscript_item();
    ExprPtr filters_and_tests(ExprPtr e);
    ExprPtr filter_chain(ExprPtr e, bool at_first_name);
    ExprPtr test(ExprPtr e);
    std::vector<Argument> arguments();
    // One expression, or several separated by commas as a tuple.
    ExprPtr tuple(bool with_choice, bool ends_at_recursive, bool in_parentheses);
    std::string dotted_name(std::string_view what);
    ExprPtr binary(ExprPtr left, Op op, ExprPtr right, Pos pos);

    struct Nest;  // counts how deep the parser recurses

    std::vector<Token> tokens_;
    std::size_t at_ = 0;
    int depth_ = 0;
    int n_loops_ = 0;  // around the current statement, for break and continue
    Ast ast_;
    std::unordered_map<std::string, Symbol> symbols_;
    std::vector<MacroStmt*> macros_;  // around the current place, innermost last
};

struct Parser::Nest {
    explicit Nest(Parser& p) : parser(p) {
        if (++parser.depth_ > kTreeDepthMax) parser.fail("the template nests too deeply");
    }
    ~Nest() { --parser.depth_; }
    Parser& parser;
};

}  // namespace hearth::chat::jinja
