// Reuse of prefixes on a real network: the same bits with it and without, for every KV type.
#include <gtest/gtest.h>

#include <bit>

#include "base/log.h"
#include "base/sanitized.h"
#include "engine/engine.h"
#include "unit/engine/collector.h"

namespace hearth::engine {
namespace {

using Prompt = std::vector<TokenId>;

std::unique_ptr<Engine> start(const std::string& kv, std::int64_t n_prefix_tokens) {
    set_log(LogLevel::error);
    auto device = model::make_cpu_device("", 2);
    EXPECT_TRUE(device);
    auto engine = Engine::start(
        {.name = "demo", .path = HEARTH_SOURCE_DIR "/models/demo-q8_0.gguf", .bytes = {}},
        std::move(*device),
        {.n_ctx = 512, .n_parallel = 4, .kv_type = kv, .n_prefix_tokens = n_prefix_tokens});
    EXPECT_TRUE(engine) << engine.error().message;
    return engine ? std::move(*engine) : nullptr;
}

// Text of the kind that the model knows, of exactly n tokens.
Prompt prompt_of(const Engine& engine, std::int64_t n, const char* what) {
    std::string text = "<|im_start|>user\n";
    while (std::int64_t(text.size()) < 12 * n) text += what;
    Prompt ids = engine.model().tokenizer().encode(text, {.parse_special = true});
    EXPECT_GE(std::int64_t(ids.size()), n);
    ids.resize(std::size_t(n));
    return ids;
}

struct Said {
    std::vector<std::pair<TokenId, std::uint32_t>> scores;  // all that were reported, bit for bit
    Prompt ids;
    std::int64_t n_cached = 0;
};

std::shared_ptr<Collector> submit(Engine& engine, const Prompt& prompt, std::string owner = {}) {
    auto sink = std::make_shared<Collector>();
    EXPECT_TRUE(engine.submit({.prompt = prompt,
                               .owner = std::move(owner),
                               .sampling = {.temperature = 0, .n_logprobs = 20},
                               .max_tokens = 24,
                               .ignore_end = true,
                               .sink = sink}));
    return sink;
}

Said said(Collector& sink) {
    Said out;
    out.n_cached = sink.wait().n_cached;
    for (const Output& o : sink.outputs()) {
        out.ids.push_back(o.id);
        for (const TokenScore& s : o.top)
            out.scores.emplace_back(s.id, std::bit_cast<std::uint32_t>(s.logprob));
    }
    EXPECT_EQ(out.scores.size(), 24u * 20u);
    return out;
}

Said ask(Engine& engine, const Prompt& prompt, std::string owner = {}) {
    return said(*submit(engine, prompt, std::move(owner)));
}

TEST(PrefixModel, logits_are_the_same_bits_with_a_found_prefix_and_without) {
    for (const char* kv : {"f32", "f16", "bf16", "q8_0"}) {
        const auto fresh = start(kv, 0), again = start(kv, -1);
        ASSERT_TRUE(fresh && again);
        std::int64_t n_before = 0;
        for (const std::int64_t n : {15, 16, 17, 31, 33, 48, 49, 257, 300}) {
            // Each begins as the one before: whole blocks of that are found.
            const Prompt prompt = prompt_of(*fresh, n, "what is 12 plus 7? ");
            const Said alone = ask(*fresh, prompt), found = ask(*again, prompt);
            EXPECT_EQ(alone.n_cached, 0);
            EXPECT_EQ(found.n_cached, n_before / 16 * 16) << kv << " " << n;
            EXPECT_EQ(found.ids, alone.ids) << kv << " " << n;
            EXPECT_EQ(found.scores, alone.scores) << kv << " " << n;
            const Said once_more = ask(*again, prompt);
            EXPECT_EQ(once_more.n_cached, (n - 1) / 16 * 16);
            EXPECT_EQ(once_more.scores, alone.scores) << kv << " " << n;
            n_before = n;
        }
    }
}

TEST(PrefixModel, a_turn_that_goes_on_from_an_answer_has_the_same_bits) {
    for (const char* kv : {"f16", "q8_0"}) {
        const auto fresh = start(kv, 0), again = start(kv, -1);
        ASSERT_TRUE(fresh && again);
        Prompt prompt = prompt_of(*fresh, 40, "say the names of colours. ");
        for (int turn = 0; turn < 3; ++turn) {
            const Said alone = ask(*fresh, prompt), found = ask(*again, prompt);
            EXPECT_EQ(found.scores, alone.scores) << kv << " " << turn;
            // All that the turn before computed: its answer without the last token.
            EXPECT_EQ(found.n_cached, turn == 0 ? 0 : (std::int64_t(prompt.size()) - 12) / 16 * 16);
            prompt.insert(prompt.end(), found.ids.begin(), found.ids.end());
            const Prompt more = prompt_of(*fresh, 11, "and numbers? ");
            prompt.insert(prompt.end(), more.begin(), more.end());
        }
    }
}

TEST(PrefixModel, what_running_neighbours_share_has_the_same_bits) {
    const auto fresh = start("f16", 0), again = start("f16", -1);
    ASSERT_TRUE(fresh && again);
    const Prompt head = prompt_of(*fresh, 100, "tell me about 3 plus 4. ");
    std::vector<Prompt> prompts;
    for (int i = 0; i < 6; ++i) {
        prompts.push_back(head);
        for (int k = 0; k <= i; ++k) prompts.back().push_back(head[std::size_t(3 + k + i)]);
    }
    std::vector<std::shared_ptr<Collector>> sinks;
    for (const Prompt& prompt : prompts) sinks.push_back(submit(*again, prompt));
    for (std::size_t i = 0; i < prompts.size(); ++i)
        EXPECT_EQ(said(*sinks[i]).scores, ask(*fresh, prompts[i]).scores) << i;
}

TEST(PrefixModel, an_owner_that_was_forgotten_computes_again) {
    const auto engine = start("f16", -1);
    ASSERT_TRUE(engine);
    const Prompt prompt = prompt_of(*engine, 60, "what is 12 plus 7? ");
    engine->set_public_prefixes({Prompt(prompt.begin(), prompt.begin() + 20)});
    EXPECT_EQ(ask(*engine, prompt, "ann").n_cached, 0);
    EXPECT_EQ(ask(*engine, prompt, "ben").n_cached, 16);
    EXPECT_EQ(ask(*engine, prompt, "ann").n_cached, 48);
    engine->forget("ann");
    EXPECT_EQ(ask(*engine, prompt, "ann").n_cached, 16);
    EXPECT_EQ(ask(*engine, prompt, "ben").n_cached, 48);
}

}  // namespace
}  // namespace hearth::engine
