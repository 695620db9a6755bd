// Metrics: counters, gauges and histograms in Prometheus' text form (version 0.0.4).
//
// Thread: any; counters are atomics, a histogram takes a short lock.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "chat/chat.h"

namespace hearth::serve {

// Fixed buckets in seconds, cumulative when printed.
class Histogram {
  public:
    void observe(double seconds);
    void print(std::string& out, const char* name, const char* help) const;

  private:
    static constexpr std::array kBounds{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,  0.25,
                                        0.5,   1.0,    2.5,   5.0,  10.0,  30.0, 60.0, 120.0};
    mutable std::mutex mutex_;  // guards all below
    std::array<std::int64_t, kBounds.size() + 1> counts_{};
    double sum_ = 0;
};

struct Metrics {
    Histogram time_to_first_token, request_duration, queue_time;
    std::atomic<std::int64_t> input_tokens{0}, cached_tokens{0}, output_tokens{0};
    std::atomic<std::int64_t> open_requests{0}, fallbacks{0}, egress_bytes_out{0},
        egress_bytes_in{0}, egress_connections{0}, egress_refused{0};
    // Requests that ended, by this count and not by the journal's: its checkpoints state it, and
    // `audit verify` holds the records against it.
    std::atomic<std::int64_t> served{0};
    // Whether the process that alone may connect, and signs, still runs. Set before the server
    // starts; unset: there is none.
    std::function<bool()> broker_alive;

    // One request reached its end: route and reason of its decision, and how it ended.
    void count_request(const std::string& route, const std::string& reason,
                       const std::string& outcome);
    // gauges: name, help, value, read at this moment by the caller.
    struct Gauge {
        const char* name;
        const char* help;
        double value;
        const char* type = "gauge";  // or "counter", for what somebody else counts
    };
    std::string print(const std::vector<Gauge>& gauges) const;

  private:
    mutable std::mutex mutex_;  // guards requests_
    std::map<std::array<std::string, 3>, std::int64_t> requests_;
};

// One request between its headers and its end. Whoever keeps a request alive holds it: the bound on
// open requests, and the wait for them at the end of the program, see no others.
class OpenRequest {
  public:
    explicit OpenRequest(Metrics& metrics) : metrics_(metrics) { metrics_.open_requests += 1; }
    ~OpenRequest() { metrics_.open_requests -= 1; }
    OpenRequest(const OpenRequest&) = delete;
    OpenRequest& operator=(const OpenRequest&) = delete;

  private:
    Metrics& metrics_;
};

}  // namespace hearth::serve
