/* Runs a fuzz target without libFuzzer, the same inputs in the same order each time.
 *
 *     fuzz_NAME [SECONDS]       mutates the seeds for so long (2), and fails where a seed is refused
 *     fuzz_NAME --seeds FOLDER  writes the seeds there, as a first corpus for libFuzzer
 *     fuzz_NAME FILE...         runs the target on these, for instance on the crash file of an earlier run */
#include "fuzz.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CAPACITY 4096
#define MAX_SEEDS 32

typedef struct input {
    uint8_t data[CAPACITY];
    size_t size;
} input;

static input seeds[MAX_SEEDS], current;
static size_t seed_count;
static char crash_file[256];
static struct sigaction earlier[NSIG];
static uint64_t state;

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
    sigaction(number, &earlier[number],
              NULL); /* returning repeats the fault, for the sanitizer or the system to report */
}

static void watch_for_crashes(const char *program)
{
    const char *slash = strrchr(program, '/');
    snprintf(crash_file, sizeof crash_file, "crash-%s", slash ? slash + 1 : program);
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction action = {.sa_handler = on_crash};
        sigaction(numbers[i], &action, &earlier[numbers[i]]);
    }
}

/* ---- mutations ---- */

static size_t random_below(size_t limit)
{
    state ^= state << 13; /* xorshift64 */
    state ^= state >> 7;
    state ^= state << 17;
    return limit ? (size_t)(state >> 11) % limit : 0;
}

/* Replaces `removed` bytes at `at` by `added` bytes of `bytes`. */
static void splice(size_t at, size_t removed, const void *bytes, size_t added)
{
    size_t rest = current.size - at - removed;
    if (at + added + rest > CAPACITY) return;
    uint8_t copy[CAPACITY]; /* `bytes` may lie in `current` */
    memcpy(copy, bytes, added);
    memmove(current.data + at + added, current.data + at + removed, rest);
    memcpy(current.data + at, copy, added);
    current.size = at + added + rest;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void mutate(void)
{
    static const uint8_t special[] = {0, 1, 0x7f, 0x80, 0xff, '"', '{', '}', '[', ']', ',', '9'};
    size_t at = random_below(current.size + 1), left = current.size - at, words = 0;
    size_t length = random_below(smaller(left, 16) + 1);
    while (fuzz_words[words]) words++;
    switch (random_below(8)) {
    case 0: /* flip a bit */
        if (left > 0) current.data[at] ^= (uint8_t)(1u << random_below(8));
        break;
    case 1: /* a byte that parsers mind */
        splice(at, left > 0, &special[random_below(sizeof special)], 1);
        break;
    case 2: { /* a number of 32 bits, from 0 to all ones */
        uint32_t number = (uint32_t)((uint64_t)0xffffffff >> random_below(33)) - (uint32_t)random_below(2);
        splice(at, smaller(left, 4), &number, 4);
        break;
    }
    case 3: /* remove a piece */
        splice(at, length, "", 0);
        break;
    case 4: /* repeat a piece */
        splice(at, 0, current.data + at, length);
        break;
    case 5: /* a piece of another place */
        splice(at, length, current.data + random_below(current.size - length + 1), length);
        break;
    case 6: { /* a word, put in or written over */
        const char *word = fuzz_words[random_below(words)];
        splice(at, random_below(2) ? smaller(left, strlen(word)) : 0, word, strlen(word));
        break;
    }
    default: /* cut */
        if (random_below(4) == 0) current.size = at;
    }
}

/* ---- runs ---- */

static void load(const char *path, input *in)
{
    FILE *file = fopen(path, "rb");
    FUZZ_CHECK(file);
    in->size = fread(in->data, 1, CAPACITY, file);
    fclose(file);
}

static void make_seeds(void)
{
    char folder[] = "/tmp/leco-fuzz-XXXXXX", path[64];
    FUZZ_CHECK(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/seed", folder);
    while (seed_count < MAX_SEEDS && fuzz_seed((unsigned)seed_count, path)) load(path, &seeds[seed_count++]);
    unlink(path);
    rmdir(folder);
    FUZZ_CHECK(seed_count > 0);
}

static int write_seeds(const char *folder)
{
    char path[4096];
    for (unsigned i = 0;; i++) {
        snprintf(path, sizeof path, "%s/seed-%u", folder, i);
        if (!fuzz_seed(i, path)) return 0;
    }
}

static void run_seeds(void)
{
    make_seeds();
    for (size_t i = 0; i < seed_count; i++) {
        current = seeds[i];
        LLVMFuzzerTestOneInput(current.data, current.size);
        FUZZ_CHECK(fuzz_accepted);
        fuzz_repair(current.data, current.size); /* a good input stays as it is */
        FUZZ_CHECK(memcmp(current.data, seeds[i].data, current.size) == 0);
    }
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int run_mutations(double seconds)
{
    unsigned long count = 0, accepted = 0;
    double end = now() + seconds;
    while (now() < end || count < 1000) {
        state = ++count * UINT64_C(0x9e3779b97f4a7c15); /* each input depends on its number alone */
        current = seeds[random_below(seed_count)];
        for (size_t n = 1 + random_below(6); n > 0; n--) mutate();
        if (random_below(4) > 0) fuzz_repair(current.data, current.size);
        LLVMFuzzerTestOneInput(current.data, current.size);
        accepted += fuzz_accepted;
    }
    printf("%lu inputs, %lu of them accepted\n", count, accepted);
    FUZZ_CHECK(accepted > 0 && accepted < count); /* else it tests nothing */
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--seeds") == 0) return write_seeds(argv[2]);
    watch_for_crashes(argv[0]);
    char *end = NULL;
    double seconds = argc == 2 ? strtod(argv[1], &end) : 2;
    if (argc > 1 && (argc > 2 || *end)) {
        for (int i = 1; i < argc; i++) {
            load(argv[i], &current);
            LLVMFuzzerTestOneInput(current.data, current.size);
            printf("%s: %s\n", argv[i], fuzz_accepted ? "accepted" : "refused");
        }
        return 0;
    }
    run_seeds();
    return run_mutations(seconds);
}
