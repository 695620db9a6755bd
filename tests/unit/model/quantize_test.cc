#include "engine/model/quantize.h"

#include <gtest/gtest.h>

#include <sys/stat.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "base/format.h"
#include "engine/kernels/kernels.h"
#include "support/data.h"
#include "support/gguf_writer.h"

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

constexpr const char* kMatrix = "blk.0.attn_q.weight";
constexpr std::int64_t kRows = 40, kRow = 256;

// A file of one matrix and one norm in f32. The matrix is zero but for one value; where that stands
// is not in the first slab's first row.
std::string source_with(const std::string& folder, float value, float norm = 1) {
    std::string matrix(std::size_t(kRows * kRow) * 4, '\0'), vector(std::size_t(kRow) * 4, '\0');
    std::memcpy(&matrix[(17 * kRow + 203) * 4], &value, 4);
    std::memcpy(&vector[5 * 4], &norm, 4);
    test::GgufWriter w;
    w.text("general.architecture", "llama");
    w.tensor(kMatrix, {kRows, kRow}, test::kF32, matrix);
    w.tensor("output_norm.weight", {kRow}, test::kF32, vector);
    const std::string path = folder + "/in.gguf";
    EXPECT_TRUE(write_file(path, w.bytes()));
    return path;
}

// The error's message, or "". Whatever happens, nothing but a whole file may stand there
// afterwards.
std::string error_of(const std::string& folder, const std::string& source, const char* type) {
    const Opened in = open(source);
    const std::string path = folder + "/out.gguf";
    EXPECT_TRUE(write_file(path, "what was there before"));
    ThreadPool pool(2);
    const auto report = quantize(in.gguf, path, *find_quantize_type(type), pool, nullptr);
    if (!report) {
        EXPECT_EQ(report.error().kind, ErrorKind::invalid_request);
        EXPECT_EQ(read_file(path, 100).value_or(""), "what was there before");
    }
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 2) << type;
    return report ? "" : report.error().message;
}

TEST_P(EveryType, refuses_weights_that_are_no_numbers_and_says_which) {
    const std::string folder = test::temp_folder();
    for (const float bad : {NAN, INFINITY, -INFINITY}) {
        const std::string error = error_of(folder, source_with(folder, bad), GetParam());
        EXPECT_NE(error.find(kMatrix), std::string::npos) << error;
        EXPECT_NE(error.find(std::isnan(bad) ? "nan"
                             : bad > 0       ? " inf"
                                             : "-inf"),
                  std::string::npos)
            << error;
        EXPECT_NE(error.find("row 17, column 203"), std::string::npos) << error;
        // In what is copied as well.
        const std::string copied = error_of(folder, source_with(folder, 1, bad), GetParam());
        EXPECT_NE(copied.find("output_norm.weight holds "), std::string::npos) << copied;
        EXPECT_NE(copied.find("row 0, column 5"), std::string::npos) << copied;
    }
}

// The first size of a lone value whose scale (or which itself) no longer rounds to a finite f16,
// 65504 being the largest and 65520 half a step above it; of bf16, likewise in its own steps. From
// the formats' definitions (engine/kernels/formats): a lone positive value v among zeros takes the
// scale v / 127 (q8_0), v / 8 and v / 16 (q4_0, q5_0), v / 15 and v / 31 (q4_1, q5_1), and of
// K-quants a scale of scales: v / 15 / 63, v / 31 / 63, v / 32 / 128.
double first_too_large(const std::string& type) {
    constexpr double kHalf = 65520;
    if (type == "f32") return HUGE_VAL;
    if (type == "f16") return kHalf;
    if (type == "bf16") return 0x1.ffp127;
    if (type == "q8_0") return kHalf * 127;
    if (type == "q4_0") return kHalf * 8;
    if (type == "q5_0") return kHalf * 16;
    if (type == "q4_1") return kHalf * 15;
    if (type == "q5_1") return kHalf * 31;
    if (type.starts_with("q4_k")) return kHalf * 15 * 63;
    if (type.starts_with("q5_k")) return kHalf * 31 * 63;
    return kHalf * 32 * 128;  // q6_k
}

TEST_P(EveryType, refuses_weights_beyond_its_range_and_takes_those_within) {
    const std::string folder = test::temp_folder();
    const double limit = first_too_large(GetParam());
    constexpr double kMost = 3.4028234663852886e38;
    for (const double size : {0.99 * std::min(limit, kMost), limit * 1.002, kMost}) {
        if (!(size <= kMost)) continue;
        const std::string error = error_of(folder, source_with(folder, float(size)), GetParam());
        if (size < limit) {
            EXPECT_EQ(error, "");
            const Opened out = open(folder + "/out.gguf");
            const auto values = values_of(*out.gguf.find_tensor(kMatrix));
            EXPECT_NEAR(values[17 * kRow + 203] / size, 1, 0.01);
            for (const float v : values) ASSERT_TRUE(std::isfinite(v));
        } else {
            EXPECT_NE(error.find(kMatrix), std::string::npos) << error;
            EXPECT_NE(error.find("row 17, column 203, more than "), std::string::npos) << error;
            EXPECT_NE(error.find(format("holds {} ", float(size))), std::string::npos) << error;
        }
    }
}

TEST(Quantize, minima_beyond_the_range_are_refused_too) {
    const std::string folder = test::temp_folder();
    for (const char* type : {"q4_1", "q5_1"})
        EXPECT_NE(error_of(folder, source_with(folder, -65521), type).find(kMatrix),
                  std::string::npos);
    for (const char* type : {"q4_k_s", "q5_k_s"}) {
        EXPECT_NE(error_of(folder, source_with(folder, -65521 * 63.f), type).find(kMatrix),
                  std::string::npos);
        EXPECT_EQ(error_of(folder, source_with(folder, -65400 * 63.f), type), "");
    }
}

TEST(Quantize, blocks_that_are_infinite_already_are_refused) {
    const std::string folder = test::temp_folder();
    std::string blocks(34 * 8, '\1');
    blocks[34 * 3] = '\0', blocks[34 * 3 + 1] = '\x7c';  // the fourth scale: infinity in f16
    test::GgufWriter w;
    w.tensor(kMatrix, {1, 256}, test::kQ8_0, blocks);
    ASSERT_TRUE(write_file(folder + "/in.gguf", w.bytes()));
    for (const char* type : {"q4_0", "f32", "q8_0"})
        EXPECT_NE(error_of(folder, folder + "/in.gguf", type).find("holds inf at row 0, column 96"),
                  std::string::npos)
            << type;
}

TEST(Quantize, nothing_but_a_file_is_replaced) {
    const std::string folder = test::temp_folder(), pipe = folder + "/pipe";
    const Opened in = open(source_with(folder, 1));
    ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
    ThreadPool pool(1);
    for (const std::string& path : {pipe, std::string("/dev/null"), folder}) {
        const auto report = quantize(in.gguf, path, *find_quantize_type("f16"), pool, nullptr);
        ASSERT_FALSE(report) << path;
        EXPECT_NE(report.error().message.find(path + " exists and is no regular file"),
                  std::string::npos)
            << report.error().message;
    }
    EXPECT_TRUE(std::filesystem::is_fifo(pipe));
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 2);
}

TEST(Quantize, names_are_known_in_either_case_and_others_are_not) {
    EXPECT_EQ(find_quantize_type("Q4_K_M"), find_quantize_type("q4_k_m"));
    EXPECT_EQ(find_quantize_type("q3_k"), nullptr);
    EXPECT_EQ(find_quantize_type(""), nullptr);
}

}  // namespace
}  // namespace hearth::model
