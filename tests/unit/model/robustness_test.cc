// Files that are damaged, absurd, or change while they are used: an error, or an honest end.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>

#include "base/file.h"
#include "base/sanitized.h"
#include "engine/model/limits.h"
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

// Every place to cut a file at: each 4 KB, and one byte before the end.
std::vector<std::size_t> cuts_of(std::size_t size) {
    std::vector<std::size_t> cuts;
    for (std::size_t n = 0; n < size; n += 4096) cuts.push_back(n);
    cuts.push_back(size - 1);
    return cuts;
}

TEST(Robustness, a_file_cut_at_every_4_KB_is_refused) {
    auto device = make_cpu_device("", 1);
    for (const char* family : test::kFamilies)
        for (const std::uint32_t version : {2u, 3u}) {
            const std::string file = tiny_model(tiny_of(family, test::kQ8_0)).bytes(version);
            const auto whole = load_bytes(file, **device);
            ASSERT_TRUE(whole) << whole.error().message;
            EXPECT_EQ((*whole)->gguf().version(), version);
            ASSERT_GT(file.size(), 10 * 4096u);
            const std::string path = test::temp_folder() + "/cut.gguf";
            for (const std::size_t n : cuts_of(file.size())) {
                const auto model = load_bytes(std::string_view(file).substr(0, n), **device);
                ASSERT_FALSE(model) << family << " cut at " << n;
                EXPECT_EQ(model.error().kind, ErrorKind::invalid_request) << model.error().message;
                // And from disk, where the bytes after the end are not even mapped.
                ASSERT_TRUE(write_file(path, std::string_view(file).substr(0, n)));
                const auto cut =
                    Model::load({.name = "cut", .path = path, .bytes = {}}, **device, {});
                ASSERT_FALSE(cut) << family << " cut at " << n;
                EXPECT_EQ(cut.error().kind, ErrorKind::invalid_request) << cut.error().message;
            }
        }
}

TEST(Robustness, a_part_cut_at_every_4_KB_is_refused_by_name) {
    auto device = make_cpu_device("", 1);
    constexpr int kParts = 3;
    for (const char* family : test::kFamilies)
        for (const std::uint32_t version : {2u, 3u}) {
            const std::string stem = test::temp_folder() + "/m";
            const TinyModel shape = tiny_of(family, test::kQ8_0);
            const auto tensors = test::tiny_tensors(shape);
            std::vector<std::string> paths, files;
            for (int part = 0; part < kParts; ++part) {
                test::GgufWriter w;
                if (part == 0) test::write_metadata(w, shape);
                w.raw("split.no", 2, test::le(std::uint16_t(part)));
                w.raw("split.count", 2, test::le(std::uint16_t(kParts)));
                for (std::size_t i = std::size_t(part); i < tensors.size(); i += kParts)
                    w.tensor(tensors[i].name, tensors[i].shape, tensors[i].type, tensors[i].bytes);
                paths.push_back(ShardName{stem, 1, kParts}.path_of(part + 1));
                files.push_back(w.bytes(version));
                ASSERT_TRUE(write_file(paths.back(), files.back()));
            }
            const auto load = [&] {
                return Model::load({.name = "cut", .path = paths[0], .bytes = {}}, **device, {});
            };
            ASSERT_TRUE(load());
            for (std::size_t part = 0; part < kParts; ++part) {
                for (const std::size_t n : cuts_of(files[part].size())) {
                    ASSERT_TRUE(
                        write_file(paths[part], std::string_view(files[part]).substr(0, n)));
                    const auto model = load();
                    ASSERT_FALSE(model) << family << " part " << part + 1 << " cut at " << n;
                    EXPECT_EQ(model.error().kind, ErrorKind::invalid_request);
                    EXPECT_TRUE(part == 0 ||
                                model.error().message.find(paths[part]) != std::string::npos)
                        << model.error().message;
                }
                ASSERT_TRUE(write_file(paths[part], files[part]));
            }
            ASSERT_TRUE(load());
        }
}

// Metadata of the family's file with some keys replaced by other values of any type.
struct Key {
    std::string name;  // after the architecture's name
    std::uint32_t type = 0;
    std::string payload;
};
std::string with_keys(const TinyModel& shape, const std::vector<Key>& keys) {
    // The writer cannot replace a key, so the file's own gets a name that nobody reads.
    test::GgufWriter w;
    test::write_metadata(w, shape);
    for (const Key& key : keys) w.raw(shape.arch + "." + key.name, key.type, key.payload);
    for (const auto& t : test::tiny_tensors(shape)) w.tensor(t.name, t.shape, t.type, t.bytes);
    std::string file = w.bytes();
    for (const Key& key : keys) {
        const std::string name = test::length_and(shape.arch + "." + key.name);
        const std::size_t first = file.find(name), last = file.rfind(name);
        if (first != last) file[first + 8] = '_';
    }
    return file;
}
Key u32_key(std::string name, std::uint32_t v) {
    return {std::move(name), 4, test::le(v)};
}
Key f32_key(std::string name, float v) {
    return {std::move(name), 6, test::le(v)};
}
Key u64_key(std::string name, std::uint64_t v) {
    return {std::move(name), 10, test::le(v)};
}
Key i64_key(std::string name, std::int64_t v) {
    return {std::move(name), 11, test::le(v)};
}
Key f64_key(std::string name, double v) {
    return {std::move(name), 12, test::le(v)};
}

