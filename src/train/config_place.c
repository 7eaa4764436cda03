/* Where keys stand, for messages. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "train/config_internal.h"

const char *train_config_place(const train_config *c, const char *key)
{
    const char *place = c->path;
    const doc_node *n = c->root;
    while (n && n->kind == DOC_MAP) {
        char name[64];
        const size_t length = strcspn(key, ".");
        snprintf(name, sizeof name, "%.*s", (int)length, key);
        n = doc_find(n, name);
        if (!n) break;
        place = n->place;
        if (!key[length]) break;
        key += length + 1;
    }
    return place;
}

leco_status config_wrong(const train_config *c, const char *key, leco_error *err, const char *format, ...)
{
    char text[512];
    va_list rest;
    va_start(rest, format);
    vsnprintf(text, sizeof text, format, rest);
    va_end(rest);
    return error_set(err, LECO_INVALID, "%s: %s: %s", train_config_place(c, key), key, text);
}
