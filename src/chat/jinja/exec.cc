// Statements, scopes, loops and macros; and the two verbs of jinja.h.
#include <nlohmann/json.hpp>

#include "base/format.h"
#include "base/utf8.h"
#include "chat/jinja/builtins.h"
#include "chat/jinja/interp.h"
#include "chat/jinja/loop.h"
#include "chat/jinja/parser.h"

namespace hearth::chat::jinja {
namespace {

constexpr int kScopeDepthMax = 2000;  // macros made by macros made by macros: the chain is searched

class Macro final : public Object {
  public:
    Macro(const MacroStmt& macro, std::shared_ptr<Scope> closure)
        : macro_(macro), closure_(std::move(closure)) {}
    const char* type_name() const override { return "Macro"; }
    bool callable() const override { return true; }
    int depth() const override { return 0; }  // its scope is emptied by the interpreter
    Value call(Interp& interp, Args& args) override {
        return interp.call_macro(macro_, closure_, args);
    }
    Value attribute(Interp&, std::string_view name) override {
        return name == "name" ? Value(macro_.name) : Value();
    }

  private:
    const MacroStmt& macro_;
    const std::shared_ptr<Scope> closure_;
};

}  // namespace

struct Interp::InScope {
    explicit InScope(Interp& i, std::shared_ptr<Scope> parent)
        : interp(i), before(std::move(interp.scope_)) {
        auto scope = std::make_shared<Scope>();
        scope->depth = parent ? parent->depth + 1 : 0;
        scope->parent = std::move(parent);
        interp.scope_ = std::move(scope);
        if (interp.scope_->depth > kScopeDepthMax) stop("the template nests its scopes too deeply");
    }
    ~InScope() { interp.scope_ = std::move(before); }
    Interp& interp;
    std::shared_ptr<Scope> before;
};

void Scope::set(Symbol symbol, Value value) {
    for (auto& [s, v] : vars) {
        if (s == symbol) {
            v = std::move(value);
            return;
        }
    }
    vars.emplace_back(symbol, std::move(value));
}

Value Namespace::attribute(Interp&, std::string_view name) {
    if (const Value* v = attributes.find(name)) return *v;
    return Value::undefined(format("'Namespace object' has no attribute '{}'", name));
}

void Namespace::set(std::string_view name, Value value) {
    attributes.set(name, std::move(value));
}

Interp::Interp(const Ast& ast, const RenderOptions& options)
    : ast_(ast), options_(options), meter_(options.limits.steps, options.limits.made_bytes) {}

Interp::~Interp() {
    // Each list keeps its members alive while they are emptied, so no chain of destructors forms.
    for (const auto& scope : scopes_) scope->vars.clear();
    for (const auto& ns : namespaces_) ns->attributes = {};
    for (const auto& scope : scopes_) scope->parent.reset();
}

std::string Interp::run(const Json& context) {
    scope_ = std::make_shared<Scope>();
    scope_->listed = true;
    scopes_.push_back(scope_);
    for (std::size_t i = 0; i < ast_.symbols.size(); ++i) {
        const auto at = context.find(ast_.symbols[i]);
        if (at != context.end()) scope_->vars.emplace_back(Symbol(i), from_json(*at));
    }
    const auto globals = scope_;
    const InScope top(*this, globals);
    scope_->listed = true;
    scopes_.push_back(scope_);
    std::string out;
    out_ = &out;
    exec(ast_.body);
    return out;
}

std::shared_ptr<Namespace> Interp::new_namespace() {
    meter_.bytes(sizeof(Namespace));
    namespaces_.push_back(std::make_shared<Namespace>());
    return namespaces_.back();
}

void Interp::print(std::string_view text) {
    meter_.bytes(text.size());
    if (out_->size() + text.size() > options_.limits.output_bytes)
        stop("the template writes more text than its limit allows");
    *out_ += text;
}

std::string Interp::captured(const Body& body) {
    std::string text;
    std::string* const before = std::exchange(out_, &text);
    exec(body);
    out_ = before;
    return text;
}

struct Interp::Executor {
    Interp& in;
    Flow flow = Flow::on;