TEST(Robustness, absurd_metadata_is_refused_by_a_message_that_names_the_key) {
    auto device = make_cpu_device("", 1);
    std::vector<Key> absurd;
    for (const char* name :
         {"block_count", "embedding_length", "feed_forward_length", "attention.head_count",
          "attention.head_count_kv", "attention.key_length", "attention.value_length",
          "context_length", "rope.dimension_count"}) {
        for (const std::uint32_t v : {0u, 1u << 31, ~0u}) absurd.push_back(u32_key(name, v));
        for (const std::uint64_t v : {std::uint64_t(1) << 32, std::uint64_t(1) << 60, UINT64_MAX})
            absurd.push_back(u64_key(name, v));
        for (const std::int64_t v : {std::int64_t(-1), INT64_MIN})
            absurd.push_back(i64_key(name, v));
        absurd.push_back(f32_key(name, 2));                     // a number of another kind
        absurd.push_back({name, 8, test::length_and("many")});  // a text
        absurd.push_back({name, 9, test::le(4u) + test::le(std::uint64_t(0))});  // an empty array
    }
    for (const char* name :
         {"attention.layer_norm_rms_epsilon", "rope.freq_base", "rope.scaling.factor"}) {
        for (const float v : {NAN, INFINITY, -INFINITY, 0.0f, -0.0f, -1e-5f})
            absurd.push_back(f32_key(name, v));
        // Numbers that are 0 or infinite once they are f32.
        for (const double v : {1e-60, 1e300, -1e300}) absurd.push_back(f64_key(name, v));
        absurd.push_back({name, 8, test::length_and("1e-5")});
    }
    absurd.push_back(u32_key("rope.dimension_count", 3));  // odd
    for (const char* family : test::kFamilies) {
        const TinyModel shape = tiny_of(family, test::kF32);
        const auto sound = with_keys(shape, {u32_key("context_length", 512)});
        ASSERT_TRUE(load_bytes(sound, **device));
        std::vector<Key> keys = absurd;
        if (shape.n_expert > 0) {
            keys.push_back(u32_key("expert_used_count", std::uint32_t(shape.n_expert) + 1));
            keys.push_back(u32_key("expert_used_count", 0));
            keys.push_back(u32_key("expert_count", 1u << 31));
            keys.push_back(i64_key("expert_count", -1));
        }
        for (const Key& key : keys) {
            const std::string file = with_keys(shape, {key});
            const auto model = load_bytes(file, **device);
            ASSERT_FALSE(model) << family << ": " << key.name;
            EXPECT_EQ(model.error().kind, ErrorKind::invalid_request) << model.error().message;
            EXPECT_NE(model.error().message.find("key " + shape.arch + "." + key.name),
                      std::string::npos)
                << model.error().message;
        }
    }
}

TEST(Robustness, a_scaling_factor_whose_inverse_is_infinite_is_refused) {
    auto device = make_cpu_device("", 1);
    for (const char* family : test::kFamilies)
        for (const float factor : {1e-45f, 4.0f}) {
            const std::string file = with_keys(
                tiny_of(family, test::kF32), {{"rope.scaling.type", 8, test::length_and("linear")},
                                              f32_key("rope.scaling.factor", factor)});
            const auto model = load_bytes(file, **device);
            ASSERT_EQ(model.has_value(), factor > 1) << family;
            if (model) continue;
            EXPECT_NE(model.error().message.find(".rope.scaling.factor is 1e-45"),
                      std::string::npos)
                << model.error().message;
        }
}

// Heads as wide as the embedding, in a file that does not say how wide: no key bounds them then.
TEST(Robustness, heads_too_wide_are_refused_without_a_key_that_says_so) {
    auto device = make_cpu_device("", 1);
    for (const char* family : test::kFamilies)
        for (const std::int64_t head_dim : {std::int64_t(1024), std::int64_t(1056)}) {
            TinyModel shape = tiny_of(family, test::kF32);
            shape.n_embd = shape.head_dim = head_dim;
            shape.n_head = shape.n_head_kv = shape.n_layer = 1;
            std::string file = tiny_model(shape).bytes();
            for (const char* name : {"attention.key_length", "attention.value_length"}) {
                const std::size_t at = file.find(test::length_and(shape.arch + "." + name));
                ASSERT_NE(at, std::string::npos);
                file[at + 8] = '_';  // a key that nobody reads
            }
            const auto model = load_bytes(file, **device);
            ASSERT_EQ(model.has_value(), head_dim <= kHeadDimMax) << family << " " << head_dim;
            if (model) {
                EXPECT_EQ(test::Runner(**model, **device, "f32", 16).feed({1, 2, 3}).size(),
                          std::size_t(3 * test::kTinyVocab));
                continue;
            }
            EXPECT_EQ(model.error().kind, ErrorKind::invalid_request);
            const std::string parts[] = {shape.arch + ".attention.key_length is missing", "1056"};
            for (const std::string& part : parts)
                EXPECT_NE(model.error().message.find(part), std::string::npos)
                    << model.error().message;
        }
}

