// plan(): what the next step computes. A pure function of the sequences' states and the limits.
//
// Rows: every sequence that decodes gets its one row; prefill shares what is left of
// n_batch_tokens. Of that, a quarter goes to the sequence that has waited longest, then the rest to
// the prompt with the least left to compute (of equals the older). Short prompts thus pass a long
// one, which gives the smallest mean wait, and the long one still moves in every step.
//
// Blocks: a sequence takes blocks as it grows, not at admission; most answers end long before the
// context does. That could deadlock: everyone wants one more block and none is free. So blocks are
// granted by the banker's algorithm: each sequence has a claim (the most it can ever hold, at most
// the whole cache), and a grant is made only if afterwards some order exists in which each can grow
// to its claim and end. With the cache sized for n_parallel full contexts this never refuses.
// In a smaller one a sequence may wait for another to end, but none is truncated or thrown out.
//
// Sequences of one group share the whole blocks of their prompt. Those belong to the group's
// account: they are counted once, and are free again when the last that shares them has ended.
//
// Requires:   n_batch_tokens >= n_parallel >= running.size(), max_logits > n_parallel, each claim
//             within the cache. One that waits with n_shared > 0 has a running sequence of its
//             group that holds those blocks.
// Guarantees: (1) the rows' sum is within n_batch_tokens, the logits' within max_logits.
//             (2) a decoding sequence gets its row whatever prefill there is; only a block that the
//                 banker must refuse can keep it waiting.
//             (3) the oldest unpaused prefill gets at least a quarter of the remaining budget, if
//                 it has so much left, within prefill_chunk and the blocks granted.
//             (4) if something runs and nothing is paused, something gets a row; as nothing comes
//                 in while a block is refused, everything ends. (A paused reader is dropped in
//                 time.)
//             (5) requests are admitted in order of arrival, none while a block is refused.
// Source:     banker's algorithm: Dijkstra, EWD 623 (1977); continuous batching: Yu et al., Orca,
//             OSDI 2022; chunked prefill: Agrawal et al., Sarathi-Serve, arXiv:2403.02310.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace hearth::engine {

struct SeqState {
    std::int64_t n_tokens = 0;  // in the KV cache
    std::int64_t n_todo =
        0;  // tokens at hand that are not: 1 in decode, the rest of the prompt before
    std::int64_t n_claim = 0;  // the most tokens it will ever hold; n_tokens + n_todo at least
    bool decodes = false;
    bool all_logits = false;  // score(): each row needs logits
    bool paused = false;      // its reader is late: no rows, but it keeps its blocks
    // Of its first blocks, how many it shares (one that waits: will share) with others of its
    // group; the same number for all that share. n_tokens counts their tokens.
    std::int64_t n_shared = 0;
    std::int64_t group = -1;
};

struct Limits {
    std::int64_t n_blocks = 0;
    std::int64_t n_batch_tokens = 0;
    std::int64_t n_parallel = 0;
    std::int64_t max_logits = 0;
    std::int64_t prefill_chunk = 0;  // most prompt tokens of one sequence in a step; 0: no cap
};

struct Plan {
    std::int64_t n_admit = 0;          // requests to take from the front of the queue
    std::vector<std::int64_t> n_rows;  // [running + n_admit]; 0: not in this step
    std::int64_t n_rows_total = 0;
    std::int64_t n_refused = 0;  // sequences kept waiting for a block

    // Scratch of plan(), kept so that a step allocates nothing.
    struct Account {
        std::int64_t n_held = 0, n_claim = 0;  // blocks, without the shared ones
        std::int64_t n_shared = 0, group = -1;
        std::int64_t first = -1;   // the first account that shares with this one; itself maybe
        std::int64_t n_alive = 0;  // at the first one, while safe() counts
    };
    std::vector<Account> accounts;
    std::vector<std::int64_t> order;
};

// running and waiting: oldest first.
void plan(std::span<const SeqState> running, std::span<const SeqState> waiting,
          const Limits& limits, Plan& out);

}  // namespace hearth::engine
