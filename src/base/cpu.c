#include "base/cpu.h"

#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cores.h"
#include "base/log.h"

static const char *const level_names[] = {"baseline", "avx2", "avx512", "avx512_bf16", "amx"};

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

#if defined(CPU_TILE_TWIN) /* isa/tile.h: what AMX computes, on any processor */
static bool has_tiles(void)
{
    return true;
}
#else
#define PERMIT 0x1023 /* ARCH_REQ_XCOMP_PERM of arch_prctl: Linux 5.16 and later */
#define TILE_DATA 18

/* The processor's AMX-TILE and AMX-BF16, and the system's leave to use tiles, whose registers are saved from then on.
 */
static bool has_tiles(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    const unsigned bf16 = 1u << 22, tile = 1u << 24;
    return (d & bf16) && (d & tile) && syscall(SYS_arch_prctl, PERMIT, TILE_DATA) == 0;
}
#endif

/* __builtin_cpu_supports reads cpuid and, through xgetbv, whether the operating system saves the wide registers. Each
 * level demands what CMakeLists.txt compiles its kernels with. */
static cpu_level detect(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c()) return CPU_BASELINE;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
        return CPU_AVX2;
    const bool bf16 = __builtin_cpu_supports("avx512bf16");
    return !bf16 ? CPU_AVX512 : has_tiles() ? CPU_AMX : CPU_AVX512_BF16;
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
    for (cpu_level l = CPU_BASELINE; l < CPU_LEVELS; l++)
        if (strcmp(wanted, level_names[l]) == 0) return l < level ? l : level;
    log_message(LOG_WARNING, "LECO_CPU=%s is not one of baseline, avx2, avx512, avx512_bf16, amx; ignored", wanted);
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
    return cpu_detect() >= CPU_AVX512_BF16;
}

/* ---- threads ---- */

static _Atomic int threads; /* wanted; 0: not chosen yet */

/* What the calling thread was found to get when it asked for so many. */
static _Thread_local struct {
    int asked, given;
} mine;

/* A loop started here runs on this thread alone: within a parallel region (oneDNN never opens another inside), or with
 * OMP_MAX_ACTIVE_LEVELS=0. */
static bool single(void)
{
    return omp_in_parallel() || omp_get_max_active_levels() < 1;
}

/* As many as a person asks for through OpenMP's own variable (the first of a list counts), else one a core. */
static int default_threads(void)
{
    const char *text = getenv("OMP_NUM_THREADS");
    char *end;
    long number = text ? strtol(text, &end, 10) : 0;
    bool named = number > 0 && (*end == '\0' || *end == ',' || *end == ' ');
    if (!named) number = cores_available();
    int limit = omp_get_max_active_levels() < 1 ? 1 : omp_get_thread_limit();
    if (limit > CPU_MOST_THREADS) limit = CPU_MOST_THREADS;
    return number < limit ? (int)number : limit;
}

static void *pass(void *gate)
{
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

/* How many of `count` threads, this one among them, the system lets there be. libgomp ends the program where it can't
 * start one (RLIMIT_NPROC, a control group's pids, no room for stacks), so that is tried before it does. */
static int startable(int count)
{
    pthread_t thread[CPU_MOST_THREADS];
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    int started = 0;
    pthread_mutex_lock(&gate);
    while (started < count - 1 && pthread_create(&thread[started], NULL, pass, &gate) == 0) started++;
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < started; i++) pthread_join(thread[i], NULL);
    return started + 1;
}

static int team_size(int count)
{
    int limit = omp_get_thread_limit(), given = 1;
    if (count > limit) count = limit;
    if (count > 1) count = startable(count);
#pragma omp parallel num_threads(count) if (count > 1)
#pragma omp master
    given = omp_get_num_threads();
    return given;
}

void cpu_fix_threads(int count)
{
    if (omp_get_dynamic()) omp_set_dynamic(0);
    if (omp_get_max_threads() != count) omp_set_num_threads(count);
}

int cpu_threads(void)
{
    int wanted = atomic_load(&threads);
    if (wanted == 0) {
        cpu_set_threads(0);
        wanted = atomic_load(&threads);
    }
    if (single()) return 1;
    if (mine.asked != wanted) {
        cpu_fix_threads(wanted);
        mine.given = team_size(wanted);
        mine.asked = wanted;
        cpu_fix_threads(mine.given);
        const char *plural = mine.given == 1 ? "" : "s";
        if (mine.given < wanted)
            log_message(LOG_WARNING, "%d thread%s instead of %d: OMP_THREAD_LIMIT or the system allows no more",
                        mine.given, plural, wanted);
        else
            log_message(LOG_DEBUG, "computing with %d thread%s", mine.given, plural);
    }
    if (omp_get_dynamic()) omp_set_dynamic(0);
    return mine.given;
}

void cpu_set_threads(int count)
{
    if (count <= 0) count = default_threads();
    if (count > CPU_MOST_THREADS) count = CPU_MOST_THREADS;
    atomic_store(&threads, count);
    cpu_fix_threads(cpu_threads());
}

double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
