// How evaluation stops early: an exception that never leaves chat/jinja, and the meter that bounds
// work.
#pragma once

#include <cstdint>
#include <string>

namespace hearth::chat::jinja {

// Where in the template; both count from 1, columns in bytes.
struct Pos {
    int line = 1;
    int column = 1;
};

struct Failure {
    std::string message;
    bool refused = false;  // by raise_exception
};

[[noreturn]] void stop(std::string message);

// Counts down what one rendering may do. Whatever loops over data or makes data pays here, before
// it does it, because values can be shared: a list of ten lists of ten lists … is small and prints
// huge.
class Meter {
  public:
    Meter(std::int64_t steps, std::size_t bytes) : steps_(steps), bytes_(std::int64_t(bytes)) {}
    void step(std::int64_t n = 1) {
        if ((steps_ -= n) < 0) stop("the template does more work than its limit of steps allows");
    }
    void bytes(std::size_t n) {
        if (n > std::size_t(INT64_MAX) || (bytes_ -= std::int64_t(n)) < 0)
            stop("the template makes more text than its limit allows");
    }

  private:
    std::int64_t steps_, bytes_;
};

}  // namespace hearth::chat::jinja
