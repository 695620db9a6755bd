// Health: whether an upstream is worth asking, from how its last requests ended.
//
//   closed --(kFailuresToOpen failures in a row within kFailureWindowMs)--> open, for the pause
//   open   --(pause over)--> half open: asked again, the next end decides
//   half open --(success)--> closed      --(failure)--> open, pause doubled up to kPauseMsMax
//
// Thread: any.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "route/decide.h"

namespace hearth::backend {

// True where an error says something about the place rather than about the request.
bool is_failure_of_place(ErrorKind kind);

class Health {
  public:
    Health(std::string upstream, const Clock& clock)
        : upstream_(std::move(upstream)), clock_(clock) {}
    void on_success();
    void on_error(const Error& error);
    route::Signals::Health now() const;

  private:
    const std::string upstream_;
    const Clock& clock_;
    mutable std::mutex mutex_;  // guards what follows; held for arithmetic only
    int n_failures_ = 0;        // in a row
    std::int64_t first_failure_ns_ = 0;
    std::int64_t closed_from_ns_ = 0;  // asked again from then on; 0: never was open
    std::int64_t pause_ms_ = 0;        // of the last opening; 0: closed
    ErrorKind last_ = ErrorKind::upstream_failed;
};

}  // namespace hearth::backend
