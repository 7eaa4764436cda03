/* What a fuzz target offers and may use. Each target is built twice: with fuzz_driver.c, which mutates the target's own
 * seeds in a fixed order under any compiler, and (LECO_FUZZ) with libFuzzer. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "leco/status.h"

/* ---- the target's part ---- */

/* Feeds one input to the parser and aborts where its result is impossible. Returns 0; sets fuzz_accepted. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Writes seed number `index`, a valid input, to the file at `path`, which isn't there yet; false when there are no
 * more. */
bool fuzz_seed(unsigned index, const char *path);

/* Makes lengths and checksums right again, so that a mutation gets past the first check. Returns the size, at most
 * `capacity`. A valid input stays as it is. Without a function of its own a target's inputs are left alone. */
size_t fuzz_repair(uint8_t *data, size_t size, size_t capacity);

/* Words that the format knows; ends with NULL. */
extern const char *const fuzz_words[];

/* ---- mutations (fuzz_mutate.c, fuzz_mutate_json.c) ---- */

/* One change; `state` is that of the random numbers. Returns the new size. */
size_t fuzz_mutate(uint8_t *data, size_t size, size_t capacity, uint64_t *state);
/* One change to a value of the JSON text that the input (or one of its files, or its header) may be. */
size_t fuzz_mutate_json(uint8_t *data, size_t size, size_t capacity, uint64_t *state);
size_t fuzz_random(uint64_t *state, size_t limit); /* in [0, limit), and 0 where limit is 0 */

/* ---- inputs (fuzz_support.c) ---- */

extern bool fuzz_accepted; /* whether the parser took the last input */

/* A path under which the parser can open `data`; the same one each time. */
const char *fuzz_path(const uint8_t *data, size_t size);

/* An input may be several files: a line "=== NAME" begins the file NAME, and what stands before the first such line is
 * the first name's. Of names that aren't known the text is dropped; of two files of one name the latter counts. */
#define FUZZ_MAX_PARTS 16
typedef struct fuzz_part {
    const uint8_t *data; /* NULL: there is no such file; else into the input */
    size_t size;
} fuzz_part;
/* names end with NULL; parts [FUZZ_MAX_PARTS]. */
void fuzz_split(const uint8_t *data, size_t size, const char *const *names, fuzz_part *parts);
/* A folder with these files and no others, the same one each time. Names that begin with '@' are left out. */
const char *fuzz_folder(const char *const *names, const fuzz_part *parts);
/* A copy that ends with NUL, at the end of its allocation; free it with free. NULL: there is no such part. */
char *fuzz_text(const fuzz_part *part);

/* Another folder, with this one file: for what was read, written again. */
const char *fuzz_again(const char *name, const char *text);
/* A path in that folder to write to. */
const char *fuzz_result(void);
/* Removes both folders, as the end of the program does; may be called while it crashes. */
void fuzz_remove_folders(void);

/* A token's id of six to eight digits is possible, and costs a table of that length: that would only cost time. */
bool fuzz_has_large_id(const uint8_t *data, size_t size);

/* ---- seeds ---- */

void fuzz_put(const char *path, const char *text);      /* appends text to a file */
void fuzz_put_file(const char *path, const char *name); /* appends a file of this project's, by its path in there */

/* ---- checks ---- */

/* Aborts, naming the condition. Unlike assert it is never compiled away. */
#define FUZZ_CHECK(condition)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) fuzz_fail(#condition, __FILE__, __LINE__);                                                   \
    } while (0)
_Noreturn void fuzz_fail(const char *condition, const char *file, int line);

/* A refusal must be filled in, fit for a terminal, and be the file's fault: neither ours nor the memory's. */
#define FUZZ_REFUSED(status, err) fuzz_check_refusal((status), (err), __FILE__, __LINE__)
void fuzz_check_refusal(leco_status status, const leco_error *err, const char *file, int line);

bool fuzz_is_utf8(const char *text, size_t size);
/* A node of a document and all below it are as format/document.h says. Returns how many there are. */
struct doc_node;
size_t fuzz_check_document(const struct doc_node *n, int depth);
bool fuzz_is_tidy(const char *text, bool lines); /* utf8_tidy would leave it alone */

#endif
