#include "engine/ceilings.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <thread>

#include "base/format.h"
#include "engine/engine.h"
#include "engine/kernels/kernels.h"
#include "engine/memory_at_hand.h"

namespace hearth::engine {
namespace {

// Far beyond the last-level caches of today (a few 100 MiB at most).
constexpr std::size_t kBufferBytes = std::size_t(1) << 30;
constexpr std::size_t kBufferBytesMin = std::size_t(64) << 20;
// A part that is short beside a round, so that a thread that lost its core costs little.
constexpr std::size_t kPieceBytes = std::size_t(4) << 20;
constexpr int kRounds = 3;
// Parts of about this time: too long for their hand-out to show.
constexpr double kPartNs = 200'000;
constexpr std::int64_t kOpsParts = 40;
constexpr std::int64_t kHops = 4'000;  // even

double median_of(std::array<double, kRounds> values) {
    std::ranges::sort(values);
    return values[kRounds / 2];
}

}  // namespace

Result<std::unique_ptr<CeilingProbe>> CeilingProbe::make(const std::string& isa, int n_threads,
                                                         const Clock& clock) {
    const hearth_kernels* kernels = hearth_kernels_pick(isa.empty() ? nullptr : isa.c_str());
    if (!kernels)
        return fail(ErrorKind::invalid_request,
                    format("the instruction set \"{}\" is unknown or not supported here", isa));
    const std::size_t bytes =
        std::min(kBufferBytes, memory_at_hand() / 4) / kPieceBytes * kPieceBytes;
    if (bytes < kBufferBytesMin)
        return fail(ErrorKind::does_not_fit,
                    format("measuring the memory's speed needs {} bytes, four times that must be "
                           "free; close other programs",
                           kBufferBytesMin));
    std::unique_ptr<CeilingProbe> probe(new CeilingProbe(*kernels, n_threads, bytes, clock));
    if (!probe->buffer_)
        return fail(ErrorKind::does_not_fit, format("the system refused {} bytes", bytes));
    return probe;
}

CeilingProbe::CeilingProbe(const hearth_kernels& kernels, int n_threads, std::size_t bytes,
                           const Clock& clock)
    : kernels_(kernels), clock_(clock), pool_(n_threads), bytes_(bytes) {
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return;
    buffer_ = static_cast<std::byte*>(at);
    madvise(at, bytes, MADV_HUGEPAGE);  // a wish; without it pages are small
    // Pages that were never written are one and the same.
    pool_.run(std::int64_t(bytes / kPieceBytes), [&](std::int64_t piece) {
        std::fill_n(buffer_ + std::size_t(piece) * kPieceBytes, kPieceBytes, std::byte(1));
    });
}

CeilingProbe::~CeilingProbe() {
    if (buffer_) munmap(buffer_, bytes_);
}

std::string_view CeilingProbe::isa() const {
    return kernels_.isa;
}

double CeilingProbe::read_rate() {
    std::array<double, kRounds> rates{};
    for (double& rate : rates) {
        const std::int64_t start_ns = clock_.mono_ns();
        pool_.run(std::int64_t(bytes_ / kPieceBytes), [&](std::int64_t piece) {
            kernels_.ceiling_read(buffer_ + std::size_t(piece) * kPieceBytes, kPieceBytes);
        });
        rate = double(bytes_) * double(kNsPerS) /
               double(std::max<std::int64_t>(1, clock_.mono_ns() - start_ns));
    }
    return median_of(rates);
}

double CeilingProbe::ops_rate(double (*ops)(std::int64_t)) {
    std::array<double, kRounds> rates{};
    constexpr std::int64_t kTrial = 1'000;
    const std::int64_t trial_ns = clock_.mono_ns();
    ops(kTrial);
    const double round_ns = double(clock_.mono_ns() - trial_ns) / kTrial;
    const std::int64_t n_rounds = 1 + std::int64_t(kPartNs / std::max(round_ns, 0.1));
    const double n_ops = ops(1) * double(n_rounds) * double(kOpsParts);
    for (double& rate : rates) {
        const std::int64_t start_ns = clock_.mono_ns();
        pool_.run(kOpsParts, [&](std::int64_t) { ops(n_rounds); });
        rate = n_ops * double(kNsPerS) /
               double(std::max<std::int64_t>(1, clock_.mono_ns() - start_ns));
    }
    return median_of(rates);
}

// Two threads hand a number to and fro; the first hops wait for the other's start and do not count.
// Each gives its core away while it waits long, so a machine that has one for both comes to an end
// too.
double CeilingProbe::hop_ns() const {
    if (n_threads() < 2) return 0;
    constexpr std::int64_t kFirst = 16;
    alignas(64) std::atomic<std::int64_t> turn{0};
    std::int64_t start_ns = 0;
    const auto play = [&](std::int64_t parity) {
        for (std::int64_t at = parity; at < kFirst + kHops; at += 2) {
            for (int spin = 0; turn.load(std::memory_order_acquire) != at; ++spin)
                if (spin > 100'000) std::this_thread::yield();
            if (at == kFirst) start_ns = clock_.mono_ns();
            turn.store(at + 1, std::memory_order_release);
        }
    };
    std::jthread other(play, 1);
    play(0);
    while (turn.load(std::memory_order_acquire) != kFirst + kHops) std::this_thread::yield();
    return double(clock_.mono_ns() - start_ns) / double(kHops);
}

Ceilings CeilingProbe::measure() {
    Ceilings out;
    out.hop_ns = hop_ns();
    out.int8_ops_per_s = ops_rate(kernels_.ceiling_int8);
    out.f32_ops_per_s = ops_rate(kernels_.ceiling_f32);
    if (kernels_.ceiling_bf16) out.bf16_ops_per_s = ops_rate(kernels_.ceiling_bf16);
    out.read_bytes_per_s = read_rate();
    return out;
}

Work work_of(const Engine& engine) {
    const model::ModelInfo& info = engine.model().info();
    const model::Gguf& gguf = engine.model().gguf();
    const hearth_kernels* kernels = hearth_kernels_pick(std::string(engine.isa()).c_str());
    const bool tied = gguf.find_tensor("output.weight") == nullptr;
    Work work;
    work.kv_token_bytes = double(engine.memory().kv_token_bytes);
    if (info.n_expert > 0) work.expert_share = double(info.n_expert_used) / double(info.n_expert);
    for (const model::GgufTensor& tensor : gguf.tensors()) {
        const bool embedding = tensor.name == "token_embd.weight";
        if (embedding && !tied) continue;  // one row of it is read
        const bool of_experts = model::is_of_experts(tensor);
        (of_experts ? work.experts_bytes : work.weights_bytes) += double(tensor.bytes.size());
        if (tensor.shape.size() < 2) continue;
        const hearth_format* format = kernels ? hearth_format_find(kernels, tensor.type) : nullptr;
        Work::Ops& ops = embedding || tensor.name == "output.weight" ? work.output : work.layers;
        const double n = 2 * double(tensor.n_values()) * (of_experts ? work.expert_share : 1.0);
        if (format && format->act == HEARTH_ACT_F32)
            ops.f32 += n;
        else if (format && format->act == HEARTH_ACT_BF16)
            ops.bf16 += n;
        else
            ops.int8 += n;
    }
    return work;
}

double Work::Ops::seconds(const Ceilings& at) const {
    return int8 / at.int8_ops_per_s + f32 / at.f32_ops_per_s +
           (bf16 > 0 ? bf16 / at.bf16_ops_per_s : 0);
}

double prefill_limit_tps(const Work& work, const Ceilings& at) {
    return 1 / work.layers.seconds(at);
}

double decode_limit_tps(const Work& work, const Ceilings& at, std::int64_t n_parallel,
                        double n_keys) {
    const auto n = double(n_parallel);
    const double touched = 1 - std::pow(1 - work.expert_share, n);
    const double bytes =
        work.weights_bytes + work.experts_bytes * touched + n * n_keys * work.kv_token_bytes;
    const double ops_s = n * (work.layers.seconds(at) + work.output.seconds(at));
    return n / std::max(bytes / at.read_bytes_per_s, ops_s);
}

}  // namespace hearth::engine
