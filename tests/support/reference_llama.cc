#include "support/reference_llama.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "support/gguf_writer.h"

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
void tiles_any(double* out, const double* w, const double* x, std::int64_t N, std::int64_t K,
               std::int64_t ld) {
    if (N < 4) throw std::runtime_error("the reference needs matrices of 4 rows");
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

ReferenceLlama::Values::Values(std::int64_t r, std::int64_t t)
    : rows(r), n_tokens(t), ld((t + 31) / 32 * 32), v(std::size_t(rows * ld)) {}

std::vector<double> ReferenceLlama::values_of(const model::Gguf& gguf, const std::string& name) {
    const model::GgufTensor* t = gguf.find_tensor(name);
    if (!t) throw std::runtime_error(name + " is missing");
    const auto n = std::size_t(t->n_values());
    const auto* p = reinterpret_cast<const unsigned char*>(t->bytes.data());
    const auto f16_at = [](const unsigned char* at) {
        return from_f16(std::uint16_t(at[0] | at[1] << 8));
    };
    std::vector<double> out(n);
    for (std::size_t i = 0; i < n; ++i) {
        float f = 0;
        switch (t->type) {
            case kF32:
                std::memcpy(&f, p + 4 * i, 4);
                out[i] = f;
                break;
            case kF16:
                out[i] = f16_at(p + 2 * i);
                break;
            case kQ8_0: {
                const unsigned char* block = p + i / 32 * 34;
                out[i] = f16_at(block) * static_cast<signed char>(block[2 + i % 32]);
                break;
            }
            default:
                throw std::runtime_error(name + " is of a type that the reference does not know");
        }
    }
    return out;
}

ReferenceLlama::Matrix ReferenceLlama::matrix_of(const model::Gguf& gguf, const std::string& name) {
    Matrix m;
    m.w = values_of(gguf, name);
    const model::GgufTensor& t = *gguf.find_tensor(name);
    m.n = t.shape.at(0);
    m.k = t.shape.at(1);
    m.is_q8 = t.type == kQ8_0;
    const std::int64_t n_blocks = (m.k + 31) / 32;
    m.power.resize(std::size_t(m.n * n_blocks));
    for (std::int64_t n = 0; n < m.n; ++n)
        for (std::int64_t k = 0; k < m.k; ++k) {
            const double w = m.w[std::size_t(n * m.k + k)];
            m.power[std::size_t(n * n_blocks + k / 32)] += w * w;
        }
    return m;
}

ReferenceLlama::ReferenceLlama(const model::Gguf& gguf) {
    const auto integer = [&](const char* key, std::int64_t fallback = -1) {
        const auto v = gguf.integer(std::string("llama.") + key, 1, 1 << 24,
                                    fallback < 0 ? std::nullopt : std::optional(fallback));
        if (!v) throw std::runtime_error(v.error().message);
        return *v;
    };
    const auto number = [&](const char* key, std::optional<double> fallback) {
        const auto v = gguf.number(std::string("llama.") + key, fallback);
        if (!v) throw std::runtime_error(v.error().message);
        return *v;
    };
    n_embd_ = integer("embedding_length");
    n_head_ = integer("attention.head_count");
    n_head_kv_ = integer("attention.head_count_kv", n_head_);
    head_dim_ = integer("attention.key_length", n_embd_ / n_head_);
    n_rot_ = integer("rope.dimension_count", head_dim_);
    freq_base_ = number("rope.freq_base", 10000.0);
    rms_eps_ = number("attention.layer_norm_rms_epsilon", std::nullopt);
    if (gguf.find_tensor("rope_freqs.weight")) freq_factors_ = values_of(gguf, "rope_freqs.weight");
    embedding_ = matrix_of(gguf, "token_embd.weight");
    n_vocab_ = embedding_.n;
    output_ = gguf.find_tensor("output.weight") ? matrix_of(gguf, "output.weight") : embedding_;
    output_norm_ = values_of(gguf, "output_norm.weight");
    const std::int64_t n_layer = integer("block_count");
    for (std::int64_t i = 0; i < n_layer; ++i) {
        const std::string at = "blk." + std::to_string(i) + ".";
        Layer& l = layers_.emplace_back();
        l.attn_norm = values_of(gguf, at + "attn_norm.weight");
        l.ffn_norm = values_of(gguf, at + "ffn_norm.weight");
        l.q = matrix_of(gguf, at + "attn_q.weight");
        l.k = matrix_of(gguf, at + "attn_k.weight");
        l.v = matrix_of(gguf, at + "attn_v.weight");
        l.output = matrix_of(gguf, at + "attn_output.weight");
        l.gate = matrix_of(gguf, at + "ffn_gate.weight");
        l.up = matrix_of(gguf, at + "ffn_up.weight");
        l.down = matrix_of(gguf, at + "ffn_down.weight");
    }
}

// Requires: x.rows == m.k. For q8_0, x already carries the error of its own quantization.
ReferenceLlama::Values ReferenceLlama::multiply(const Matrix& m, const Values& x,
                                                Random* random) const {
    Values out(m.n, x.n_tokens);
    tiles_any(out.v.data(), m.w.data(), x.v.data(), m.n, m.k, x.ld);
    if (!random) return out;
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
    const double steps = m.is_q8 ? double(n_blocks) : std::ceil(double(m.k) / 16);
    const double of_p = m.is_q8 ? steps / 2 + 1 : steps / 2 + 4;
    const double of_r = m.is_q8 ? steps / 3 : steps / 48 + 1.9;
    for (std::int64_t n = 0; n < m.n; ++n)
        for (std::int64_t t = 0; t < x.n_tokens; ++t) {
            double& r = out.row(n)[t];
            const double variance = (power.row(n)[t] * of_p + r * r * of_r) * kU * kU / 3;
            r += std::sqrt(variance) * random->normal();
        }
    return out;
}

namespace {

// What q8_0's activations lose: uniform within half a step of each block of 32.
template <class Values>
Values quantized(const Values& x, Random& random) {
    Values out = x;
    for (std::int64_t b = 0; b < x.rows; b += 32)
        for (std::int64_t t = 0; t < x.n_tokens; ++t) {
            double largest = 0;
            for (std::int64_t k = b; k < b + 32; ++k)
                largest = std::max(largest, std::fabs(x.row(k)[t]));
            for (std::int64_t k = b; k < b + 32; ++k)
                out.row(k)[t] += largest / 254 * random.uniform();
        }
    return out;
}

// What a value loses in an f16 cache: half a unit in its last place.
double f16_error(double x, Random& random) {
    const int exponent = std::max(x == 0 ? -14 : std::ilogb(x), -14);
    return std::ldexp(random.uniform(), exponent - 11);
}

}  // namespace

ReferenceLlama::Values ReferenceLlama::normed(const Values& x, const std::vector<double>& weight,
                                              Random* random) const {
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

void ReferenceLlama::rotate(Values& x, Random* random) const {
    for (std::int64_t head = 0; head < x.rows / head_dim_; ++head)
        for (std::int64_t i = 0; i < n_rot_ / 2; ++i) {
            double frequency = std::pow(freq_base_, -2.0 * double(i) / double(n_rot_));
            if (!freq_factors_.empty()) frequency /= freq_factors_[std::size_t(i)];
            double* a = x.row(head * head_dim_ + 2 * i);
            double* b = a + x.ld;
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

void ReferenceLlama::attend_head(Values& out, const Values& q, const Values& k, const Values& v,
                                 std::int64_t head, Random* random) const {
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
        const double m = std::ceil(double(Dh) / 16);
        for (std::int64_t s = 0; s < S; ++s) {
            double& r = p[std::size_t(s)];
            if (random) {
                const double P = q_power * k_power[std::size_t(s)] / double(Dh);
                r += kU * std::sqrt((P * (m / 2 + 4) + r * r * (m / 48 + 1.9 + 1)) / 3) *
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

ReferenceLlama::Values ReferenceLlama::attend(const Values& q, const Values& k, const Values& v,
                                              Random* random) const {
    Values out(q.rows, q.n_tokens);
    for (std::int64_t head = 0; head < n_head_; ++head) attend_head(out, q, k, v, head, random);
    return out;
}

void ReferenceLlama::layer(Values& x, const Layer& w, const Rounding* rounding,
                           Random* random) const {
    const auto input = [&](const Matrix& m, const Values& v) {
        return random && m.is_q8 ? quantized(v, *random) : v;
    };
    const auto add = [&](const Values& y) {
        for (std::int64_t k = 0; k < x.rows; ++k)
            for (std::int64_t t = 0; t < x.n_tokens; ++t) {
                double& r = x.row(k)[t];
                r += y.row(k)[t];
                if (random) r += random->f32(r);
            }
    };
    Values h = input(w.q, normed(x, w.attn_norm, random));
    Values q = multiply(w.q, h, random), k = multiply(w.k, h, random), v = multiply(w.v, h, random);
    rotate(q, random);
    rotate(k, random);
    if (random && rounding->kv_f16)
        for (Values* cached : {&k, &v})
            for (double& value : cached->v) value += f16_error(value, *random);
    add(multiply(w.output, input(w.output, attend(q, k, v, random)), random));

    h = input(w.gate, normed(x, w.ffn_norm, random));
    Values gate = multiply(w.gate, h, random);
    const Values up = multiply(w.up, h, random);
    for (std::size_t i = 0; i < gate.v.size(); ++i) {
        double& g = gate.v[i];
        g = g / (1 + std::exp(-g)) * up.v[i];
        if (random) g += random->f32(g, 9 + 3);
    }
    add(multiply(w.down, input(w.down, gate), random));
}

std::vector<double> ReferenceLlama::logits(std::span<const std::int32_t> ids,
                                           const Rounding* rounding) const {
    Random generator(rounding ? rounding->seed : 0);
    Random* random = rounding ? &generator : nullptr;
    const auto T = std::int64_t(ids.size());
    Values x(n_embd_, T);
    for (std::int64_t t = 0; t < T; ++t)
        for (std::int64_t k = 0; k < n_embd_; ++k)
            x.row(k)[t] = embedding_.w.at(std::size_t(ids[std::size_t(t)] * n_embd_ + k));
    for (const Layer& w : layers_) layer(x, w, rounding, random);
    Values h = normed(x, output_norm_, random);
    if (random && output_.is_q8) h = quantized(h, *random);
    const Values by_token = multiply(output_, h, random);
    std::vector<double> out(std::size_t(T * n_vocab_));
    for (std::int64_t v = 0; v < n_vocab_; ++v)
        for (std::int64_t t = 0; t < T; ++t)
            out[std::size_t(t * n_vocab_ + v)] = by_token.row(v)[t];
    return out;
}

}  // namespace hearth::test
