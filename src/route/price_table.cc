// The price table that comes with the program: list prices of well-known models in USD per million
// tokens, as of one date. A fact per row, checked against a collection of them in
// tests/real/price_table_test.cc.
//
// The base price of each: batch, priority and regional prices are not in it, nor steps that begin
// at longer prompts, nor what writing to a provider's cache costs above its reading. An empty
// price of cached input: none is published, and cached tokens cost what others do.
#include "base/check.h"
#include "route/prices.h"

namespace hearth::route {
namespace {

constexpr const char* kDate = "2026-07-24";

struct Row {
    const char *provider, *model, *input, *cached, *output;
    std::int64_t n_ctx;  // the longest prompt, in tokens; 0: not published
};

struct Host {
    const char *provider, *host;
};

// clang-format off
constexpr Host kHosts[] = {
    {"openai", "api.openai.com"},
    {"anthropic", "api.anthropic.com"},
    {"google", "generativelanguage.googleapis.com"},
    {"mistral", "api.mistral.ai"},
    {"deepseek", "api.deepseek.com"},
    {"groq", "api.groq.com"},
    {"together", "api.together.xyz"},
    {"together", "api.together.ai"},
    {"xai", "api.x.ai"},
    {"cerebras", "api.cerebras.ai"},
    {"cohere", "api.cohere.com"},
    {"cohere", "api.cohere.ai"},
};

constexpr Row kRows[] = {
    {"openai", "gpt-5.6", "5", "0.5", "30", 1050000},
    {"openai", "gpt-5.6-luna", "1", "0.1", "6", 1050000},
    {"openai", "gpt-5.6-sol", "5", "0.5", "30", 1050000},
    {"openai", "gpt-5.6-terra", "2.5", "0.25", "15", 1050000},
    {"openai", "gpt-5.5", "5", "0.5", "30", 1050000},
    {"openai", "gpt-5.5-pro", "30", "3", "180", 1050000},
    {"openai", "gpt-5.4", "2.5", "0.25", "15", 1050000},
    {"openai", "gpt-5.4-mini", "0.75", "0.075", "4.5", 1050000},
    {"openai", "gpt-5.4-nano", "0.2", "0.02", "1.25", 1050000},
    {"openai", "gpt-5.4-pro", "30", "3", "180", 1050000},
    {"openai", "gpt-5.3-codex", "1.75", "0.175", "14", 272000},
    {"openai", "gpt-5.2", "1.75", "0.175", "14", 272000},
    {"openai", "gpt-5.2-pro", "21", "", "168", 272000},
    {"openai", "gpt-5.1", "1.25", "0.125", "10", 272000},
    {"openai", "gpt-5.1-codex", "1.25", "0.125", "10", 272000},
    {"openai", "gpt-5", "1.25", "0.125", "10", 272000},
    {"openai", "gpt-5-mini", "0.25", "0.025", "2", 272000},
    {"openai", "gpt-5-nano", "0.05", "0.005", "0.4", 272000},
    {"openai", "gpt-5-pro", "15", "", "120", 400000},
    {"openai", "gpt-4.1", "2", "0.5", "8", 1047576},
    {"openai", "gpt-4.1-mini", "0.4", "0.1", "1.6", 1047576},
    {"openai", "gpt-4.1-nano", "0.1", "0.025", "0.4", 1047576},
    {"openai", "gpt-4o", "2.5", "1.25", "10", 128000},
    {"openai", "gpt-4o-mini", "0.15", "0.075", "0.6", 128000},
    {"openai", "o3", "2", "0.5", "8", 200000},
    {"openai", "o3-pro", "20", "", "80", 200000},
    {"openai", "o4-mini", "1.1", "0.275", "4.4", 200000},

    {"anthropic", "claude-fable-5", "10", "1", "50", 1000000},
    {"anthropic", "claude-opus-5", "5", "0.5", "25", 1000000},
    {"anthropic", "claude-opus-4-8", "5", "0.5", "25", 1000000},
    {"anthropic", "claude-opus-4-7", "5", "0.5", "25", 1000000},
    {"anthropic", "claude-opus-4-6", "5", "0.5", "25", 1000000},
    {"anthropic", "claude-opus-4-5", "5", "0.5", "25", 200000},
    {"anthropic", "claude-opus-4-1", "15", "1.5", "75", 200000},
    {"anthropic", "claude-sonnet-5", "2", "0.2", "10", 1000000},
    {"anthropic", "claude-sonnet-4-6", "3", "0.3", "15", 1000000},
    {"anthropic", "claude-sonnet-4-5", "3", "0.3", "15", 200000},
    {"anthropic", "claude-haiku-4-5", "1", "0.1", "5", 200000},
    {"anthropic", "claude-haiku-4-5-20251001", "1", "0.1", "5", 200000},

    {"google", "gemini-3.6-flash", "1.5", "0.15", "7.5", 1048576},
    {"google", "gemini-3.5-flash", "1.5", "0.15", "9", 1048576},
    {"google", "gemini-3.5-flash-lite", "0.3", "0.03", "2.5", 1048576},
    {"google", "gemini-3.1-pro-preview", "2", "0.2", "12", 1048576},
    {"google", "gemini-3.1-flash-lite", "0.25", "0.025", "1.5", 1048576},
    {"google", "gemini-3-flash-preview", "0.5", "0.05", "3", 1048576},
    {"google", "gemini-2.5-pro", "1.25", "0.125", "10", 1048576},
    {"google", "gemini-2.5-flash", "0.3", "0.03", "2.5", 1048576},
    {"google", "gemini-2.5-flash-lite", "0.1", "0.01", "0.4", 1048576},

    {"mistral", "mistral-large-2512", "0.5", "", "1.5", 262144},
    {"mistral", "mistral-large-latest", "0.5", "", "1.5", 262144},
    {"mistral", "mistral-medium-2604", "1.5", "", "7.5", 262144},
    {"mistral", "mistral-medium-latest", "1.5", "", "7.5", 262144},
    {"mistral", "mistral-medium-2508", "0.4", "", "2", 131072},
    {"mistral", "mistral-small-latest", "0.06", "", "0.18", 131072},
    {"mistral", "mistral-small-3-2-2506", "0.06", "", "0.18", 131072},
    {"mistral", "codestral-2508", "0.3", "", "0.9", 256000},
    {"mistral", "devstral-2512", "0.4", "", "2", 256000},
    {"mistral", "devstral-small-latest", "0.1", "", "0.3", 256000},
    {"mistral", "magistral-medium-latest", "2", "", "5", 40000},
    {"mistral", "magistral-small-latest", "0.5", "", "1.5", 40000},
    {"mistral", "ministral-3-14b-2512", "0.2", "", "0.2", 262144},
    {"mistral", "ministral-3-8b-2512", "0.15", "", "0.15", 262144},
    {"mistral", "ministral-3-3b-2512", "0.1", "", "0.1", 131072},
    {"mistral", "open-mistral-nemo", "0.3", "", "0.3", 128000},

    {"deepseek", "deepseek-chat", "0.28", "0.028", "0.42", 131072},
    {"deepseek", "deepseek-reasoner", "0.28", "0.028", "0.42", 131072},
    {"deepseek", "deepseek-v4-flash", "0.14", "0.0028", "0.28", 1000000},
    {"deepseek", "deepseek-v4-pro", "0.435", "0.003625", "0.87", 1000000},

    {"groq", "llama-3.1-8b-instant", "0.05", "", "0.08", 128000},
    {"groq", "llama-3.3-70b-versatile", "0.59", "", "0.79", 128000},
    {"groq", "meta-llama/llama-4-maverick-17b-128e-instruct", "0.2", "", "0.6", 131072},
    {"groq", "meta-llama/llama-4-scout-17b-16e-instruct", "0.11", "", "0.34", 131072},
    {"groq", "moonshotai/kimi-k2-instruct-0905", "1", "0.5", "3", 262144},
    {"groq", "openai/gpt-oss-120b", "0.15", "0.075", "0.6", 131072},
    {"groq", "openai/gpt-oss-20b", "0.075", "0.0375", "0.3", 131072},
    {"groq", "qwen/qwen3-32b", "0.29", "", "0.59", 131000},

    {"together", "Qwen/Qwen3-235B-A22B-Thinking-2507", "0.65", "", "3", 256000},
    {"together", "Qwen/Qwen3-Next-80B-A3B-Instruct", "0.15", "", "1.5", 262144},
    {"together", "Qwen/Qwen3.5-397B-A17B", "0.6", "", "3.6", 262144},
    {"together", "Qwen/Qwen3-Coder-480B-A35B-Instruct-FP8", "2", "", "2", 256000},
    {"together", "deepseek-ai/DeepSeek-R1", "3", "", "7", 128000},
    {"together", "deepseek-ai/DeepSeek-V3.1", "0.6", "", "1.7", 128000},
    {"together",  "meta-llama/Llama-3.3-70B-Instruct-Turbo",      "0.88",  "",         "0.88", 0},
    {"together", "meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8", "0.27", "", "0.85", 0},
    {"together",  "meta-llama/Llama-4-Scout-17B-16E-Instruct",    "0.18",  "",         "0.59", 0},
    {"together",  "meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo",  "0.18",  "",         "0.18", 0},
    {"together",  "meta-llama/Meta-Llama-3.1-405B-Instruct-Turbo", "3.5",   "",         "3.5",  0},
    {"together", "moonshotai/Kimi-K2.5", "0.5", "", "2.8", 256000},
    {"together", "openai/gpt-oss-120b", "0.15", "", "0.6", 131072},
    {"together", "openai/gpt-oss-20b", "0.05", "", "0.2", 128000},
    {"together", "zai-org/GLM-4.5-Air-FP8", "0.2", "", "1.1", 128000},
    {"together", "zai-org/GLM-4.7", "0.45", "", "2", 200000},

    {"xai", "grok-4.5", "2", "0.5", "6", 500000},
    {"xai", "grok-4.3", "1.25", "0.2", "2.5", 1000000},
    {"xai", "grok-4.20-0309-reasoning", "2", "0.2", "6", 2000000},
    {"xai", "grok-4", "3", "", "15", 256000},
    {"xai", "grok-code-fast", "0.2", "0.02", "1.5", 256000},

    {"cerebras", "gpt-oss-120b", "0.35", "", "0.75", 131072},
    {"cerebras", "llama3.1-8b", "0.1", "", "0.1", 128000},
    {"cerebras", "llama-3.3-70b", "0.85", "", "1.2", 128000},
    {"cerebras", "qwen-3-32b", "0.4", "", "0.8", 128000},
    {"cerebras", "zai-glm-4.7", "2.25", "", "2.75", 128000},

    {"cohere", "command-a-03-2025", "2.5", "", "10", 256000},
    {"cohere", "command-r-08-2024", "0.15", "", "0.6", 128000},
    {"cohere", "command-r-plus-08-2024", "2.5", "", "10", 128000},
    {"cohere", "command-r7b-12-2024", "0.0375", "", "0.15", 128000},
};
// clang-format on

PriceTable make() {
    PriceTable table{.source = "built in", .date = kDate, .providers = {}, .prices = {}};
    for (const Host& row : kHosts) {
        if (table.providers.empty() || table.providers.back().name != row.provider)
            table.providers.push_back({row.provider, {}});
        table.providers.back().hosts.emplace_back(row.host);
    }
    for (const Row& row : kRows)
        CHECK(add_price(table, row.provider, row.model, row.input, row.cached, row.output,
                        row.n_ctx));
    return table;
}

}  // namespace

const PriceTable& built_in_prices() {
    static const PriceTable table = make();
    return table;
}

}  // namespace hearth::route
