// Ceilings: what this machine gives to a number of threads, and what a model asks of it, so that a
// rate can be said as a share of what was possible.
//
// Decoding reads every active weight and the keys and values of its context once for each step, so
// memory bounds it; prefill does two operations for each weight and token, so arithmetic does. The
// kernels' own probes measure both (kernels.h): dots of bytes, on which quantized formats run, f32
// multiply-adds, and plain reading from a buffer that no cache holds.
//
// Machines change speed while one looks (memory placement, neighbours, heat): measure beside what
// is to be judged, each time anew.
//
// Thread: any one; measuring uses threads of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "base/thread_pool.h"
#include "engine/engine.h"

struct hearth_kernels;

namespace hearth::engine {

struct Ceilings {
    double read_bytes_per_s = 0;  // memory, all threads together
    double int8_ops_per_s = 0;    // a multiply-add counts two
    double f32_ops_per_s = 0;
    double bf16_ops_per_s = 0;  // of pairs of bf16; 0 where the ISA has no dot of them
    double hop_ns = 0;  // a cache line from one thread to another, one way; 0 with one thread
};

class CeilingProbe {
  public:
    // Takes the buffer: 1 GiB, or a quarter of the memory at hand where that is less. n_threads 0:
    // one per usable core.
    // Errors: invalid_request for an ISA that is unknown or unsupported; does_not_fit when less
    // than 64 MiB would be left for the buffer, which caches could hold.
    static Result<std::unique_ptr<CeilingProbe>> make(const std::string& isa, int n_threads,
                                                      const Clock& clock = system_clock());
    ~CeilingProbe();
    CeilingProbe(const CeilingProbe&) = delete;

    // The median of three rounds of each. Takes three reads of the buffer and about 50 ms.
    Ceilings measure();
    int n_threads() const { return pool_.n_threads(); }
    std::string_view isa() const;

  private:
    CeilingProbe(const hearth_kernels& kernels, int n_threads, std::size_t bytes,
                 const Clock& clock);
    double read_rate();
    double ops_rate(double (*ops)(std::int64_t));
    double hop_ns() const;

    const hearth_kernels& kernels_;
    const Clock& clock_;
    ThreadPool pool_;
    std::byte* buffer_ = nullptr;
    std::size_t bytes_ = 0;
};

// What a model's tokens cost. Attention's arithmetic is not counted.
struct Work {
    // Of a step with one sequence: weights outside of experts, and in all experts of all layers.
    double weights_bytes = 0, experts_bytes = 0;
    double expert_share = 0;  // of the experts that a token passes
    double kv_token_bytes = 0;
    // Operations by the form of activations that a matrix wants.
    struct Ops {
        double int8 = 0, f32 = 0, bf16 = 0;
        double seconds(const Ceilings& at) const;
    };
    Ops layers = {};  // of a prompt's token: all but the output matrix
    Ops output = {};  // of the output matrix
};
Work work_of(const Engine& engine);

// The greatest rates that the ceilings allow, tokens per second of all sequences together.
double prefill_limit_tps(const Work& work, const Ceilings& at);
// n_keys: keys that a token sees on average. Of the experts, those are read that at least one of
// the sequences chooses, were choices independent.
double decode_limit_tps(const Work& work, const Ceilings& at, std::int64_t n_parallel,
                        double n_keys);

}  // namespace hearth::engine
