#include "support/reference_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "support/reference_formats.h"
#include "support/tiny_model.h"

namespace hearth::test {
namespace {

constexpr double kU = 0x1p-24;

// out[i][t] = sum_k w[i][k] x[k][t] for 4 rows i and 32 tokens t, in vectors of 8 tokens.
typedef double v8 __attribute__((vector_size(64), aligned(8)));

__attribute__((always_inline)) inline void tile(double* out, std::int64_t ld_out, const double* w,
                                                std::int64_t ld_w, const double* x,
                                                std::int64_t ld_x, std::int64_t K) {
    v8 acc[4][4] = {};
    for (std::int64_t k = 0; k < K; ++k) {
        const v8* row = reinterpret_cast<const v8*>(x + k * ld_x);
        const v8 a = row[0], b = row[1], c = row[2], d = row[3];
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
            const double by = w[i * ld_w + k];
            acc[i][0] += by * a;
            acc[i][1] += by * b;
            acc[i][2] += by * c;
            acc[i][3] += by * d;
        }
    }
    for (int i = 0; i < 4; ++i) std::memcpy(out + i * ld_out, acc[i], sizeof acc[i]);
}
__attribute__((always_inline)) inline void tiles(double* out, const double* w, const double* x,
                                                 std::int64_t N, std::int64_t K, std::int64_t ld) {
    for (std::int64_t t = 0; t < ld; t += 32)
        for (std::int64_t n = 0; n < N; n += 4) {
            const std::int64_t at = std::min(n, N - 4);  // the last rows may be computed twice
            tile(out + at * ld + t, ld, w + at * K, K, x + t, ld, K);
        }
}
// The same, compiled for wider registers; nothing but speed depends on which one runs.
__attribute__((target("avx512f"))) void tiles_512(double* out, const double* w, const double* x,
                                                  std::int64_t N, std::int64_t K, std::int64_t ld) {
    tiles(out, w, x, N, K, ld);
}
__attribute__((target("avx2"))) void tiles_256(double* out, const double* w, const double* x,
                                               std::int64_t N, std::int64_t K, std::int64_t ld) {
    tiles(out, w, x, N, K, ld);
}
// For matrices of less than a tile's rows.
void rows(double* out, const double* w, const double* x, std::int64_t N, std::int64_t K,
          std::int64_t ld) {
    for (std::int64_t n = 0; n < N; ++n)
        for (std::int64_t t = 0; t < ld; ++t) {
            double sum = 0;
            for (std::int64_t k = 0; k < K; ++k) sum += w[n * K + k] * x[k * ld + t];
            out[n * ld + t] = sum;
        }
}
void tiles_any(double* out, const double* w, const double* x, std::int64_t N, std::int64_t K,
               std::int64_t ld) {
    if (N < 4) return rows(out, w, x, N, K, ld);
    if (__builtin_cpu_supports("avx512f")) return tiles_512(out, w, x, N, K, ld);
    if (__builtin_cpu_supports("avx2")) return tiles_256(out, w, x, N, K, ld);
    tiles(out, w, x, N, K, ld);
}

}  // namespace

// splitmix64 (Steele, Lea, Flood 2014).
class Random {
  public:
    explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
    double uniform() { return double(std::int64_t(next())) * 0x1p-63; }  // [-1, 1)
    // Variance 1: the sum of four uniform numbers of 16 bits, which is close enough to normal.
    double normal() {
        const std::uint64_t r = next();
        const auto sum = double((r & 0xffff) + (r >> 16 & 0xffff) + (r >> 32 & 0xffff) + (r >> 48));
        return (sum - 131070.0) * (1.7320508075688772 / 65536.0);
    }
    // The error of one rounding to f32 of a result, and of several: variance n u^2 / 3 each.
    double f32(double result) { return result * kU * uniform(); }
    double f32(double result, double n) { return result * kU * std::sqrt(n / 3) * normal(); }

  private:
    std::uint64_t next() {
        std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    }
    std::uint64_t state_;
};

Reference::Values::Values(std::int64_t r, std::int64_t t)
    : rows(r), n_tokens(t), ld((t + 31) / 32 * 32), v(std::size_t(rows * ld)) {}

