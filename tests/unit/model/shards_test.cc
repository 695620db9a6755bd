// Shards: a model in several files, and what is wrong with sets of files that are none.
#include "engine/model/shards.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "engine/model/model.h"
#include "support/data.h"
#include "support/model_check.h"
#include "support/tiny_model.h"

namespace hearth::model {
namespace {

using test::Ids;
using test::TinyModel;

std::string part_name(const std::string& stem, int n, int count) {
    char out[64];
    std::snprintf(out, sizeof out, "-%05d-of-%05d.gguf", n, count);
    return stem + out;
}

void put(const std::string& path, const test::GgufWriter& w) {
    const auto ok = write_file(path, w.bytes());
    ASSERT_TRUE(ok) << ok.error().message;
}

// 16-bit values, as the tool that splits files writes them.
void write_split(test::GgufWriter& w, int number, int count, std::size_t n_tensors) {
    w.raw("split.no", 2, test::le(std::uint16_t(number)));
    w.raw("split.count", 2, test::le(std::uint16_t(count)));
    w.raw("split.tensors.count", 5, test::le(std::int32_t(n_tensors)));
}

// Writes a model's tensors into n_parts files, in turn. Returns the first part's path.
std::string write_parts(const std::string& stem, const TinyModel& shape, int n_parts) {
    const auto tensors = test::tiny_tensors(shape);
    for (int part = 0; part < n_parts; ++part) {
        test::GgufWriter w;
        if (part == 0) test::write_metadata(w, shape);
        write_split(w, part, n_parts, tensors.size());
        for (std::size_t i = std::size_t(part); i < tensors.size(); i += std::size_t(n_parts))
            w.tensor(tensors[i].name, tensors[i].shape, tensors[i].type, tensors[i].bytes);
        put(part_name(stem, part + 1, n_parts), w);
    }
    return part_name(stem, 1, n_parts);
}

std::string error_of(const std::string& path) {
    auto device = make_cpu_device("", 1);
    const auto model = Model::load({.name = "tiny", .path = path, .bytes = {}}, **device, {});
    return model ? "" : model.error().message;
}

TEST(Shards, a_model_in_parts_says_what_it_says_in_one_file) {
    const std::string folder = test::temp_folder();
    const TinyModel shape = test::tiny_of("qwen3moe", test::kF32);
    put(folder + "/whole.gguf", test::tiny_model(shape));
    const Ids ids = {5, 100, 259, 31, 8};
    const auto logits_of = [&](const std::string& path, std::int64_t& n_params) {
        auto device = make_cpu_device("", 1);
        const auto model = Model::load({.name = "tiny", .path = path, .bytes = {}}, **device,
                                       {.max_rows = 64, .max_logits = 64});
        EXPECT_TRUE(model) << model.error().message;
        n_params = (*model)->info().n_params;
        EXPECT_EQ((*model)->info().general_name, "tiny qwen3moe");
        return test::Runner(**model, **device, "f32", 16).feed(ids);
    };
    std::int64_t n_whole = 0, n_parts = 0;
    const auto whole = logits_of(folder + "/whole.gguf", n_whole);
    for (const int count : {2, 3, 6}) {
        const std::string path = write_parts(folder + "/m" + std::to_string(count), shape, count);
        EXPECT_EQ(logits_of(path, n_parts), whole) << count;
        EXPECT_EQ(n_parts, n_whole);
    }
}

TEST(Shards, the_first_part_may_have_no_tensors) {
    const std::string stem = test::temp_folder() + "/m";
    const TinyModel shape = test::tiny_of("llama", test::kF32);
    const auto tensors = test::tiny_tensors(shape);
    test::GgufWriter first, second;
    test::write_metadata(first, shape);
    write_split(first, 0, 2, tensors.size());
    write_split(second, 1, 2, tensors.size());
    for (const auto& t : tensors) second.tensor(t.name, t.shape, t.type, t.bytes);
    put(part_name(stem, 1, 2), first);
    put(part_name(stem, 2, 2), second);
    EXPECT_EQ(error_of(part_name(stem, 1, 2)), "");
}

TEST(Shards, sets_that_are_not_whole_are_refused_by_name) {
    const std::string folder = test::temp_folder();
    const TinyModel shape = test::tiny_of("llama", test::kF32);
    const std::string stem = folder + "/m", first = write_parts(stem, shape, 3);
    ASSERT_EQ(error_of(first), "");
    const auto refused = [&](const std::string& path, const std::string& named) {
        const std::string error = error_of(path);
        EXPECT_NE(error.find(named), std::string::npos) << "expected " << named << " in: " << error;
    };
    // Opened from the wrong end, or under a name that does not say where the others are.
    refused(part_name(stem, 2, 3), "open the first one");
    const auto bytes = read_file(first, 1u << 24);
    ASSERT_TRUE(bytes && write_file(folder + "/renamed.gguf", *bytes));
    refused(folder + "/renamed.gguf", "-00001-of-00003.gguf");
    ASSERT_TRUE(write_file(part_name(folder + "/x", 1, 4), *bytes));
    refused(part_name(folder + "/x", 1, 4), "part 1 of 3");
    // A part of another model; a part twice; a truncated part; a missing one.
    const std::string second = part_name(stem, 2, 3);
    const auto good = read_file(second, 1u << 24);
    ASSERT_TRUE(good);
    const auto other = read_file(write_parts(folder + "/o", shape, 2), 1u << 24);
    ASSERT_TRUE(other && write_file(second, *other));
    refused(first, "belongs to another model");
    test::GgufWriter twice;
    write_split(twice, 1, 3, 0);
    const auto t = test::tiny_tensors(shape)[0];
    put(second, twice.tensor(t.name, t.shape, t.type, t.bytes));
    refused(first, t.name + " occurs twice");
    ASSERT_TRUE(write_file(second, std::string_view(*good).substr(0, good->size() / 2)));
    refused(first, second);
    ASSERT_EQ(::remove(second.c_str()), 0);
    refused(first, second);
    refused(first, "part 2 of 3");
    // A tensor less than the set says.
    test::GgufWriter fewer;
    write_split(fewer, 1, 3, 0);
    put(second, fewer);
    refused(first, "split.tensors.count");
}

TEST(Shards, absurd_split_keys_are_refused) {
    const std::string folder = test::temp_folder();
    const TinyModel shape = test::tiny_of("llama", test::kF32);
    for (const auto& [number, count] : std::vector<std::pair<std::uint32_t, std::uint32_t>>{
             {0, 0xffffffff}, {7, 3}, {3, 3}, {0, 100'000}, {1, 1}, {0, 2}}) {
        test::GgufWriter w = test::tiny_model(shape);
        w.u32("split.no", number).u32("split.count", count);
        const std::string path = part_name(folder + "/a", 1, 99'999);
        put(path, w);
        EXPECT_NE(error_of(path), "") << number << " of " << count;
    }
    // Beyond what a name can say; one more than the greatest would be no number at all.
    for (const char* key : {"split.no", "split.count"})
        for (const std::uint64_t v :
             {std::uint64_t(100'000), std::uint64_t(INT64_MAX), UINT64_MAX}) {
            test::GgufWriter w = test::tiny_model(shape);
            const std::string other = key == std::string("split.no") ? "split.count" : "split.no";
            w.u32(other, 3).raw(key, 10, test::le(v));
            const std::string path = part_name(folder + "/b", 3, 3);
            put(path, w);
            const std::string error = error_of(path), named = "key " + std::string(key) + " is ";
            EXPECT_NE(error.find(named + std::to_string(v)), std::string::npos) << error;
        }
    // As many parts as a name can count, which are more than can be opened.
    test::GgufWriter many = test::tiny_model(shape);
    put(part_name(folder + "/a", 1, 99'999), many.u32("split.no", 0).u32("split.count", 99'999));
    const std::string error = error_of(part_name(folder + "/a", 1, 99'999));
    EXPECT_NE(error.find("the limit is 1024"), std::string::npos) << error;
    // What a file that was never split may say.
    for (const std::uint32_t count : {0u, 1u}) {
        test::GgufWriter w = test::tiny_model(shape);
        put(folder + "/one.gguf", w.u32("split.no", 0).u32("split.count", count));
        EXPECT_EQ(error_of(folder + "/one.gguf"), "") << count;
    }
}

TEST(Shards, names_are_read_strictly) {
    const auto name = read_shard_name("/a/b-00002-of-00012.gguf");
    ASSERT_TRUE(name);
    EXPECT_EQ(name->stem, "/a/b");
    EXPECT_EQ(name->number, 2);
    EXPECT_EQ(name->count, 12);
    EXPECT_EQ(name->path_of(11), "/a/b-00011-of-00012.gguf");
    for (const char* path :
         {"", "-00001-of-00002.gguf", "a-00000-of-00002.gguf", "a-00003-of-00002.gguf",
          "a-0001-of-00002.gguf", "a-00001-of-0002.gguf", "a-0000x-of-00002.gguf",
          "a-00001-of-00002.ggux", "a-00001_of-00002.gguf", "a 00001-of-00002.gguf"})
        EXPECT_FALSE(read_shard_name(path)) << path;
}

}  // namespace
}  // namespace hearth::model
