#include "base/digest.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/mem.h"

struct digest {
    EVP_MD_CTX *context;
    bool good;
};

digest *digest_create(void)
{
    digest *d = mem_calloc(1, sizeof *d);
    if (!d) return NULL;
    d->context = EVP_MD_CTX_new();
    d->good = d->context && EVP_DigestInit_ex(d->context, EVP_sha256(), NULL) == 1;
    if (d->good) return d;
    digest_destroy(d);
    return NULL;
}

void digest_destroy(digest *d)
{
    if (!d) return;
    EVP_MD_CTX_free(d->context);
    mem_free(d);
}

void digest_add(digest *d, const void *data, size_t size)
{
    if (size > 0) d->good = d->good && EVP_DigestUpdate(d->context, data, size) == 1;
}

void digest_add_text(digest *d, const char *text)
{
    digest_add(d, text, strlen(text) + 1);
}

bool digest_text(digest *d, char text[DIGEST_TEXT])
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    d->good = d->good && EVP_DigestFinal_ex(d->context, bytes, &size) == 1 && size == DIGEST_BYTES;
    for (size_t i = 0; d->good && i < DIGEST_BYTES; i++) snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    return d->good;
}
