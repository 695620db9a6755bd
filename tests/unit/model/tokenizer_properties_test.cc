// The fuzzer's properties with every tokenizer: its seeds, and mutations of them, the same in every
// run.
#include "tokenizer_properties.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <set>

#include "base/file.h"

namespace hearth::test {
namespace {

std::string check(const std::string& input) {
    return check_tokenizer({reinterpret_cast<const std::uint8_t*>(input.data()), input.size()});
}

std::vector<std::string> seeds() {
    const auto folder =
        std::filesystem::path(HEARTH_SOURCE_DIR) / "tests/fuzz/corpus/fuzz_tokenizer";
    std::vector<std::string> names, out;
    for (const auto& entry : std::filesystem::directory_iterator(folder))
        names.push_back(entry.path().string());
    std::sort(names.begin(), names.end());
    for (const auto& name : names)
        if (auto bytes = read_file(name, 1u << 16)) out.push_back(*bytes);
    return out;
}

TEST(TokenizerProperties, hold_for_the_fuzzers_seeds_which_reach_every_tokenizer) {
    std::set<std::size_t> choices;
    for (const std::string& seed : seeds()) {
        ASSERT_GE(seed.size(), 2u);
        EXPECT_EQ(check(seed), "") << seed;
        choices.insert(static_cast<unsigned char>(seed[0]) % n_tokenizer_choices());
    }
    EXPECT_EQ(choices.size(), n_tokenizer_choices());
}

TEST(TokenizerProperties, hold_for_mutated_seeds) {
    const auto from = seeds();
    ASSERT_FALSE(from.empty());
    const unsigned seed = 29;
    std::mt19937 random(seed);
    const std::string_view bits[] = {
        " ",   "  ", "\n",           "<tool>", "<s>",      "'s", "abc", "\xe4\xb8", "\xc3\xa9",
        "123", "a",  "\xef\xbc\x9b", "\xff",   "\xcc\x81", "中", "b",   "c",        "aa"};
    for (int i = 0; i < 4000; ++i) {
        std::string input = from[random() % from.size()];
        input[0] = char(random());
        for (unsigned n = random() % 8; n > 0; --n) {
            const std::size_t at = random() % (input.size() + 1);
            switch (random() % 3) {
                case 0:
                    input.insert(at, bits[random() % std::size(bits)]);
                    break;
                case 1:
                    if (at < input.size()) input[at] = char(random());
                    break;
                default:
                    input.erase(at, random() % 4);
            }
        }
        ASSERT_EQ(check(input), "") << "input " << i << " of seed " << seed;
    }
}

}  // namespace
}  // namespace hearth::test
