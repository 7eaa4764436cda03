#include "format/zip.h"

#include <string.h>

enum {
    END_BYTES = 22,
    LONGEST_COMMENT = 65535,
    LOCATOR_BYTES = 20,
    END64_BYTES = 56,
    ENTRY_BYTES = 46,
    LOCAL_BYTES = 30,
    ZIP64_EXTRA = 1, /* the id of the extra field */
    ENCRYPTED = 1,   /* a flag */
};
#define END_SIGN UINT32_C(0x06054b50)
#define LOCATOR_SIGN UINT32_C(0x07064b50)
#define END64_SIGN UINT32_C(0x06064b50)
#define ENTRY_SIGN UINT32_C(0x02014b50)
#define LOCAL_SIGN UINT32_C(0x04034b50)
#define IN_ZIP64 UINT32_C(0xffffffff) /* the value stands in the extra field */

typedef struct archive {
    const char *path;
    const unsigned char *data;
    size_t size;
} archive;

/* What the directory says of one file. */
typedef struct listed {
    const unsigned char *name, *extra;
    size_t name_size, extra_size;
    uint64_t packed, size, offset;
    uint32_t method, flags;
} listed;

static uint64_t number(const unsigned char *at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static bool has_room(const archive *a, uint64_t at, uint64_t bytes)
{
    return at <= a->size && bytes <= a->size - at;
}

static leco_status broken(const archive *a, const char *what, leco_error *err)
{
    return error_set(err, LECO_FORMAT, "%s: is a zip archive whose %s: was its download cut off?", a->path, what);
}

/* ---- the directory ---- */

/* Where the directory begins and how many files it lists. */
typedef struct directory {
    uint64_t offset, bytes, count;
} directory;

/* Those of more than 4 GiB, or 65535 files, tell it in a record before the end. */
static leco_status read_end64(const archive *a, size_t end, directory *d, leco_error *err)
{
    if (end < LOCATOR_BYTES || number(a->data + end - LOCATOR_BYTES, 4) != LOCATOR_SIGN) return LECO_OK;
    const uint64_t at = number(a->data + end - LOCATOR_BYTES + 8, 8);
    if (!has_room(a, at, END64_BYTES) || number(a->data + at, 4) != END64_SIGN)
        return broken(a, "directory is not where its end says", err);
    *d = (directory){.count = number(a->data + at + 32, 8),
                     .bytes = number(a->data + at + 40, 8),
                     .offset = number(a->data + at + 48, 8)};
    return LECO_OK;
}

static leco_status find_directory(const archive *a, directory *d, leco_error *err)
{
    if (a->size < END_BYTES) return broken(a, "end is missing", err);
    size_t end = a->size - END_BYTES;
    const size_t last = end > LONGEST_COMMENT ? end - LONGEST_COMMENT : 0;
    while (end > last && number(a->data + end, 4) != END_SIGN) end--;
    const unsigned char *at = a->data + end;
    if (number(at, 4) != END_SIGN) return broken(a, "end is missing", err);
    *d = (directory){.count = number(at + 10, 2), .bytes = number(at + 12, 4), .offset = number(at + 16, 4)};
    LECO_TRY(read_end64(a, end, d, err));
    if (!has_room(a, d->offset, d->bytes) || d->count > d->bytes / ENTRY_BYTES)
        return broken(a, "directory is not where its end says", err);
    return LECO_OK;
}

/* ---- one file ---- */

/* Values of 0xffffffff stand in an extra field, in this order. */
static leco_status read_zip64(const archive *a, listed *f, leco_error *err)
{
    uint64_t *const wide[] = {&f->size, &f->packed, &f->offset};
    const unsigned char *at = f->extra;
    size_t left = f->extra_size;
    while (left >= 4 && number(at, 2) != ZIP64_EXTRA) {
        const size_t field = 4 + (size_t)number(at + 2, 2);
        if (field > left) return broken(a, "directory is damaged", err);
        at += field;
        left -= field;
    }
    size_t used = 4, field = left >= 4 ? (size_t)number(at + 2, 2) + 4 : 0;
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++) {
        if (*wide[i] != IN_ZIP64) continue;
        if (field > left || used + 8 > field) return broken(a, "directory is damaged", err);
        *wide[i] = number(at + used, 8);
        used += 8;
    }
    return LECO_OK;
}

