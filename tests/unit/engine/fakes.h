// A network that needs no weights: its logits are a hash of every token it finds in the cache at
// positions 0..pos, through the blocks of the slice. A wrong block, a missing write or a mixed-up
// row changes what it says, so tests of the step loop see the bookkeeping of the cache as well.
#pragma once

#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/step.h"

namespace hearth::engine {

struct FakeKv final : model::KvStore {
    explicit FakeKv(std::int64_t n_blocks) : ids(std::size_t(n_blocks * model::kBlockTokens), -1) {}
    std::size_t bytes() const override { return ids.size() * 4; }
    std::size_t bytes_per_token() const override { return 4; }
    std::int32_t& at(const BlockId* blocks, std::int64_t pos) {
        const std::int64_t block = blocks[pos / model::kBlockTokens].value;
        return ids[std::size_t(block * model::kBlockTokens + pos % model::kBlockTokens)];
    }
    std::vector<std::int32_t> ids;
};

// Never asked for anything: the fake network computes on its own.
struct FakeDevice final : model::Device {
    std::string name() const override { return "fake"; }
    std::string_view isa() const override { return "fake"; }
    Result<model::Weight> load(const model::GgufTensor&) override { std::abort(); }
    Result<std::size_t> kv_row_bytes(const std::string&, std::int64_t) const override {
        std::abort();
    }
    Result<std::unique_ptr<model::KvStore>> make_kv(const model::KvShape&) override {
        std::abort();
    }
    model::Mat make_mat(std::int64_t, std::int64_t) override { std::abort(); }
    void reserve(std::int64_t, std::int64_t) override { std::abort(); }
    std::size_t scratch_bytes() const override { return 0; }
    void embed(model::Mat, const model::Weight&, std::span<const TokenId>) override {
        std::abort();
    }
    void matmul(model::Mat, model::Mat, const model::Weight&) override { std::abort(); }
    void matmul_shared(std::span<const model::Mat>, model::Mat,
                       std::span<const model::Weight* const>) override {
        std::abort();
    }
    void rms_norm(model::Mat, model::Mat, const model::Weight&, float) override { std::abort(); }
    void rms_norm_heads(model::Mat, model::Mat, const model::Weight&, float) override {
        std::abort();
    }
    void add_bias(model::Mat, const model::Weight&) override { std::abort(); }
    std::unique_ptr<model::Routing> make_routing(std::int64_t, std::int64_t,
                                                 std::int64_t) override {
        std::abort();
    }
    void route(model::Routing&, model::Mat, const model::RouteParams&) override { std::abort(); }
    void matmul_experts(std::span<const model::Mat>, model::Mat,
                        std::span<const model::Weight* const>, const model::Routing&) override {
        std::abort();
    }
    void matmul_slots(model::Mat, model::Mat, const model::Weight&,
                      const model::Routing&) override {
        std::abort();
    }
    void combine_experts(model::Mat, model::Mat, const model::Routing&) override { std::abort(); }
    void rope(model::Mat, std::int64_t, std::span<const model::Slice>,
              const model::RopeParams&) override {
        std::abort();
    }
    void store_kv(model::KvStore&, std::int64_t, model::Mat, model::Mat,
                  std::span<const model::Slice>) override {
        std::abort();
    }
    void attention(model::Mat, model::Mat, const model::KvStore&, std::int64_t,
                   std::span<const model::Slice>, float) override {
        std::abort();
    }
    void silu_mul(model::Mat, model::Mat, model::Mat) override { std::abort(); }
    void add(model::Mat, model::Mat) override { std::abort(); }
    void gather(model::Mat, model::Mat, std::span<const std::int64_t>) override { std::abort(); }
    std::span<const float> read(model::Mat) override { std::abort(); }
};

// Token i is the letter 'a' + i % 26; token 0 is a control token, and the only end token.
struct FakeTokenizer final : model::Tokenizer {
    explicit FakeTokenizer(std::int64_t n_vocab) {
        texts_.resize(std::size_t(n_vocab));
        types_.resize(std::size_t(n_vocab), model::TokenType::normal);
        types_[0] = model::TokenType::control;
        ends_ = {TokenId(0)};
    }
    std::vector<TokenId> encode(std::string_view, const model::EncodeOptions&) const override {
        return {};
    }
    std::string piece(TokenId id, bool, bool) const override {
        return id.value == 0 ? "" : std::string(1, char('a' + id.value % 26));
    }
};

class FakeNetwork final : public model::Network {
  public:
    FakeNetwork(std::int64_t n_vocab, std::int64_t max_rows, std::int64_t max_logits)
        : n_vocab_(n_vocab), max_rows_(max_rows), logits_(std::size_t(max_logits * n_vocab)) {
        prefix_.reserve(4096);  // so that counts of allocations are the loop's own
    }

