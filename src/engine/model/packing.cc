#include "engine/model/packing.h"

#include <pthread.h>
#include <sys/resource.h>

#include <system_error>
#include <utility>

#include "base/clock.h"
#include "base/log.h"

namespace hearth::model {

Packing::Packing(std::string folder, const Shards& shards, Device& device)
    : folder_(std::move(folder)), shards_(shards), device_(device) {
    if (folder_.empty() || PackedFile::bytes_of(shards.gguf(), device) == 0) return;
    if (auto file = PackedFile::find(folder_, shards_, device_)) use(std::move(*file));
    try {
        worker_ = std::thread([this] { work(); });
    } catch (const std::system_error&) {
        log_warn("not_packed", {{"why", "no thread could be started"}});
    }
}

Packing::~Packing() {
    stop_.store(true, std::memory_order_relaxed);
    settle();
}

void Packing::settle() {
    if (worker_.joinable()) worker_.join();
}

void Packing::work() {
    pthread_setname_np(pthread_self(), "packing");
    ::setpriority(PRIO_PROCESS, 0, 19);  // of this thread alone, on Linux
    if (in_use_) {
        const Status whole = in_use_->check(stop_);
        if (whole || whole.error().kind == ErrorKind::cancelled) return;
        log_warn("packed_weights_damaged", {{"why", whole.error().message}});
        is_damaged_.store(true, std::memory_order_release);
    }
    const std::int64_t begin_ns = system_clock().mono_ns();
    const Status made = PackedFile::make(folder_, shards_, device_, stop_);
    if (!made) {
        if (made.error().kind != ErrorKind::cancelled)
            log_warn("not_packed", {{"why", made.error().message}});
        return;
    }
    made_ = PackedFile::find(folder_, shards_, device_);
    if (!made_) return log_warn("not_packed", {{"why", "the file changed again at once"}});
    log_info("packed", {{"path", shards_.path()},
                        {"bytes", PackedFile::bytes_of(shards_.gguf(), device_)},
                        {"ms", (system_clock().mono_ns() - begin_ns) / kNsPerMs}});
    is_made_.store(true, std::memory_order_release);
}

void Packing::adopt() {
    if (is_damaged_.load(std::memory_order_acquire)) {
        PackedFile::take_back(shards_.gguf(), device_);
        in_use_.reset();
        is_damaged_.store(false, std::memory_order_relaxed);
    }
    if (in_use_ || !is_made_.load(std::memory_order_acquire)) return;
    use(std::move(*made_));
}

void Packing::use(PackedFile file) {
    in_use_ = std::move(file);
    in_use_->give(shards_.gguf(), device_);
    shards_.forget_pages();
}

}  // namespace hearth::model
