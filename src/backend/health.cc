#include "backend/health.h"

#include <algorithm>

#include "backend/limits.h"
#include "base/format.h"

namespace hearth::backend {
bool is_failure_of_place(ErrorKind kind) {
    return kind == ErrorKind::upstream_failed || kind == ErrorKind::timeout ||
           kind == ErrorKind::overloaded;
}

void Health::on_success() {
    const std::lock_guard lock(mutex_);
    n_failures_ = 0;
    pause_ms_ = 0;
}

void Health::on_error(const Error& error) {
    if (!is_failure_of_place(error.kind)) return;
    const std::lock_guard lock(mutex_);
    const std::int64_t now = clock_.mono_ns();
    if (pause_ms_ > 0 && now < closed_from_ns_) return;  // started before it opened
    if (n_failures_ == 0 ||
        (pause_ms_ == 0 && now - first_failure_ns_ > kFailureWindowMs * kNsPerMs)) {
        n_failures_ = 0;
        first_failure_ns_ = now;
    }
    ++n_failures_;
    last_ = error.kind;
    if (pause_ms_ == 0 && n_failures_ < kFailuresToOpen) return;
    pause_ms_ = pause_ms_ == 0 ? kPauseMsMin : std::min(2 * pause_ms_, kPauseMsMax);
    closed_from_ns_ = now + pause_ms_ * kNsPerMs;
}

route::Signals::Health Health::now() const {
    const std::lock_guard lock(mutex_);
    route::Signals::Health health{.upstream = upstream_};
    const std::int64_t now = clock_.mono_ns();
    if (pause_ms_ == 0 || now >= closed_from_ns_) return health;
    health.healthy = false;
    health.why = format("{} failures in a row, the last {}; asked again in {} s", n_failures_,
                        name_of(last_), (closed_from_ns_ - now) / (1000 * kNsPerMs) + 1);
    return health;
}

}  // namespace hearth::backend
