#include "format/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/file_kind.h"
#include "format/json.h"
#include "format/tensor_set.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors files are little-endian, and their tensors are used in place"
#endif

#define MAX_HEADER_BYTES 100000000u /* the limit of the reference implementation */
#define PREFIX_BYTES sizeof(uint64_t)
#define LEAST_ENTRY_BYTES 48 /* "a":{"dtype":"F32","shape":[],"data_offsets":[0,0]} */

/* ---- one tensor of the header ---- */

/* Copies a string out of the header; NULL with the error set on failure. None holds a NUL: jansson refuses those. */
static char *copy_string(safetensors *file, const char *text, leco_error *err)
{
    char *copy = arena_strdup(file->arena, text);
    if (!copy) error_memory(err, strlen(text), file->path);
    return copy;
}

static leco_status parse_type(safetensors *file, const json_t *info, tensor *t, size_t *size, leco_error *err)
{
    const json_t *value = json_object_get(info, "dtype");
    if (!json_is_text(value))
        return error_set(err, LECO_FORMAT, "%s: tensor \"%s\" has no dtype", file->path, t->entry.name);
    t->type_name = copy_string(file, json_string_value(value), err);
    if (!t->type_name) return LECO_MEMORY;
    tensor_set_type(t, t->type_name, size);
    return LECO_OK;
}

static leco_status parse_shape(safetensors *file, const json_t *info, tensor *t, leco_error *err)
{
    const json_t *shape = json_object_get(info, "shape");
    if (!json_is_array(shape))
        return error_set(err, LECO_FORMAT, "%s: tensor \"%s\" has no shape", file->path, t->entry.name);
    size_t rank = json_array_size(shape);
    if (rank > SAFETENSORS_MAX_DIMS)
        return error_set(err, LECO_UNSUPPORTED, "%s: tensor \"%s\" has %zu dimensions; at most %d are supported",
                         file->path, t->entry.name, rank, SAFETENSORS_MAX_DIMS);
    t->entry.rank = (int)rank;
    t->entry.count = 1;
    for (size_t i = 0; i < rank; i++) {
        const json_t *dim = json_array_get(shape, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return error_set(err, LECO_FORMAT, "%s: tensor \"%s\": dimension %zu is not a whole number >= 0",
                             file->path, t->entry.name, i);
        t->entry.shape[i] = json_integer_value(dim);
        if (!mem_mul(t->entry.count, (size_t)t->entry.shape[i], &t->entry.count))
            return error_set(err, LECO_FORMAT, "%s: tensor \"%s\": its shape overflows", file->path, t->entry.name);
    }
    return LECO_OK;
}

static leco_status parse_offsets(safetensors *file, const json_t *info, tensor *t, size_t data_size, leco_error *err)
{
    const json_t *offsets = json_object_get(info, "data_offsets");
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1); /* NULL for no array */
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin))
        return error_set(err, LECO_FORMAT, "%s: tensor \"%s\" has no data_offsets [begin, end]", file->path,
                         t->entry.name);
    t->begin = (size_t)json_integer_value(begin);
    t->end = (size_t)json_integer_value(end);
    if (t->end > data_size)
        return error_set(err, LECO_FORMAT,
                         "%s: tensor \"%s\" ends at byte %zu of the data, which end at %zu: the file is incomplete",
                         file->path, t->entry.name, t->end, data_size);
    return LECO_OK;
}

static leco_status parse_tensor(safetensors *file, const char *name, const json_t *info, const unsigned char *data,
                                size_t data_size, leco_error *err)
{
    tensor *t = tensor_set_add(file, err);
    size_t size = 0, bytes;
    if (!t) return LECO_MEMORY;
    t->entry.name = copy_string(file, name, err);
    if (!t->entry.name) return LECO_MEMORY;
    if (!json_is_object(info))
        return error_set(err, LECO_FORMAT, "%s: tensor \"%s\" is not described by an object", file->path, name);
    LECO_TRY(parse_type(file, info, t, &size, err));
    LECO_TRY(parse_shape(file, info, t, err));
    LECO_TRY(parse_offsets(file, info, t, data_size, err));
    if (size > 0 && (!mem_mul(t->entry.count, size, &bytes) || bytes != t->end - t->begin))
        return error_set(err, LECO_FORMAT, "%s: tensor \"%s\": %zu elements of %s don't fit its %zu bytes", file->path,
                         name, t->entry.count, t->type_name, t->end - t->begin);
    t->entry.data = data + t->begin;
    return LECO_OK;
}

/* ---- the header ---- */