    void operator()(const TextStmt& s) { in.print(s.text); }
    void operator()(const OutputStmt& s) {
        const Value v = in.eval(*s.value);
        if (v.is_string()) {
            in.print(v.text());
        } else {
            in.print(str(v, in.meter_));
        }
    }
    void operator()(const SetStmt& s) { in.assign(*s.target, in.eval(*s.value)); }
    void operator()(const SetBlockStmt& s) {
        Value v = capture(s.body);
        if (s.filter) v = in.eval_filter(*s.filter, &v);
        in.assign(*s.target, std::move(v));
    }
    void operator()(const IfStmt& s) {
        for (const IfStmt::Branch& branch : s.branches) {
            if (!in.eval(*branch.condition).truth()) continue;
            flow = in.exec(branch.body);
            return;
        }
        flow = in.exec(s.otherwise);
    }
    void operator()(const ForStmt& s) { flow = in.exec_for(s); }
    void operator()(const MacroStmt& s) { in.scope_->set(s.symbol, in.macro_value(s)); }
    void operator()(const CallBlockStmt& s) {
        const Value v = in.eval_call(*s.call, in.macro_value(s.caller));
        in.print(str(v, in.meter_));
    }
    void operator()(const FilterBlockStmt& s) {
        const Value v = capture(s.body);
        in.print(str(in.eval_filter(*s.filter, &v), in.meter_));
    }
    void operator()(const WithStmt& s) { in.exec_with(s, flow); }
    void operator()(const BreakStmt&) { flow = Flow::broken; }
    void operator()(const ContinueStmt&) { flow = Flow::continued; }

