// Parsing takes at most 4 times the file's size of memory, whatever the file says; encoding takes
// little beside the tokens, whatever the text.
//
// This test program's operator new counts what is live, in the sizes that the allocator really
// gave. Sanitizers bring an operator new of their own, which must stay: there the tests are left
// out.
#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "base/sanitized.h"
#include "engine/model/gguf.h"
#include "engine/model/tokenizer.h"
#include "support/gguf_writer.h"

namespace {
std::atomic<std::int64_t> live_bytes = 0, live_bytes_max = 0;
}  // namespace

#if !HEARTH_SANITIZED
namespace {
void* counted(std::size_t n, std::size_t alignment) {
    void* p = std::aligned_alloc(alignment, (n + alignment - 1) / alignment * alignment);
    if (!p) throw std::bad_alloc();
    const std::int64_t now = live_bytes += std::int64_t(malloc_usable_size(p)) + 8;
    std::int64_t max = live_bytes_max;
    while (now > max && !live_bytes_max.compare_exchange_weak(max, now)) {
    }
    return p;
}
void uncounted(void* p) {
    if (p) live_bytes -= std::int64_t(malloc_usable_size(p)) + 8;
    std::free(p);
}
}  // namespace

void* operator new(std::size_t n, const std::nothrow_t&) noexcept {
    return counted(n, 16);
}
void* operator new(std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
    return counted(n, std::size_t(a));
}
void* operator new(std::size_t n) {
    return counted(n, 16);
}
void* operator new(std::size_t n, std::align_val_t a) {
    return counted(n, std::size_t(a));
}
void operator delete(void* p) noexcept {
    uncounted(p);
}
void operator delete(void* p, std::size_t) noexcept {
    uncounted(p);
}
void operator delete(void* p, std::align_val_t) noexcept {
    uncounted(p);
}
void operator delete(void* p, std::size_t, std::align_val_t) noexcept {
    uncounted(p);
}
#endif

namespace hearth::model {
namespace {

using test::le;
using test::length_and;

// Peak memory of parsing, as a multiple of the file.
double share(const std::string& file) {
    const std::int64_t before = live_bytes;
    live_bytes_max = before;
    {
        const auto parsed = Gguf::parse(std::as_bytes(std::span(file)));
    }
    return double(live_bytes_max - before) / double(file.size());
}

std::string text_of(std::uint64_t i) {  // short texts, all different
    std::string out;
    for (++i; i > 0; i /= 60) out += char('A' + i % 60);
    return out;
}

TEST(GgufMemory, stays_below_four_times_the_file) {
    if (HEARTH_SANITIZED) GTEST_SKIP() << "a sanitizer allocates here";
    std::string keys;
    for (std::uint64_t i = 0; i < 60'000; ++i)
        keys += length_and(text_of(i)) + le(std::uint32_t(0)) + "x";
    const std::string head = "GGUF" + le(std::uint32_t(3));
    EXPECT_LT(share(head + le(std::uint64_t(0)) + le(std::uint64_t(60'000)) + keys), 4.0);

    std::string tensors, data;
    for (std::uint64_t i = 0; i < 60'000; ++i) {
        tensors += length_and(text_of(i)) + le(std::uint32_t(1)) + le(std::uint64_t(1)) +
                   le(std::uint32_t(0)) + le(std::uint64_t(data.size()));
        data += std::string(8, '\0');
    }
    const std::string alignment =
        length_and("general.alignment") + le(std::uint32_t(4)) + le(std::uint32_t(8));
    std::string file =
        head + le(std::uint64_t(60'000)) + le(std::uint64_t(1)) + alignment + tensors;
    file.resize((file.size() + 7) / 8 * 8);
    const auto whole = file + data;
    ASSERT_TRUE(Gguf::parse(std::as_bytes(std::span(whole))));
    EXPECT_LT(share(whole), 4.0);
    EXPECT_LT(share(file), 4.0) << "refused, but only after all entries";
}

TEST(GgufMemory, counts_that_a_file_only_claims_reserve_nothing) {
    if (HEARTH_SANITIZED) GTEST_SKIP() << "a sanitizer allocates here";
    const std::string head = "GGUF" + le(std::uint32_t(3));
    for (const std::uint64_t n :
         {std::uint64_t(1) << 16, std::uint64_t(1) << 40, ~std::uint64_t(0)}) {
        const std::string rest(4096, '\1');
        EXPECT_LT(share(head + le(n) + le(std::uint64_t(0)) + rest), 4.0);
        EXPECT_LT(share(head + le(std::uint64_t(0)) + le(n) + rest), 4.0);
        for (const std::uint32_t element : {0u, 4u, 8u, 9u, 12u})
            EXPECT_LT(share(test::GgufWriter().raw("k", 9, le(element) + le(n) + rest).bytes()),
                      4.0);
    }
}

// What grows with the text is touched for the first time with every long text, and touching it
// costs more than merging does: a million bytes then cost 17 times as much as a hundred thousand.
TEST(TokenizerMemory, a_long_text_takes_little_beside_its_tokens) {
    if (HEARTH_SANITIZED) GTEST_SKIP() << "a sanitizer allocates here";
    const std::vector<std::string> texts = {"<unk>", "<s>", "</s>", "a", "b", "ab", "\xe2\x96\x81"};
    const std::vector<std::int32_t> types = {2, 3, 3, 1, 1, 1, 1};
    for (const char* kind : {"llama", "gpt2"}) {
        const std::string file = test::GgufWriter()
                                     .text("tokenizer.ggml.model", kind)
                                     .text("tokenizer.ggml.pre", "llama-bpe")
                                     .texts("tokenizer.ggml.tokens", texts)
                                     .i32s("tokenizer.ggml.token_type", types)
                                     .texts("tokenizer.ggml.merges", {"a b"})
                                     .u32("tokenizer.ggml.unknown_token_id", 0)
                                     .bytes();
        const auto gguf = Gguf::parse(std::as_bytes(std::span(file)));
        ASSERT_TRUE(gguf);
        const auto tokenizer = make_tokenizer(*gguf);
        ASSERT_TRUE(tokenizer);
        for (const std::string unit : {"a", "ab", "?", "<s>", "<s>a", "\xff"}) {
            std::string text;
            while (text.size() < 2'000'000) text += unit;
            const std::int64_t before = live_bytes;
            live_bytes_max = before;
            const auto ids = (*tokenizer)->encode(text, {});
            // An id for each byte at most; SentencePiece reads a copy, where spaces have 3 bytes.
            const auto n = std::int64_t(text.size());
            const std::int64_t bound = n * std::int64_t(sizeof(TokenId)) +
                                       (kind == std::string("llama") ? n : 0) + (1 << 20);
            EXPECT_LT(live_bytes_max - before, bound) << kind << ": " << unit;
        }
    }
}

}  // namespace
}  // namespace hearth::model
