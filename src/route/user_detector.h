// UserDetectors: the words and patterns of config.toml's [[detector]] blocks.
//
// All words of all blocks are one Aho-Corasick automaton, ASCII letters folded; its steps lie in a
// hash table, so that memory follows the words and a scan is linear in the text. A word is found
// where no letter or digit goes on at an edge of it that is one. Patterns are route/user_pattern.h.
#pragma once

#include "route/detector.h"
#include "route/user_pattern.h"

namespace hearth::route {

class UserDetectors {
  public:
    // Errors: invalid_request naming the block and what is wrong with it.
    static Result<UserDetectors> make(std::vector<UserDetector> blocks);

    // Adds what is found; returns where the scan ended, before the text's end only when full.
    std::size_t scan(Scan& scan) const;
    std::vector<std::string> names() const;

  private:
    struct Block {
        std::string name;
        Sensitivity sensitivity;
    };
    struct State {
        std::uint32_t fail = 0;
        std::uint32_t output = 0;  // the nearest state along fail that ends a word; 0: none
        std::uint32_t length = 0;  // of the word that ends here; 0: none does
        std::uint32_t block = 0;
    };
    struct Step {
        std::uint32_t from = 0, to = 0;  // to 0: an empty place
        unsigned char byte = 0;
    };
    struct Pattern {
        UserPattern pattern;
        std::uint32_t block;
    };

    void add_word(const std::string& word, std::uint32_t block);
    void insert(Step added);
    void make_fails();
    std::size_t scan_words(Scan& scan) const;
    std::uint32_t step(std::uint32_t state, unsigned char byte) const;  // 0: there is none

    std::vector<Block> blocks_;
    std::vector<State> states_;
    std::vector<Step> edges_;  // while building, in order of making
    std::vector<Step> steps_;  // open addressing, a power of two
    std::size_t n_steps_ = 0;
    std::array<std::uint32_t, 256> roots_{};
    std::vector<Pattern> patterns_;
};

}  // namespace hearth::route