Reference::Matrix Reference::matrix_of(const model::GgufTensor& t, std::int64_t expert) {
    Matrix m;
    const bool stacked = t.shape.size() == 3;
    m.n = t.shape.at(stacked ? 1 : 0);
    m.k = t.shape.back();
    m.type = t.type;
    m.w = values_of(t);
    if (stacked) {
        const auto first = m.w.begin() + expert * m.n * m.k;
        m.w = std::vector<double>(first, first + m.n * m.k);
    }
    const std::int64_t n_blocks = (m.k + 31) / 32;
    m.power.resize(std::size_t(m.n * n_blocks));
    for (std::int64_t n = 0; n < m.n; ++n)
        for (std::int64_t k = 0; k < m.k; ++k) {
            const double w = m.w[std::size_t(n * m.k + k)];
            m.power[std::size_t(n * n_blocks + k / 32)] += w * w;
        }
    return m;
}

namespace {

const model::GgufTensor& tensor_of(const model::Gguf& gguf, const std::string& name) {
    const model::GgufTensor* t = gguf.find_tensor(name);
    if (!t) throw std::runtime_error(name + " is missing");
    return *t;
}
std::vector<double> maybe_values_of(const model::Gguf& gguf, const std::string& name) {
    const model::GgufTensor* t = gguf.find_tensor(name);
    return t ? values_of(*t) : std::vector<double>();
}

}  // namespace

void Reference::read_config(const model::Gguf& gguf) {
    arch_ = *gguf.text("general.architecture");
    if (arch_ != "llama" && arch_ != "qwen2" && arch_ != "qwen3" && arch_ != "qwen3moe")
        throw std::runtime_error("the reference does not know the architecture " + arch_);
    halves_ = arch_ != "llama";
    const auto integer = [&](const char* key, std::optional<std::int64_t> fallback = {}) {
        const auto v = gguf.integer(arch_ + "." + key, 0, 1 << 24, fallback);
        if (!v) throw std::runtime_error(v.error().message);
        return *v;
    };
    const auto number = [&](const char* key, std::optional<double> fallback) {
        const auto v = gguf.number(arch_ + "." + key, fallback);
        if (!v) throw std::runtime_error(v.error().message);
        return *v;
    };
    n_embd_ = integer("embedding_length");
    n_head_ = integer("attention.head_count");
    n_head_kv_ = integer("attention.head_count_kv", n_head_);
    head_dim_ = integer("attention.key_length", n_embd_ / n_head_);
    n_rot_ = integer("rope.dimension_count", head_dim_);
    n_expert_ = integer("expert_count", 0);
    n_expert_used_ = integer("expert_used_count", 0);
    freq_base_ = number("rope.freq_base", 10000.0);
    if (*gguf.text(arch_ + ".rope.scaling.type", "none") == "linear")
        freq_scale_ = 1 / number("rope.scaling.factor", std::nullopt);
    rms_eps_ = number("attention.layer_norm_rms_epsilon", std::nullopt);
    freq_factors_ = maybe_values_of(gguf, "rope_freqs.weight");
}

Reference::Layer Reference::read_layer(const model::Gguf& gguf, const std::string& at) const {
    const auto matrix = [&](const char* name, std::int64_t expert = 0) {
        return matrix_of(tensor_of(gguf, at + name), expert);
    };
    Layer l;
    l.attn_norm = values_of(tensor_of(gguf, at + "attn_norm.weight"));
    l.ffn_norm = values_of(tensor_of(gguf, at + "ffn_norm.weight"));
    l.q_bias = maybe_values_of(gguf, at + "attn_q.bias");
    l.k_bias = maybe_values_of(gguf, at + "attn_k.bias");
    l.v_bias = maybe_values_of(gguf, at + "attn_v.bias");
    l.q_norm = maybe_values_of(gguf, at + "attn_q_norm.weight");
    l.k_norm = maybe_values_of(gguf, at + "attn_k_norm.weight");
    l.q = matrix("attn_q.weight");
    l.k = matrix("attn_k.weight");
    l.v = matrix("attn_v.weight");
    l.output = matrix("attn_output.weight");
    if (n_expert_ == 0) {
        l.ffn = {matrix("ffn_gate.weight"), matrix("ffn_up.weight"), matrix("ffn_down.weight")};
        return l;
    }
    l.router = matrix("ffn_gate_inp.weight");
    for (std::int64_t e = 0; e < n_expert_; ++e)
        l.experts.push_back({matrix("ffn_gate_exps.weight", e), matrix("ffn_up_exps.weight", e),
                             matrix("ffn_down_exps.weight", e)});
    return l;
}