static leco_status parse_metadata(safetensors *file, json_t *object, leco_error *err)
{
    if (json_is_null(object)) return LECO_OK;
    if (!json_is_object(object))
        return error_set(err, LECO_FORMAT, "%s: %s is not an object", file->path, SAFETENSORS_METADATA);
    size_t count = json_object_size(object);
    file->metadata = arena_alloc(file->arena, count, sizeof *file->metadata);
    if (!file->metadata) return error_memory(err, count * sizeof *file->metadata, file->path);
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) {
        if (!json_is_text(value))
            return error_set(err, LECO_FORMAT, "%s: %s: \"%s\" is not a string", file->path, SAFETENSORS_METADATA, key);
        const char **pair = file->metadata[file->metadata_count];
        pair[0] = copy_string(file, key, err);
        pair[1] = pair[0] ? copy_string(file, json_string_value(value), err) : NULL;
        if (!pair[1]) return LECO_MEMORY;
        file->metadata_count++;
    }
    return LECO_OK;
}

static int by_offset(const void *a, const void *b)
{
    const tensor *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1; /* an empty tensor stands before the one it shares with */
    return strcmp(x->entry.name, y->entry.name);
}

/* The tensors must cover the data exactly: a gap or an overlap means that the header is wrong somewhere. */
static leco_status check_layout(const safetensors *file, size_t data_size, leco_error *err)
{
    size_t expected = 0;
    for (size_t i = 0; i < file->tensor_count; i++) {
        const tensor *t = &file->tensors[i];
        if (t->begin != expected)
            return error_set(err, LECO_FORMAT, "%s: tensor \"%s\" begins at byte %zu of the data, %s (%zu)", file->path,
                             t->entry.name, t->begin,
                             t->begin < expected ? "inside the one before, which ends later"
                                                 : "leaving a hole after the end of the one before",
                             expected);
        expected = t->end;
    }
    if (expected != data_size)
        return error_set(err, LECO_FORMAT, "%s: %zu bytes follow the last tensor", file->path, data_size - expected);
    return LECO_OK;
}

/* Sorts the tensors by where they are, and checks that. */
static leco_status make_indices(safetensors *file, size_t data_size, leco_error *err)
{
    size_t count = file->tensor_count;
    if (count > 0) qsort(file->tensors, count, sizeof *file->tensors, by_offset);
    LECO_TRY(check_layout(file, data_size, err));
    return tensor_set_index(file, err);
}

static leco_status parse_entry(safetensors *file, const char *name, json_t *info, const unsigned char *data,
                               size_t data_size, leco_error *err)
{
    if (strcmp(name, SAFETENSORS_METADATA) == 0) return parse_metadata(file, info, err);
    return parse_tensor(file, name, info, data, data_size, err);
}

static leco_status parse_root(safetensors *file, json_t *root, const unsigned char *data, size_t data_size,
                              leco_error *err)
{
    if (!json_is_object(root)) return error_set(err, LECO_FORMAT, "%s: the header is not a JSON object", file->path);
    const char *name;
    json_t *info;
    json_object_foreach(root, name, info) LECO_TRY(parse_entry(file, name, info, data, data_size, err));
    return LECO_OK;
}

/* ---- the header, entry by entry: the tree of a million would take a gigabyte, and most of the time ---- */

typedef struct cursor {
    const char *at, *end;
    bool metadata; /* they were there */
} cursor;

static void skip_blanks(cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r')) c->at++;
}

static bool skip(cursor *c, char what)
{
    skip_blanks(c);
    if (c->at == c->end || *c->at != what) return false;
    c->at++;
    return true;
}

/* *out is NULL where there is none. */
static leco_status next_value(const safetensors *file, cursor *c, json_t **out, leco_error *err)
{
    json_error_t problem;
    const size_t left = (size_t)(c->end - c->at);
    *out = json_loadb(c->at, left, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, &problem);
    if (*out) c->at += problem.position;
    return *out || !json_lacks_memory(&problem) ? LECO_OK : error_memory(err, left, file->path);
}

/* *regular: it was one, and well formed. */
static leco_status next_entry(safetensors *file, cursor *c, const unsigned char *data, size_t data_size, bool *regular,
                              leco_error *err)
{
    json_t *name = NULL, *info = NULL;
    leco_status status = next_value(file, c, &name, err);
    if (status == LECO_OK && json_is_string(name) && skip(c, ':')) status = next_value(file, c, &info, err);
    const bool metadata = name && info && strcmp(json_string_value(name), SAFETENSORS_METADATA) == 0;
    *regular = status == LECO_OK && info && !(metadata && c->metadata);
    c->metadata = c->metadata || metadata;
    if (*regular) status = parse_entry(file, json_string_value(name), info, data, data_size, err);
    json_decref(name);
    json_decref(info);
    return status;
}

/* Each has a brace of its own, and takes so many bytes at least, whatever else has braces. */
static size_t most_entries(const cursor *c)
{
    size_t braces = 0;
    for (const char *at = c->at; at < c->end; at++) braces += *at == '{';
    const size_t most = (size_t)(c->end - c->at) / LEAST_ENTRY_BYTES;
    return braces < most ? braces : most;
}

