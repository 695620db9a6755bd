// The whole engine, its thread included, on real networks: the demo model and generated ones.
#include "engine/engine.h"
#include "base/sanitized.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <thread>

#include "base/log.h"
#include "base/sanitized.h"
#include "support/gguf_writer.h"
#include "support/model_check.h"
#include "unit/engine/collector.h"

namespace hearth::engine {
namespace {

const model::ModelSource kDemo{
    .name = "demo", .path = HEARTH_SOURCE_DIR "/models/demo-q8_0.gguf", .bytes = {}};

// Sanitizers look for races and bad accesses, thirty times slower; the exactness of every ISA is
// shown without them.
constexpr bool kSlow = HEARTH_SANITIZED;

std::vector<std::string> isas() {
    std::vector<std::string> isas = test::supported_isas();
    if (kSlow) isas.erase(isas.begin(), isas.end() - 1);
    return isas;
}

struct Start {
    std::string isa = "";
    int n_threads = 1;
    EngineOptions options = {};
};

Result<std::unique_ptr<Engine>> try_start(const model::ModelSource& source, const Start& how) {
    set_log(LogLevel::error);  // hundreds of engines start here
    HEARTH_TRY(auto device, model::make_cpu_device(how.isa, how.n_threads));
    return Engine::start(source, std::move(device), how.options);
}

std::unique_ptr<Engine> start(const model::ModelSource& source, const Start& how = {}) {
    auto engine = try_start(source, how);
    if (engine) return std::move(*engine);
    ADD_FAILURE() << engine.error().message;
    return nullptr;
}

std::vector<TokenId> encode(const Engine& engine, std::string_view text) {
    return engine.model().tokenizer().encode(text, {});
}

std::string chat(std::string_view question) {
    return "<|im_start|>user\n" + std::string(question) + "<|im_end|>\n<|im_start|>assistant\n";
}

std::shared_ptr<Collector> submit(Engine& engine, Request request) {
    auto sink = std::make_shared<Collector>();
    request.sink = sink;
    const Status status = engine.submit(std::move(request));
    EXPECT_TRUE(status) << status.error().message;
    return sink;
}

// Ids, texts and log-probabilities, bit for bit.
std::string transcript(Collector& sink) {
    std::string out;
    const auto add = [&](const TokenScore& s) {
        std::uint32_t bits = 0;
        std::memcpy(&bits, &s.logprob, sizeof bits);
        out += std::to_string(s.id.value) + ":" + std::to_string(bits) + " ";
    };
    const Finish finish = sink.wait();
    for (const Output& o : sink.outputs()) {
        out += std::to_string(o.id.value) + " '" + o.text + "' ";
        if (o.score) add(*o.score);
        for (const TokenScore& s : o.top) add(s);
    }
    return out + "/ '" + finish.text + "' " + std::to_string(int(finish.reason));
}

TEST(Engine, answers_with_the_demo_model) {
    auto engine = start(kDemo);
    ASSERT_TRUE(engine);
    auto sink = submit(*engine, {.prompt = encode(*engine, chat("Hello!")),
                                 .sampling = {.temperature = 0},
                                 .max_tokens = 60});
    const Finish finish = sink->wait();
    EXPECT_EQ(finish.reason, StopReason::end_token);
    EXPECT_EQ(std::int64_t(sink->n_outputs()), finish.n_generated);
    EXPECT_FALSE(sink->text().empty());
    EXPECT_EQ(sink->text(), engine->model().tokenizer().decode(sink->ids()));
    EXPECT_GT(finish.prefill_ns, 0);
    EXPECT_GT(finish.ttft_ns, 0);
    EXPECT_EQ(engine->stats().n_blocks_used, 0);
    EXPECT_EQ(engine->n_ctx(), 1024);
}

// Two requests, greedy and sampled, whose transcripts must not depend on anything around them.
struct Pair {
    std::vector<TokenId> prompt;
    std::int64_t max_tokens = 0;
};

struct Weather {  // what happens around the request
    int n_neighbours = 0;
    std::int64_t chunk = 512;
    int n_threads = 1;
    std::int64_t n_batch_tokens = 512;
    bool scarce = false;  // of blocks
    bool pauses = false;
    std::string name() const {
        return std::to_string(n_neighbours) + " neighbours, chunk " + std::to_string(chunk) + ", " +
               std::to_string(n_threads) + " threads, batch " + std::to_string(n_batch_tokens) +
               (scarce ? ", few blocks" : "") + (pauses ? ", pauses" : "");
    }
};

// The seven others come at random places of the request's own answer, so that joins and leaves fall
// on all kinds of steps; they are started from its sink, which runs on the engine's thread.
std::string run_in(const model::ModelSource& source, const std::string& isa, const Weather& weather,
                   const Pair& pair, bool greedy, std::uint64_t seed) {
    EngineOptions options{.n_ctx = 256,
                          .n_parallel = 8,
                          .n_batch_tokens = weather.n_batch_tokens,
                          .prefill_chunk = weather.chunk};
    if (weather.scarce) options.n_blocks = 256 / model::kBlockTokens;
    auto engine = start(source, {isa, weather.n_threads, options});
    if (!engine) return "no engine";
    std::mt19937 random{std::uint32_t(seed)};
    const std::int64_t n_vocab = engine->model().config().n_vocab;
    std::multimap<std::size_t, std::int64_t> arrivals;  // at which output, how long a prompt
    for (int i = 0; i < weather.n_neighbours; ++i)
        arrivals.emplace(random() % std::size_t(pair.max_tokens), 1 + random() % 60);
    std::vector<std::shared_ptr<Collector>> others;
    const auto arrive = [&](std::size_t n_outputs) {
        for (auto [at, end] = arrivals.equal_range(n_outputs); at != end; ++at) {
            std::vector<TokenId> prompt;
            for (std::int64_t i = 0; i < at->second; ++i)
                prompt.push_back(TokenId(std::int32_t(random() % std::uint64_t(n_vocab))));
            others.push_back(submit(*engine, {.prompt = prompt,
                                              .sampling = {.seed = random()},
                                              .max_tokens = 1 + std::int64_t(random() % 30),
                                              .ignore_end = true}));
        }
    };
    arrive(0);
    auto sink = std::make_shared<Collector>();
    sink->after_output = [&](Collector& self) {
        arrive(self.n_outputs());
        if (weather.pauses && self.n_outputs() % 8 == 3) self.is_ready = false;
    };
    const Sampling sampling{.temperature = greedy ? 0 : 0.9, .seed = 1234, .n_logprobs = 4};
    EXPECT_TRUE(engine->submit({.prompt = pair.prompt,
                                .sampling = sampling,
                                .max_tokens = pair.max_tokens,
                                .ignore_end = true,
                                .sink = sink}));
    while (weather.pauses && sink->n_finishes() == 0) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        sink->is_ready = true;
    }
    sink->wait();
    for (const auto& other : others) other->wait();
    return transcript(*sink);
}

void says_the_same_in_all_weather(const model::ModelSource& source, std::string_view prompt_text,
                                  std::int64_t max_tokens) {
    Pair pair{.prompt = {}, .max_tokens = max_tokens};
    {
        auto engine = start(source);
        ASSERT_TRUE(engine);
        pair.prompt = encode(*engine, prompt_text);
        ASSERT_GT(pair.prompt.size(), 20u);
        ASSERT_LE(std::int64_t(pair.prompt.size()) + max_tokens, 256);
    }
    std::vector<Weather> weathers;
    for (const int n_neighbours : {0, 7})
        for (const std::int64_t chunk : {1, 7, 512})
            for (const int n_threads : {1, 2})
                weathers.push_back(
                    {.n_neighbours = n_neighbours, .chunk = chunk, .n_threads = n_threads});
    weathers.push_back({.n_neighbours = 7, .n_batch_tokens = 13, .scarce = true});
    weathers.push_back({.n_neighbours = 7, .n_batch_tokens = 40, .scarce = true, .pauses = true});
    if (kSlow) weathers = {weathers[0], weathers[9], weathers.back()};
    for (const std::string& isa : isas())
        for (const bool greedy : {true, false}) {
            const std::string alone = run_in(source, isa, weathers[0], pair, greedy, 1);
            std::uint64_t seed = 1;
            for (const Weather& weather : weathers)
                ASSERT_EQ(run_in(source, isa, weather, pair, greedy, ++seed), alone)
                    << isa << (greedy ? " greedy" : " sampled") << ", " << weather.name()
                    << ", seed " << seed;
        }
}

TEST(EngineExactness, the_demo_model_says_the_same_in_all_weather) {
    says_the_same_in_all_weather(
        kDemo, chat("Write a JSON object containing \"name\" and \"city\": Ann lives in Oslo."),
        32);
}

TEST(EngineExactness, generated_models_of_each_format_say_the_same_in_all_weather) {
    for (const std::uint32_t type : {test::kF32, test::kF16, test::kQ8_0}) {
        const std::string bytes =
            test::tiny_llama({.type = type, .tied = type != test::kF16, .seed = 5}).bytes();
        says_the_same_in_all_weather(
            {.name = "tiny", .path = "", .bytes = std::as_bytes(std::span(bytes))},
            "a sentence that is about forty tokens long", 30);
    }
}

// Three ways to the same number: while decoding, and by scoring the text in chunks of every size.
TEST(EngineExactness, scores_are_the_logprobs_that_decoding_gave) {
    for (const std::string& isa : isas()) {
        std::vector<TokenId> ids;
        std::vector<float> decoded;
        std::size_t n_prompt = 0;
        {
            auto engine = start(kDemo, {isa, 2, {}});
            ASSERT_TRUE(engine);
            ids = encode(*engine, chat("What is the capital of France?"));
            n_prompt = ids.size();
            auto sink = submit(*engine, {.prompt = ids,
                                         .sampling = {.seed = 3, .n_logprobs = 0},
                                         .max_tokens = 60,
                                         .ignore_end = true});
            sink->wait();
            for (const Output& o : sink->outputs()) {
                ids.push_back(o.id);
                decoded.push_back(o.score->logprob);
            }
        }
        ASSERT_EQ(decoded.size(), 60u);
        for (const std::int64_t chunk : {0, 1, 9}) {
            if (kSlow && chunk == 1) continue;
            auto engine = start(kDemo, {isa, 1, {.prefill_chunk = chunk}});
            ASSERT_TRUE(engine);
            const auto scores = engine->score(ids, 1);
            ASSERT_TRUE(scores) << scores.error().message;
            ASSERT_EQ(scores->logprobs.size(), ids.size() - 1);
            for (std::size_t i = 0; i < decoded.size(); ++i)
                ASSERT_EQ(std::memcmp(&scores->logprobs[n_prompt - 1 + i], &decoded[i], 4), 0)
                    << isa << " chunk " << chunk << " token " << i;
        }
    }
}

TEST(Engine, greedy_takes_the_best_of_the_scores_and_sampling_follows_its_seed) {
    auto engine = start(kDemo);
    ASSERT_TRUE(engine);
    const auto prompt = encode(*engine, chat("Tell me something."));
    const auto run = [&](Sampling s) {
        s.n_logprobs = 3;
        return submit(*engine, {.prompt = prompt, .sampling = s, .max_tokens = 20});
    };
    auto greedy = run({.temperature = 0});
    greedy->wait();
    for (const Output& o : greedy->outputs()) {
        ASSERT_EQ(o.top.size(), 3u);
        EXPECT_EQ(o.id, o.top[0].id);
        EXPECT_EQ(o.score->logprob, o.top[0].logprob);
        EXPECT_GE(o.top[0].logprob, o.top[1].logprob);
    }
    auto a = run({.temperature = 3, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 1});
    auto b = run({.temperature = 3, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 2});
    auto c = run({.temperature = 3, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 1});
    EXPECT_EQ(transcript(*a), transcript(*c));
    EXPECT_NE(transcript(*a), transcript(*b));
}

TEST(Engine, a_stop_string_never_shows) {
    auto engine = start(kDemo);
    ASSERT_TRUE(engine);
    const auto prompt = encode(*engine, chat("Hello!"));
    auto whole =
        submit(*engine, {.prompt = prompt, .sampling = {.temperature = 0}, .max_tokens = 60});
    const std::string text = whole->text();
    ASSERT_GT(text.size(), 12u);
    for (std::size_t at = 0; at + 4 < text.size(); at += 3) {
        const std::string stop = text.substr(at, 4);
        auto sink = submit(
            *engine,
            {.prompt = prompt, .sampling = {.temperature = 0}, .max_tokens = 60, .stop = {stop}});
        EXPECT_EQ(sink->text(), text.substr(0, text.find(stop)));
        EXPECT_EQ(sink->wait().reason, StopReason::stop_string);
    }
}

TEST(Engine, refuses_what_does_not_fit_the_context_or_the_vocabulary) {
    auto engine = start(kDemo, {"", 1, {.n_ctx = 64}});
    ASSERT_TRUE(engine);
    const auto error = [&](std::vector<TokenId> prompt) {
        const Status status =
            engine->submit({.prompt = std::move(prompt), .sink = std::make_shared<Collector>()});
        return status ? Error{} : status.error();
    };
    EXPECT_EQ(error({}).kind, ErrorKind::invalid_request);
    EXPECT_EQ(error({TokenId(4096)}).kind, ErrorKind::invalid_request);
    const Error full = error(std::vector<TokenId>(64, TokenId(9)));
    EXPECT_EQ(full.kind, ErrorKind::context_overflow);
    EXPECT_EQ(full.n_prompt_tokens, 64);
    EXPECT_EQ(full.n_ctx, 64);
    auto last = submit(*engine, {.prompt = std::vector<TokenId>(63, TokenId(9)),
                                 .sampling = {.temperature = 0},
                                 .ignore_end = true});
    EXPECT_EQ(last->wait().n_generated, 1);
    EXPECT_TRUE(last->wait().context_full);
}

TEST(Engine, cancelling_ends_a_long_answer_and_frees_its_blocks) {
    auto engine = start(kDemo);
    ASSERT_TRUE(engine);
    auto sink = submit(*engine, {.prompt = encode(*engine, chat("Count.")), .ignore_end = true});
    sink->wait_for_outputs(3);
    EXPECT_GT(engine->stats().n_blocks_used, 0);
    sink->is_cancelled = true;
    EXPECT_EQ(sink->wait().reason, StopReason::cancelled);
    EXPECT_EQ(engine->stats().n_blocks_used, 0);
    EXPECT_EQ(engine->stats().n_running, 0);
}

TEST(Engine, destroying_it_cancels_what_runs_and_what_waits) {
    std::vector<std::shared_ptr<Collector>> sinks;
    {
        auto engine = start(kDemo, {"", 2, {.n_parallel = 2}});
        ASSERT_TRUE(engine);
        for (int i = 0; i < 6; ++i)
            sinks.push_back(submit(
                *engine, {.prompt = encode(*engine, chat("Go on forever.")), .ignore_end = true}));
        sinks[0]->wait_for_outputs(2);
    }
    for (const auto& sink : sinks) {
        ASSERT_EQ(sink->n_finishes(), 1);
        EXPECT_EQ(sink->wait().reason, StopReason::cancelled);
    }
}

TEST(Engine, runs_at_once_and_ends_at_once_without_a_request) {
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(start(kDemo));
}

TEST(Engine, memory_that_does_not_suffice_is_refused_with_the_arithmetic) {
    Start how;
    how.options = {.memory_bytes = 16 << 20};
    const auto engine = try_start(kDemo, how);
    ASSERT_FALSE(engine);
    EXPECT_EQ(engine.error().kind, ErrorKind::does_not_fit);
    EXPECT_NE(engine.error().message.find("KV cache"), std::string::npos) << engine.error().message;
    for (const char* part : {"weights (mapped)", "compute buffers", "total", "16777216 bytes"})
        EXPECT_NE(engine.error().message.find(part), std::string::npos) << engine.error().message;
}

TEST(Engine, buffers_of_a_step_beyond_the_memory_are_refused_before_they_are_made) {
    Start how;
    how.options = {.n_batch_tokens = 16384, .memory_bytes = 16 << 20};
    const auto engine = try_start(kDemo, how);
    ASSERT_FALSE(engine);
    EXPECT_EQ(engine.error().kind, ErrorKind::does_not_fit);
    for (const char* part : {"a step of 16384 rows", "16777216 bytes"})
        EXPECT_NE(engine.error().message.find(part), std::string::npos) << engine.error().message;
}

TEST(Engine, where_memory_is_short_sequences_share_fewer_blocks) {
    auto roomy = start(kDemo, {"", 1, {.n_ctx = 256}});
    ASSERT_TRUE(roomy);
    const MemoryPlan plan = roomy->memory();
    EXPECT_EQ(roomy->stats().n_blocks, 8 * 256 / model::kBlockTokens);
    // 8 layers, keys and values, 4 heads of 32 halves: 4,096 bytes a token.
    EXPECT_EQ(plan.kv_bytes, 8u * 256 * 4096);
    EXPECT_GT(plan.weights_bytes, 7u << 20);
    Start how{"", 1, {.n_ctx = 256}};
    how.options.memory_bytes = plan.weights_bytes + plan.compute_bytes + 3 * 256 * 4096;
    auto tight = start(kDemo, how);
    ASSERT_TRUE(tight);
    EXPECT_EQ(tight->stats().n_blocks, 3 * 256 / model::kBlockTokens);
    EXPECT_LE(tight->memory().kv_bytes, 3u * 256 * 4096);
    std::vector<std::shared_ptr<Collector>> sinks;
    for (int i = 0; i < 8; ++i)
        sinks.push_back(submit(
            *tight,
            {.prompt = encode(*tight, chat("Hello!")), .max_tokens = 200, .ignore_end = true}));
    for (const auto& sink : sinks) EXPECT_EQ(sink->wait().n_generated, 200);
}

TEST(Engine, each_kv_type_takes_exactly_the_bytes_it_should) {
    // The demo model: 8 layers, keys and values, 4 heads of 32 values.
    const std::pair<const char*, std::size_t> types[] = {
        {"f32", 32 * 4}, {"f16", 32 * 2}, {"bf16", 32 * 2}, {"q8_0", 34}};
    for (const auto& [type, row_bytes] : types) {
        Start how;
        how.options = {.n_ctx = 100, .n_parallel = 2, .kv_type = type};
        auto engine = try_start(kDemo, how);
        ASSERT_TRUE(engine) << engine.error().message;
        const MemoryPlan plan = (*engine)->memory();
        EXPECT_EQ(plan.kv_token_bytes, 8 * 2 * 4 * row_bytes) << type;
        EXPECT_EQ(plan.n_kv_tokens, 2 * 112);  // whole blocks of 16 tokens
        EXPECT_EQ(plan.kv_bytes, plan.kv_token_bytes * 2 * 112) << type;
        EXPECT_EQ(plan.total_bytes(), plan.weights_bytes + plan.kv_bytes + plan.compute_bytes);
        EXPECT_NE(plan.text().find(std::to_string(plan.kv_bytes)), std::string::npos);
        EXPECT_NE(plan.text().find(type), std::string::npos);
        auto sink = submit(**engine, {.prompt = encode(**engine, chat("Hello!")), .max_tokens = 8});
        EXPECT_NE(sink->wait().reason, StopReason::failed);
    }
}

TEST(Engine, a_kv_type_that_the_models_heads_do_not_fit_is_refused_with_a_way_out) {
    const std::string bytes = test::tiny_llama({.head_dim = 16}).bytes();
    Start how;
    how.options = {.kv_type = "q8_0"};
    const auto engine =
        try_start({.name = "tiny", .path = "", .bytes = std::as_bytes(std::span(bytes))}, how);
    ASSERT_FALSE(engine);
    EXPECT_EQ(engine.error().kind, ErrorKind::invalid_request);
    for (const char* part : {"q8_0", "32 values", "heads have 16", "choose f16"})
        EXPECT_NE(engine.error().message.find(part), std::string::npos) << engine.error().message;
}

TEST(Engine, equal_prompts_are_computed_once_and_answered_as_if_each_were_alone) {
    auto engine = start(kDemo, {.options = {.n_prefix_tokens = 0}});  // what is alone, is
    ASSERT_TRUE(engine);
    const auto prompt = encode(*engine, chat("Tell me a long story about a small dog, please."));
    ASSERT_GT(prompt.size(), 16u);
    const auto request = [&](int i) {
        return Request{.prompt = prompt,
                       .sampling = {.temperature = 1,
                                    .seed = std::uint64_t(i),
                                    .n_logprobs = 2,
                                    .repeat_penalty = 1.1,
                                    .presence_penalty = 0.5},
                       .max_tokens = 40,
                       .ignore_end = true};
    };
    std::vector<std::string> alone;
    for (int i = 0; i < 4; ++i) alone.push_back(transcript(*submit(*engine, request(i))));
    const std::int64_t before = engine->stats().prompt_tokens_total;
    std::vector<Request> requests;
    std::vector<std::shared_ptr<Collector>> sinks;
    for (int i = 0; i < 4; ++i) {
        requests.push_back(request(i));
        requests.back().sink = sinks.emplace_back(std::make_shared<Collector>());
    }
    ASSERT_TRUE(engine->submit_all(std::move(requests)));
    const auto n_prompt = std::int64_t(prompt.size()), n_shared = (n_prompt - 1) / 16 * 16;
    for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_EQ(transcript(*sinks[i]), alone[i]);
        EXPECT_EQ(sinks[i]->wait().n_cached, i == 0 ? 0 : n_shared);
    }
    EXPECT_EQ(engine->stats().prompt_tokens_total - before, n_prompt + 3 * (n_prompt - n_shared));
    EXPECT_EQ(engine->stats().n_blocks_used, 0);
}