Reference::Reference(const model::Gguf& gguf) {
    read_config(gguf);
    embedding_ = matrix_of(tensor_of(gguf, "token_embd.weight"));
    n_vocab_ = embedding_.n;
    output_ = gguf.find_tensor("output.weight") ? matrix_of(tensor_of(gguf, "output.weight"))
                                                : embedding_;
    output_norm_ = values_of(tensor_of(gguf, "output_norm.weight"));
    const std::int64_t n_layer = *gguf.integer(arch_ + ".block_count", 1, 1 << 20);
    for (std::int64_t i = 0; i < n_layer; ++i)
        layers_.push_back(read_layer(gguf, "blk." + std::to_string(i) + "."));
}

// Requires: x.rows == m.k; x is what input() made of it.
Reference::Values Reference::multiply(const Matrix& m, const Values& x, const Pass& pass) const {
    Values out(m.n, x.n_tokens);
    tiles_any(out.v.data(), m.w.data(), x.v.data(), m.n, m.k, x.ld);
    if (!pass.random) return out;
    // P = sum (w x)^2, taken as the mean over each block of 32: signs and order within it are
    // random.
    const std::int64_t n_blocks = (m.k + 31) / 32;
    Values x_power(n_blocks, x.n_tokens);
    for (std::int64_t k = 0; k < m.k; ++k)
        for (std::int64_t t = 0; t < x.n_tokens; ++t)
            x_power.row(k / 32)[t] +=
                x.row(k)[t] * x.row(k)[t] / double(std::min<std::int64_t>(32, m.k - k / 32 * 32));
    Values power(m.n, x.n_tokens);
    tiles_any(power.v.data(), m.power.data(), x_power.v.data(), m.n, n_blocks, x.ld);
    const bool blocks = is_quantized(m.type);
    const double steps = blocks ? double(n_blocks) : std::ceil(double(m.k) / 16);
    const double of_p = blocks ? steps / 2 + 1 : steps / 2 + 4;
    const double of_r = blocks ? steps / 3 : steps / 48 + 1.9;
    for (std::int64_t n = 0; n < m.n; ++n)
        for (std::int64_t t = 0; t < x.n_tokens; ++t) {
            double& r = out.row(n)[t];
            const double variance = (power.row(n)[t] * of_p + r * r * of_r) * kU * kU / 3;
            r += std::sqrt(variance) * pass.random->normal();
        }
    return out;
}

namespace {

// What is lost where each block of `block` rows is stored in 8 bits: uniform within half a step.
template <class Values>
void lose_q8(Values& x, std::int64_t block, Random& random) {
    for (std::int64_t b = 0; b < x.rows; b += block) {
        const std::int64_t end = std::min(x.rows, b + block);
        for (std::int64_t t = 0; t < x.n_tokens; ++t) {
            double largest = 0;
            for (std::int64_t k = b; k < end; ++k)
                largest = std::max(largest, std::fabs(x.row(k)[t]));
            for (std::int64_t k = b; k < end; ++k) x.row(k)[t] += largest / 254 * random.uniform();
        }
    }
}

// What a value loses with so many bits of significand: half a unit in its last place.
double lost(double x, int bits, int least_exponent, Random& random) {
    const int exponent = std::max(x == 0 ? least_exponent : std::ilogb(x), least_exponent);
    return std::ldexp(random.uniform(), exponent - bits);
}
double lost_in_f16(double x, Random& random) {
    return lost(x, 11, -14, random);
}
double lost_in_bf16(double x, Random& random) {
    return lost(x, 8, -126, random);
}

}  // namespace

Reference::Values Reference::input(const Matrix& m, const Values& x, const Pass& pass) const {
    Values out = x;
    if (!pass.random) return out;
    switch (pass.rounding->act_of(m.type)) {
        case Act::f32:
            break;
        case Act::f16:
            for (double& v : out.v) v += lost_in_f16(v, *pass.random);
            break;
        case Act::bf16:
            for (double& v : out.v) v += lost_in_bf16(v, *pass.random);
            break;
        case Act::q8_blocks_of_32:
            lose_q8(out, 32, *pass.random);
            break;
        case Act::q8_blocks_of_256:
            lose_q8(out, 256, *pass.random);
            break;
    }
    return out;
}

// Keys and values as the cache keeps them: heads of head_dim rows.
void Reference::round_cache(Values& x, const Pass& pass) const {
    if (!pass.random || pass.rounding->kv == "f32") return;
    const std::string& kv = pass.rounding->kv;
    if (kv == "f16")
        for (double& v : x.v) v += lost_in_f16(v, *pass.random);
    else if (kv == "bf16")
        for (double& v : x.v) v += lost_in_bf16(v, *pass.random);
    else if (kv == "q8_0") {
        lose_q8(x, std::min<std::int64_t>(32, head_dim_), *pass.random);
        for (double& v : x.v) v += v * 0x1p-11 * pass.random->uniform();
    } else
        throw std::runtime_error("the reference does not know the KV type " + kv);
}

