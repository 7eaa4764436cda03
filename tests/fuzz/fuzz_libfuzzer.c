/* libFuzzer's mutations and ours by turns, with checksums and lengths made right again most of the time. */
#include "fuzz.h"

#include "base/cpu.h"

/* cpu.c isn't there: it would want OpenMP. */
int cpu_threads(void)
{
    return 1;
}

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t capacity);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed);

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
