// Model: what open() and load() say about a file, and whose fault an error names.
#include "engine/model/model.h"

#include <gtest/gtest.h>

#include "support/data.h"
#include "support/gguf_writer.h"

namespace hearth::model {
namespace {

ModelSource from_bytes(const std::string& file) {
    return {.name = "some model", .path = "", .bytes = std::as_bytes(std::span(file))};
}

TEST(Model, open_needs_only_a_tokenizer_and_any_architecture) {
    test::GgufWriter w;
    w.text("general.architecture", "unheard-of").text("tokenizer.chat_template", "{{ x }}");
    w.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "gpt-2");
    w.texts("tokenizer.ggml.tokens", {"a", "b"}).texts("tokenizer.ggml.merges", {});
    const std::string file = w.bytes();
    const auto opened = Model::open(from_bytes(file));
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_EQ((*opened)->tokenizer().encode("ab", {}).size(), 2u);
    EXPECT_EQ((*opened)->chat_template(), "{{ x }}");
    EXPECT_EQ((*opened)->info().arch, "unheard-of");

    auto device = make_cpu_device("", 1);
    ASSERT_TRUE(device);
    const auto loaded = Model::load(from_bytes(file), **device, {});
    ASSERT_FALSE(loaded);
    EXPECT_EQ(loaded.error().kind, ErrorKind::invalid_request);
    EXPECT_NE(loaded.error().message.find("unheard-of"), std::string::npos);
    EXPECT_NE(loaded.error().message.find("known architectures: llama, qwen2, qwen3, qwen3moe"),
              std::string::npos)
        << loaded.error().message;
    EXPECT_NE(loaded.error().message.find("some model"), std::string::npos);
}

TEST(Model, info_of_the_demo_file_is_that_of_its_origin) {
    const std::string path = std::string(HEARTH_SOURCE_DIR) + "/models/demo-q8_0.gguf";
    const auto opened = Model::open({.name = "demo", .path = path, .bytes = {}});
    ASSERT_TRUE(opened) << opened.error().message;
    const Model& demo = **opened;
    EXPECT_EQ(demo.info().name, "demo");
    EXPECT_EQ(demo.info().arch, "llama");
    EXPECT_EQ(demo.info().format, "q8_0");
    EXPECT_EQ(demo.info().n_params, 7'344'384);
    EXPECT_GT(demo.info().weights_bytes, 7'344'384u);
    EXPECT_NE(demo.chat_template(), "");
    // models/ORIGIN.md; sha256sum of the file.
    EXPECT_EQ(demo.sha256(), "b728eb173cc3bc16a58551f2947e11a5e7c726dc3c4beecd84b434528e05e409");
}

TEST(Model, text_that_is_not_utf8_is_repaired_at_the_edge) {
    test::GgufWriter w;
    w.text("general.name", "bad \xff name").text("tokenizer.chat_template", "\xfe");
    w.text("tokenizer.ggml.model", "gpt2").texts("tokenizer.ggml.tokens", {"a"});
    const std::string file = w.texts("tokenizer.ggml.merges", {}).bytes();
    const auto opened = Model::open(from_bytes(file));
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_EQ((*opened)->info().general_name, "bad \xef\xbf\xbd name");
    EXPECT_EQ((*opened)->chat_template(), "\xef\xbf\xbd");
}

TEST(Model, missing_files_and_wrong_files_are_refused) {
    const auto missing = Model::open({.name = "gone", .path = "/no/such/file.gguf", .bytes = {}});
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().kind, ErrorKind::not_found);
    const auto wrong =
        Model::open({.name = "text", .path = HEARTH_SOURCE_DIR "/VERSION", .bytes = {}});
    ASSERT_FALSE(wrong);
    EXPECT_NE(wrong.error().message.find("GGUF"), std::string::npos);
    const auto empty = Model::open({.name = "none", .path = "", .bytes = {}});
    ASSERT_FALSE(empty);
}

TEST(Model, fewer_embeddings_than_tokens_are_refused) {
    std::string file = test::tiny_llama({}).bytes();
    // One row less: 259 of 260, in the tensor's second dimension (the file's order).
    const std::string name = test::length_and("token_embd.weight");
    const std::size_t at = file.find(name) + name.size() + 4 + 8;
    ASSERT_EQ(std::uint8_t(file[at]), test::kTinyVocab - 256);
    file[at] -= 1;
    auto device = make_cpu_device("", 1);
    ASSERT_TRUE(device);
    const auto loaded = Model::load(from_bytes(file), **device, {});
    ASSERT_FALSE(loaded);
    EXPECT_NE(loaded.error().message.find("token_embd.weight has 259 rows"), std::string::npos)
        << loaded.error().message;
}

// The engine plans with the one and is held to the other.
TEST(Device, a_row_of_keys_takes_what_the_store_is_made_of) {
    auto device = make_cpu_device("", 1);
    ASSERT_TRUE(device);
    int n_refused = 0;
    for (const char* type : {"f32", "f16", "bf16", "q8_0", "q3_x"})
        for (const std::int64_t head_dim : {0, 20, 32, 96, 1024, 1025}) {
            const auto row = (*device)->kv_row_bytes(type, head_dim);
            const auto kv = (*device)->make_kv(
                {.n_layer = 2, .n_head_kv = 3, .head_dim = head_dim, .n_block = 5, .type = type});
            ASSERT_EQ(row.has_value(), kv.has_value()) << type << " " << head_dim;
            if (row) {
                EXPECT_EQ((*kv)->bytes(), *row * 2 * 2 * 3 * 5 * std::size_t(kBlockTokens));
                continue;
            }
            ++n_refused;
            EXPECT_EQ(row.error().kind, ErrorKind::invalid_request);
            EXPECT_EQ(row.error().message, kv.error().message);
        }
    EXPECT_EQ(n_refused, 4 * 2 + 1 + 6);  // heads of 0 and 1025, 20 in q8_0, and all of q3_x
}

}  // namespace
}  // namespace hearth::model
