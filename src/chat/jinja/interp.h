// Interp: one rendering. Walks the tree (exec.cc: statements, eval.cc: expressions) over scopes of
// variables, and is what filters, tests, methods and functions get to work with.
//
// Ownership: scopes and namespaces may come to refer to themselves through macros and attributes.
// Those that can are listed here and emptied at the end, so that shared pointers free them. Thread:
// one; a rendering is never shared.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chat/jinja/ast.h"
#include "chat/jinja/jinja.h"
#include "chat/jinja/value.h"

namespace hearth::chat::jinja {

struct Scope {
    std::vector<std::pair<Symbol, Value>> vars;
    std::shared_ptr<Scope> parent;
    int depth = 0;
    bool listed = false;

    void set(Symbol symbol, Value value);
};

class Namespace final : public Object {
  public:
    const char* type_name() const override { return "Namespace"; }
    Value attribute(Interp&, std::string_view name) override;
    int depth() const override { return 0; }  // emptied by the interpreter, so nesting is no danger
    void set(std::string_view name, Value value);
    Dict attributes;
};

class Interp {
  public:
    Interp(const Ast& ast, const RenderOptions& options);
    ~Interp();
    Interp(const Interp&) = delete;
    Interp& operator=(const Interp&) = delete;

    std::string run(const Json& context);
    Pos pos() const { return pos_; }  // of the node evaluated last: where a failure happened

    // For filters, tests and functions.
    Meter& meter() { return meter_; }
    std::int64_t now_unix_s() const { return options_.now_unix_s; }
    Value text(std::string s);  // a string, paid for
    Value list(std::vector<Value> items, bool tuple = false);
    Value call(const Value& callee, Args args);
    Value attribute(const Value& of, std::string_view name);
    Value subscript(const Value& of, const Value& key);
    Value filter(std::string_view name, const Value& in, Args args);
    bool test(std::string_view name, const Value& in, Args args);
    std::vector<Value> iterate(const Value& v);  // stops where Python cannot
    std::shared_ptr<Namespace> new_namespace();

    // For macros and loops.
    Value call_macro(const MacroStmt& macro, const std::shared_ptr<Scope>& closure, Args& args);
    Value loop_again(const ForStmt& loop, const std::shared_ptr<Scope>& scope, const Value& over,
                     std::int64_t depth0);

  private:
    enum class Flow : std::uint8_t { on, broken, continued };
    struct Deeper;    // counts nesting
    struct InScope;   // a scope for a while
    struct Executor;  // visits statements

    Flow exec(const Body& body);
    Flow exec_for(const ForStmt& s);
    Flow run_loop(const ForStmt& s, const Value& over, std::int64_t depth0);
    void exec_with(const WithStmt& s, Flow& flow);
    std::string captured(const Body& body);
    void print(std::string_view text);
    void assign(const Expr& target, Value value);
    Value macro_value(const MacroStmt& macro);
    void bind_parameters(const MacroStmt& macro, Args& args);

    Value eval(const Expr& e);
    Value eval_name(const Expr& e);
    Value eval_unary(const Expr& e);
    Value eval_compare(const Expr& e);
    Value eval_logic(const Expr& e);
    Value eval_concat(const Expr& e);
    Value eval_subscript(const Expr& e);
    Value eval_call(const Expr& e, std::optional<Value> caller = std::nullopt);
    Value eval_filter(const Expr& e, const Value* innermost);
    Args eval_args(const std::vector<Argument>& args);
    const Value* lookup(Symbol symbol) const;
    Value function(std::string_view name);  // range, namespace, …; undefined if there is none

    const Ast& ast_;
    const RenderOptions& options_;
    Meter meter_;
    Pos pos_;
    std::int64_t depth_ = 0;
    std::string* out_ = nullptr;
    std::shared_ptr<Scope> scope_;
    std::vector<std::shared_ptr<Scope>> scopes_;  // that macros hold
    std::vector<std::shared_ptr<Namespace>> namespaces_;
};

// ops.cc
Value binary(Op op, const Value& a, const Value& b, Interp& interp);
bool contains(const Value& in, const Value& what, Interp& interp);
Value slice(const Value& of, const Value& start, const Value& stop_at, const Value& step,
            Interp& interp);

// builtins.h has the tables of filters, tests, methods and functions.

}  // namespace hearth::chat::jinja
