// flags: -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma -mf16c -mavx512bf16
// needs: avx2 fma f16c avx512f avx512bw avx512vl avx512dq avx512vnni zmm avx512bf16
// when: x86_64|amd64|AMD64
// rank: 4
// prefer: amd
// base: avx512
// formats: bf16
//
// The primitives of avx512.h with the dot of bf16 pairs, for bf16 weights. On AMD's cores since Zen
// 4 it does twice the work of an f32 multiply-add, on Intel's half of it (docs/SPEED.md): there it
// is taken only where it is asked for.
#include "engine/kernels/simd/avx512.h"
