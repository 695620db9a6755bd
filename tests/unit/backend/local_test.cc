// LocalBackend: what of a request reaches the engine, and what of the engine's end reaches the
// request's events.
#include "backend/local.h"

#include <gtest/gtest.h>

#include <cmath>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>

#include "base/json.h"
#include "base/log.h"
#include "chat/dialect.h"
#include "support/tiny_model.h"

namespace hearth::backend {
namespace {

using chat::SamplingRequest;

// The family's generated file; `value` at some places of the tensor, if one is named.
std::string file_of(const char* family, std::string_view tensor = "", float value = 0) {
    const test::TinyModel shape = test::tiny_of(family, test::kF32);
    test::GgufWriter w;
    test::write_metadata(w, shape);
    for (auto& t : test::tiny_tensors(shape)) {
        for (std::size_t at = 0; t.name == tensor && at < t.bytes.size(); at += 4 * 37)
            std::memcpy(&t.bytes[at], &value, 4);
        w.tensor(t.name, t.shape, t.type, t.bytes);
    }
    return w.bytes();
}

std::unique_ptr<LocalBackend> open(const std::string& file, const engine::Sampling& defaults = {}) {
    set_log(LogLevel::error);
    LocalOptions options{
        .engine = {.n_ctx = 64, .n_parallel = 4}, .defaults = defaults, .isa = "", .n_threads = 1};
    auto backend = LocalBackend::open(
        {.name = "tiny", .path = "", .bytes = std::as_bytes(std::span(file))}, options);
    EXPECT_TRUE(backend) << backend.error().message;
    return backend ? std::move(*backend) : nullptr;
}

// Every event, and a way to wait for the last.
class Events final : public chat::EventSink {
  public:
    void on_event(chat::Event event) override {
        const std::lock_guard lock(mutex_);
        n_terminal_ += chat::is_terminal(event);
        events_.push_back(std::move(event));
        changed_.notify_all();
    }
    bool ready() const override { return true; }
    bool cancelled() const override { return false; }
    std::vector<chat::Event> wait() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return n_terminal_ > 0; });
        return events_;
    }

  private:
    std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::vector<chat::Event> events_;
    int n_terminal_ = 0;
};

std::shared_ptr<Events> ask(LocalBackend& backend, chat::ChatRequest request,
                            std::string owner = {}) {
    auto sink = std::make_shared<Events>();
    Job job;
    job.request = std::make_shared<chat::ChatRequest>(std::move(request));
    job.model = "tiny";
    job.sink = sink;
    job.owner = std::move(owner);
    backend.start(std::move(job));
    return sink;
}

chat::ChatRequest raw_request(std::vector<std::int32_t> ids) {
    chat::ChatRequest request;
    request.raw = chat::RawPrompt{.text = "", .ids = std::move(ids)};
    request.max_output_tokens = 5;
    request.return_tokens = true;
    return request;
}

template <class T>
std::vector<T> all_of(const std::vector<chat::Event>& events) {
    std::vector<T> out;
    for (const chat::Event& e : events)
        if (const auto* found = std::get_if<T>(&e)) out.push_back(*found);
    return out;
}

// Defaults that no field shares with the engine's own or with the requests below.
const engine::Sampling kDefaults{.temperature = 0.31,
                                 .top_k = 17,
                                 .top_p = 0.71,
                                 .min_p = 0.011,
                                 .seed = 99,
                                 .n_logprobs = -1,
                                 .repeat_penalty = 1.07,
                                 .repeat_last_n = 33,
                                 .presence_penalty = 0.3,
                                 .frequency_penalty = 0.4,
                                 .logit_bias = {{TokenId(3), -1}}};

// All fields as numbers. A field that Sampling gains changes its size, and this list with it.
static_assert(sizeof(engine::Sampling) == 10 * 8 + sizeof(std::vector<engine::TokenBias>));
std::vector<double> fields_of(const engine::Sampling& s) {
    std::vector<double> out{s.temperature,
                            double(s.top_k),
                            s.top_p,
                            s.min_p,
                            double(s.n_logprobs),
                            s.repeat_penalty,
                            double(s.repeat_last_n),
                            s.presence_penalty,
                            s.frequency_penalty,
                            double(s.seed >> 32),
                            double(s.seed & 0xffffffffu)};
    for (const engine::TokenBias& b : s.logit_bias) {
        out.push_back(b.id.value);
        out.push_back(b.bias);
    }
    return out;
}

