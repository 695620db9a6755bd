// The llama architecture on generated models against Reference, with the derived bound; chunks
// and refusals.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "engine/model/model.h"
#include "support/gguf_writer.h"
#include "support/model_check.h"

namespace hearth::model {
namespace {

using test::Ids;
using test::Mistake;
using test::tiny_llama;
using test::TinyLlama;

Ids random_ids(std::uint64_t seed, std::size_t n) {
    std::mt19937_64 random(seed);
    Ids out;
    while (out.size() < n) out.push_back(std::int32_t(random() % std::uint64_t(test::kTinyVocab)));
    return out;
}

// A loaded model and the device that it was loaded on.
struct Loaded {
    std::string bytes;
    std::unique_ptr<Device> device;
    std::unique_ptr<Model> model;
    std::string error;
    explicit Loaded(std::string file, std::string_view isa = "") : bytes(std::move(file)) {
        auto made = make_cpu_device(isa, 2);
        if (!made) throw std::runtime_error(made.error().message);
        device = std::move(*made);
        auto loaded =
            Model::load({.name = "tiny", .path = "", .bytes = std::as_bytes(std::span(bytes))},
                        *device, {.max_rows = 64, .max_logits = 64});
        if (loaded)
            model = std::move(*loaded);
        else
            error = loaded.error().message;
    }
};

struct Shape {
    const char* what;
    TinyLlama shape;
};
std::vector<Shape> shapes() {
    return {
        {"grouped heads", {}},
        {"a KV head for each head", {.n_head_kv = 4}},
        {"one KV head, key_length of its own",
         {.n_head = 6, .n_head_kv = 1, .head_dim = 24, .n_rot = 24}},
        {"half of each head rotates", {.n_rot = 8}},
        {"output of its own", {.tied = false}},
        {"frequency factors", {.rope_freq_base = 500000.0f, .rope_freqs = true}},
        {"large epsilon", {.rms_eps = 1e-2f}},
        {"f16", {.type = test::kF16}},
        {"q8_0, odd feed-forward", {.n_ff = 160, .type = test::kQ8_0, .tied = false}},
    };
}

TEST(Llama, logits_are_within_the_rounding_bound_of_float64) {
    for (const Shape& s : shapes())
        for (const char* kv : {"f32", "f16"}) {
            TinyLlama shape = s.shape;
            shape.seed = 42;
            const std::string file = tiny_llama(shape).bytes();
            const auto gguf = Gguf::parse(std::as_bytes(std::span(file)));
            ASSERT_TRUE(gguf) << gguf.error().message;
            const test::Reference reference(*gguf);
            const Ids ids = random_ids(9, 70);  // more than one step, more than four cache blocks
            const auto exact = reference.logits(ids);
            const auto bound = test::rounding_bound(
                reference, {ids}, {exact}, test::rounding_of("", kv), test::kSlowBuild ? 4 : 16, 1);
            for (const std::string& isa : test::supported_isas()) {
                const Loaded loaded(file, isa);
                ASSERT_TRUE(loaded.model) << s.what << ": " << loaded.error;
                const auto logits = test::Runner(*loaded.model, *loaded.device, kv, 70).feed(ids);
                const auto off = test::deviation(exact, logits, ids);
                EXPECT_LE(off.logit, bound.logit) << s.what << ", kv " << kv << ", " << isa;
                EXPECT_LE(off.logprob, bound.logprob) << s.what << ", kv " << kv << ", " << isa;
                EXPECT_GT(off.logit, 0) << "suspiciously exact";
            }
        }
}

TEST(Llama, a_wrong_rotation_epsilon_or_scale_exceeds_the_bound) {
    const std::string file = tiny_llama({.seed = 3}).bytes();
    const auto gguf = Gguf::parse(std::as_bytes(std::span(file)));
    ASSERT_TRUE(gguf);
    const test::Reference reference(*gguf);
    const Ids ids = random_ids(5, 40);
    const auto exact = reference.logits(ids);
    const auto bound =
        test::rounding_bound(reference, {ids}, {exact}, test::rounding_of("", "f32"), 16, 1);
    for (const Mistake mistake : test::kMistakes) {
        auto device = make_cpu_device("", 1);
        ASSERT_TRUE(device);
        const auto wrong = test::mistaken(**device, mistake);
        auto model =
            Model::load({.name = "tiny", .path = "", .bytes = std::as_bytes(std::span(file))},
                        *wrong, {.max_rows = 64, .max_logits = 64});
        ASSERT_TRUE(model) << model.error().message;
        const auto logits = test::Runner(**model, *wrong, "f32", 40).feed(ids);
        EXPECT_GT(test::deviation(exact, logits, ids).logit, bound.logit) << test::name_of(mistake);
    }
}

TEST(Llama, logits_are_bit_for_bit_the_same_in_chunks_of_any_size) {
    for (const std::uint32_t type : {test::kF32, test::kF16, test::kQ8_0}) {
        const Loaded loaded(tiny_llama({.type = type}).bytes());
        ASSERT_TRUE(loaded.model) << loaded.error;
        const Ids ids = random_ids(6, 61);
        const auto whole = test::Runner(*loaded.model, *loaded.device, "f16", 64).feed(ids, 64);
        for (const std::int64_t chunk : {1, 2, 7, 16, 60}) {
            const auto cut =
                test::Runner(*loaded.model, *loaded.device, "f16", 64).feed(ids, chunk);
            EXPECT_EQ(cut, whole) << "type " << type << ", chunks of " << chunk;
        }
    }
}

TEST(Llama, only_wanted_rows_have_logits_and_sequences_in_a_step_do_not_mix) {
    const Loaded loaded(tiny_llama({}).bytes());
    ASSERT_TRUE(loaded.model) << loaded.error;
    const Ids a = random_ids(1, 5), b = random_ids(2, 9);
    const auto alone_a = test::Runner(*loaded.model, *loaded.device, "f32", 16).feed(a);
    const auto alone_b = test::Runner(*loaded.model, *loaded.device, "f32", 16).feed(b);
    auto kv = loaded.device->make_kv(
        {.n_layer = 2, .n_head_kv = 2, .head_dim = 16, .n_block = 2, .type = "f32"});
    ASSERT_TRUE(kv);
    std::vector<TokenId> ids;
    for (const auto id : a) ids.push_back(TokenId(id));
    for (const auto id : b) ids.push_back(TokenId(id));
    const BlockId block_a(1), block_b(0);
    const Slice slices[] = {{.row = 0, .n_rows = 5, .pos = 0, .blocks = &block_a},
                            {.row = 5, .n_rows = 9, .pos = 0, .blocks = &block_b}};
    const std::int64_t rows[] = {4, 13};
    const auto logits = loaded.model->network().forward(
        *loaded.device, **kv, {.ids = ids, .slices = slices, .logit_rows = rows});
    const auto V = std::size_t(test::kTinyVocab);
    ASSERT_EQ(logits.size(), 2 * V);
    EXPECT_TRUE(std::equal(logits.begin(), logits.begin() + std::ptrdiff_t(V),
                           alone_a.end() - std::ptrdiff_t(V)));
    EXPECT_TRUE(std::equal(logits.begin() + std::ptrdiff_t(V), logits.end(),
                           alone_b.end() - std::ptrdiff_t(V)));
    EXPECT_TRUE(loaded.model->network()
                    .forward(*loaded.device, **kv, {.ids = ids, .slices = slices, .logit_rows = {}})
                    .empty());
}

// A tiny model's file with one key or tensor exchanged, by text: names keep their length.
std::string renamed(std::string file, const std::string& from, const std::string& to) {
    const std::size_t at = file.find(from);
    if (at == std::string::npos || from.size() != to.size()) throw std::runtime_error(from);
    return file.replace(at, from.size(), to);
}

TEST(Llama, wrong_tensors_and_keys_are_refused_by_name) {
    const auto refused = [](const std::string& file, const std::string& named) {
        const Loaded loaded(file);
        EXPECT_EQ(loaded.model, nullptr) << named;
        EXPECT_NE(loaded.error.find(named), std::string::npos) << loaded.error;
        EXPECT_NE(loaded.error.find("model tiny"), std::string::npos) << loaded.error;
    };
    const std::string file = tiny_llama({}).bytes();
    refused(renamed(file, "blk.1.attn_q.weight", "blk.1.attn_x.weight"), "blk.1.attn_q.weight");
    refused(renamed(file, "token_embd.weight", "token_xmbd.weight"), "token_embd.weight");
    refused(renamed(file, "llama.block_count", "llama.block_xount"), "llama.block_count");
    refused(tiny_llama({})
                .tensor("blk.0.attn_q.bias", {64}, test::kF32, std::string(256, '\0'))
                .bytes(),
            "blk.0.attn_q.bias");
    refused(tiny_llama({}).u32("llama.expert_count", 8).bytes(), "llama.expert_used_count");
    refused(tiny_llama({}).text("llama.rope.scaling.type", "yarn").bytes(), "yarn");
    refused(tiny_llama({}).boolean("llama.attention.causal", false).bytes(),
            "llama.attention.causal");
    refused(tiny_llama({}).f32("llama.logit_scale", 0.5f).bytes(), "llama.logit_scale");
    // blk.0.attn_k.weight is [32, 64] in the file, and the keys now say 4 KV heads.
    std::string heads = file;
    const std::string key = "llama.attention.head_count_kv";
    heads[heads.find(key) + key.size() + 4] = 4;
    refused(heads,
            "blk.0.attn_k.weight is [32, 64], expected [64, 64] from attention.head_count_kv");
    heads[heads.find(key) + key.size() + 4] = 3;
    refused(heads, "llama.attention.head_count");
    std::string eps = file;
    const std::string eps_key = "llama.attention.layer_norm_rms_epsilon";
    const float nan = NAN;
    std::memcpy(&eps[eps.find(eps_key) + eps_key.size() + 4], &nan, 4);
    refused(eps, eps_key);
}

TEST(Llama, every_key_set_to_awkward_numbers_is_refused_or_loads) {
    const std::string file = tiny_llama({}).bytes();
    int n_loaded = 0;
    for (const char* name :
         {"embedding_length", "block_count", "feed_forward_length", "attention.head_count",
          "attention.head_count_kv", "attention.key_length", "attention.value_length",
          "rope.dimension_count", "context_length", "rope.freq_base",
          "attention.layer_norm_rms_epsilon"})
        for (const std::uint32_t v : {0u, 1u, 2u, 3u, 15u, 17u, 63u, 4096u, 1u << 20, 1u << 31, ~0u,
                                      0x7f800000u, 0xff800000u, 0x00000001u}) {
            std::string changed = file;
            const std::string key = test::length_and(std::string("llama.") + name);
            const std::size_t at = changed.find(key);
            ASSERT_NE(at, std::string::npos) << name;
            std::memcpy(&changed[at + key.size() + 4], &v, 4);
            const Loaded loaded(changed);
            n_loaded += loaded.model != nullptr;
            EXPECT_EQ(loaded.model == nullptr, !loaded.error.empty());
        }
    EXPECT_GT(n_loaded, 0);
}

}  // namespace
}  // namespace hearth::model
