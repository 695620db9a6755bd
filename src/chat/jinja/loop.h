// The `loop` variable of a for statement.
#pragma once

#include <memory>

#include "chat/jinja/interp.h"

namespace hearth::chat::jinja {

class Loop final : public Object {
  public:
    // scope: around the loop; held weakly, because the scopes inside hold the loop.
    Loop(const ForStmt& statement, Value items, std::int64_t depth0, std::weak_ptr<Scope> scope)
        : statement_(statement),
          items_(std::move(items)),
          depth0_(depth0),
          scope_(std::move(scope)) {}

    std::int64_t index() const { return index_; }
    std::int64_t length() const { return std::int64_t(items_.items().size()); }
    const Value& item() const { return items_.items()[std::size_t(index_)]; }
    void advance() { ++index_; }

    const char* type_name() const override { return "LoopContext"; }
    bool callable() const override { return statement_.recursive; }
    int depth() const override { return items_.depth() + 1; }
    Value attribute(Interp& interp, std::string_view name) override;
    Value call(Interp& interp, Args& args) override;
    Value cycle(Args& args) const;
    Value changed(Interp& interp, Args& args);

  private:
    Value neighbour(std::int64_t distance, const char* why) const;

    const ForStmt& statement_;
    const Value items_;
    const std::int64_t depth0_;
    const std::weak_ptr<Scope> scope_;
    std::int64_t index_ = 0;
    std::optional<std::string>
        last_;  // repr of what `changed` saw: keeping values could form a cycle
};

}  // namespace hearth::chat::jinja
