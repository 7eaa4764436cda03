/* What a fuzz target offers and may use. Each target is built twice: with fuzz_driver.c, which mutates the target's own
 * seeds in a fixed order under any compiler, and (LECO_FUZZ) with libFuzzer. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- the target's part ---- */

/* Feeds one input to the parser and aborts where its result is impossible. Returns 0; sets fuzz_accepted. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Writes seed number `index`, a valid input, to the file at `path`; false when there are no more. */
bool fuzz_seed(unsigned index, const char *path);

/* Makes lengths and checksums right again, so that a mutation gets past the first check. */
void fuzz_repair(uint8_t *data, size_t size);

/* Words that the format knows; ends with NULL. */
extern const char *const fuzz_words[];

/* ---- common (fuzz_support.c) ---- */

extern bool fuzz_accepted; /* whether the parser took the last input */

/* A path under which the parser can open `data`; the same one each time. */
const char *fuzz_path(const uint8_t *data, size_t size);

/* Aborts, naming the condition. Unlike assert it is never compiled away. */
#define FUZZ_CHECK(condition)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) fuzz_fail(#condition, __FILE__, __LINE__);                                                   \
    } while (0)
_Noreturn void fuzz_fail(const char *condition, const char *file, int line);

#endif
