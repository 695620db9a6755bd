#include "chat/jinja/loop.h"

#include "base/format.h"
#include "chat/jinja/builtins.h"

namespace hearth::chat::jinja {
namespace {

// loop.cycle and loop.changed as values: they keep the loop alive.
class LoopMethod final : public Object {
  public:
    LoopMethod(std::shared_ptr<Object> loop, bool cycles)
        : loop_(std::move(loop)), cycles_(cycles) {}
    const char* type_name() const override { return "method"; }
    bool callable() const override { return true; }
    int depth() const override { return loop_->depth() + 1; }
    Value call(Interp& interp, Args& args) override {
        Loop& loop = static_cast<Loop&>(*loop_);
        return cycles_ ? loop.cycle(args) : loop.changed(interp, args);
    }

  private:
    const std::shared_ptr<Object> loop_;
    const bool cycles_;
};

}  // namespace

Value Loop::neighbour(std::int64_t distance, const char* why) const {
    const std::int64_t i = index_ + distance;
    return i >= 0 && i < length() ? items_.items()[std::size_t(i)] : Value::undefined(why);
}

Value Loop::attribute(Interp&, std::string_view name) {
    const std::int64_t n = length();
    if (name == "index") return Value(index_ + 1);
    if (name == "index0") return Value(index_);
    if (name == "revindex") return Value(n - index_);
    if (name == "revindex0") return Value(n - index_ - 1);
    if (name == "first") return Value(index_ == 0);
    if (name == "last") return Value(index_ + 1 == n);
    if (name == "length") return Value(n);
    if (name == "depth") return Value(depth0_ + 1);
    if (name == "depth0") return Value(depth0_);
    if (name == "previtem") return neighbour(-1, "there is no previous item");
    if (name == "nextitem") return neighbour(1, "there is no next item");
    if (name == "cycle" || name == "changed")
        return Value(std::static_pointer_cast<Object>(
            std::make_shared<LoopMethod>(shared_from_this(), name == "cycle")));
    return Value::undefined(format("'loop' has no attribute '{}'", name));
}

Value Loop::cycle(Args& args) const {
    if (args.positional.empty()) stop("no items for cycling given");
    return args.positional[std::size_t(index_) % args.positional.size()];
}

Value Loop::changed(Interp& interp, Args& args) {
    std::string now;
    for (const Value& v : args.positional) {
        append_repr(now, v, interp.meter());
        now += ',';
    }
    const bool same = last_ == now;
    last_ = std::move(now);
    return Value(!same);
}

Value Loop::call(Interp& interp, Args& args) {
    if (!statement_.recursive) stop("the loop is called, but it is not marked 'recursive'");
    ArgReader reader("loop", args, {"iterable"});
    const auto scope = scope_.lock();
    if (!scope) stop("the loop is called after its end");
    return interp.loop_again(statement_, scope, reader.need(0), depth0_ + 1);
}

}  // namespace hearth::chat::jinja
