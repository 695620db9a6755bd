// Ceilings: the arithmetic by hand, the work of a model by its own definition, and probes that
// measure something. How fast the machine is, is nobody's promise.
#include "engine/ceilings.h"

#include <gtest/gtest.h>

#include "engine/kernels/kernels.h"
#include "support/gguf_writer.h"
#include "support/model_check.h"
#include "support/tiny_model.h"

namespace hearth::engine {
namespace {

constexpr Ceilings kAt{.read_bytes_per_s = 1000,
                       .int8_ops_per_s = 400,
                       .f32_ops_per_s = 100,
                       .bf16_ops_per_s = 200,
                       .hop_ns = 0};

TEST(Ceilings, prefill_is_bound_by_both_kinds_of_arithmetic_in_turn) {
    EXPECT_DOUBLE_EQ(prefill_limit_tps({.layers = {.int8 = 40}}, kAt), 10);
    EXPECT_DOUBLE_EQ(prefill_limit_tps({.layers = {.f32 = 40}}, kAt), 2.5);
    EXPECT_DOUBLE_EQ(prefill_limit_tps({.layers = {.bf16 = 40}}, kAt), 5);
    EXPECT_DOUBLE_EQ(prefill_limit_tps({.layers = {.int8 = 40, .f32 = 40}}, kAt), 2);
    // The output matrix is for a prompt's last token alone.
    EXPECT_DOUBLE_EQ(prefill_limit_tps({.layers = {.int8 = 40}, .output = {.int8 = 4000}}, kAt),
                     10);
}

TEST(Ceilings, decode_reads_weights_once_for_all_sequences_and_keys_for_each) {
    const Work work{.weights_bytes = 100, .kv_token_bytes = 2};
    EXPECT_DOUBLE_EQ(decode_limit_tps(work, kAt, 1, 0), 10);
    EXPECT_DOUBLE_EQ(decode_limit_tps(work, kAt, 4, 0), 40);
    EXPECT_DOUBLE_EQ(decode_limit_tps(work, kAt, 1, 50), 5);
    EXPECT_DOUBLE_EQ(decode_limit_tps(work, kAt, 4, 50), 8);
}

TEST(Ceilings, many_sequences_are_bound_by_arithmetic) {
    const Work work{.weights_bytes = 100, .layers = {.int8 = 30}, .output = {.int8 = 10}};
    EXPECT_DOUBLE_EQ(decode_limit_tps(work, kAt, 1, 0), 10);  // 0.1 s of each
    EXPECT_DOUBLE_EQ(decode_limit_tps(work, kAt, 100, 0), 10);
}

TEST(Ceilings, experts_are_read_that_somebody_chose) {
    const Work work{.weights_bytes = 100, .experts_bytes = 400, .expert_share = 0.25};
    EXPECT_DOUBLE_EQ(decode_limit_tps(work, kAt, 1, 0), 5);  // 100 + 100 bytes
    // 1 - 0.75^2 = 0.4375 of 400, and 100.
    EXPECT_DOUBLE_EQ(decode_limit_tps(work, kAt, 2, 0), 2 / 0.275);
}

std::unique_ptr<Engine> start(const test::GgufWriter& file, std::string& bytes) {
    bytes = file.bytes();
    const model::ModelSource source{
        .name = "tiny", .path = "", .bytes = std::as_bytes(std::span(bytes))};
    auto device = model::make_cpu_device("", 1);
    auto engine = Engine::start(source, *std::move(device), {.n_ctx = 64, .n_parallel = 1});
    if (!engine) ADD_FAILURE() << engine.error().message;
    return engine ? *std::move(engine) : nullptr;
}

TEST(Ceilings, work_is_that_of_the_matrices_a_token_passes) {
    for (const std::uint32_t type : {test::kF32, test::kQ8_0}) {
        test::TinyModel shape;  // 64 wide, 4 heads of 16 on 2, 96 inside
        shape.type = type;
        shape.n_layer = 3;
        shape.tied = false;
        std::string bytes;
        const auto engine = start(test::tiny_model(shape), bytes);
        ASSERT_TRUE(engine);
        const Work work = work_of(*engine);
        const double V = double(engine->model().config().n_vocab);
        const double layer = 64 * 64 + 2 * 32 * 64 + 64 * 64 + 3 * 96 * 64;
        const bool f32 = type == test::kF32;
        EXPECT_EQ(f32 ? work.layers.f32 : work.layers.int8, 2 * 3 * layer);
        EXPECT_EQ(f32 ? work.layers.int8 : work.layers.f32, 0);
        EXPECT_EQ(f32 ? work.output.f32 : work.output.int8, 2 * V * 64);
        EXPECT_EQ(work.kv_token_bytes, 3 * 2 * 2 * 16 * 2);
        EXPECT_EQ(work.weights_bytes, double(engine->model().info().weights_bytes_active));
        EXPECT_EQ(work.experts_bytes, 0);
    }
}

TEST(Ceilings, of_the_experts_a_token_passes_some) {
    std::string bytes;
    const auto engine = start(test::tiny_model(test::tiny_of("qwen3moe", test::kF32)), bytes);
    ASSERT_TRUE(engine);
    const model::ModelInfo& info = engine->model().info();
    const Work work = work_of(*engine);
    EXPECT_EQ(work.expert_share, double(info.n_expert_used) / double(info.n_expert));
    EXPECT_GT(work.experts_bytes, 0);
    EXPECT_EQ(work.weights_bytes + work.experts_bytes * work.expert_share,
              double(info.weights_bytes_active));
}

// Rates cannot be checked, counts can: an ISA's probe does what it says it did.
TEST(Ceilings, probes_count_a_multiply_add_of_every_lane_as_two) {
    for (const std::string& isa : test::supported_isas()) {
        const hearth_kernels* kernels = hearth_kernels_pick(isa.c_str());
        EXPECT_GT(kernels->ceiling_int8(1), 0) << isa;
        EXPECT_EQ(kernels->ceiling_int8(10), 10 * kernels->ceiling_int8(1)) << isa;
        EXPECT_EQ(kernels->ceiling_int8(1), 4 * kernels->ceiling_f32(1)) << isa;
        const std::vector<char> some(1024, 1);
        kernels->ceiling_read(some.data(), 1024);
        if (!kernels->ceiling_bf16) continue;
        EXPECT_EQ(kernels->ceiling_bf16(10), 10 * kernels->ceiling_bf16(1)) << isa;
        EXPECT_EQ(kernels->ceiling_bf16(1), 2 * kernels->ceiling_f32(1)) << isa;
    }
}

TEST(Ceilings, a_machine_has_some_of_everything) {
    for (const int n_threads : {1, 2}) {
        auto probe = CeilingProbe::make("", n_threads);
        ASSERT_TRUE(probe) << probe.error().message;
        const Ceilings at = (*probe)->measure();
        EXPECT_GT(at.read_bytes_per_s, 0);
        EXPECT_GT(at.int8_ops_per_s, 0);
        EXPECT_GT(at.f32_ops_per_s, 0);
        EXPECT_EQ(at.hop_ns > 0, n_threads > 1);
    }
}

TEST(Ceilings, an_unknown_instruction_set_is_refused) {
    const auto probe = CeilingProbe::make("mmx", 1);
    ASSERT_FALSE(probe);
    EXPECT_EQ(probe.error().kind, ErrorKind::invalid_request);
}

}  // namespace
}  // namespace hearth::engine
