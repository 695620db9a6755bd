/* The kernels' one public page: plain C types, so that an ISA's object can be compiled with that
 * ISA's flags and still share nothing inline with the rest of the program.
 *
 * An ISA is one file simd/<isa>.h, a format one file formats/<format>.h; an ISA's object contains
 * every format (or those in which it differs from the ISA it is based on), written once over the
 * ISA's primitives, and exports exactly one symbol: its table.
 *
 * Exactness (the rule that all tests of the engine lean on): each output element is a sum over K in
 * one fixed order of blocks, whatever the number of rows, the split over threads, or the other
 * rows. All ISAs give the same bits, except where a format's `act` differs between their tables
 * (bf16 weights, where there is a dot of pairs): there within the bounds that its file states.
 *
 * Pointers to f32 and to act rows are aligned to 4 bytes, other rows need no alignment.
 */
#ifndef HEARTH_KERNELS_H
#define HEARTH_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* How activations are handed to a format's dot: f32 rows as they are, rows rounded to bf16, or
 * blocks of 32 as 8-bit integers with an f32 scale. */
typedef enum hearth_act { HEARTH_ACT_F32, HEARTH_ACT_BF16, HEARTH_ACT_Q8 } hearth_act;

/* Rows of weights that packed weights lay side by side. */
#define HEARTH_PACKED_ROWS 16

typedef struct hearth_format {
    const char* name;    /* "q8_0"; the file's stem */
    uint32_t gguf_type;  /* GGUF tensor type number */
    int32_t block;       /* weights in a block */
    int32_t block_bytes; /* bytes of a block */

    /* Reference encode and decode. Requires: n % block == 0. */
    void (*decode)(float* out, const void* blocks, int64_t n);
    void (*encode)(void* blocks, const float* x, int64_t n);

    /* Activation form this format's dot wants: bytes for a row of k values, and its making.
     * Requires: k % block == 0. */
    size_t (*act_bytes)(int64_t k);
    void (*make_act)(void* act, const float* x, int64_t k);

    /* out[t * ld_out + n] = sum_k w[n, k] * x[t, k]   for t in [0, T), n in [n0, n1).
     * act: T rows of act_bytes(K) bytes each; w: rows of w_stride bytes, row n at w + n * w_stride.
     * Requires: K % block == 0. Rows of w beyond n1 are not read. Calls with n1 - n0 a multiple of
     * 32 leave no lane idle. Cost: (n1 - n0) * K / block * block_bytes bytes of weights from
     * memory.
     */
    void (*matmul)(float* out, int64_t ld_out, const void* act, int64_t T, const void* w,
                   size_t w_stride, int64_t n0, int64_t n1, int64_t K);
    hearth_act act; /* with HEARTH_ACT_F32 a row is simply K floats and need not be made */

    /* Packed weights: the same bytes in groups of HEARTH_PACKED_ROWS rows, each word of four bytes
     * of all rows side by side, as matmul has to turn them in every step. The form is that of the
     * format, the same on every ISA. NULL, and no bytes, where a format has none.
     * pack: a group of rows that lie w_stride bytes apart, into K / block * packed_block_bytes.
     * matmul_packed: as matmul, bit for bit. Requires: n0 and n1 are whole groups; those of the
     * matrix lie one after the other at packed. */
    void (*pack)(void* packed, const void* w, size_t w_stride, int64_t K);
    void (*matmul_packed)(float* out, int64_t ld_out, const void* act, int64_t T,
                          const void* packed, int64_t n0, int64_t n1, int64_t K);
    int32_t packed_block_bytes;
} hearth_format;

/* Key/value element types: "f32", "f16", "bf16", "q8_0". */
/* Keys of a block of the cache: they lie across, so that a vector holds one value of each. */
#define HEARTH_KV_KEYS 16

/* How one head's keys and values lie in the cache. Values are rows of head_dim; sixteen keys are a
 * block of as many bytes as their rows would take. */
typedef struct hearth_kv_type {
    const char* name;
    /* Bytes of one head's row of head_dim values, exactly. Requires: head_dim % block == 0. */
    size_t (*row_bytes)(int64_t head_dim);
    void (*store)(void* row, const float* x, int64_t head_dim);
    /* Key number at of a block; the others stay. It holds the same values as a stored row. */
    void (*store_key)(void* block, int64_t at, const float* x, int64_t head_dim);
    /* scores[g * ld + s] = scale * sum_d q[g][d] * k[s, d]
     * for G queries of heads that share this KV head and the first S keys of a block. */
    void (*scores)(float* scores, int64_t ld, const float* const* q, int64_t G, const void* block,
                   int64_t S, int64_t head_dim, float scale);
    /* acc[g][d] += sum_s p[g * ld + s] * v[s, d], s ascending, over S rows. */
    void (*weigh)(float* const* acc, const float* p, int64_t ld, int64_t G, const void* v,
                  int64_t S, int64_t head_dim);
    int32_t block; /* values in a block: head_dim is a multiple of it */
} hearth_kv_type;

