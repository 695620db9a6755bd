// Files that are damaged, absurd, or change while they are used: an error, or an honest end.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstring>
#include <fstream>
#include <random>

#include "base/sanitized.h"
#include "base/file.h"
#include "engine/model/model.h"
#include "engine/model/model_file.h"
#include "support/data.h"
#include "support/model_check.h"
#include "support/tiny_model.h"

namespace hearth::model {
namespace {

using test::Ids;
using test::tiny_model;
using test::tiny_of;
using test::TinyModel;

Result<std::unique_ptr<Model>> load_bytes(std::string_view file, Device& device) {
    return Model::load(
        {.name = "tiny", .path = "", .bytes = std::as_bytes(std::span(file.data(), file.size()))},
        device, {.max_rows = 64, .max_logits = 64});
}

TEST(Robustness, a_file_cut_at_every_4_KB_is_refused) {
    auto device = make_cpu_device("", 1);
    for (const char* family : test::kFamilies) {
        const std::string file = tiny_model(tiny_of(family, test::kQ8_0)).bytes();
        ASSERT_TRUE(load_bytes(file, **device));
        const std::string path = test::temp_folder() + "/cut.gguf";
        for (std::size_t n = 0; n < file.size(); n += 4096) {
            const auto model = load_bytes(std::string_view(file).substr(0, n), **device);
            ASSERT_FALSE(model) << family << " cut at " << n;
            EXPECT_EQ(model.error().kind, ErrorKind::invalid_request) << model.error().message;
            // And from disk, where the bytes after the end are not even mapped.
            ASSERT_TRUE(write_file(path, std::string_view(file).substr(0, n)));
            EXPECT_FALSE(Model::load({.name = "cut", .path = path, .bytes = {}}, **device, {}))
                << n;
        }
        EXPECT_FALSE(load_bytes(std::string_view(file).substr(0, file.size() - 1), **device));
    }
}

TEST(Robustness, random_damage_of_any_family_is_refused_or_computes) {
    auto device = make_cpu_device("", 1);
    std::mt19937_64 random(7);
    int n_loaded = 0;
    for (const char* family : test::kFamilies) {
        TinyModel shape = tiny_of(family, test::kQ8_0);
        shape.n_layer = 1;
        const std::string file = tiny_model(shape).bytes();
        const std::size_t n_head = file.find("blk.0.attn_norm.weight") + 4096;
        for (int run = 0; run < (test::kSlowBuild ? 20 : 200); ++run) {
            std::string changed = file;
            // Mostly where keys and the tensor table are.
            for (int i = 0; i < 3; ++i)
                changed[random() % (i ? n_head : file.size())] = char(random());
            const auto model = load_bytes(changed, **device);
            if (!model) continue;
            ++n_loaded;
            const Config& c = (*model)->config();
            if (c.n_layer * c.n_head_kv * c.head_dim > 1 << 16 || c.n_vocab < 1) continue;
            EXPECT_EQ(test::Runner(**model, **device, "f32", 16).feed({0, 1, 2}).size(),
                      std::size_t(3 * c.n_vocab));
        }
    }
    EXPECT_GT(n_loaded, 0);
}

TEST(Robustness, weights_that_are_no_numbers_never_crash) {
    auto device = make_cpu_device("", 2);
    const Ids ids = {7, 8, 9, 100, 200, 3};
    for (const char* family : test::kFamilies) {
        std::vector<std::string> names;
        TinyModel shape = tiny_of(family, test::kF32);
        for (const auto& t : test::tiny_tensors(shape))
            if (!t.name.starts_with("blk.1.")) names.push_back(t.name);
        for (const std::string& name : names)
            for (const float v : {NAN, INFINITY, -INFINITY, 3e38f}) {
                test::GgufWriter w;
                test::write_metadata(w, shape);
                for (auto& t : test::tiny_tensors(shape)) {
                    for (std::size_t at = 0; t.name == name && at < t.bytes.size(); at += 4 * 37)
                        std::memcpy(&t.bytes[at], &v, 4);
                    w.tensor(t.name, t.shape, t.type, t.bytes);
                }
                const std::string file = w.bytes();
                const auto model = load_bytes(file, **device);
                if (!model) {  // rope_freqs are checked when loaded
                    EXPECT_EQ(name, "rope_freqs.weight") << model.error().message;
                    continue;
                }
                const auto logits = test::Runner(**model, **device, "f16", 16).feed(ids);
                EXPECT_EQ(logits.size(), ids.size() * std::size_t(test::kTinyVocab));
                const bool shows = std::any_of(logits.begin(), logits.end(),
                                               [](float x) { return !std::isfinite(x); });
                if (std::isnan(v)) {
                    EXPECT_TRUE(shows) << family << " " << name << " hides a NaN";
                }
            }
    }
}

TEST(Robustness, absurd_expert_counts_are_refused_by_key) {
    auto device = make_cpu_device("", 1);
    for (const char* family : {"mixtral", "qwen3moe"}) {
        const std::string file = tiny_model(tiny_of(family, test::kF32)).bytes();
        const std::string arch = tiny_of(family, test::kF32).arch;
        for (const char* name : {"expert_count", "expert_used_count", "expert_feed_forward_length"})
            for (const std::uint32_t v : {0u, 1u, 5u, 100u, 1u << 16, 1u << 31, ~0u}) {
                std::string changed = file;
                const std::string key = test::length_and(arch + "." + name);
                const std::size_t at = changed.find(key);
                if (at == std::string::npos) continue;  // mixtral has no width of its own
                std::memcpy(&changed[at + key.size() + 4], &v, 4);
                const auto model = load_bytes(changed, **device);
                if (model) {
                    EXPECT_STREQ(name, "expert_used_count") << v;
                    EXPECT_LE(v, 5u);
                    EXPECT_FALSE(
                        test::Runner(**model, **device, "f32", 16).feed({1, 2, 3}).empty());
                }
            }
    }
    // One tensor for each expert, as files before April 2024 had them.
    TinyModel shape = tiny_of("mixtral", test::kF32);
    test::GgufWriter w = tiny_model(shape);
    const std::string old =
        w.tensor("blk.0.ffn_gate.0.weight", {64, 64}, test::kF32, std::string(64 * 64 * 4, '\0'))
            .bytes();
    const auto model = load_bytes(old, **device);
    ASSERT_FALSE(model);
    EXPECT_NE(model.error().message.find("convert or fetch"), std::string::npos);
}

TEST(Robustness, information_counts_what_a_token_reads) {
    auto device = make_cpu_device("", 1);
    for (const char* family : test::kFamilies) {
        const TinyModel shape = tiny_of(family, test::kQ8_0);
        const std::string file = tiny_model(shape).bytes();
        const auto model = load_bytes(file, **device);
        ASSERT_TRUE(model);
        std::int64_t n = 0, n_active = 0;
        std::size_t bytes = 0;
        for (const auto& t : test::tiny_tensors(shape)) {
            std::int64_t of = 1;
            for (const auto d : t.shape) of *= d;
            n += of;
            if (t.name == "token_embd.weight" && !shape.tied) continue;
            const bool expert = t.name.find("_exps") != std::string::npos;
            n_active += expert ? of * shape.n_expert_used / shape.n_expert : of;
            bytes += expert ? t.bytes.size() * std::size_t(shape.n_expert_used) /
                                  std::size_t(shape.n_expert)
                            : t.bytes.size();
        }
        const ModelInfo& info = (*model)->info();
        EXPECT_EQ(info.n_params, n) << family;
        EXPECT_EQ(info.n_params_active, n_active) << family;
        EXPECT_EQ(info.weights_bytes_active, bytes) << family;
        EXPECT_EQ(info.n_expert, shape.n_expert) << family;
    }
}

TEST(Robustness, a_file_that_was_written_to_is_noticed) {
    const std::string path = test::temp_folder() + "/model.gguf";
    const std::string file = tiny_model(tiny_of("qwen2", test::kF32)).bytes();
    ASSERT_TRUE(write_file(path, file));
    auto device = make_cpu_device("", 1);
    const auto model = Model::load({.name = "tiny", .path = path, .bytes = {}}, **device, {});
    ASSERT_TRUE(model) << model.error().message;
    EXPECT_TRUE((*model)->unchanged());
    // A new file under the old name is another file: the map keeps the one it has.
    ASSERT_TRUE(write_file(path, "another"));
    EXPECT_TRUE((*model)->unchanged());
    ASSERT_TRUE(write_file(path, file));
    const auto again = Model::load({.name = "tiny", .path = path, .bytes = {}}, **device, {});
    ASSERT_TRUE(again);
    std::ofstream(path, std::ios::app) << "more";
    const auto changed = (*again)->unchanged();
    ASSERT_FALSE(changed);
    EXPECT_NE(changed.error().message.find(path), std::string::npos) << changed.error().message;
}

TEST(Robustness, text_and_keys_stay_when_the_file_under_the_map_is_overwritten) {
    const std::string path = test::temp_folder() + "/model.gguf";
    const std::string file = tiny_model(tiny_of("llama", test::kF32)).bytes();
    ASSERT_TRUE(write_file(path, file));
    const auto model = Model::open({.name = "tiny", .path = path, .bytes = {}});
    ASSERT_TRUE(model);
    const auto before = (*model)->tokenizer().encode("some text", {});
    const Fd fd(::open(path.c_str(), O_WRONLY));
    const std::string noise(file.size(), '\xff');
    ASSERT_EQ(::pwrite(fd.get(), noise.data(), noise.size(), 0), ssize_t(noise.size()));
    EXPECT_EQ((*model)->tokenizer().encode("some text", {}), before);
    const auto texts = (*model)->gguf().texts("tokenizer.ggml.tokens");
    ASSERT_TRUE(texts);
    EXPECT_EQ((*texts)[0], "<s>");
}

using RobustnessDeathTest = testing::Test;

TEST(RobustnessDeathTest, a_file_shortened_under_the_map_ends_the_program_by_name) {
    testing::GTEST_FLAG(death_test_style) = "threadsafe";
    const std::string path = test::temp_folder() + "/model.gguf";
    ASSERT_TRUE(write_file(path, tiny_model(tiny_of("llama", test::kF32)).bytes()));
    const auto shorten_and_use = [&] {
        auto device = make_cpu_device("", 2);
        const auto model = Model::load({.name = "tiny", .path = path, .bytes = {}}, **device,
                                       {.max_rows = 64, .max_logits = 64});
        if (!model || ::truncate(path.c_str(), 8192) != 0) ::_exit(3);
        test::Runner(**model, **device, "f32", 16).feed({1, 2, 3});
        ::_exit(4);
    };
    EXPECT_EXIT(shorten_and_use(), testing::ExitedWithCode(1),
                "model file .*/model.gguf was shortened");
}

#if !HEARTH_SANITIZED
TEST(RobustnessDeathTest, a_bus_error_elsewhere_goes_where_it_went_before) {
    testing::GTEST_FLAG(death_test_style) = "threadsafe";
    const std::string path = test::temp_folder() + "/model.gguf";
    ASSERT_TRUE(write_file(path, tiny_model(tiny_of("llama", test::kF32)).bytes()));
    const auto fault_elsewhere = [&] {
        const auto file = ModelFile::open(path);
        const std::string other = path + ".other";
        if (!file || !write_file(other, std::string(8192, 'x'))) ::_exit(3);
        const auto map = MappedFile::open(other);
        if (!map || ::truncate(other.c_str(), 0) != 0) ::_exit(3);
        volatile std::byte b = map->bytes()[5000];
        (void)b;
        ::_exit(4);
    };
    EXPECT_EXIT(fault_elsewhere(), testing::KilledBySignal(SIGBUS), "");
}
#endif

}  // namespace
}  // namespace hearth::model