TEST(Engine, refuses_options_out_of_range_and_names_them) {
    const auto error = [&](EngineOptions options) {
        const auto engine = try_start(kDemo, {"", 1, std::move(options)});
        return engine ? std::string() : engine.error().message;
    };
    EXPECT_NE(error({.n_ctx = 1}).find("n_ctx"), std::string::npos);
    EXPECT_NE(error({.n_parallel = 0}).find("n_parallel"), std::string::npos);
    EXPECT_NE(error({.n_batch_tokens = 0}).find("n_batch_tokens"), std::string::npos);
    EXPECT_NE(error({.n_queue = -1}).find("n_queue"), std::string::npos);
    EXPECT_NE(error({.n_prefix_tokens = -2}).find("n_prefix_tokens"), std::string::npos);
    EXPECT_NE(error({.prefix_idle_ms = 0}).find("prefix_idle_ms"), std::string::npos);
    EXPECT_NE(error({.kv_type = "q3"}).find("KV cache type \"q3\""), std::string::npos);
    EXPECT_NE(error({.n_ctx = 64, .n_blocks = 3}).find("n_blocks"), std::string::npos);
    EXPECT_EQ(error({.n_ctx = 64, .n_batch_tokens = 1, .kv_type = "f32"}), "");
}

}  // namespace
}  // namespace hearth::engine
