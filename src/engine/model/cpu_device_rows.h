// WaitingRows: verbs that treat rows alone, and wait for one that does not.
//
// A step's sum, its norm and the rounding of activations, or a gate and that rounding, would each
// pass over all rows, which no near cache holds; row after row they pass over one that is near, and
// threads meet once instead of three times. A row's work is done in the order of the verbs, and no
// verb looks at another row, so results are the same.
//
// Thread:     engine adds; compute runs rows, each one once.
// Invariants: nothing is allocated.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>

#include "base/check.h"

namespace hearth::model {

class WaitingRows {
  public:
    // The longest chain of a decoder is three biases and two ropes.
    static constexpr std::size_t kMax = 8;

    bool empty() const { return n_ == 0; }
    bool full() const { return n_ == kMax; }
    std::int64_t n_rows() const { return n_rows_; }    // of each verb
    std::int64_t row_ops() const { return row_ops_; }  // of all verbs together

    // verb(row) costs about row_ops. What it holds must live until clear(). Requires: not full;
    // as many rows as the others have.
    template <class F>
    void add(std::int64_t n_rows, std::int64_t row_ops, const F& verb) {
        static_assert(sizeof(F) <= sizeof(Verb::held) && alignof(F) <= alignof(Verb) &&
                      std::is_trivially_copyable_v<F> && std::is_trivially_destructible_v<F>);
        CHECK(!full() && (empty() || n_rows == n_rows_));
        Verb& waiting = verbs_[n_++];
        ::new (waiting.held) F(verb);
        waiting.run = [](const void* held, std::int64_t row) {
            (*static_cast<const F*>(held))(row);
        };
        n_rows_ = n_rows;
        row_ops_ += row_ops;
    }
    void run(std::int64_t row) const {
        for (std::size_t i = 0; i < n_; ++i) verbs_[i].run(verbs_[i].held, row);
    }
    void clear() {
        n_ = 0;
        row_ops_ = 0;
    }

  private:
    struct Verb {
        alignas(8) std::byte held[128];
        void (*run)(const void* held, std::int64_t row);
    };
    std::array<Verb, kMax> verbs_;
    std::size_t n_ = 0;
    std::int64_t n_rows_ = 0, row_ops_ = 0;
};

}  // namespace hearth::model