typedef struct hearth_kernels {
    const char* isa;        /* "avx2": the stem of its file */
    int (*supported)(void); /* does this CPU (and OS) run it */
    int (*preferred)(void); /* is it the better one here than those of lower rank */

    const hearth_format* const* formats; /* terminated by NULL */
    const hearth_kv_type* const* kv_types;

    /* out[i] = x[i] * w[i] / sqrt(mean(x^2) + eps); the mean is summed in double, in index order
     * of fixed lanes. x, w, out: [n]; out may be x. Source: RMSNorm, arXiv:1910.07467. */
    void (*rms_norm)(float* out, const float* x, const float* w, int64_t n, float eps);
    /* Rotates neighbouring pairs (x[2i], x[2i+1]) by angle[i]; cos and sin given: n_rot / 2 each.
     * Requires: n_rot even.
     * Source: RoPE, arXiv:2104.09864. */
    void (*rope_pairs)(float* x, const float* cos, const float* sin, int64_t n_rot);
    /* out[i] = silu(gate[i]) * up[i], all [n]; out may be gate or up. Source: SwiGLU,
     * arXiv:2002.05202. */
    void (*silu_mul)(float* out, const float* gate, const float* up, int64_t n);
    void (*add)(float* x, const float* y, int64_t n); /* x += y */
    void (*scale)(float* x, float by, int64_t n);     /* x *= by */
    float (*max)(const float* x, int64_t n);          /* n >= 1 */
    /* x[i] = exp(x[i] - max); returns the sum, in index order of fixed lanes. */
    float (*exp_sum)(float* x, float max, int64_t n);
    /* As rope_pairs, with pairs half a rotation apart: (x[i], x[i + n_rot / 2]), as GPT-NeoX and
     * the models after it lie. */
    void (*rope_halves)(float* x, const float* cos, const float* sin, int64_t n_rot);
    /* x += by * y, the product rounded before it is added. */
    void (*add_scaled)(float* x, const float* y, float by, int64_t n);

    /* The limits that rates are measured against: n_rounds of the ISA's dot of bytes, or of its f32
     * multiply-add, on registers alone; both return the operations done, two for each
     * multiply-add. And n_bytes of memory merely read. Requires: n_bytes % 512 == 0. */
    double (*ceiling_int8)(int64_t n_rounds);
    double (*ceiling_f32)(int64_t n_rounds);
    void (*ceiling_read)(const void* from, int64_t n_bytes);
    double (*ceiling_bf16)(int64_t n_rounds); /* of its dot of bf16 pairs; NULL where it has none */
} hearth_kernels;

#ifdef __cplusplus
extern "C" {
#endif

/* All tables in rising order of preference, terminated by NULL; the first is the scalar oracle. */
extern const hearth_kernels* const hearth_kernels_all[];

/* A table with base's entries in place of what own has none of: its formats of other types, and the
 * key/value types. formats: room for n of them, the ending NULL among them; ends the program where
 * that is too little. */
hearth_kernels hearth_kernels_over(const hearth_kernels* own, const hearth_kernels* base,
                                   const hearth_format** formats, int n);

/* Best table that is supported and preferred, or the one named (from HEARTH_ISA); NULL if that is
 * unknown or unsupported. */
const hearth_kernels* hearth_kernels_pick(const char* isa_or_null);

/* NULL if no format has that GGUF type / no KV type that name. */
const hearth_format* hearth_format_find(const hearth_kernels* table, uint32_t gguf_type);
const hearth_kv_type* hearth_kv_type_find(const hearth_kernels* table, const char* name);

/* Name and block shape of every GGUF tensor type that is known, supported or not; NULL if unknown.
 * Sizes of a file's tensors are checked with it. */
typedef struct hearth_type_shape {
    uint32_t gguf_type;
    const char* name;
    int32_t block, block_bytes;
} hearth_type_shape;
const hearth_type_shape* hearth_type_shape_find(uint32_t gguf_type);

#ifdef __cplusplus
}
#endif
#endif
