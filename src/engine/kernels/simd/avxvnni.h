// flags: -mavx2 -mfma -mf16c -mavxvnni
// needs: avx2 fma f16c avxvnni ymm
// when: x86_64|amd64|AMD64
// rank: 2
//
// The primitives of avx2.h with the dot of bytes that machines without AVX-512 have since 2021.
#include "engine/kernels/simd/avx2.h"
