// GGUF parsing against files that are written here from the specification, sound and damaged.
#include "engine/model/gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "base/file.h"
#include "support/gguf_writer.h"

namespace hearth::model {
namespace {

using test::GgufWriter;
using test::le;
using test::length_and;

// A heap copy of exactly the size, so that a sanitizer sees a read one byte past the end.
struct Exact {
    explicit Exact(std::string_view text) : bytes(text.size()) {
        if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
    }
    std::vector<std::byte> bytes;
};

std::string error_of(const std::string& file) {
    const Exact exact(file);
    const auto parsed = Gguf::parse(exact.bytes);
    return parsed ? "" : parsed.error().message;
}

GgufWriter sample() {
    GgufWriter w;
    w.raw("u8", 0, le(std::uint8_t(200))).raw("i8", 1, le(std::int8_t(-100)));
    w.raw("u16", 2, le(std::uint16_t(60'000))).raw("i16", 3, le(std::int16_t(-30'000)));
    w.u32("u32", 4'000'000'000u).raw("i32", 5, le(std::int32_t(-2'000'000'000)));
    w.f32("f32", 0.5f).boolean("yes", true).text("text", "caf\xc3\xa9");
    w.texts("texts", {"a", "", "bcd"}).i32s("i32s", {1, -2, 3}).f32s("f32s", {0.25f, -8.0f});
    w.raw("u64", 10, le(std::uint64_t(1) << 40)).raw("i64", 11, le(-(std::int64_t(1) << 40)));
    w.raw("f64", 12, le(0.1)).raw("huge", 10, le(~std::uint64_t(0)));
    w.raw("u16s", 9, le(std::uint32_t(2)) + le(std::uint64_t(2)) + le(std::uint32_t(0x00020001)));
    w.raw("nested", 9,
          le(std::uint32_t(9)) + le(std::uint64_t(2)) + le(std::uint32_t(0)) +
              le(std::uint64_t(3)) + "abc" + le(std::uint32_t(8)) + le(std::uint64_t(1)) +
              length_and("x"));
    w.tensor("norm", {4}, test::kF32, test::encode_values({1, 2, 3, 4}, test::kF32));
    w.tensor("matrix", {2, 64}, test::kQ8_0,
             test::encode_values(std::vector<float>(128, 1.5f), test::kQ8_0));
    w.tensor("half", {3, 2}, test::kF16, test::encode_values({1, 2, 3, 4, 5, 6}, test::kF16));
    return w;
}

