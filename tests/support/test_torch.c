#include "test_torch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test_support.h"

typedef struct bytes {
    unsigned char *at;
    size_t used, room;
} bytes;

static void put(bytes *b, const void *data, size_t size)
{
    if (b->used + size > b->room) {
        b->room = 2 * b->room + size;
        b->at = realloc(b->at, b->room);
        if (!b->at) abort();
    }
    memcpy(b->at + b->used, data, size);
    b->used += size;
}

static void put_number(bytes *b, uint64_t value, int size)
{
    for (int i = 0; i < size; i++, value >>= 8) put(b, &(unsigned char){(unsigned char)value}, 1);
}

static void put_text(bytes *b, const char *text)
{
    put(b, text, strlen(text));
}

/* ---- the pickle ---- */

static void put_string(bytes *b, const char *text)
{
    put_text(b, "X");
    put_number(b, strlen(text), 4);
    put_text(b, text);
}

static void put_int(bytes *b, int64_t value)
{
    put_text(b, "J");
    put_number(b, (uint64_t)value, 4);
}

static void put_tensor(bytes *b, const safetensors_entry *e, size_t index)
{
    char key[32];
    int64_t step = (int64_t)e->count;
    snprintf(key, sizeof key, "%zu", index);
    put_string(b, e->name);
    put_text(b, "ctorch._utils\n_rebuild_tensor_v2\n((");
    put_string(b, "storage");
    put_text(b, "ctorch\nFloatStorage\n");
    put_string(b, key);
    put_string(b, "cpu");
    put_int(b, (int64_t)e->count);
    put_text(b, "tQ"); /* the storage */
    put_int(b, 0);
    put_text(b, "(");
    for (int i = 0; i < e->rank; i++) put_int(b, e->shape[i]);
    put_text(b, "t(");
    for (int i = 0; i < e->rank; i++) put_int(b, step /= e->shape[i]);
    put_text(b, "t\x89"
                "ccollections\nOrderedDict\n)RtR");
}

/* ---- the archive ---- */

typedef struct archive {
    bytes file, directory;
    int count;
} archive;

static void put_header(bytes *b, const char *name, size_t size, bool central, size_t at)
{
    put_text(b, central ? "PK\1\2" : "PK\3\4");
    if (central) put_number(b, 20, 2);
    put_number(b, 20, 2);
    put_number(b, 0, 12); /* stored; no time, no checksum */
    put_number(b, size, 4);
    put_number(b, size, 4);
    put_number(b, strlen(name), 2);
    put_number(b, 0, 2);
    if (central) put_number(b, 0, 10);
    if (central) put_number(b, at, 4);
    put_text(b, name);
}

static void put_file(archive *a, const char *name, const void *data, size_t size)
{
    put_header(&a->directory, name, size, true, a->file.used);
    put_header(&a->file, name, size, false, 0);
    put(&a->file, data, size);
    a->count++;
}

void test_torch_write(const char *path, const safetensors_entry *entries, size_t count)
{
    bytes pickle = {0};
    archive a = {0};
    put_text(&pickle, "\x80\2}(");
    for (size_t i = 0; i < count; i++) put_tensor(&pickle, &entries[i], i);
    put_text(&pickle, "u.");
    put_file(&a, "archive/data.pkl", pickle.at, pickle.used);
    for (size_t i = 0; i < count; i++) {
        char name[64];
        snprintf(name, sizeof name, "archive/data/%zu", i);
        put_file(&a, name, entries[i].data, entries[i].count * sizeof(float));
    }
    const size_t begin = a.file.used;
    put(&a.file, a.directory.at, a.directory.used);
    put_text(&a.file, "PK\5\6");
    put_number(&a.file, 0, 4);
    put_number(&a.file, (uint64_t)a.count, 2);
    put_number(&a.file, (uint64_t)a.count, 2);
    put_number(&a.file, a.directory.used, 4);
    put_number(&a.file, begin, 4);
    put_number(&a.file, 0, 2);
    test_write(path, a.file.at, a.file.used);
    free(pickle.at);
    free(a.file.at);
    free(a.directory.at);
}
