/* What the processor can do and how many threads to use. */
#ifndef LECO_BASE_CPU_H
#define LECO_BASE_CPU_H

#include <stdbool.h>

typedef enum cpu_level { CPU_BASELINE, CPU_AVX2, CPU_AVX512, CPU_AVX512_BF16 } cpu_level;

/* The highest level this processor and its operating system support, lowered by the environment variable LECO_CPU
 * (baseline, avx2, avx512, avx512_bf16) for tests. Detected once. */
cpu_level cpu_detect(void);
const char *cpu_level_name(cpu_level level);
bool cpu_has_bf16(void); /* cpu_detect() == CPU_AVX512_BF16 */

/* Threads for parallel loops (OpenMP) started from the calling thread. 0, and never setting it, means one per physical
 * core available to the process (its affinity mask). */
void cpu_set_threads(int count);
int cpu_threads(void);

double cpu_seconds(void); /* monotonic clock, seconds */

#endif
