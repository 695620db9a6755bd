#include "engine/scheduler.h"

#include <algorithm>

#include "base/check.h"
#include "engine/kv_cache.h"

namespace hearth::engine {
namespace {

// Share of the prefill budget that the oldest prompt gets before shorter ones may pass it.
constexpr std::int64_t kOldestShare = 4;

// Blocks: who holds how many, and who may have more.
class Bank {
  public:
    Bank(Plan& scratch, std::int64_t n_blocks) : s_(scratch), n_free_(n_blocks) {
        s_.accounts.clear();
    }

    void open(const SeqState& seq) {
        Plan::Account account{.n_held = blocks_for(seq.n_tokens) - seq.n_shared,
                              .n_claim = blocks_for(seq.n_claim) - seq.n_shared,
                              .n_shared = seq.n_shared,
                              .group = seq.group,
                              .first = std::int64_t(s_.accounts.size())};
        if (seq.n_shared > 0) join(account);
        n_free_ -= account.n_held;
        n_claims_ += account.n_claim;
        s_.accounts.push_back(account);
        CHECK(n_free_ >= 0);
    }

    // What a shared account's partner handed over to the group stays there: one that shares with
    // nobody is counted alike.
    void close_last() {
        n_free_ += s_.accounts.back().n_held;
        n_claims_ -= s_.accounts.back().n_claim;
        s_.accounts.pop_back();
    }

    // The most tokens, up to n_tokens, that sequence i may hold. Granting them is the caller's
    // step.
    std::int64_t allowed(std::size_t i, std::int64_t n_tokens, std::int64_t n_blocks) {
        Plan::Account& account = s_.accounts[i];
        const std::int64_t want = blocks_for(n_tokens) - account.n_shared - account.n_held;
        if (want <= 0 || (n_claims_ <= n_blocks && want <= n_free_)) return n_tokens;
        // What is safe for n blocks is safe for fewer, so the largest safe grant is found by
        // halving.
        std::int64_t low = 0, high = std::min(want, n_free_);
        while (low < high) {
            const std::int64_t middle = (low + high + 1) / 2;
            grant(i, middle);
            const bool ok = safe();
            grant(i, -middle);
            ok ? low = middle : high = middle - 1;
        }
        return std::min(n_tokens, (account.n_shared + account.n_held + low) * model::kBlockTokens);
    }

    // Sequence i holds the blocks of n_tokens from now on, be it more or less than before.
    void hold(std::size_t i, std::int64_t n_tokens) {
        grant(i, blocks_for(n_tokens) - s_.accounts[i].n_shared - s_.accounts[i].n_held);
    }

    // Is there an order in which everyone can grow to its claim and end? If there is one, then the
    // order by what is still missing is one.
    bool safe() {
        auto& order = s_.order;
        order.resize(s_.accounts.size());
        for (std::size_t i = 0; i < order.size(); ++i) {
            order[i] = std::int64_t(i);
            s_.accounts[i].n_alive = 0;
        }
        for (const Plan::Account& account : s_.accounts)
            ++s_.accounts[std::size_t(account.first)].n_alive;
        std::sort(order.begin(), order.end(),
                  [&](std::int64_t a, std::int64_t b) { return missing(a) < missing(b); });
        std::int64_t n_free = n_free_;
        for (const std::int64_t i : order) {
            if (missing(i) > n_free) return false;
            const Plan::Account& account = s_.accounts[std::size_t(i)];
            n_free += account.n_held;
            if (--s_.accounts[std::size_t(account.first)].n_alive == 0) n_free += account.n_shared;
        }
        return true;
    }

  private:
    // A new account with shared blocks: its group's are counted already, or one of the group still
    // holds them alone and hands them over, or it is the first of those that share.
    void join(Plan::Account& account) {
        for (std::size_t i = 0; i < s_.accounts.size(); ++i) {
            Plan::Account& other = s_.accounts[i];
            if (other.group != account.group) continue;
            if (other.n_shared == 0) {
                if (other.n_held < account.n_shared) continue;
                other.n_held -= account.n_shared;
                other.n_claim -= account.n_shared;
                other.n_shared = account.n_shared;
            }
            account.first = other.first;
            return;
        }
        n_free_ -= account.n_shared;
        n_claims_ += account.n_shared;
    }

    std::int64_t missing(std::int64_t i) const {
        const Plan::Account& account = s_.accounts[std::size_t(i)];
        return account.n_claim - account.n_held;
    }
    void grant(std::size_t i, std::int64_t n) {
        s_.accounts[i].n_held += n;
        n_free_ -= n;
    }

    Plan& s_;
    std::int64_t n_free_, n_claims_ = 0;
};

// One call of plan(): running sequences and admitted ones are numbered in one row.
class Planner {
  public:
    Planner(std::span<const SeqState> running, std::span<const SeqState> waiting,
            const Limits& limits, Plan& out)
        : running_(running),
          waiting_(waiting),
          limits_(limits),
          out_(out),
          bank_(out, limits.n_blocks),
          n_left_(limits.n_batch_tokens),
          n_logits_left_(limits.max_logits) {}