/* The entry at *at, which moves behind it. */
static leco_status read_entry(const archive *a, uint64_t *at, uint64_t end, listed *f, leco_error *err)
{
    const unsigned char *e = a->data + *at;
    if (end - *at < ENTRY_BYTES || number(e, 4) != ENTRY_SIGN) return broken(a, "directory is damaged", err);
    *f = (listed){.flags = (uint32_t)number(e + 8, 2),
                  .method = (uint32_t)number(e + 10, 2),
                  .packed = number(e + 20, 4),
                  .size = number(e + 24, 4),
                  .name_size = (size_t)number(e + 28, 2),
                  .extra_size = (size_t)number(e + 30, 2),
                  .offset = number(e + 42, 4),
                  .name = e + ENTRY_BYTES};
    f->extra = f->name + f->name_size;
    const uint64_t bytes = ENTRY_BYTES + f->name_size + f->extra_size + number(e + 32, 2);
    if (end - *at < bytes) return broken(a, "directory is damaged", err);
    *at += bytes;
    return read_zip64(a, f, err);
}

static leco_status find_data(const archive *a, const listed *f, zip_file *out, leco_error *err)
{
    if (f->method != 0 || (f->flags & ENCRYPTED))
        return error_set(err, LECO_UNSUPPORTED,
                         "%s: is a zip archive in which \"%.100s\" is %s: PyTorch stores files "
                         "as they are",
                         a->path, out->name, f->flags & ENCRYPTED ? "encrypted" : "compressed");
    if (f->packed != f->size || !has_room(a, f->offset, LOCAL_BYTES) || number(a->data + f->offset, 4) != LOCAL_SIGN)
        return broken(a, "directory is damaged", err);
    const unsigned char *local = a->data + f->offset;
    const uint64_t begin = f->offset + LOCAL_BYTES + number(local + 26, 2) + number(local + 28, 2);
    if (!has_room(a, begin, f->size)) return broken(a, "files reach beyond its end", err);
    out->data = a->data + begin;
    out->size = (size_t)f->size;
    return LECO_OK;
}

static leco_status add_file(const archive *a, const listed *f, arena *memory, zip *z, leco_error *err)
{
    zip_file *file = &z->file[z->count];
    char *name = arena_alloc(memory, f->name_size + 1, 1);
    if (!name) return error_memory(err, f->name_size + 1, a->path);
    memcpy(name, f->name, f->name_size);
    if (strlen(name) != f->name_size) return broken(a, "directory is damaged", err);
    file->name = name;
    LECO_TRY(find_data(a, f, file, err));
    if (name_table_find(&z->by_name, name))
        return error_set(err, LECO_FORMAT, "%s: is a zip archive in which \"%.100s\" is there twice", a->path, name);
    if (!name_table_add(&z->by_name, name, z->count)) return error_memory(err, f->name_size, a->path);
    z->count++;
    return LECO_OK;
}

/* ---- the archive ---- */

leco_status zip_open(const char *path, const unsigned char *data, size_t size, arena *memory, zip *out, leco_error *err)
{
    const archive a = {path, data, size};
    directory d = {0};
    *out = (zip){0};
    LECO_TRY(find_directory(&a, &d, err));
    out->file = arena_alloc(memory, (size_t)d.count, sizeof *out->file);
    if (!out->file) return error_memory(err, (size_t)d.count * sizeof *out->file, path);
    uint64_t at = d.offset;
    for (uint64_t i = 0; i < d.count; i++) {
        listed f;
        LECO_TRY(read_entry(&a, &at, d.offset + d.bytes, &f, err));
        LECO_TRY(add_file(&a, &f, memory, out, err));
    }
    return LECO_OK;
}

void zip_close(zip *z)
{
    name_table_free(&z->by_name);
    *z = (zip){0};
}

const zip_file *zip_find(const zip *z, const char *name)
{
    const size_t *at = name_table_find(&z->by_name, name);
    return at ? &z->file[*at] : NULL;
}