// Buffers are written when they are made, so a step that is too large must be refused before.
TEST(Robustness, a_step_beyond_the_memory_at_hand_is_refused_before_its_buffers_are_made) {
    constexpr std::size_t kAtHand = 1 << 20;
    for (const char* family : test::kFamilies) {
        auto device = make_cpu_device("", 1);
        const std::string file = tiny_model(tiny_of(family, test::kF32)).bytes();
        const ModelSource source{.name = "tiny",
                                 .path = "",
                                 .bytes = std::as_bytes(std::span(file.data(), file.size()))};
        const auto load = [&](std::int64_t max_rows) {
            return Model::load(
                source, **device,
                {.max_rows = max_rows, .max_logits = 64, .scratch_bytes_max = kAtHand});
        };
        const auto model = load(16384);
        ASSERT_FALSE(model) << family;
        EXPECT_EQ(model.error().kind, ErrorKind::does_not_fit) << model.error().message;
        for (const char* part : {"16384 rows", "1048576 bytes"})
            EXPECT_NE(model.error().message.find(part), std::string::npos) << model.error().message;
        EXPECT_LT((*device)->scratch_bytes(), kAtHand) << family;
        EXPECT_TRUE(load(64)) << family;
    }
}

// Numbers that are sound by themselves, but not beside the tensors: the tensor is named.
TEST(Robustness, metadata_that_contradict_the_tensors_are_refused_by_a_tensor) {
    auto device = make_cpu_device("", 1);
    for (const char* family : test::kFamilies) {
        const TinyModel shape = tiny_of(family, test::kF32);
        const std::pair<Key, const char*> wrong[] = {
            {u32_key("block_count", 3), "blk.2.attn_norm.weight is missing"},
            {u32_key("block_count", 1), "blk.1."},
            {u32_key("embedding_length", 32), "token_embd.weight"},
            {u32_key("attention.head_count", 8), "blk.0.attn_q.weight"},
            {u32_key("attention.head_count_kv", 4), "blk.0.attn_k.weight"}};
        for (const auto& [key, named] : wrong) {
            const std::string file = with_keys(shape, {key});
            const auto model = load_bytes(file, **device);
            ASSERT_FALSE(model) << family << ": " << key.name;
            EXPECT_NE(model.error().message.find(named), std::string::npos)
                << family << " " << key.name << ": " << model.error().message;
        }
        // An output matrix of another vocabulary, and fewer embeddings than tokens.
        for (const char* name : {"output.weight", "token_embd.weight"}) {
            test::GgufWriter w;
            test::write_metadata(w, shape);
            const std::int64_t n = test::kTinyVocab - 1;
            for (const auto& t : test::tiny_tensors(shape))
                if (t.name != name) w.tensor(t.name, t.shape, t.type, t.bytes);
            w.tensor(name, {n, shape.n_embd}, test::kF32,
                     std::string(std::size_t(n * shape.n_embd) * 4, '\0'));
            const std::string file = w.bytes();
            const auto model = load_bytes(file, **device);
            ASSERT_FALSE(model) << family << ": " << name;
            EXPECT_NE(model.error().message.find(name), std::string::npos) << model.error().message;
        }
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

TEST(Robustness, a_file_shortened_under_the_map_reads_as_zeros_and_is_noticed) {
    const std::string path = test::temp_folder() + "/model.gguf";
    const std::string file = tiny_model(tiny_of("llama", test::kF32)).bytes();
    for (const std::size_t size : {std::size_t(0), std::size_t(8192), file.size() - 4096}) {
        ASSERT_TRUE(write_file(path, file));
        const auto map = ModelFile::open(path);
        ASSERT_TRUE(map);
        ASSERT_EQ(::truncate(path.c_str(), off_t(size)), 0);
        const auto bytes = map->bytes();
        const auto text = [&](std::size_t from, std::size_t to) {
            return std::string(reinterpret_cast<const char*>(bytes.data()) + from, to - from);
        };
        EXPECT_EQ(text(0, size), file.substr(0, size));
        EXPECT_EQ(text(size, file.size()), std::string(file.size() - size, '\0'));
        const auto changed = map->unchanged();
        ASSERT_FALSE(changed);
        EXPECT_NE(changed.error().message.find(path), std::string::npos) << changed.error().message;
    }
}

#if !HEARTH_SANITIZED
using RobustnessDeathTest = testing::Test;

TEST(RobustnessDeathTest, a_bus_error_elsewhere_goes_where_it_went_before) {
    testing::GTEST_FLAG(death_test_style) = "threadsafe";
    // The child runs this test from its beginning and removes nothing: its folder is inside ours.
    const std::string folder = test::temp_folder(), path = folder + "/model.gguf";
    ASSERT_EQ(::setenv("TMPDIR", folder.c_str(), 1), 0);
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
