// Global functions.
#include <ctime>

#include "base/format.h"
#include "chat/jinja/builtins.h"
#include "chat/jinja/text.h"

namespace hearth::chat::jinja {
namespace {

constexpr std::int64_t kRangeMax = 100'000;  // as the sandbox of the reference

Value range(Interp& interp, const Value&, Args& args) {
    ArgReader reader("range", args, {"start", "stop", "step"});
    std::int64_t from = 0;
    std::int64_t to = reader.need(0).is_undefined() ? 0 : reader.whole(0, 0);
    if (reader.need(0).is_undefined()) stop(reader.need(0).why_undefined());
    if (reader.find(1)) {
        from = to;
        to = reader.whole(1, 0);
    }
    const std::int64_t step = reader.whole(2, 1);
    if (step == 0) stop("range() arg 3 must not be zero");
    std::vector<Value> out;
    for (std::int64_t i = from; step > 0 ? i < to : i > to;) {
        if (std::int64_t(out.size()) >= kRangeMax)
            stop(format("range is too big; at most {} items are allowed", kRangeMax));
        out.push_back(Value(i));
        if (__builtin_add_overflow(i, step, &i)) break;
    }
    interp.meter().step(std::int64_t(out.size()));
    return interp.list(std::move(out));
}

// namespace(other, key=value, …) and dict(other, key=value, …).
Dict merged(const char* function, Interp& interp, Args& args) {
    if (args.positional.size() > 1)
        stop(format("{} takes at most 1 positional argument", function));
    Dict out;
    for (const Value& v : args.positional) {
        if (v.is_dict()) {
            interp.meter().step(std::int64_t(v.entries().size()));
            for (const auto& [key, value] : v.entries()) out.set(key, value);
            continue;
        }
        for (const Value& pair : interp.iterate(v)) {
            if (!pair.is_list() || pair.items().size() != 2)
                stop(format("{}: expected pairs of key and value", function));
            out.set(pair.items()[0], pair.items()[1]);
        }
    }
    for (auto& [name, value] : args.named) out.set(name, std::move(value));
    return out;
}

Value make_namespace(Interp& interp, const Value&, Args& args) {
    auto ns = interp.new_namespace();
    ns->attributes = merged("namespace", interp, args);
    return Value(std::static_pointer_cast<Object>(ns));
}

Value make_dict(Interp& interp, const Value&, Args& args) {
    return Value::dict(merged("dict", interp, args));
}

Value raise(Interp& interp, const Value&, Args& args) {
    ArgReader reader("raise_exception", args, {"message"});
    throw Failure{soft_text(reader.need(0), interp).substr(0, 2000), true};
}

class Cycler final : public Object {
  public:
    explicit Cycler(Value items) : items_(std::move(items)) {}
    const char* type_name() const override { return "Cycler"; }
    int depth() const override { return items_.depth() + 1; }
    const Value& current() const { return items_.items()[at_]; }
    Value attribute(Interp&, std::string_view name) override;
    void advance() { at_ = (at_ + 1) % items_.items().size(); }
    void reset() { at_ = 0; }

  private:
    const Value items_;
    std::size_t at_ = 0;
};

Value cycler_next(Interp&, const Value& self, Args&) {
    auto& cycler = static_cast<Cycler&>(self.object());
    Value v = cycler.current();
    cycler.advance();
    return v;
}
Value cycler_reset(Interp&, const Value& self, Args&) {
    static_cast<Cycler&>(self.object()).reset();
    return Value::none();
}

Value Cycler::attribute(Interp&, std::string_view name) {
    if (name == "current") return current();
    const Builtin f = name == "next" ? cycler_next : name == "reset" ? cycler_reset : nullptr;
    if (!f) return Value();
    return Value(
        std::static_pointer_cast<Object>(std::make_shared<Function>(f, Value(shared_from_this()))));
}

Value make_cycler(Interp& interp, const Value&, Args& args) {
    if (args.positional.empty()) stop("at least one item has to be provided");
    return Value(
        std::static_pointer_cast<Object>(std::make_shared<Cycler>(interp.list(args.positional))));
}

// Empty at its first call, the separator afterwards.
class Joiner final : public Object {
  public:
    explicit Joiner(Value separator) : separator_(std::move(separator)) {}
    const char* type_name() const override { return "Joiner"; }
    bool callable() const override { return true; }
    int depth() const override { return separator_.depth() + 1; }
    Value call(Interp&, Args&) override {
        if (std::exchange(used_, true)) return separator_;
        return Value("");
    }

  private:
    const Value separator_;
    bool used_ = false;
};

Value make_joiner(Interp&, const Value&, Args& args) {
    ArgReader reader("joiner", args, {"sep"});
    return Value(std::static_pointer_cast<Object>(
        std::make_shared<Joiner>(reader.find(0) ? *reader.find(0) : Value(", "))));
}

Value now(Interp& interp, const Value&, Args& args) {
    ArgReader reader("strftime_now", args, {"format"});
    return interp.text(strftime_text(interp.now_unix_s(), std::string(reader.text(0, "%c"))));
}

constexpr Named<Builtin> kFunctions[] = {
    {"range", range},        {"namespace", make_namespace}, {"dict", make_dict},
    {"cycler", make_cycler}, {"joiner", make_joiner},       {"raise_exception", raise},
    {"strftime_now", now},
};

}  // namespace

std::string strftime_text(std::int64_t unix_s, const std::string& pattern) {
    if (pattern.empty()) return "";
    if (pattern.size() > 1000) stop("a time format is too long");
    const std::time_t time = unix_s;
    std::tm parts{};
    if (!gmtime_r(&time, &parts)) stop("the time is out of range");
    char text[4096];
    const std::size_t n = std::strftime(text, sizeof text, pattern.c_str(), &parts);
    return std::string(text, n);
}

std::span<const Named<Builtin>> functions() {
    return kFunctions;
}

}  // namespace hearth::chat::jinja
