/* What the processor can do and how many threads to use. */
#ifndef LECO_BASE_CPU_H
#define LECO_BASE_CPU_H

#include <stdbool.h>

typedef enum cpu_level { CPU_BASELINE, CPU_AVX2, CPU_AVX512, CPU_AVX512_BF16, CPU_AMX, CPU_LEVELS } cpu_level;

/* The highest level this processor and its operating system support, lowered by the environment variable LECO_CPU
 * (baseline, avx2, avx512, avx512_bf16, amx) for tests. Detected once. */
cpu_level cpu_detect(void);
const char *cpu_level_name(cpu_level level);
bool cpu_has_bf16(void); /* cpu_detect() >= CPU_AVX512_BF16 */

/* Threads for parallel loops (OpenMP), process-wide; more than CPU_MOST_THREADS count as that. 0, and never setting it,
 * means what OMP_NUM_THREADS says, or else one per core (cores_available). */
enum { CPU_MOST_THREADS = 1024 };
void cpu_set_threads(int count);

/* How many threads a loop gets that the calling thread starts now: those that were set; fewer, with a warning, where
 * OMP_THREAD_LIMIT or the system allows no more; one within a parallel region. Measured, once for each calling thread
 * and setting, because what a loop is prepared for (scratch, oneDNN's primitives) must be what it gets. Turns OpenMP's
 * dynamic adjustment off in the calling thread, which would give other numbers from loop to loop. */
int cpu_threads(void);

/* Makes `count` (at most cpu_threads()) the number that OpenMP tells those who ask it, as oneDNN does, in the calling
 * thread. */
void cpu_fix_threads(int count);

double cpu_seconds(void); /* monotonic clock, seconds */

#endif
