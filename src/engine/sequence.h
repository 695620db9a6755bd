// Sequence: one timeline of tokens, from the request to its finish.
//
// Thread: made on the caller's, then handed to the engine's, which owns it to the end.
#pragma once

#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "engine/engine.h"
#include "engine/kv_cache.h"
#include "engine/scheduler.h"
#include "engine/text_stream.h"

namespace hearth::engine {

// What score() waits for.
struct ScoreJob {
    std::int64_t top_n = 0;
    Engine::Scores scores;
    std::promise<Result<Engine::Scores>> done;
};

struct Sequence {
    explicit Sequence(std::vector<std::string> stops) : text(std::move(stops)) {}

    // Tokens whose keys and values must be in the cache before the next draw: all that are known.
    // The last token of a scored text is only looked up, never computed.
    std::int64_t n_known() const { return std::int64_t(tokens.size()) - (score ? 1 : 0); }
    bool decodes() const { return n_generated > 0; }
    // Whole blocks of the prompt that others may have computed. The last token stays out: each
    // answer needs the logits of its row.
    std::int64_t n_shareable() const { return (n_prompt - 1) / model::kBlockTokens; }
    SeqState state() const;

    std::vector<TokenId> tokens;  // the prompt, then what was generated
    std::int64_t n_prompt = 0, n_generated = 0;
    std::int64_t n_new_max = 0;  // tokens to generate at most
    std::int64_t n_claim = 0;    // tokens in the cache at most
    bool context_full = false;   // n_new_max is the context's end, not the request's wish
    bool at_text_start = false;  // no token so far has given text
    Sampling sampling;
    bool ignore_end = false;
    TextStream text;
    KvTable table;
    std::string owner;
    bool owner_forgotten = false;  // between its submission and the next step
    PrefixOwner prefix;            // the engine thread's number for the owner; score() has nobody's
    // Sequences submitted together with equal prompts have one number: how many sequences were
    // accepted before the first of them. -1: no other has this prompt.
    std::int64_t group = -1;
    std::int64_t n_cached = 0;         // prompt tokens that another sequence computed
    std::shared_ptr<OutputSink> sink;  // generation
    std::unique_ptr<ScoreJob> score;   // or score()

    bool retired = false;
    bool paused = false;
    std::int64_t paused_ns = 0;  // when it began to be
    std::int64_t submitted_ns = 0;
    std::int64_t admitted_ns = -1, first_token_ns = -1, first_output_ns = -1;  // -1: not yet
};

// Does the text begin with this token? As Tokenizer::decode has it, so that the text of an answer
// is what decoding prompt and answer together adds to the prompt's text.
bool begins_text(const model::Tokenizer& tokenizer, TokenId id);

// Errors: see Engine::submit.
Result<std::unique_ptr<Sequence>> make_sequence(Request request, const model::Tokenizer& tokenizer,
                                                std::int64_t n_vocab, std::int64_t n_ctx);
// Errors: see Engine::score. Requires: ids.size() >= 2.
Result<std::unique_ptr<Sequence>> make_score_sequence(std::vector<TokenId> ids, std::int64_t top_n,
                                                      std::int64_t n_vocab, std::int64_t n_ctx);

}  // namespace hearth::engine
