/* libFuzzer's mutations and ours by turns, with checksums and lengths made right again most of the time. */
#include "fuzz.h"

#include "base/cpu.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t capacity);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed);

/* One thread: several fuzzers may share the processor, and what fails once should fail again. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    cpu_set_threads(1);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed)
{
    uint64_t state = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
    if (fuzz_random(&state, 2)) {
        size = LLVMFuzzerMutate(data, size, capacity);
    } else {
        for (size_t n = 1 + fuzz_random(&state, 3); n > 0; n--) size = fuzz_mutate(data, size, capacity, &state);
    }
    if (fuzz_random(&state, 4) > 0) size = fuzz_repair(data, size, capacity);
    return size;
}