void Reference::norm_heads(Values& x, const std::vector<double>& weight, const Pass& pass) const {
    for (std::int64_t head = 0; head < x.rows; head += head_dim_)
        for (std::int64_t t = 0; t < x.n_tokens; ++t) {
            double sum = 0;
            for (std::int64_t k = head; k < head + head_dim_; ++k) sum += x.row(k)[t] * x.row(k)[t];
            double by = 1 / std::sqrt(sum / double(head_dim_) + rms_eps_);
            if (pass.random) by += pass.random->f32(by);
            for (std::int64_t k = head; k < head + head_dim_; ++k) {
                double& y = x.row(k)[t];
                y *= by * weight[std::size_t(k - head)];
                if (pass.random) y += pass.random->f32(y, 2);
            }
        }
}

void Reference::add_bias(Values& x, const std::vector<double>& bias, const Pass& pass) const {
    for (std::int64_t k = 0; k < x.rows; ++k)
        for (std::int64_t t = 0; t < x.n_tokens; ++t) {
            double& r = x.row(k)[t];
            r += bias[std::size_t(k)];
            if (pass.random) r += pass.random->f32(r);
        }
}

void Reference::add(Values& x, const Values& y, const Pass& pass) const {
    for (std::int64_t k = 0; k < x.rows; ++k)
        for (std::int64_t t = 0; t < x.n_tokens; ++t) {
            double& r = x.row(k)[t];
            r += y.row(k)[t];
            if (pass.random) r += pass.random->f32(r);
        }
}

Reference::Values Reference::normed(const Values& x, const std::vector<double>& weight,
                                    const Pass& pass) const {
    Random* const random = pass.random;
    Values out(x.rows, x.n_tokens);
    for (std::int64_t t = 0; t < x.n_tokens; ++t) {
        double sum = 0;
        for (std::int64_t k = 0; k < x.rows; ++k) sum += x.row(k)[t] * x.row(k)[t];
        double by = 1 / std::sqrt(sum / double(x.rows) + rms_eps_);
        if (random) by += random->f32(by);
        for (std::int64_t k = 0; k < x.rows; ++k) {
            double& y = out.row(k)[t];
            y = x.row(k)[t] * by * weight[std::size_t(k)];
            if (random) y += random->f32(y, 2);
        }
    }
    return out;
}

void Reference::rotate(Values& x, const Pass& pass) const {
    Random* const random = pass.random;
    const std::int64_t first_step = halves_ ? 1 : 2, partner = halves_ ? n_rot_ / 2 : 1;
    for (std::int64_t head = 0; head < x.rows / head_dim_; ++head)
        for (std::int64_t i = 0; i < n_rot_ / 2; ++i) {
            double frequency = std::pow(freq_base_, -2.0 * double(i) / double(n_rot_));
            if (!freq_factors_.empty()) frequency /= freq_factors_[std::size_t(i)];
            frequency *= freq_scale_;
            double* a = x.row(head * head_dim_ + first_step * i);
            double* b = a + partner * x.ld;
            for (std::int64_t t = 0; t < x.n_tokens; ++t) {
                const double c = std::cos(double(t) * frequency),
                             s = std::sin(double(t) * frequency);
                double p = a[t] * c - b[t] * s, q = a[t] * s + b[t] * c;
                if (random) {
                    p += random->f32(a[t] * c, 2) + random->f32(b[t] * s, 2) + random->f32(p);
                    q += random->f32(a[t] * s, 2) + random->f32(b[t] * c, 2) + random->f32(q);
                }
                a[t] = p;
                b[t] = q;
            }
        }
}

