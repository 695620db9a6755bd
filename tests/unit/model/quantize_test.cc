#include "engine/model/quantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/file.h"
#include "engine/kernels/kernels.h"
#include "support/data.h"

namespace hearth::model {
namespace {

constexpr const char* kDemo = HEARTH_SOURCE_DIR "/models/demo-q8_0.gguf";

struct Opened {
    MappedFile map;
    Gguf gguf;
};

Opened open(const std::string& path) {
    auto map = MappedFile::open(path);
    EXPECT_TRUE(map) << path;
    auto gguf = Gguf::parse(map->bytes());
    EXPECT_TRUE(gguf) << (gguf ? "" : gguf.error().message);
    return {std::move(*map), std::move(*gguf)};
}

std::vector<float> values_of(const GgufTensor& tensor) {
    const hearth_format* format = hearth_format_find(hearth_kernels_all[0], tensor.type);
    std::vector<float> values(std::size_t(tensor.n_values()));
    format->decode(values.data(), tensor.bytes.data(), tensor.n_values());
    return values;
}

// Root mean square of the difference, as a share of the values' own.
double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
    double difference = 0, size = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        difference += (double(a[i]) - b[i]) * (double(a[i]) - b[i]);
        size += double(a[i]) * a[i];
    }
    return std::sqrt(difference / size);
}

class EveryType : public testing::TestWithParam<const char*> {};

// Relative errors on normal values, measured by tests/unit/kernels: 0.086 for the coarsest format
// (q4_0). A lost scale, swapped nibbles or shifted rows show as 1 or more.
TEST_P(EveryType, keeps_values_metadata_and_what_is_no_matrix) {
    const QuantizeType* type = find_quantize_type(GetParam());
    ASSERT_TRUE(type);
    const Opened in = open(kDemo);
    const std::string path = test::temp_folder() + "/out.gguf";
    ThreadPool pool(2);
    const auto report = quantize(in.gguf, path, *type, pool, nullptr);
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_TRUE(report->fallbacks.empty());
    EXPECT_EQ(report->bytes_out, std::filesystem::file_size(path));

    const Opened out = open(path);
    EXPECT_EQ(out.gguf.integer("general.file_type", 0, 1000).value_or(-1), type->file_type);
    ASSERT_EQ(out.gguf.metadata().size(), in.gguf.metadata().size());
    EXPECT_EQ(*out.gguf.texts("tokenizer.ggml.tokens"), *in.gguf.texts("tokenizer.ggml.tokens"));
    EXPECT_EQ(*out.gguf.number("llama.rope.freq_base"), *in.gguf.number("llama.rope.freq_base"));
    ASSERT_EQ(out.gguf.tensors().size(), in.gguf.tensors().size());
    for (const GgufTensor& before : in.gguf.tensors()) {
        const GgufTensor* after = out.gguf.find_tensor(before.name);
        ASSERT_TRUE(after) << before.name;
        EXPECT_EQ(after->shape, before.shape);
        const double error = relative_error(values_of(before), values_of(*after));
        if (before.shape.size() < 2) {
            EXPECT_EQ(error, 0) << before.name;
        } else {
            EXPECT_LT(error, 0.12) << before.name;
            EXPECT_TRUE(after->type == type->tensor || after->type == type->more) << before.name;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Quantize, EveryType,
                         testing::Values("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0",
                                         "q5_1", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m", "q6_k"),
                         [](const auto& each) { return std::string(each.param); });

TEST(Quantize, short_rows_fall_back_and_say_so) {
    NEEDS_DATA(source, "models/stories260K/stories260K-f32.gguf");
    const Opened in = open(source);
    const std::string path = test::temp_folder() + "/out.gguf";
    ThreadPool pool(1);
    const auto report = quantize(in.gguf, path, *find_quantize_type("Q4_K_M"), pool, nullptr);
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_EQ(report->fallbacks.size(), 36u);
    const Opened out = open(path);
    // Rows of 64 are two blocks of 32; rows of 172 are none.
    EXPECT_EQ(out.gguf.find_tensor("blk.0.attn_q.weight")->type, 6u);    // q5_0
    EXPECT_EQ(out.gguf.find_tensor("blk.0.ffn_down.weight")->type, 1u);  // f16
}

TEST(Quantize, a_file_that_cannot_be_written_leaves_nothing_behind) {
    const Opened in = open(kDemo);
    const std::string folder = test::temp_folder();
    ThreadPool pool(1);
    EXPECT_FALSE(quantize(in.gguf, folder + "/no/such/folder.gguf", *find_quantize_type("f16"),
                          pool, nullptr));
    std::filesystem::create_directory(folder + "/taken");
    EXPECT_FALSE(quantize(in.gguf, folder + "/taken", *find_quantize_type("q8_0"), pool, nullptr));
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
}

TEST(Quantize, names_are_known_in_either_case_and_others_are_not) {
    EXPECT_EQ(find_quantize_type("Q4_K_M"), find_quantize_type("q4_k_m"));
    EXPECT_EQ(find_quantize_type("q3_k"), nullptr);
    EXPECT_EQ(find_quantize_type(""), nullptr);
}

}  // namespace
}  // namespace hearth::model