TEST(LocalSampling, what_a_request_does_not_state_is_the_default) {
    const std::string file = file_of("llama");
    const auto backend = open(file, kDefaults);
    ASSERT_TRUE(backend);
    EXPECT_EQ(fields_of(backend->sampling_for({})), fields_of(kDefaults));
    const auto plain = open(file);
    EXPECT_EQ(fields_of(plain->sampling_for({})), fields_of(engine::Sampling()));
}

TEST(LocalSampling, each_field_reaches_the_engine_alone) {
    const std::string file = file_of("llama");
    const auto backend = open(file, kDefaults);
    ASSERT_TRUE(backend);
    const auto check = [&](auto state, auto expect) {
        SamplingRequest asked;
        state(asked);
        engine::Sampling expected = kDefaults;
        expect(expected);
        EXPECT_NE(fields_of(expected), fields_of(kDefaults));
        EXPECT_EQ(fields_of(backend->sampling_for(asked)), fields_of(expected));
    };
    // 0 is a statement like any other: greedy, or off.
    for (const double v : {0.0, 1.5}) {
        check([&](auto& a) { a.temperature = v; }, [&](auto& e) { e.temperature = v; });
        check([&](auto& a) { a.min_p = v / 2; }, [&](auto& e) { e.min_p = v / 2; });
        check([&](auto& a) { a.presence_penalty = v; }, [&](auto& e) { e.presence_penalty = v; });
        check([&](auto& a) { a.frequency_penalty = -v; },
              [&](auto& e) { e.frequency_penalty = -v; });
    }
    check([](auto& a) { a.top_p = 1; }, [](auto& e) { e.top_p = 1; });
    check([](auto& a) { a.repeat_penalty = 1; }, [](auto& e) { e.repeat_penalty = 1; });
    for (const std::int64_t v : {std::int64_t(0), std::int64_t(INT32_MAX)})
        check([&](auto& a) { a.top_k = v; }, [&](auto& e) { e.top_k = v; });
    for (const std::int64_t v : {std::int64_t(-1), std::int64_t(0), std::int64_t(INT32_MAX)})
        check([&](auto& a) { a.repeat_last_n = v; }, [&](auto& e) { e.repeat_last_n = v; });
    for (const std::uint64_t v : {std::uint64_t(0), (std::uint64_t(1) << 53) + 1, UINT64_MAX})
        check([&](auto& a) { a.seed = v; }, [&](auto& e) { e.seed = v; });
    // The request's biases are the biases; defaults are for who states none.
    check(
        [](auto& a) {
            a.logit_bias = {{3, 2}, {250, -100}};
        },
        [](auto& e) {
            e.logit_bias = {{TokenId(3), 2}, {TokenId(250), -100}};
        });
}

// From the wire's bytes to the engine's settings: no number on the way is a double that should be
// an integer.
TEST(LocalSampling, the_wire_reaches_the_engine_exactly) {
    const std::string file = file_of("llama");
    const auto backend = open(file, kDefaults);
    ASSERT_TRUE(backend);
    const auto request =
        (*chat::find_dialect("openai"))
            .read_request("/v1/chat/completions",
                          R"({"model":"m","messages":[{"role":"user","content":"x"}],
        "temperature":0,"top_k":-1,"top_p":0.25,"min_p":0.125,"seed":9007199254740993,
        "repeat_penalty":1.25,"repeat_last_n":-1,"presence_penalty":-0.5,"frequency_penalty":0.75,
        "logit_bias":{"5":1.5}})");
    ASSERT_TRUE(request) << request.error().message;
    const engine::Sampling expected{.temperature = 0,
                                    .top_k = 0,
                                    .top_p = 0.25,
                                    .min_p = 0.125,
                                    .seed = 9007199254740993u,
                                    .n_logprobs = -1,
                                    .repeat_penalty = 1.25,
                                    .repeat_last_n = -1,
                                    .presence_penalty = -0.5,
                                    .frequency_penalty = 0.75,
                                    .logit_bias = {{TokenId(5), 1.5}}};
    EXPECT_EQ(fields_of(backend->sampling_for(request->sampling)), fields_of(expected));
    // The record of what an answer was made with says the same.
    const auto record = parse_json(backend->repro_json(*request));
    ASSERT_TRUE(record);
    EXPECT_EQ((*record)["seed"].get<std::uint64_t>(), 9007199254740993u);
    EXPECT_EQ((*record)["repeat_last_n"], -1);
    EXPECT_EQ((*record)["temperature"], 0);
    EXPECT_EQ((*record)["logit_bias"]["5"], 1.5);
}

