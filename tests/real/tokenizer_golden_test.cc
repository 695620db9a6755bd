// Token ids against recorded ones: the vocabularies of ../shared/data/tokenizers and the prompts of
// the golden models.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "base/file.h"
#include "engine/model/model.h"
#include "support/data.h"

namespace hearth::test {
namespace {

using Ids = std::vector<std::int32_t>;

std::string slurp(const std::string& path) {
    auto text = read_file(path, 1u << 26);
    if (!text) throw std::runtime_error(text.error().message);
    return *text;
}

std::unique_ptr<model::Model> open(const std::string& path) {
    auto opened = model::Model::open({.name = path, .path = path, .bytes = {}});
    if (!opened) throw std::runtime_error(opened.error().message);
    return std::move(*opened);
}

Ids ids_of(const std::vector<TokenId>& tokens) {
    Ids out;
    for (const TokenId t : tokens) out.push_back(t.value);
    return out;
}

// A .inp file's texts and the .out file's ids, one line for each.
std::vector<std::pair<std::string, Ids>> recorded(const std::string& stem) {
    const std::string separator = "\n__ggml_vocab_test__\n";
    std::vector<std::pair<std::string, Ids>> out;
    const std::string texts = slurp(stem + ".inp");
    std::istringstream lines(slurp(stem + ".out"));
    std::size_t at = 0;
    for (std::string line; std::getline(lines, line);) {
        const std::size_t end = texts.find(separator, at);
        Ids ids;
        std::istringstream words(line);
        for (std::int32_t id = 0; words >> id;) ids.push_back(id);
        out.emplace_back(texts.substr(at, end - at), ids);
        at = end == std::string::npos ? texts.size() : end + separator.size();
    }
    return out;
}

void check_recorded(const std::string& vocabulary, const std::string& cases) {
    NEEDS_DATA(folder, "tokenizers");
    const auto model = open(folder + "/" + vocabulary + ".gguf");
    EXPECT_EQ(model->tokenizer().warning(), "");
    const auto all = recorded(folder + "/" + cases + ".gguf");
    EXPECT_EQ(all.size(), 46u);
    for (const auto& [text, ids] : all) {
        const auto got =
            model->tokenizer().encode(text, {.add_special = false, .parse_special = false});
        EXPECT_EQ(ids_of(got), ids) << text;
        EXPECT_EQ(model->tokenizer().decode(got), text);
    }
}

TEST(TokenizerGolden, llama_spm) {
    check_recorded("ggml-vocab-llama-spm", "ggml-vocab-llama-spm");
}
TEST(TokenizerGolden, gpt_2) {
    check_recorded("ggml-vocab-gpt-2", "ggml-vocab-gpt-2");
}
TEST(TokenizerGolden, qwen2) {
    check_recorded("vocab-qwen2-rebuilt", "ggml-vocab-qwen2");
}
TEST(TokenizerGolden, qwen2_as_in_deepseek_r1) {
    check_recorded("vocab-qwen2-rebuilt", "ggml-vocab-deepseek-r1-qwen");
}
TEST(TokenizerGolden, llama_bpe) {
    check_recorded("vocab-llama-bpe-rebuilt", "ggml-vocab-llama-bpe");
}

TEST(TokenizerGolden, deepseek_llm) {
    check_recorded("ggml-vocab-deepseek-llm", "ggml-vocab-deepseek-llm");
}
TEST(TokenizerGolden, starcoder) {
    check_recorded("ggml-vocab-starcoder", "ggml-vocab-starcoder");
}
TEST(TokenizerGolden, falcon) {
    check_recorded("ggml-vocab-falcon", "ggml-vocab-falcon");
}

TEST(TokenizerGolden, prompts_of_the_demo_model) {
    NEEDS_DATA(folder, "models/demo");
    const auto model = open(folder + "/demo-q8_0.gguf");
    const auto reference = nlohmann::json::parse(slurp(folder + "/reference.json"));
    for (const auto& p : reference.at("prompts")) {
        EXPECT_EQ(ids_of(model->tokenizer().encode(p.at("prompt").get<std::string>(), {})),
                  p.at("prompt_ids").get<Ids>());
        std::vector<TokenId> greedy;
        for (const auto id : p.at("greedy_ids").get<Ids>()) greedy.push_back(TokenId(id));
        EXPECT_EQ(model->tokenizer().decode(greedy), p.at("greedy_text").get<std::string>());
    }
    EXPECT_EQ(ids_of(model->tokenizer().end_tokens()), Ids({0, 2}));
    for (const auto& [text, id] : reference.at("special_ids").items())
        EXPECT_EQ(ids_of(model->tokenizer().encode(text, {})), Ids{id.get<std::int32_t>()});
}

TEST(TokenizerGolden, prompts_of_stories260K) {
    NEEDS_DATA(folder, "models/stories260K");
    const auto model = open(folder + "/stories260K-f32.gguf");
    const auto reference = nlohmann::json::parse(slurp(folder + "/reference.json"));
    const model::Tokenizer& t = model->tokenizer();
    for (const auto& c : reference.at("cases")) {
        EXPECT_EQ(ids_of(t.encode(c.at("prompt").get<std::string>(), {})),
                  c.at("prompt_tokens").get<Ids>());
    }
    for (const auto& c : reference.at("teacher_forced")) {
        const auto text = c.at("text").get<std::string>();
        EXPECT_EQ(ids_of(t.encode(text, {})), c.at("tokens").get<Ids>());
        EXPECT_EQ(t.decode(t.encode(text, {})), text);
    }
}

}  // namespace
}  // namespace hearth::test
