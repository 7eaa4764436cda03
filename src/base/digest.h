/* SHA-256, a piece at a time. */
#ifndef LECO_BASE_DIGEST_H
#define LECO_BASE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>

#define DIGEST_BYTES 32
#define DIGEST_TEXT (2 * DIGEST_BYTES + 1)

typedef struct digest digest;

digest *digest_create(void);    /* NULL: out of memory, or libcrypto can't */
void digest_destroy(digest *d); /* NULL is fine */

/* What fails here is told by digest_text. */
void digest_add(digest *d, const void *data, size_t size);
/* With its end, so that "a", "bc" isn't "ab", "c". */
void digest_add_text(digest *d, const char *text);

/* All that was added, in hexadecimal; nothing can be added afterwards. False where libcrypto failed. */
bool digest_text(digest *d, char text[DIGEST_TEXT]);

#endif