TEST(Gguf, every_type_reads_back_as_it_was_written) {
    for (const std::uint32_t version : {2u, 3u}) {
        const Exact file(sample().bytes(version));
        const auto g = Gguf::parse(file.bytes);
        ASSERT_TRUE(g) << g.error().message;
        EXPECT_EQ(g->version(), version);
        EXPECT_EQ(g->integer("u8", 0, 255), 200);
        EXPECT_EQ(g->integer("i8", -128, 0), -100);
        EXPECT_EQ(g->integer("u16", 0, 65535), 60'000);
        EXPECT_EQ(g->integer("i16", -32768, 0), -30'000);
        EXPECT_EQ(g->integer("u32", 0, INT64_MAX), 4'000'000'000);
        EXPECT_EQ(g->integer("i32", INT64_MIN, 0), -2'000'000'000);
        EXPECT_EQ(g->integer("u64", 0, INT64_MAX), std::int64_t(1) << 40);
        EXPECT_EQ(g->integer("i64", INT64_MIN, 0), -(std::int64_t(1) << 40));
        EXPECT_EQ(g->number("f32"), 0.5);
        EXPECT_EQ(g->number("f64"), 0.1);
        EXPECT_EQ(g->number("u8"), 200.0);
        EXPECT_EQ(g->boolean("yes"), true);
        EXPECT_EQ(g->text("text"), "caf\xc3\xa9");
        EXPECT_EQ(g->texts("texts"), (std::vector<std::string_view>{"a", "", "bcd"}));
        EXPECT_EQ(g->integers("i32s"), (std::vector<std::int64_t>{1, -2, 3}));
        EXPECT_EQ(g->integers("u16s"), (std::vector<std::int64_t>{1, 2}));
        EXPECT_EQ(g->numbers("f32s"), (std::vector<float>{0.25f, -8.0f}));
        EXPECT_EQ(std::get<GgufArray>(*g->find("nested")).count, 2u);
    }
}

TEST(Gguf, tensors_have_their_shape_outermost_first_and_their_own_bytes) {
    const Exact file(sample().bytes());
    const auto g = Gguf::parse(file.bytes);
    ASSERT_TRUE(g) << g.error().message;
    ASSERT_EQ(g->tensors().size(), 3u);
    const GgufTensor* matrix = g->find_tensor("matrix");
    ASSERT_NE(matrix, nullptr);
    EXPECT_EQ(matrix->shape, (std::vector<std::int64_t>{2, 64}));
    EXPECT_EQ(matrix->n_values(), 128);
    EXPECT_EQ(matrix->bytes.size(), 4 * 34u);
    const GgufTensor* half = g->find_tensor("half");
    ASSERT_NE(half, nullptr);
    ASSERT_EQ(half->bytes.size(), 12u);
    std::uint16_t last = 0;
    std::memcpy(&last, half->bytes.data() + 10, 2);
    EXPECT_EQ(test::from_f16(last), 6.0);
    EXPECT_EQ(g->find_tensor("matri"), nullptr);
}

TEST(Gguf, typed_reads_refuse_other_types_and_bounds_and_name_the_key) {
    const Exact file(sample().bytes());
    const auto g = Gguf::parse(file.bytes);
    ASSERT_TRUE(g);
    const auto refused = [](const auto& result, ErrorKind kind, std::string_view key) {
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().kind, kind);
        EXPECT_NE(result.error().message.find(key), std::string::npos) << result.error().message;
    };
    refused(g->integer("u8", 0, 199), ErrorKind::invalid_request, "u8");
    refused(g->integer("huge", 0, INT64_MAX), ErrorKind::invalid_request, "huge");
    refused(g->integer("f32", 0, 9), ErrorKind::invalid_request, "f32");
    refused(g->integer("absent", 0, 9), ErrorKind::not_found, "absent");
    refused(g->number("text"), ErrorKind::invalid_request, "text");
    refused(g->text("u8"), ErrorKind::invalid_request, "u8");
    refused(g->boolean("u8"), ErrorKind::invalid_request, "u8");
    refused(g->texts("i32s"), ErrorKind::invalid_request, "i32s");
    refused(g->integers("texts"), ErrorKind::invalid_request, "texts");
    refused(g->integers("nested"), ErrorKind::invalid_request, "nested");
    refused(g->numbers("i32s"), ErrorKind::invalid_request, "i32s");
    refused(g->texts("absent"), ErrorKind::not_found, "absent");
    EXPECT_EQ(g->integer("absent", 0, 9, 7), 7);
    EXPECT_EQ(g->text("absent", "x"), "x");
    EXPECT_EQ(g->boolean("absent", true), true);
}

struct Refusal {
    const char* what;
    std::string file;
    const char* named;  // must be in the message
};

std::string one_key(std::uint32_t type, const std::string& payload) {
    return GgufWriter().raw("some.key", type, payload).bytes();
}
std::string array(std::uint32_t element, std::uint64_t count, const std::string& rest = {}) {
    return le(element) + le(count) + rest;
}
// A file with one hand-made tensor entry and 64 bytes of data.
std::string one_tensor(const std::string& entry, int n = 1, const std::string& keys = {},
                       int n_keys = 0) {
    std::string out = "GGUF" + le(std::uint32_t(3)) + le(std::uint64_t(n)) +
                      le(std::uint64_t(n_keys)) + keys + entry;
    out.resize((out.size() + 31) / 32 * 32);
    return out + std::string(64, '\0');
}
std::string entry(const std::vector<std::uint64_t>& dims, std::uint32_t type, std::uint64_t offset,
                  const std::string& name = "some.tensor") {
    std::string out = length_and(name) + le(std::uint32_t(dims.size()));
    for (const auto d : dims) out += le(d);
    return out + le(type) + le(offset);
}

std::vector<Refusal> refusals() {
    const std::uint64_t huge = ~std::uint64_t(0);
    const std::string head = "GGUF" + le(std::uint32_t(3));
    std::string nested;
    for (int i = 0; i < 10; ++i) nested += array(9, 1);
    const auto alignment = [](std::uint32_t v) {
        return length_and("general.alignment") + le(std::uint32_t(4)) + le(v);
    };
    return {
        {"empty", "", "GGUF"},
        {"another magic", "GGML" + std::string(60, '\0'), "GGUF"},
        {"version 1", "GGUF" + le(std::uint32_t(1)) + std::string(60, '\0'), "version 1"},
        {"big endian", "GGUF" + le(std::uint32_t(0x03000000)) + std::string(60, '\0'),
         "big-endian"},
        {"too many keys", head + le(std::uint64_t(0)) + le(huge), "keys"},
        {"too many tensors", head + le(huge) + le(std::uint64_t(0)), "tensors"},
        {"more tensors than bytes",
         head + le(std::uint64_t(3)) + le(std::uint64_t(0)) + std::string(80, '\0'), "3 tensors"},
        {"key length",
         head + le(std::uint64_t(0)) + le(std::uint64_t(1)) + le(huge) + std::string(40, 'k'),
         "key number 0 at offset 24"},
        {"empty key", GgufWriter().raw("", 0, "x").bytes(), "key number 0"},
        {"key not UTF-8", GgufWriter().raw("a\xff", 0, "x").bytes(), "key number 0"},
        {"same key twice", GgufWriter().u32("twin", 1).u32("twin", 1).bytes(), "twin"},
        {"unknown value type", one_key(13, std::string(16, '\0')), "some.key"},
        {"string length", one_key(8, le(huge)), "some.key"},
        {"string length past the end", one_key(8, le(std::uint64_t(1000))), "some.key"},
        {"boolean 2", one_key(7, "\x02"), "some.key"},
        {"boolean 2 in an array", one_key(9, array(7, 3, std::string("\0\1\2", 3))), "some.key"},
        {"array count", one_key(9, array(4, huge)), "some.key"},
        {"array count that overflows", one_key(9, array(4, (huge >> 2) + 2)), "some.key"},
        {"array of strings count", one_key(9, array(8, huge)), "some.key"},
        {"array of strings, one too long", one_key(9, array(8, 2, length_and("a") + le(huge))),
         "some.key"},
        {"array element type", one_key(9, array(99, 1, "abcd")), "some.key"},
        {"arrays in arrays", one_key(9, nested), "some.key"},
        {"alignment 0", one_tensor("", 0, alignment(0), 1), "general.alignment"},
        {"alignment 48", one_tensor("", 0, alignment(48), 1), "general.alignment"},
        {"alignment of another type",
         one_tensor("", 0,
                    length_and("general.alignment") + le(std::uint32_t(8)) + length_and("32"), 1),
         "general.alignment"},
        {"no dimensions", one_tensor(entry({}, 0, 0)), "some.tensor"},
        {"five dimensions", one_tensor(entry({1, 1, 1, 1, 1}, 0, 0)), "some.tensor"},
        {"dimension 0", one_tensor(entry({4, 0}, 0, 0)), "some.tensor"},
        {"dimension beyond 2^62", one_tensor(entry({huge}, 0, 0)), "some.tensor"},
        {"product overflows", one_tensor(entry({1ull << 32, 1ull << 32}, 0, 0)), "some.tensor"},
        {"product overflows to little", one_tensor(entry({1ull << 32, 1ull << 32, 4}, 0, 0)),
         "some.tensor"},
        {"bytes overflow", one_tensor(entry({1ull << 62}, 0, 0)), "some.tensor"},
        {"unknown tensor type", one_tensor(entry({4}, 4000, 0)), "some.tensor"},
        {"rows of no whole blocks", one_tensor(entry({48, 1}, 8, 0)), "some.tensor"},
        {"beyond the data", one_tensor(entry({17}, 0, 0)), "some.tensor"},
        {"offset beyond the data", one_tensor(entry({1}, 0, 96)), "some.tensor"},
        {"offset that overflows", one_tensor(entry({8}, 0, huge - 31)), "some.tensor"},
        {"offset not aligned", one_tensor(entry({1}, 0, 4)), "some.tensor"},
        {"name too long", one_tensor(entry({1}, 0, 0, std::string(500, 'n'))), "tensor number 0"},
        {"name not UTF-8", one_tensor(entry({1}, 0, 0, "\xc0")), "tensor number 0"},
        {"same tensor twice", one_tensor(entry({1}, 0, 0) + entry({1}, 0, 32), 2), "some.tensor"},
        {"overlap", one_tensor(entry({9}, 0, 0, "first") + entry({1}, 0, 32, "second"), 2),
         "second"},
    };
}

TEST(Gguf, damaged_files_are_refused_by_a_message_that_names_the_place) {
    for (const Refusal& r : refusals()) {
        const std::string message = error_of(r.file);
        EXPECT_NE(message, "") << r.what;
        EXPECT_NE(message.find(r.named), std::string::npos) << r.what << ": " << message;
    }
    // The hand-made frame itself is sound.
    EXPECT_EQ(error_of(one_tensor(entry({16}, 0, 0))), "");
    EXPECT_EQ(error_of(one_tensor(entry({8}, 0, 0, "a") + entry({8}, 0, 32, "b"), 2)), "");
}

// Reads everything that a parsed file offers.
std::size_t touch(const Gguf& g) {
    std::size_t sum = 0;
    for (const auto& [key, value] : g.metadata()) {
        sum += key.size() + (g.find(key) != nullptr);
        sum += std::size_t(g.integer(key, INT64_MIN, INT64_MAX).value_or(1));
        for (const auto text : g.texts(key).value_or(std::vector<std::string_view>{}))
            for (const char c : text) sum += std::size_t(c);
        for (const auto v : g.integers(key).value_or(std::vector<std::int64_t>{}))
            sum += std::size_t(v);
        for (const auto v : g.numbers(key).value_or(std::vector<float>{})) sum += std::isnan(v);
    }
    for (const GgufTensor& t : g.tensors()) {
        sum += g.find_tensor(t.name) == &t;
        if (t.n_values() < 1) ADD_FAILURE() << t.name;
        for (const std::byte b : t.bytes) sum += std::size_t(b);
    }
    return sum;
}

// Parses, and reads all of it if it parses. Returns whether it did.
bool survives(std::string_view file) {
    const Exact exact(file);
    const auto g = Gguf::parse(exact.bytes);
    if (!g) {
        EXPECT_EQ(g.error().kind, ErrorKind::invalid_request);
        EXPECT_FALSE(g.error().message.empty());
        return false;
    }
    touch(*g);
    return true;
}

TEST(Gguf, every_byte_changed_in_every_way_never_reads_outside) {
    const std::string whole = sample().bytes();
    int n_sound = 0;
    for (std::size_t at = 0; at < whole.size(); ++at)
        for (int with = 0; with < 256; with += at < 1024 ? 1 : 17) {
            std::string file = whole;
            file[at] = char(with);
            n_sound += survives(file);
        }
    EXPECT_GT(n_sound, 0);
}

TEST(Gguf, eight_bytes_at_every_place_set_to_awkward_numbers_never_read_outside) {
    const std::string whole = sample().bytes();
    for (std::size_t at = 0; at + 8 <= whole.size(); ++at)
        for (const std::uint64_t v :
             {std::uint64_t(0), ~std::uint64_t(0), std::uint64_t(1) << 63, std::uint64_t(1) << 32,
              ~std::uint64_t(0) >> 3, std::uint64_t(whole.size()),
              std::uint64_t(0x0000000900000009)}) {
            std::string file = whole;
            std::memcpy(file.data() + at, &v, 8);
            survives(file);
        }
}

TEST(Gguf, truncated_anywhere_is_refused_or_whole) {
    const std::string whole = sample().bytes();
    for (std::size_t n = 0; n < whole.size(); ++n)
        EXPECT_FALSE(survives(std::string_view(whole).substr(0, n))) << n;
    EXPECT_TRUE(survives(whole));
}

TEST(Gguf, the_demo_file_truncated_at_page_boundaries_is_refused) {
    auto map = MappedFile::open(std::string(HEARTH_SOURCE_DIR) + "/models/demo-q8_0.gguf");
    ASSERT_TRUE(map) << map.error().message;
    for (std::size_t n = 0; n < map->bytes().size(); n += 4096)
        EXPECT_FALSE(Gguf::parse(map->bytes().first(n))) << n;
    EXPECT_TRUE(Gguf::parse(map->bytes()));
}

TEST(Gguf, random_bytes_behind_a_sound_header_never_crash) {
    std::mt19937_64 random(7);
    for (int i = 0; i < 20'000; ++i) {
        std::string file = "GGUF" + le(std::uint32_t(3)) + le(std::uint64_t(random() % 4)) +
                           le(std::uint64_t(random() % 4));
        for (std::size_t n = random() % 200; n > 0; --n)
            file += char(random() % 3 ? random() % 12 : random() % 256);
        survives(file);
    }
}

}  // namespace
}  // namespace hearth::model
