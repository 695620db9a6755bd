// Secret: a key or token that cannot be printed by accident. There is no operator<<, no formatter
// and no conversion; reveal() is the one word to search for.
#pragma once

#include <string>
#include <utility>

namespace hearth {

class Secret {
  public:
    Secret() = default;
    explicit Secret(std::string value) : value_(std::move(value)) {}
    const std::string& reveal() const { return value_; }
    bool empty() const { return value_.empty(); }

  private:
    std::string value_;
};

}  // namespace hearth