/* *regular is false of what isn't plain JSON: whoever reads it whole says where it isn't. */
static leco_status parse_entries(safetensors *file, cursor c, const unsigned char *data, size_t data_size,
                                 bool *regular, leco_error *err)
{
    LECO_TRY(tensor_set_reserve(file, most_entries(&c), err));
    *regular = skip(&c, '{');
    if (*regular && !skip(&c, '}')) {
        do LECO_TRY(next_entry(file, &c, data, data_size, regular, err));
        while (*regular && skip(&c, ','));
        *regular = *regular && skip(&c, '}');
    }
    skip_blanks(&c);
    *regular = *regular && c.at == c.end;
    return LECO_OK;
}

static leco_status parse_whole(safetensors *file, const char *header, size_t length, const unsigned char *data,
                               size_t data_size, leco_error *err)
{
    json_error_t problem;
    file->tensor_count = 0;
    file->metadata = NULL;
    file->metadata_count = 0;
    json_t *root = json_parse(header, length, JSON_REJECT_DUPLICATES, &problem);
    if (!root && json_lacks_memory(&problem)) return error_memory(err, length, file->path);
    if (!root)
        return error_set(err, LECO_FORMAT, "%s: header, byte %d: %s", file->path, problem.position, problem.text);
    leco_status status = parse_root(file, root, data, data_size, err);
    json_decref(root);
    return status;
}

/* The first eight bytes are no length of a header that is there: say what the file is where that shows. */
static leco_status refuse_file(const safetensors *file, uint64_t length, size_t rest, leco_error *err)
{
    file_kind kind = file_kind_of(file->map.data, file->map.size);
    if (kind.pickle)
        return error_set(err, LECO_FORMAT,
                         "%s: this is %s; convert it to .safetensors, in Python: "
                         "safetensors.torch.save_file(torch.load(\"FILE\", weights_only=True), \"FILE.safetensors\")",
                         file->path, kind.is);
    if (kind.is) return error_set(err, LECO_FORMAT, "%s: is no safetensors file: this is %s", file->path, kind.is);
    if (length > MAX_HEADER_BYTES)
        return error_set(err, LECO_FORMAT,
                         "%s: is no safetensors file: it would begin with the length of its header, not with %llu",
                         file->path, (unsigned long long)length);
    return error_set(
        err, LECO_FORMAT,
        "%s: is incomplete: the header takes %llu bytes, of which %zu are there; was its download cut off?", file->path,
        (unsigned long long)length, rest);
}

static leco_status parse_file(safetensors *file, leco_error *err)
{
    uint64_t length;
    if (file->map.size < PREFIX_BYTES)
        return error_set(err, LECO_FORMAT, "%s: is no safetensors file: only %zu bytes long", file->path,
                         file->map.size);
    memcpy(&length, file->map.data, sizeof length);
    size_t rest = file->map.size - PREFIX_BYTES;
    if (length > MAX_HEADER_BYTES || length > rest) return refuse_file(file, length, rest, err);
    const char *header = (const char *)file->map.data + PREFIX_BYTES;
    const unsigned char *data = file->map.data + PREFIX_BYTES + length;
    const size_t data_size = rest - (size_t)length;
    bool regular;
    LECO_TRY(parse_entries(file, (cursor){.at = header, .end = header + length}, data, data_size, &regular, err));
    if (!regular) LECO_TRY(parse_whole(file, header, (size_t)length, data, data_size, err));
    return make_indices(file, data_size, err);
}

/* ---- opening ---- */

leco_status safetensors_open(const char *path, safetensors **out, leco_error *err)
{
    *out = NULL;
    safetensors *file;
    LECO_TRY(tensor_set_open(path, &file, err));
    leco_status status = parse_file(file, err);
    if (status != LECO_OK) {
        safetensors_close(file);
        return status;
    }
    *out = file;
    return LECO_OK;
}

/* ---- copying ---- */

static leco_status copy_parts(const safetensors *file, file_writer *w, safetensors_replace replace, void *user,
                              leco_error *err)
{
    const unsigned char *at = file->map.data, *end = at + file->map.size;
    for (size_t i = 0; i < file->known_count; i++) {
        const safetensors_entry *e = &file->known[i]->entry;
        const unsigned char *from = e->data;
        const size_t bytes = e->count * dtype_size(e->type);
        const void *other = NULL;
        LECO_TRY(replace(user, e, &other, err));
        if (!other || bytes == 0) continue;
        LECO_TRY(file_writer_write(w, at, (size_t)(from - at), err));
        LECO_TRY(file_writer_write(w, other, bytes, err));
        at = from + bytes;
    }
    return file_writer_write(w, at, (size_t)(end - at), err);
}

leco_status safetensors_copy(const safetensors *file, const char *path, safetensors_replace replace, void *user,
                             leco_error *err)
{
    file_writer *w;
    LECO_TRY(file_writer_open(path, &w, err));
    leco_status status = copy_parts(file, w, replace, user, err);
    if (status == LECO_OK) return file_writer_commit(w, err);
    file_writer_abort(w);
    return status;
}
