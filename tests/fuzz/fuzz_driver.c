/* Runs a fuzz target without libFuzzer, the same inputs in the same order each time.
 *
 *     fuzz_NAME [SECONDS]       mutates the seeds for so long (1), and fails where a seed is refused
 *     fuzz_NAME --inputs COUNT  the same until that many inputs were tried
 *     fuzz_NAME --seeds FOLDER  writes the seeds there, as a first corpus for libFuzzer
 *     fuzz_NAME FILE...         runs the target on these, for instance on the crash file of an earlier run */
#include "fuzz.h"

#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define CAPACITY 16384
#define MAX_SEEDS 32
#define FEWEST_INPUTS 100 /* however slow the machine is */
#define MOST_SECONDS 20   /* of processor time, that one input may take */

typedef struct input {
    uint8_t data[CAPACITY];
    size_t size;
} input;

static input seeds[MAX_SEEDS], current;
static size_t seed_count;
static char crash_file[256];
static struct sigaction earlier[NSIG];

/* ---- crashes ---- */

const char *__asan_default_options(void);
const char *__asan_default_options(void) /* so that the handler below sees what the sanitizers find, too */
{
    return "abort_on_error=1";
}

static void on_crash(int number)
{
    int fd = open(crash_file, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd >= 0 && write(fd, current.data, current.size) == (ssize_t)current.size) {
        static const char note[] = "the input was kept; run this program on it: ";
        ssize_t ignored = write(2, note, sizeof note - 1);
        ignored = write(2, crash_file, strlen(crash_file));
        ignored = write(2, "\n", 1);
        (void)ignored;
    }
    fuzz_remove_folders();
    /* Returning repeats the fault, for the sanitizer or the system to report. */
    sigaction(number, &earlier[number], NULL);
}

static void watch_for_crashes(const char *program)
{
    const char *slash = strrchr(program, '/');
    snprintf(crash_file, sizeof crash_file, "crash-%s", slash ? slash + 1 : program);
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGPROF};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction action = {.sa_handler = on_crash};
        sigaction(numbers[i], &action, &earlier[numbers[i]]);
    }
}

/* ---- runs ---- */

static void load(const char *path, input *in)
{
    FILE *file = fopen(path, "rb");
    FUZZ_CHECK(file);
    in->size = fread(in->data, 1, CAPACITY, file);
    FUZZ_CHECK(fgetc(file) == EOF); /* not cut */
    fclose(file);
}

static void copy(const input *from, input *to)
{
    memcpy(to->data, from->data, from->size);
    to->size = from->size;
}

static void make_seeds(void)
{
    char folder[] = "/tmp/leco-fuzz-XXXXXX", path[64];
    FUZZ_CHECK(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/seed", folder);
    while (seed_count < MAX_SEEDS && fuzz_seed((unsigned)seed_count, path)) {
        load(path, &seeds[seed_count++]);
        unlink(path);
    }
    rmdir(folder);
    FUZZ_CHECK(seed_count > 0);
}

static int write_seeds(const char *folder)
{
    char path[4096];
    for (unsigned i = 0;; i++) {
        snprintf(path, sizeof path, "%s/seed-%u", folder, i);
        unlink(path);
        if (!fuzz_seed(i, path)) return 0;
    }
}

static void run_seeds(void)
{
    make_seeds();
    for (size_t i = 0; i < seed_count; i++) {
        copy(&seeds[i], &current);
        LLVMFuzzerTestOneInput(current.data, current.size);
        if (!fuzz_accepted) fprintf(stderr, "seed %zu is refused\n", i);
        FUZZ_CHECK(fuzz_accepted);
        current.size = fuzz_repair(current.data, current.size, CAPACITY);
        FUZZ_CHECK(current.size == seeds[i].size && memcmp(current.data, seeds[i].data, current.size) == 0);
    }
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* SIGPROF comes after so many seconds of this process's own; 0: never. */
static void limit_time(int seconds)
{
    setitimer(ITIMER_PROF, &(struct itimerval){.it_value = {.tv_sec = seconds}}, NULL);
}

/* Until `seconds` have passed or `most` inputs were tried. */
static int run_mutations(double seconds, unsigned long most)
{
    unsigned long count = 0, accepted = 0;
    double start = now();
    while (count < most && (count < FEWEST_INPUTS || now() < start + seconds)) {
        uint64_t state = ++count * UINT64_C(0x9e3779b97f4a7c15); /* each input depends on its number alone */
        copy(&seeds[fuzz_random(&state, seed_count)], &current);
        size_t changes = fuzz_random(&state, 2) ? 1 : 2 + fuzz_random(&state, 5);
        for (size_t n = 0; n < changes; n++) current.size = fuzz_mutate(current.data, current.size, CAPACITY, &state);
        if (fuzz_random(&state, 4) > 0) current.size = fuzz_repair(current.data, current.size, CAPACITY);
        limit_time(MOST_SECONDS);
        LLVMFuzzerTestOneInput(current.data, current.size);
        accepted += fuzz_accepted;
    }
    limit_time(0);
    seconds = (double)clock() / CLOCKS_PER_SEC; /* of this process: other programs slow the clock on the wall only */
    printf("%lu inputs, %lu of them accepted, in %.1f s of processor time (%.0f a second)\n", count, accepted, seconds,
           (double)count / seconds);
    FUZZ_CHECK(accepted > 0 && accepted < count); /* else it tests nothing */
    return 0;
}

static int run_files(int count, char **paths)
{
    for (int i = 0; i < count; i++) {
        load(paths[i], &current);
        LLVMFuzzerTestOneInput(current.data, current.size);
        printf("%s: %s\n", paths[i], fuzz_accepted ? "accepted" : "refused");
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--seeds") == 0) return write_seeds(argv[2]);
    watch_for_crashes(argv[0]);
    bool counted = argc == 3 && strcmp(argv[1], "--inputs") == 0;
    char *end = "";
    double number = argc > 1 ? strtod(argv[counted ? 2 : 1], &end) : 1;
    if (*end || (argc > 2 && !counted)) return run_files(argc - 1, argv + 1);
    run_seeds();
    return counted ? run_mutations(INFINITY, (unsigned long)number) : run_mutations(number, ULONG_MAX);
}
