/* cpu: which instruction sets this machine runs, read from CPUID and XGETBV by ourselves
 * (compilers' builtins know different names). */
#ifndef HEARTH_CPU_H
#define HEARTH_CPU_H

#ifdef __cplusplus
extern "C" {
#endif

/* 1 if the machine has every feature named in needs ("avx2 fma ymm"); an unknown name is not had.
 * ymm and zmm: the operating system keeps those registers when it switches threads. amd: who made
 * it. */
int hearth_cpu_has(const char* needs);

#ifdef __cplusplus
}
#endif
#endif
