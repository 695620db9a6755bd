#include "serve/metrics.h"

#include <gtest/gtest.h>

namespace hearth::serve {
namespace {

TEST(Metrics, buckets_are_cumulative_and_end_with_the_count) {
    Metrics m;
    for (const double s : {0.0005, 0.001, 0.002, 500.0}) m.request_duration.observe(s);
    const std::string text = m.print({});
    const auto has = [&](const char* line) { return text.find(line) != std::string::npos; };
    EXPECT_TRUE(has("hearth_request_duration_seconds_bucket{le=\"0.001\"} 2\n")) << text;
    EXPECT_TRUE(has("hearth_request_duration_seconds_bucket{le=\"0.0025\"} 3\n"));
    EXPECT_TRUE(has("hearth_request_duration_seconds_bucket{le=\"120\"} 3\n")) << text;
    EXPECT_TRUE(has("hearth_request_duration_seconds_bucket{le=\"+Inf\"} 4\n"));
    EXPECT_TRUE(has("hearth_request_duration_seconds_count 4\n"));
}

TEST(Metrics, requests_are_counted_by_route_reason_and_outcome) {
    Metrics m;
    m.count_request("local", "default-local", "finished");
    m.count_request("local", "default-local", "finished");
    m.count_request("refused", "sens\"itive", "refused");
    const std::string text = m.print(
        {{"hearth_g", "A gauge.", 0.5}, {"hearth_c_total", "A counter.", 7, "counter"}});
    EXPECT_NE(text.find("# TYPE hearth_c_total counter\nhearth_c_total 7\n"), std::string::npos);
    EXPECT_NE(text.find("{route=\"local\",reason=\"default-local\",outcome=\"finished\"} 2\n"),
              std::string::npos);
    EXPECT_NE(text.find("reason=\"sens\\\"itive\""), std::string::npos);
    EXPECT_NE(text.find("# TYPE hearth_g gauge\nhearth_g 0.5\n"), std::string::npos);
}

}  // namespace
}  // namespace hearth::serve