    // What the network says after a prefix, on top of which `script` may write.
    void say(std::uint64_t hash, std::span<float> row) const {
        for (std::size_t v = 0; v < row.size(); ++v) {
            std::uint64_t x = (hash ^ v) * 0x9E3779B97F4A7C15;
            x ^= x >> 31;
            x *= 0xBF58476D1CE4E5B9;
            row[v] = float(x >> 40) / float(1 << 22) - 2;
        }
        row[0] = -9;  // ends are rare, and are scripted where a test wants one
    }
    static std::uint64_t add_to(std::uint64_t hash, std::int32_t id) {
        return (hash ^ std::uint64_t(std::uint32_t(id) + 1)) * 0x100000001b3;
    }

    std::span<const float> forward(model::Device&, model::KvStore& kv,
                                   const model::Step& step) override {
        const auto n_rows = std::int64_t(step.ids.size());
        if (n_rows < 1 || n_rows > max_rows_) std::abort();
        auto& cache = static_cast<FakeKv&>(kv);
        std::int64_t next_row = 0;
        for (const model::Slice& s : step.slices) {
            if (s.row != next_row) std::abort();
            next_row += s.n_rows;
            for (std::int64_t r = 0; r < s.n_rows; ++r)
                cache.at(s.blocks, s.pos + r) = step.ids[std::size_t(s.row + r)].value;
        }
        if (next_row != n_rows) std::abort();
        std::size_t n_out = 0;
        for (const model::Slice& s : step.slices) {
            for (; n_out < step.logit_rows.size(); ++n_out) {
                const std::int64_t r = step.logit_rows[n_out] - s.row;
                if (r < 0) std::abort();
                if (r >= s.n_rows) break;
                prefix_.clear();
                std::uint64_t hash = 0xcbf29ce484222325;
                for (std::int64_t p = 0; p <= s.pos + r; ++p) {
                    prefix_.push_back(cache.at(s.blocks, p));
                    hash = add_to(hash, prefix_.back());
                }
                const std::span<float> row(logits_.data() + n_out * std::size_t(n_vocab_),
                                           std::size_t(n_vocab_));
                say(hash, row);
                if (script) script(prefix_, row);
            }
        }
        if (n_out != step.logit_rows.size()) std::abort();
        ++n_steps;
        most_rows = std::max(most_rows, n_rows);
        if (at_step) at_step(step);
        return {logits_.data(), n_out * std::size_t(n_vocab_)};
    }

    std::function<void(const std::vector<std::int32_t>& prefix, std::span<float> logits)> script;
    std::function<void(const model::Step&)> at_step;
    std::int64_t n_steps = 0, most_rows = 0;

  private:
    const std::int64_t n_vocab_, max_rows_;
    std::vector<float> logits_;
    std::vector<std::int32_t> prefix_;
};

// A loop over the fakes, stepped by the test itself: no thread, and time stands still.
struct Bench {
    static constexpr std::int64_t kVocab = 100;

    static EngineOptions settled(EngineOptions options) {
        if (options.n_ctx == 0) options.n_ctx = 64;
        if (options.n_blocks == 0)
            options.n_blocks = options.n_parallel * blocks_for(options.n_ctx);
        return options;
    }

    explicit Bench(EngineOptions asked = {})
        : options(settled(std::move(asked))),
          tokenizer(kVocab),
          kv(options.n_blocks),
          network(kVocab, options.n_batch_tokens, max_logits(options)),
          loop(Machine{.network = network,
                       .device = device,
                       .kv = kv,
                       .tokenizer = tokenizer,
                       .n_vocab = kVocab,
                       .intact = [this] { return weights; }},
               options, clock) {}

    Status submit(Request request) {
        std::vector<Request> requests;
        requests.push_back(std::move(request));
        return loop.submit(std::move(requests));
    }
    // Steps until nothing can go on; returns how often.
    std::int64_t run(std::int64_t n_steps_max = 100'000) {
        std::int64_t n = 0;
        while (n < n_steps_max && loop.step()) ++n;
        return n;
    }
    // Greedy continuation computed from the definition, without cache, blocks or loop.
    std::vector<TokenId> expected(const std::vector<TokenId>& prompt, std::int64_t n) const {
        std::uint64_t hash = 0xcbf29ce484222325;
        for (const TokenId id : prompt) hash = FakeNetwork::add_to(hash, id.value);
        std::vector<TokenId> out;
        std::vector<float> row(std::size_t(kVocab), 0.0f);
        while (std::int64_t(out.size()) < n) {
            network.say(hash, row);
            const auto best = std::max_element(row.begin(), row.end()) - row.begin();
            out.push_back(TokenId(std::int32_t(best)));
            hash = FakeNetwork::add_to(hash, std::int32_t(best));
        }
        return out;
    }

    const EngineOptions options;
    ManualClock clock;
    FakeDevice device;
    FakeTokenizer tokenizer;
    FakeKv kv;
    FakeNetwork network;
    Status weights = {};  // what the loop hears of the model's file
    StepLoop loop;
};

inline std::vector<TokenId> tokens(std::int64_t n, std::int32_t seed) {
    std::mt19937 random{std::uint32_t(seed)};
    std::vector<TokenId> out;
    for (std::int64_t i = 0; i < n; ++i) out.push_back(TokenId(std::int32_t(1 + random() % 99)));
    return out;
}

}  // namespace hearth::engine