    void run() {
        CHECK(limits_.n_batch_tokens >= limits_.n_parallel &&
              limits_.max_logits > limits_.n_parallel &&
              std::int64_t(running_.size()) <= limits_.n_parallel);
        out_.n_admit = out_.n_rows_total = out_.n_refused = 0;
        out_.n_rows.assign(running_.size(), 0);
        for (const SeqState& seq : running_) {
            bank_.open(seq);
            // Kept for the one row of logits that decode, or the end of a prompt, needs.
            if (!seq.all_logits) --n_logits_left_;
        }
        for (std::size_t i = 0; i < running_.size(); ++i)
            if (running_[i].decodes && !running_[i].paused) give(i, 1);
        if (out_.n_refused == 0) admit();
        prefill();
    }

  private:
    const SeqState& seq(std::size_t i) const {
        return i < running_.size() ? running_[i] : waiting_[i - running_.size()];
    }
    bool prefills(std::size_t i) const { return !seq(i).decodes && !seq(i).paused; }
    std::int64_t n_left_of(std::size_t i) const { return seq(i).n_todo - out_.n_rows[i]; }

    // Gives sequence i up to n more rows, as far as its blocks, the chunk and the logits reach.
    void give(std::size_t i, std::int64_t n) {
        n = std::min({n, n_left_of(i), n_left_});
        if (!seq(i).decodes && limits_.prefill_chunk > 0)
            n = std::min(n, limits_.prefill_chunk - out_.n_rows[i]);
        if (seq(i).all_logits) n = std::min(n, n_logits_left_);
        if (n <= 0) return;
        const std::int64_t n_before = seq(i).n_tokens + out_.n_rows[i];
        const std::int64_t n_more = bank_.allowed(i, n_before + n, limits_.n_blocks) - n_before;
        if (n_more < n) ++out_.n_refused;
        if (n_more <= 0) return;
        bank_.hold(i, n_before + n_more);
        out_.n_rows[i] += n_more;
        out_.n_rows_total += n_more;
        n_left_ -= n_more;
        if (seq(i).all_logits) n_logits_left_ -= n_more;
    }

    // Requests come in as long as every prompt at hand, whole, and the next one's have blocks.
    void admit() {
        std::size_t n_promised = 0;
        while (n_promised < running_.size() && promise(n_promised)) ++n_promised;
        if (n_promised == running_.size()) {
            while (std::size_t(out_.n_admit) < waiting_.size() &&
                   std::int64_t(out_.n_rows.size()) < limits_.n_parallel) {
                const SeqState& next = waiting_[std::size_t(out_.n_admit)];
                bank_.open(next);
                if (!promise(out_.n_rows.size())) {
                    bank_.close_last();
                    break;
                }
                ++out_.n_admit;
                out_.n_rows.push_back(0);
                if (!next.all_logits) --n_logits_left_;
            }
        }
        for (std::size_t i = 0; i < out_.n_rows.size(); ++i)
            bank_.hold(i, seq(i).n_tokens + out_.n_rows[i]);
    }

    // Sets aside, while requests are admitted, the blocks of all that sequence i has to compute.
    bool promise(std::size_t i) {
        const std::int64_t n = seq(i).n_tokens + seq(i).n_todo;
        if (bank_.allowed(i, n, limits_.n_blocks) < n) return false;
        bank_.hold(i, n);
        return true;
    }

    void prefill() {
        std::size_t oldest = 0;
        while (oldest < out_.n_rows.size() && !prefills(oldest)) ++oldest;
        if (oldest == out_.n_rows.size()) return;
        give(oldest, std::max<std::int64_t>(1, n_left_ / kOldestShare));
        // The shortest rest first. n_parallel is small, so the next one is searched, not sorted.
        std::int64_t n_done = -1;
        std::size_t last = 0;
        while (n_left_ > 0) {
            std::size_t best = out_.n_rows.size();
            for (std::size_t i = 0; i < out_.n_rows.size(); ++i) {
                if (!prefills(i)) continue;
                const std::int64_t n = seq(i).n_todo;
                const bool after = n > n_done || (n == n_done && i > last);
                if (after && (best == out_.n_rows.size() || n < seq(best).n_todo)) best = i;
            }
            if (best == out_.n_rows.size()) return;
            n_done = seq(best).n_todo;
            last = best;
            give(best, n_left_);
        }
    }

    std::span<const SeqState> running_, waiting_;
    const Limits& limits_;
    Plan& out_;
    Bank bank_;
    std::int64_t n_left_;         // of n_batch_tokens
    std::int64_t n_logits_left_;  // for rows of score()
};

}  // namespace

void plan(std::span<const SeqState> running, std::span<const SeqState> waiting,
          const Limits& limits, Plan& out) {
    Planner(running, waiting, limits, out).run();
}

}  // namespace hearth::engine
