// cpu: CPUID leaf 0 names the maker, leaf 1 and leaf 7 the instruction sets, XCR0 the registers
// that the system saves.
//
// Source: Intel SDM volume 2A, CPUID; volume 1, section 14.3 and 15.2 (detection of AVX and
// AVX-512).
#include "engine/kernels/cpu.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace {

#if defined(__x86_64__)

enum Register { kEax, kEbx, kEcx, kEdx };

struct Feature {
    const char* name;
    uint32_t leaf, subleaf;
    Register reg;
    int bit;
};
constexpr Feature kFeatures[] = {
    {"fma", 1, 0, kEcx, 12},      {"avx", 1, 0, kEcx, 28},       {"f16c", 1, 0, kEcx, 29},
    {"avx2", 7, 0, kEbx, 5},      {"avx512f", 7, 0, kEbx, 16},   {"avx512dq", 7, 0, kEbx, 17},
    {"avx512bw", 7, 0, kEbx, 30}, {"avx512vl", 7, 0, kEbx, 31},  {"avx512vnni", 7, 0, kEcx, 11},
    {"avxvnni", 7, 1, kEax, 4},   {"avx512bf16", 7, 1, kEax, 5},
};

bool has_bit(const Feature& feature) {
    uint32_t regs[4] = {};
    if (!__get_cpuid_count(feature.leaf, feature.subleaf, &regs[0], &regs[1], &regs[2], &regs[3]))
        return false;
    return regs[feature.reg] >> feature.bit & 1u;
}

// Bits of XCR0: 1 SSE, 2 upper halves of ymm, 5 mask registers, 6 and 7 the zmm state.
bool system_saves(uint64_t mask) {
    constexpr Feature kXgetbvAllowed = {"osxsave", 1, 0, kEcx, 27};
    if (!has_bit(kXgetbvAllowed)) return false;
    uint32_t low = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((uint64_t(high) << 32 | low) & mask) == mask;
}

// Leaf 0 spells the maker's name in ebx, edx, ecx.
bool made_by(const char* maker) {
    uint32_t eax = 0, name[3] = {};
    return __get_cpuid(0, &eax, &name[0], &name[2], &name[1]) && memcmp(name, maker, 12) == 0;
}

bool has(const char* name, size_t length) {
    if (length == 3 && memcmp(name, "amd", 3) == 0) return made_by("AuthenticAMD");
    if (length == 3 && memcmp(name, "ymm", 3) == 0) return system_saves(0x6);
    if (length == 3 && memcmp(name, "zmm", 3) == 0) return system_saves(0xe6);
    for (const Feature& feature : kFeatures)
        if (strlen(feature.name) == length && memcmp(feature.name, name, length) == 0)
            return has_bit(feature);
    return false;
}

#else

bool has(const char*, size_t) {
    return false;
}

#endif

}  // namespace

extern "C" int hearth_cpu_has(const char* needs) {
    for (const char* at = needs; *at != '\0';) {
        const size_t length = strcspn(at, " ");
        if (length > 0 && !has(at, length)) return 0;
        at += length + strspn(at + length, " ");
    }
    return 1;
}
