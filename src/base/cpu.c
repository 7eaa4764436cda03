#define _GNU_SOURCE /* sched_getaffinity */
#include "base/cpu.h"

#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

static const char *const level_names[] = {"baseline", "avx2", "avx512", "avx512_bf16"};

#if defined(__x86_64__)
#include <cpuid.h>

static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

/* __builtin_cpu_supports reads cpuid and, through xgetbv, whether the operating system saves the wide registers. Each
 * level demands what CMakeLists.txt compiles its kernels with. */
static cpu_level detect(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c()) return CPU_BASELINE;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
        return CPU_AVX2;
    return __builtin_cpu_supports("avx512bf16") ? CPU_AVX512_BF16 : CPU_AVX512;
}
#else
static cpu_level detect(void)
{
    return CPU_BASELINE;
}
#endif

/* LECO_CPU only ever lowers the level: raising it would end in an illegal instruction. */
static cpu_level lowered(cpu_level level)
{
    const char *wanted = getenv("LECO_CPU");
    if (!wanted || !*wanted) return level;
    for (cpu_level l = CPU_BASELINE; l <= CPU_AVX512_BF16; l++)
        if (strcmp(wanted, level_names[l]) == 0) return l < level ? l : level;
    log_message(LOG_WARNING, "LECO_CPU=%s is not one of baseline, avx2, avx512, avx512_bf16; ignored", wanted);
    return level;
}

cpu_level cpu_detect(void)
{
    static _Atomic int known = -1; /* threads that race here all find the same */
    int level = atomic_load(&known);
    if (level < 0) {
        level = (int)lowered(detect());
        atomic_store(&known, level);
    }
    return (cpu_level)level;
}

const char *cpu_level_name(cpu_level level)
{
    return level_names[level];
}

bool cpu_has_bf16(void)
{
    return cpu_detect() == CPU_AVX512_BF16;
}

/* The lowest-numbered hardware thread of the core that `cpu` belongs to; `cpu` itself where the kernel doesn't tell. */
static size_t first_sibling(size_t cpu)
{
    char path[96];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%zu/topology/thread_siblings_list", cpu);
    FILE *file = fopen(path, "re");
    if (!file) return cpu;
    char line[32]; /* "0,64" or "0-1": sorted, the first number is enough */
    size_t sibling = cpu;
    if (fgets(line, sizeof line, file)) {
        char *end;
        long number = strtol(line, &end, 10);
        if (end != line && number >= 0 && number < CPU_SETSIZE) sibling = (size_t)number;
    }
    fclose(file);
    return sibling;
}

/* Two threads on one core share its vector units, so a second one would only slow the first down. */
static int physical_cores(void)
{
    cpu_set_t allowed, cores;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        return online > 0 ? (int)online : 1;
    }
    CPU_ZERO(&cores);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed)) CPU_SET(first_sibling(cpu), &cores);
    int count = CPU_COUNT(&cores);
    return count > 0 ? count : 1;
}

static _Atomic int threads; /* 0: not chosen yet */

void cpu_set_threads(int count)
{
    if (count <= 0) count = physical_cores();
    atomic_store(&threads, count);
    omp_set_num_threads(count);
}

int cpu_threads(void)
{
    if (atomic_load(&threads) == 0) cpu_set_threads(0);
    return atomic_load(&threads);
}

double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
