#include "serve/metrics.h"

#include "base/format.h"

namespace hearth::serve {
namespace {

void head(std::string& out, const char* name, const char* help, const char* type) {
    out += format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

void counter(std::string& out, const char* name, const char* help, std::int64_t value) {
    head(out, name, help, "counter");
    out += format("{} {}\n", name, value);
}

// Label values come from reason codes and configured names; quotes and backslashes are escaped all
// the same, as the text form asks.
std::string label(const std::string& value) {
    std::string out;
    for (const char c : value) {
        if (c == '\\' || c == '"') out += '\\';
        out += c == '\n' ? ' ' : c;
    }
    return out;
}

}  // namespace

void Histogram::observe(double seconds) {
    std::size_t i = 0;
    while (i < kBounds.size() && seconds > kBounds[i]) ++i;
    const std::lock_guard lock(mutex_);
    ++counts_[i];
    sum_ += seconds;
}

void Histogram::print(std::string& out, const char* name, const char* help) const {
    const std::lock_guard lock(mutex_);
    head(out, name, help, "histogram");
    std::int64_t total = 0;
    for (std::size_t i = 0; i < kBounds.size(); ++i) {
        total += counts_[i];
        out += format("{}_bucket{{le=\"{}\"}} {}\n", name, kBounds[i], total);
    }
    total += counts_.back();
    out += format("{}_bucket{{le=\"+Inf\"}} {}\n{}_sum {}\n{}_count {}\n", name, total, name, sum_,
                  name, total);
}

void Metrics::count_request(const std::string& route, const std::string& reason,
                            const std::string& outcome) {
    const std::lock_guard lock(mutex_);
    ++requests_[{route, reason, outcome}];
}

std::string Metrics::print(const std::vector<Gauge>& gauges) const {
    std::string out;
    head(out, "hearth_requests_total", "Requests by route, reason and outcome.", "counter");
    {
        const std::lock_guard lock(mutex_);
        for (const auto& [key, n] : requests_)
            out += format("hearth_requests_total{{route=\"{}\",reason=\"{}\",outcome=\"{}\"}} {}\n",
                          label(key[0]), label(key[1]), label(key[2]), n);
    }
    counter(out, "hearth_input_tokens_total", "Prompt tokens, cached ones included.", input_tokens);
    counter(out, "hearth_cached_tokens_total", "Prompt tokens not computed again.", cached_tokens);
    counter(out, "hearth_output_tokens_total", "Generated tokens.", output_tokens);
    counter(out, "hearth_fallbacks_total",
            "Requests moved to another place before the first delta.", fallbacks);
    counter(out, "hearth_egress_connections_total", "Connections that the door opened.",
            egress_connections);
    counter(out, "hearth_egress_refused_total", "Connections that the door refused.",
            egress_refused);
    counter(out, "hearth_egress_bytes_out_total", "Plain bytes that left.", egress_bytes_out);
    counter(out, "hearth_egress_bytes_in_total", "Plain bytes that came back.", egress_bytes_in);
    head(out, "hearth_egress_broker_up", "1 while the process that alone may connect runs.",
         "gauge");
    out += format("hearth_egress_broker_up {}\n", broker_alive && broker_alive() ? 1 : 0);
    time_to_first_token.print(out, "hearth_time_to_first_token_seconds",
                              "Request fully read to first token handed to the socket.");
    request_duration.print(out, "hearth_request_duration_seconds",
                           "Request fully read to its end.");
    queue_time.print(out, "hearth_queue_seconds",
                     "Submitted to the engine to first step, of finished local answers.");
    for (const Gauge& gauge : gauges) {
        head(out, gauge.name, gauge.help, gauge.type);
        out += format("{} {}\n", gauge.name, gauge.value);
    }
    return out;
}

}  // namespace hearth::serve
