// tokenize, detokenize, logprobs: text and ids, and how likely a model finds them.
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/input.h"
#include "app/open.h"
#include "base/file.h"
#include "base/format.h"

namespace hearth::app {
namespace {

void print(std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
}

void write_ids(JsonWriter& out, const std::vector<TokenId>& ids) {
    out.begin_array();
    for (const TokenId id : ids) out.value(std::int64_t(id.value));
    out.end_array();
}

Result<std::unique_ptr<model::Model>> open_tokenizer(const Context& context,
                                                     const std::string& name) {
    HEARTH_TRY(const model::ModelSource source, find_model(context, name));
    HEARTH_TRY(auto model, model::Model::open(source));
    if (!context.quiet && !model->tokenizer().warning().empty())
        std::fprintf(stderr, "warning: %s\n", model->tokenizer().warning().c_str());
    return model;
}

void print_pieces(const model::Tokenizer& words, const std::vector<TokenId>& ids) {
    for (std::size_t i = 0; i < ids.size(); ++i)
        print(format("{:>8}  {}\n", ids[i].value, json_text(words.piece(ids[i], i == 0, true))));
}

}  // namespace

int tokenize_command(Context& context, const TokenizeArgs& args) {
    auto model = open_tokenizer(context, args.model);
    if (!model) return report(model.error(), context.json);
    const model::Tokenizer& words = (*model)->tokenizer();
    const model::EncodeOptions options{.add_special = !args.no_special,
                                       .parse_special = !args.no_special || args.parse_special};
    if (args.jsonl)
        return each_json_string(args.file, [&](const std::string& text) {
            JsonWriter out;
            write_ids(out, words.encode(text, options));
            print(out.text() + "\n");
        });
    const auto text = read_text(args.file);
    if (!text) return report(text.error(), context.json);
    const std::vector<TokenId> ids = words.encode(*text, options);
    if (context.json) {
        JsonWriter out;
        write_ids(out.begin_object().key("tokens"), ids);
        if (args.pieces) {
            out.key("pieces").begin_array();
            for (std::size_t i = 0; i < ids.size(); ++i)
                out.value(words.piece(ids[i], i == 0, true));
            out.end_array();
        }
        print(out.end_object().text() + "\n");
    } else if (args.pieces) {
        print_pieces(words, ids);
    } else {
        std::string line;
        for (const TokenId id : ids) line += format("{}{}", line.empty() ? "" : " ", id.value);
        print(line + "\n");
    }
    return kDone;
}

int detokenize_command(Context& context, const TokenizeArgs& args) {
    const auto ids = parse_ids(args.ids);
    if (!ids) return report(ids.error(), context.json);
    auto model = open_tokenizer(context, args.model);
    if (!model) return report(model.error(), context.json);
    const model::Tokenizer& words = (*model)->tokenizer();
    for (const TokenId id : *ids) {
        if (!words.is_valid(id))
            return report({.kind = ErrorKind::invalid_request,
                           .message = format("token id {} is beyond the vocabulary of {} tokens",
                                             id.value, words.n_vocab())},
                          context.json);
    }
    const std::string text = words.decode(*ids, true);
    if (context.json) {
        JsonWriter out;
        print(out.begin_object().field("text", text).end_object().text() + "\n");
    } else {
        print(text + "\n");
    }
    return kDone;
}

int logprobs_command(Context& context, const LogprobsArgs& args) {
    if (args.file.empty() == args.ids.empty())
        return report({.kind = ErrorKind::invalid_request,
                       .message = "give the text with --file or token ids with --ids, one of them"},
                      context.json),
               kUsage;
    auto engine = open_engine(context, args.model, engine_options(context));
    if (!engine) return report(engine.error(), context.json);
    Result<std::vector<TokenId>> ids = std::vector<TokenId>();
    if (!args.ids.empty()) {
        ids = parse_ids(args.ids);
    } else if (const auto text = read_text(args.file); text) {
        ids = (*engine)->model().tokenizer().encode(*text, {});
    } else {
        ids = std::unexpected(text.error());
    }
    if (!ids) return report(ids.error(), context.json);
    auto scores = (*engine)->score(*ids, args.top);
    if (!scores) return report(scores.error(), context.json);

    double sum = 0;
    for (const float logprob : scores->logprobs) sum -= logprob;
    const double nll = scores->logprobs.empty() ? 0 : sum / double(scores->logprobs.size());
    if (!context.json) {
        print(format("{} tokens, mean negative log-likelihood {:.6f}, perplexity {:.4f}\n",
                     ids->size(), nll, std::exp(nll)));
        return kDone;
    }
    JsonWriter out;
    out.begin_object()
        .field("n_tokens", std::int64_t(ids->size()))
        .field("nll", nll)
        .field("perplexity", std::exp(nll))
        .key("logprobs")
        .begin_array();
    for (const float logprob : scores->logprobs) out.value(double(logprob));
    out.end_array().key("top").begin_array();
    for (const auto& place : scores->top) {
        out.begin_array();
        for (const auto& [id, logprob] : place)
            out.begin_object()
                .field("id", std::int64_t(id.value))
                .field("logprob", double(logprob))
                .end_object();
        out.end_array();
    }
    print(out.end_array().end_object().text() + "\n");
    return kDone;
}

}  // namespace hearth::app