void Reference::attend_head(Values& out, const Values& q, const Values& k, const Values& v,
                            std::int64_t head, const Pass& pass) const {
    Random* const random = pass.random;
    const std::int64_t kv = head / (n_head_ / n_head_kv_), Dh = head_dim_, T = q.n_tokens;
    const double scale = 1 / std::sqrt(double(Dh));
    std::vector<double> p(static_cast<std::size_t>(T)), k_power(p), value(std::size_t(T * Dh));
    for (std::int64_t d = 0; d < Dh; ++d)
        for (std::int64_t s = 0; s < T; ++s) {
            k_power[std::size_t(s)] += std::pow(k.row(kv * Dh + d)[s], 2);
            value[std::size_t(s * Dh + d)] = v.row(kv * Dh + d)[s];
        }
    std::vector<double> sum(static_cast<std::size_t>(Dh)), power(sum);
    for (std::int64_t t = 0; t < T; ++t) {
        const std::int64_t S = t + 1;
        double q_power = 0, largest = -HUGE_VAL, total = 0;
        std::fill(p.begin(), p.begin() + S, 0.0);
        for (std::int64_t d = 0; d < Dh; ++d) {
            const double by = q.row(head * Dh + d)[t];
            const double* keys = k.row(kv * Dh + d);
            q_power += by * by;
            for (std::int64_t s = 0; s < S; ++s) p[std::size_t(s)] += by * keys[s];
        }
        const double m = std::ceil(double(Dh) / 4);
        for (std::int64_t s = 0; s < S; ++s) {
            double& r = p[std::size_t(s)];
            if (random) {
                const double P = q_power * k_power[std::size_t(s)] / double(Dh);
                r += kU * std::sqrt((P * (m / 2 + 2) + r * r * (m / 12 + 1.5 + 1)) / 3) *
                     random->normal();
            }
            r *= scale;
            largest = std::max(largest, r);
        }
        for (std::int64_t s = 0; s < S; ++s) {
            const double below = p[std::size_t(s)] - largest;
            double e = std::exp(below);
            if (random) e += e * kU * (3 * random->uniform() + below * random->uniform());
            p[std::size_t(s)] = e;
            total += e;
        }
        std::fill(sum.begin(), sum.end(), 0.0);
        std::fill(power.begin(), power.end(), 0.0);
        for (std::int64_t s = 0; s < S; ++s)
            for (std::int64_t d = 0; d < Dh; ++d) {
                const double term = p[std::size_t(s)] * value[std::size_t(s * Dh + d)];
                sum[std::size_t(d)] += term;
                power[std::size_t(d)] += term * term;
            }
        if (random) total += random->f32(total, double(S) / 3 + 2);
        for (std::int64_t d = 0; d < Dh; ++d) {
            double r = sum[std::size_t(d)];
            if (random)
                r += kU * random->normal() *
                     std::sqrt((power[std::size_t(d)] * double(S) / 2 + r * r * double(S) / 3) / 3);
            r /= total;
            if (random) r += random->f32(r, 2);
            out.row(head * Dh + d)[t] = r;
        }
    }
}

Reference::Values Reference::attend(const Values& q, const Values& k, const Values& v,
                                    const Pass& pass) const {
    Values out(q.rows, q.n_tokens);
    for (std::int64_t head = 0; head < n_head_; ++head) attend_head(out, q, k, v, head, pass);
    return out;
}

Reference::Values Reference::feed_forward(const FeedForward& w, const Values& x,
                                          const Pass& pass) const {
    Values gate = multiply(w.gate, x, pass);
    const Values up = multiply(w.up, x, pass);
    for (std::size_t i = 0; i < gate.v.size(); ++i) {
        double& g = gate.v[i];
        g = g / (1 + std::exp(-g)) * up.v[i];
        if (pass.random) g += pass.random->f32(g, 9 + 3);
    }
    return multiply(w.down, input(w.down, gate, pass), pass);
}