    Value capture(const Body& body) {
        const InScope inner(in, in.scope_);
        return Value(in.captured(body));
    }
};

Interp::Flow Interp::exec(const Body& body) {
    if (++depth_ > options_.limits.depth) stop("the template nests its blocks too deeply");
    Executor executor{*this};
    for (const Stmt& s : body) {
        meter_.step();
        pos_ = s.pos;
        std::visit(executor, s.what);
        if (executor.flow != Flow::on) break;
    }
    --depth_;
    return executor.flow;
}

void Interp::exec_with(const WithStmt& s, Flow& flow) {
    // The values see the scope outside, not each other.
    std::vector<Value> values;
    for (const SetStmt& one : s.assignments) values.push_back(eval(*one.value));
    const InScope inner(*this, scope_);
    for (std::size_t i = 0; i < values.size(); ++i)
        assign(*s.assignments[i].target, std::move(values[i]));
    flow = exec(s.body);
}

void Interp::assign(const Expr& target, Value value) {
    if (target.kind == Expr::Kind::name) {
        scope_->set(target.symbol, std::move(value));
    } else if (target.kind == Expr::Kind::attribute) {
        const Value of = eval(*target.kids[0]);
        auto* ns = of.is_object() ? dynamic_cast<Namespace*>(&of.object()) : nullptr;
        pos_ = target.pos;
        if (!ns) stop("cannot assign an attribute of a value that is no namespace");
        ns->set(target.text, std::move(value));
    } else {
        const std::vector<Value> parts = iterate(value);
        if (parts.size() != target.kids.size())
            stop(format("expected {} values to unpack, got {}", target.kids.size(), parts.size()));
        for (std::size_t i = 0; i < parts.size(); ++i) assign(*target.kids[i], parts[i]);
    }
}

Interp::Flow Interp::exec_for(const ForStmt& s) {
    const Value over = eval(*s.iterable);
    return run_loop(s, over, 0);
}

// Errors: a break or continue inside ends here, so the flow goes on.
Interp::Flow Interp::run_loop(const ForStmt& s, const Value& over, std::int64_t depth0) {
    std::vector<Value> items = iterate(over);
    if (s.condition) {
        std::vector<Value> kept;
        for (Value& item : items) {
            const InScope inner(*this, scope_);
            assign(*s.target, item);
            if (eval(*s.condition).truth()) kept.push_back(std::move(item));
        }
        items = std::move(kept);
    }
    if (items.empty()) {
        const InScope inner(*this, scope_);
        return exec(s.otherwise);
    }
    const auto loop = std::make_shared<Loop>(s, list(std::move(items)), depth0, scope_);
    for (; loop->index() < loop->length(); loop->advance()) {
        const InScope inner(*this, scope_);
        scope_->vars.emplace_back(kLoop, Value(std::static_pointer_cast<Object>(loop)));
        assign(*s.target, loop->item());
        if (exec(s.body) == Flow::broken) break;
    }
    return Flow::on;
}

Value Interp::loop_again(const ForStmt& s, const std::shared_ptr<Scope>& scope, const Value& over,
                         std::int64_t depth0) {
    const InScope inner(*this, scope);
    std::string text;
    std::string* const before = std::exchange(out_, &text);
    run_loop(s, over, depth0);
    out_ = before;
    return Value(std::move(text));
}

Value Interp::macro_value(const MacroStmt& macro) {
    if (!scope_->listed) {
        scope_->listed = true;
        scopes_.push_back(scope_);
    }
    meter_.bytes(sizeof(Macro) + sizeof(Scope));
    return Value(std::static_pointer_cast<Object>(std::make_shared<Macro>(macro, scope_)));
}

void Interp::bind_parameters(const MacroStmt& macro, Args& args) {
    const std::size_t n_positional = args.positional.size();
    std::vector<bool> used(args.named.size());
    for (std::size_t i = 0; i < macro.parameters.size(); ++i) {
        const MacroStmt::Parameter& p = macro.parameters[i];
        std::optional<Value> given;
        if (i < n_positional) given = std::move(args.positional[i]);
        for (std::size_t k = 0; k < args.named.size(); ++k) {
            if (args.named[k].first != p.name) continue;
            if (given) stop(format("macro '{}' got two values for '{}'", macro.name, p.name));
            given = args.named[k].second;
            used[k] = true;
        }
        if (!given)
            given = p.fallback
                        ? eval(*p.fallback)
                        : Value::undefined(format("parameter '{}' was not provided", p.name));
        scope_->set(p.symbol, std::move(*given));
    }
    if (n_positional > macro.parameters.size() && !macro.uses_varargs)
        stop(format("macro '{}' takes not more than {} argument(s)", macro.name,
                    macro.parameters.size()));
    if (macro.uses_varargs) {
        const std::size_t from = std::min(n_positional, macro.parameters.size());
        scope_->set(
            kVarargs,
            list({args.positional.begin() + std::ptrdiff_t(from), args.positional.end()}, true));
    }
    Dict rest;
    for (std::size_t k = 0; k < args.named.size(); ++k) {
        const auto& [name, value] = args.named[k];
        if (used[k]) continue;
        if (name == "caller" && macro.uses_caller) {
            scope_->set(kCaller, value);
        } else if (macro.uses_kwargs) {
            rest.set(name, value);
        } else {
            stop(format("macro '{}' takes no keyword argument '{}'", macro.name, name));
        }
    }
    if (macro.uses_kwargs) scope_->set(kKwargs, Value::dict(std::move(rest)));
}

Value Interp::call_macro(const MacroStmt& macro, const std::shared_ptr<Scope>& closure,
                         Args& args) {
    const InScope inner(*this, closure);
    // Without a call block around it a macro has no caller, whatever is around its definition.
    if (macro.uses_caller && macro.symbol != kCaller)
        scope_->set(kCaller, Value::undefined("no caller defined"));
    bind_parameters(macro, args);
    return Value(captured(macro.body));
}

Result<Template> parse(std::string_view source) {
    if (source.size() > kSourceBytesMax)
        return fail(ErrorKind::invalid_request,
                    format("1:1: template error: the template has {} bytes; at most {} are allowed",
                           source.size(), kSourceBytesMax));
    if (!is_utf8(source))
        return fail(ErrorKind::invalid_request, "1:1: template error: the template is not UTF-8");
    try {
        return Template(std::make_shared<const Ast>(Parser(tokenize(source)).parse()));
    } catch (const SyntaxError& e) {
        return fail(ErrorKind::invalid_request,
                    format("{}:{}: template error: {}", e.pos.line, e.pos.column, e.message));
    }
}

Result<std::string> render(const Template& what, const Json& context,
                           const RenderOptions& options) {
    if (!context.is_object())
        return fail(ErrorKind::invalid_request, "1:1: template error: the context is no object");
    Interp interp(what.ast(), options);
    try {
        return interp.run(context);
    } catch (const Failure& e) {
        return fail(ErrorKind::invalid_request,
                    format("{}:{}: {}: {}", interp.pos().line, interp.pos().column,
                           e.refused ? "the template refuses" : "template error", e.message));
    }
}

}  // namespace hearth::chat::jinja
