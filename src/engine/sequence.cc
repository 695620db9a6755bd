#include "engine/sequence.h"

#include <algorithm>

#include "base/check.h"
#include "base/format.h"
#include "engine/limits.h"
#include "engine/sampler.h"

namespace hearth::engine {
namespace {

Status check_ids(const std::vector<TokenId>& ids, std::int64_t n_vocab) {
    for (std::size_t i = 0; i < ids.size(); ++i)
        if (ids[i].value < 0 || ids[i].value >= n_vocab)
            return fail(ErrorKind::invalid_request,
                        format("token {} at place {} is beyond the model's vocabulary of {}",
                               ids[i].value, i, n_vocab));
    return {};
}

std::unexpected<Error> overflow(std::int64_t n_prompt, std::int64_t n_ctx, const char* advice) {
    return fail(Error{
        .kind = ErrorKind::context_overflow,
        .message = format("{} tokens do not fit the context of {}; {}", n_prompt, n_ctx, advice),
        .n_prompt_tokens = n_prompt,
        .n_ctx = n_ctx});
}

}  // namespace

bool begins_text(const model::Tokenizer& tokenizer, TokenId id) {
    return tokenizer.is_valid(id) && tokenizer.type(id) != model::TokenType::control;
}

SeqState Sequence::state() const {
    return {.n_tokens = table.n_tokens(),
            .n_todo = n_known() - table.n_tokens(),
            .n_claim = n_claim,
            .decodes = decodes(),
            .all_logits = score != nullptr,
            .paused = paused,
            .group = group};
}

Result<std::unique_ptr<Sequence>> make_sequence(Request request, const model::Tokenizer& tokenizer,
                                                std::int64_t n_vocab, std::int64_t n_ctx) {
    CHECK(request.sink != nullptr);
    if (request.prompt.empty())
        return fail(ErrorKind::invalid_request,
                    "the prompt is empty; the model needs at least one token to go on from");
    HEARTH_CHECK_OK(check_ids(request.prompt, n_vocab));
    HEARTH_CHECK_OK(check_sampling(request.sampling, n_vocab));
    HEARTH_CHECK_OK(check_stops(request.stop));
    if (request.max_tokens < -1)
        return fail(
            Error{.kind = ErrorKind::invalid_request,
                  .message = format("max_tokens is {}, expected 0 or more, or -1 for the rest "
                                    "of the context",
                                    request.max_tokens),
                  .param = "max_tokens"});
    const auto n_prompt = std::int64_t(request.prompt.size());
    if (n_prompt + 1 > n_ctx)
        return overflow(n_prompt, n_ctx,
                        "the prompt must leave room for one token: shorten it, or "
                        "start with a larger context");

    auto seq = std::make_unique<Sequence>(std::move(request.stop));
    const std::int64_t n_room = n_ctx - n_prompt;
    seq->context_full = request.max_tokens < 0 || request.max_tokens > n_room;
    seq->n_new_max = seq->context_full ? n_room : request.max_tokens;
    seq->n_prompt = n_prompt;
    // The last token generated is given out, but nothing follows that would need its keys.
    seq->n_claim = n_prompt + std::max<std::int64_t>(seq->n_new_max - 1, 0);
    seq->tokens = std::move(request.prompt);
    seq->tokens.reserve(std::size_t(n_prompt + seq->n_new_max));
    seq->table.reserve(seq->n_claim);
    seq->at_text_start = std::none_of(seq->tokens.begin(), seq->tokens.end(),
                                      [&](TokenId id) { return begins_text(tokenizer, id); });
    seq->sampling = std::move(request.sampling);
    seq->ignore_end = request.ignore_end;
    seq->owner = std::move(request.owner);
    seq->sink = std::move(request.sink);
    return seq;
}

Result<std::unique_ptr<Sequence>> make_score_sequence(std::vector<TokenId> ids, std::int64_t top_n,
                                                      std::int64_t n_vocab, std::int64_t n_ctx) {
    HEARTH_CHECK_OK(check_ids(ids, n_vocab));
    if (top_n < 0 || top_n > kMaxLogprobs)
        return fail(ErrorKind::invalid_request,
                    format("{} best tokens asked for at each place, expected 0 to {}", top_n,
                           kMaxLogprobs));
    const auto n = std::int64_t(ids.size());
    if (n > n_ctx) return overflow(n, n_ctx, "shorten the text, or start with a larger context");
    CHECK(n >= 2);
    auto seq = std::make_unique<Sequence>(std::vector<std::string>());
    seq->tokens = std::move(ids);
    seq->n_prompt = n;
    seq->n_claim = n - 1;
    seq->table.reserve(n - 1);
    seq->score = std::make_unique<ScoreJob>();
    seq->score->top_n = top_n;
    seq->score->scores.logprobs.reserve(std::size_t(n - 1));
    if (top_n > 0) seq->score->scores.top.reserve(std::size_t(n - 1));
    return seq;
}

}  // namespace hearth::engine