// Token by token: which experts, and how much of each; then expert by expert for its tokens; then
// each token's sum in the order of rank.
Reference::Values Reference::mix_experts(const Layer& w, const Values& h, Pass& pass) const {
    const Values scores = multiply(w.router, input(w.router, h, pass), pass);
    const std::int64_t T = h.n_tokens, E = n_expert_, U = n_expert_used_;
    std::vector<std::vector<std::int64_t>> order(static_cast<std::size_t>(T));
    for (std::int64_t t = 0; t < T; ++t) {
        auto& by_rank = order[std::size_t(t)];
        for (std::int64_t e = 0; e < E; ++e) by_rank.push_back(e);
        std::stable_sort(by_rank.begin(), by_rank.end(), [&](std::int64_t a, std::int64_t b) {
            return scores.row(a)[t] > scores.row(b)[t];
        });
        if (U < E)
            pass.margin = std::min(pass.margin, scores.row(by_rank[std::size_t(U - 1)])[t] -
                                                    scores.row(by_rank[std::size_t(U)])[t]);
    }
    std::vector<Values> of_rank(std::size_t(U), Values(h.rows, T));
    for (std::int64_t e = 0; e < E; ++e) {
        std::vector<std::pair<std::int64_t, std::int64_t>> visits;  // token, rank
        for (std::int64_t t = 0; t < T; ++t)
            for (std::int64_t r = 0; r < U; ++r)
                if (order[std::size_t(t)][std::size_t(r)] == e) visits.emplace_back(t, r);
        if (visits.empty()) continue;
        Values x(h.rows, std::int64_t(visits.size()));
        for (std::int64_t k = 0; k < h.rows; ++k)
            for (std::size_t i = 0; i < visits.size(); ++i) x.row(k)[i] = h.row(k)[visits[i].first];
        const FeedForward& expert = w.experts[std::size_t(e)];
        const Values y = feed_forward(expert, input(expert.gate, x, pass), pass);
        for (std::int64_t k = 0; k < h.rows; ++k)
            for (std::size_t i = 0; i < visits.size(); ++i)
                of_rank[std::size_t(visits[i].second)].row(k)[visits[i].first] = y.row(k)[i];
    }
    Values out(h.rows, T);
    for (std::int64_t t = 0; t < T; ++t) {
        const auto& by_rank = order[std::size_t(t)];
        double total = 0;
        std::vector<double> share;
        for (std::int64_t r = 0; r < U; ++r) {
            const double below = scores.row(by_rank[std::size_t(r)])[t] - scores.row(by_rank[0])[t];
            share.push_back(std::exp(below));
            if (pass.random) share.back() += pass.random->f32(share.back(), 9 + below * below);
            total += share.back();
        }
        if (pass.random) total += pass.random->f32(total, double(U));
        for (std::int64_t r = 0; r < U; ++r) {
            double weight = share[std::size_t(r)] / total;
            if (pass.random) weight += pass.random->f32(weight);
            for (std::int64_t k = 0; k < h.rows; ++k) {
                const double term = weight * of_rank[std::size_t(r)].row(k)[t];
                double& sum = out.row(k)[t];
                sum += term;
                if (pass.random) sum += pass.random->f32(term) + pass.random->f32(sum);
            }
        }
    }
    return out;
}

void Reference::layer(Values& x, const Layer& w, Pass& pass) const {
    const Values h = normed(x, w.attn_norm, pass);
    Values q = multiply(w.q, input(w.q, h, pass), pass);
    Values k = multiply(w.k, input(w.k, h, pass), pass);
    Values v = multiply(w.v, input(w.v, h, pass), pass);
    if (!w.q_bias.empty()) {
        add_bias(q, w.q_bias, pass);
        add_bias(k, w.k_bias, pass);
        add_bias(v, w.v_bias, pass);
    }
    if (!w.q_norm.empty()) {
        norm_heads(q, w.q_norm, pass);
        norm_heads(k, w.k_norm, pass);
    }
    rotate(q, pass);
    rotate(k, pass);
    round_cache(k, pass);
    round_cache(v, pass);
    add(x, multiply(w.output, input(w.output, attend(q, k, v, pass), pass), pass), pass);

    const Values f = normed(x, w.ffn_norm, pass);
    add(x,
        w.experts.empty() ? feed_forward(w.ffn, input(w.ffn.gate, f, pass), pass)
                          : mix_experts(w, f, pass),
        pass);
}

std::vector<double> Reference::logits(std::span<const std::int32_t> ids, const Rounding* rounding,
                                      double* margin) const {
    Random generator(rounding ? rounding->seed : 0);
    Pass pass{.rounding = rounding, .random = rounding ? &generator : nullptr};
    const auto T = std::int64_t(ids.size());
    Values x(n_embd_, T);
    for (std::int64_t t = 0; t < T; ++t)
        for (std::int64_t k = 0; k < n_embd_; ++k)
            x.row(k)[t] = embedding_.w.at(std::size_t(ids[std::size_t(t)] * n_embd_ + k));
    for (const Layer& w : layers_) layer(x, w, pass);
    const Values h = input(output_, normed(x, output_norm_, pass), pass);
    const Values by_token = multiply(output_, h, pass);
    std::vector<double> out(std::size_t(T * n_vocab_));
    for (std::int64_t v = 0; v < n_vocab_; ++v)
        for (std::int64_t t = 0; t < T; ++t)
            out[std::size_t(t * n_vocab_ + v)] = by_token.row(v)[t];
    if (margin) *margin = pass.margin;
    return out;
}

}  // namespace hearth::test
