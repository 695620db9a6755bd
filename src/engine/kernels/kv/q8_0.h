/* q8_0: keys and values in blocks of 32 as 8-bit integers.
 *
 *   bytes 0..1    d    f16 scale, max|x| / 127
 *   bytes 2..33   q    int8; value j is d * q[j], exact in f32 (11 and 8 bits)
 *
 * Of sixteen keys the same lies across, scales first: 32 bytes and 512 for each 32 values.
 *
 * q is quantized as activations are (act_q8.h): by the f32 scale, to nearest even, and a block with
 * an infinity or NaN gets d = NaN. Error of a value: half a step and the scale's rounding, 127
 * times 2^-11 of a step: |x - d q| <= 0.57 max|x| / 127 where d is a normal f16 (max|x| >= 0.0078).
 * Rows are whole blocks: head_dim % 32 == 0.
 */
#include "engine/kernels/act_q8.h"
#include "engine/kernels/attend.h"
#include "engine/kernels/quant_encode.h"

namespace {

/* One block as it lies in a row; alignment 2. */
struct kv_q8_block {
    uint16_t d;
    int8_t q[32];
};
static_assert(sizeof(kv_q8_block) == 34, "rows of blocks are packed");

/* A row's blocks number b of sixteen keys: their scales, then each value of all of them. */
struct kv_q8_across {
    uint16_t d[HEARTH_KV_KEYS];
    int8_t q[32][HEARTH_KV_KEYS];
};
static_assert(sizeof(kv_q8_across) == HEARTH_KV_KEYS * sizeof(kv_q8_block),
              "as many bytes as rows");

/* A row's values from d on; sixteen never straddle a block. */
struct kv_q8 {
    static size_t bytes(int64_t head_dim) { return size_t(head_dim / 32) * sizeof(kv_q8_block); }
    static f32x16 widen(const void* row, int64_t d) {
        const kv_q8_block* block = (const kv_q8_block*)row + d / 32;
        return f_mul(f_set_h(block->d), f_load_i8(block->q + d % 32));
    }
    /* Never called: rows are multiples of 32. */
    static f32x16 widen_n(const void* row, int64_t d, int64_t) { return widen(row, d); }
    static f32x16 across(const void* keys, int64_t d) {
        const kv_q8_across* block = (const kv_q8_across*)keys + d / 32;
        return f_mul(f_load_h(block->d), f_load_i8(block->q[d % 32]));
    }
};

/* Calls use(b, d, q) for each block of a row of values. */
template <class Use>
inline void kv_q8_round(const float* x, int64_t head_dim, Use use) {
    const int64_t n_blocks = head_dim / 32;
    for (int64_t from = 0; from < n_blocks; from += kActBlocks) {
        const int64_t n = n_blocks - from < kActBlocks ? n_blocks - from : kActBlocks;
        act_q8_blocks blocks;
        act_q8_round(&blocks, x + 32 * from, n);
        for (int64_t b = 0; b < n; ++b) use(from + b, half_of(blocks.d[b]), blocks.q[b]);
    }
}

void kv_q8_0_store(void* row, const float* x, int64_t head_dim) {
    kv_q8_round(x, head_dim, [&](int64_t b, uint16_t d, const int8_t* q) {
        kv_q8_block* block = (kv_q8_block*)row + b;
        block->d = d;
        __builtin_memcpy(block->q, q, 32);
    });
}

void kv_q8_0_store_key(void* keys, int64_t at, const float* x, int64_t head_dim) {
    kv_q8_round(x, head_dim, [&](int64_t b, uint16_t d, const int8_t* q) {
        kv_q8_across* block = (kv_q8_across*)keys + b;
        block->d[at] = d;
        for (int i = 0; i < 32; ++i) block->q[i][at] = q[i];
    });
}

const hearth_kv_type kv_q8_0 = {
    "q8_0", kv_q8::bytes, kv_q8_0_store, kv_q8_0_store_key, kv_scores<kv_q8>, kv_weigh<kv_q8>, 32,
};

}  // namespace
