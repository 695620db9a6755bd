// SpecialSplit against its definition: for each length from the longest down, left to right,
// whatever plain text is left is searched for tokens of that length.
#include "engine/model/special_split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

namespace hearth::model {
namespace {

struct Token {
    std::string text;
    bool user_defined = false;
};
using Parts = std::vector<std::pair<std::string, int>>;

Parts split_by_force(const std::vector<Token>& tokens, const std::string& text,
                     bool parse_special) {
    Parts parts;
    if (!text.empty()) parts.emplace_back(text, -1);
    for (std::size_t length = 8; length > 0; --length) {
        Parts next;
        for (const auto& [plain, id] : parts) {
            if (id >= 0) {
                next.emplace_back(plain, id);
                continue;
            }
            std::size_t begin = 0;
            for (std::size_t at = 0; at + length <= plain.size();) {
                int found = -1;
                for (std::size_t i = 0; i < tokens.size(); ++i)
                    if (tokens[i].text == plain.substr(at, length) &&
                        (parse_special || tokens[i].user_defined))
                        found = int(i);
                if (found < 0) {
                    ++at;
                    continue;
                }
                if (at > begin) next.emplace_back(plain.substr(begin, at - begin), -1);
                next.emplace_back(plain.substr(at, length), found);
                at += length;
                begin = at;
            }
            if (begin < plain.size()) next.emplace_back(plain.substr(begin), -1);
        }
        parts = next;
    }
    return parts;
}

TEST(SpecialSplit, agrees_with_its_definition_on_random_tokens_and_texts) {
    std::mt19937_64 random(2);
    for (int round = 0; round < 3000; ++round) {
        std::vector<Token> tokens;
        SpecialSplit split;
        for (std::size_t n = random() % 8; n > 0; --n) {
            std::string text;
            for (std::size_t k = 1 + random() % 6; k > 0; --k) text += "ab<"[random() % 3];
            const bool twin = std::any_of(tokens.begin(), tokens.end(),
                                          [&](const Token& t) { return t.text == text; });
            if (!twin) tokens.push_back({text, random() % 2 == 0});
        }
        for (std::size_t i = 0; i < tokens.size(); ++i)
            split.add(tokens[i].text, int(i), tokens[i].user_defined);
        split.finish();
        std::string text;
        for (std::size_t k = random() % (round % 10 ? 80 : 400); k > 0; --k)
            text += "ab<c"[random() % 4];
        for (const bool parse_special : {false, true}) {
            Parts got;
            // Stretches as short as they may be, so that texts have many.
            SpecialSplit::Parts parts(split, text, parse_special, nullptr, 1);
            for (SpecialSplit::Part part; parts.next(part);)
                got.emplace_back(part.text, part.token);
            ASSERT_EQ(got, split_by_force(tokens, text, parse_special))
                << "round " << round << ": " << text;
        }
    }
}

}  // namespace
}  // namespace hearth::model