TEST(LocalBackend, seeds_count_up_over_answers_and_scores_come_when_asked_for) {
    const std::string file = file_of("llama");
    const auto backend = open(file);
    ASSERT_TRUE(backend);
    chat::ChatRequest request = raw_request({20, 21, 22});
    request.sampling.seed = 5;
    request.sampling.temperature = 1.5;
    request.n = 3;
    request.logprobs = true;
    request.top_logprobs = 4;
    const auto together = ask(*backend, request)->wait();
    std::map<std::int64_t, std::vector<std::int32_t>> answers;
    for (const auto& done : all_of<chat::AnswerDone>(together)) answers[done.index] = done.tokens;
    ASSERT_EQ(answers.size(), 3u);
    std::size_t n_scores = 0, n_tokens = 0;
    for (const auto& delta : all_of<chat::TextDelta>(together))
        for (const auto& score : delta.logprobs) {
            EXPECT_EQ(score.top.size(), 4u);
            ++n_scores;
        }
    for (const auto& [index, tokens] : answers) {
        n_tokens += tokens.size();
        // The answer of that seed alone.
        chat::ChatRequest one = raw_request({20, 21, 22});
        one.sampling = request.sampling;
        one.sampling.seed = 5 + std::uint64_t(index);
        const auto alone = ask(*backend, one)->wait();
        ASSERT_EQ(all_of<chat::AnswerDone>(alone).size(), 1u);
        EXPECT_EQ(all_of<chat::AnswerDone>(alone)[0].tokens, tokens) << index;
        for (const auto& delta : all_of<chat::TextDelta>(alone))
            EXPECT_TRUE(delta.logprobs.empty());
    }
    EXPECT_EQ(n_scores, n_tokens);
    EXPECT_NE(answers[0], answers[1]);
}

TEST(LocalBackend, a_model_of_no_numbers_is_a_failed_event_and_the_backend_lives_on) {
    for (const char* family : {"llama", "mixtral", "qwen2", "qwen3", "qwen3moe"})
        for (const float value : {NAN, INFINITY}) {
            const std::string file = file_of(family, "output_norm.weight", value);
            auto backend = open(file);
            ASSERT_TRUE(backend);
            std::vector<std::shared_ptr<Events>> sinks;
            for (const std::int64_t n : {1, 3, 1}) {
                chat::ChatRequest request = raw_request({20, 21, 22});
                request.n = n;
                sinks.push_back(ask(*backend, request));
                sinks.back()->wait();
            }
            backend.reset();  // whatever could follow has done so
            for (const auto& sink : sinks) {
                const auto events = sink->wait();
                const auto failed = all_of<chat::Failed>(events);
                ASSERT_EQ(failed.size(), 1u) << family;
                EXPECT_EQ(failed[0].error.kind, ErrorKind::internal);
                EXPECT_NE(failed[0].error.message.find("not a number"), std::string::npos)
                    << failed[0].error.message;
                EXPECT_EQ(failed[0].usage.input_tokens, 3);
                EXPECT_TRUE(std::holds_alternative<chat::Failed>(events.back()));
                EXPECT_TRUE(all_of<chat::TextDelta>(events).empty());
                EXPECT_TRUE(all_of<chat::AnswerDone>(events).empty());
            }
        }
}

TEST(LocalBackend, what_was_computed_of_a_prompt_is_its_owners) {
    const std::string file = file_of("llama");
    const auto backend = open(file);
    ASSERT_TRUE(backend);
    std::vector<std::int32_t> ids;
    for (int i = 0; i < 40; ++i) ids.push_back(10 + i);
    const auto n_cached = [&](const char* owner, std::int64_t n = 1) {
        chat::ChatRequest request = raw_request(ids);
        request.n = n;
        const auto ends = all_of<chat::Finished>(ask(*backend, request, owner)->wait());
        EXPECT_EQ(ends.size(), 1u);
        return ends.empty() ? -1 : ends[0].usage.cached_tokens;
    };
    EXPECT_EQ(n_cached("ann"), 0);
    EXPECT_EQ(n_cached("ben", 3), 0);  // what one answer computes and others share is not cached
    EXPECT_EQ(n_cached("ann"), 32);
    EXPECT_EQ(n_cached("ben", 3), 32);
    EXPECT_EQ(n_cached(""), 0);
}

}  // namespace
}  // namespace hearth::backend
