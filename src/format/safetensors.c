#include "format/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/mem.h"
#include "format/file_kind.h"
#include "format/json.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors files are little-endian, and their tensors are used in place"
#endif

#define MAX_HEADER_BYTES 100000000u /* the limit of the reference implementation */
#define PREFIX_BYTES sizeof(uint64_t)

static const char *const type_names[DTYPE_COUNT] = {
    [DTYPE_F32] = "F32", [DTYPE_BF16] = "BF16", [DTYPE_F16] = "F16",
    [DTYPE_F64] = "F64", [DTYPE_I32] = "I32",   [DTYPE_I64] = "I64",
};

const char *safetensors_type_name(dtype type)
{
    return (unsigned)type < DTYPE_COUNT ? type_names[type] : "unknown";
}

/* Types that leco skips but whose size it can check. A type that isn't here either has its offsets checked only. */
static const struct {
    const char *name;
    size_t size;
} foreign_types[] = {
    {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1},
    {"I16", 2},  {"U16", 2}, {"U32", 4}, {"U64", 8},     {"C64", 8},
};

/* What the header says of one tensor. */
typedef struct tensor {
    safetensors_entry entry; /* comes first: safetensors_type finds the rest by it */
    const char *type_name;
    size_t begin, end; /* offsets into the data part */
} tensor;

struct safetensors {
    char *path;
    file_map map;
    arena *arena; /* everything below, and all strings */
    tensor *tensors;
    size_t tensor_count;
    const tensor **known; /* those of types that leco computes with, in order of their data */
    size_t known_count;
    const tensor **skipped; /* the others */
    size_t skipped_count;
    const tensor **by_name; /* all tensors, sorted by name */
    const char *(*metadata)[2];
    size_t metadata_count;
};

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
    t->entry.type = DTYPE_COUNT;
    for (int i = 0; i < DTYPE_COUNT; i++) {
        if (strcmp(t->type_name, type_names[i]) != 0) continue;
        t->entry.type = (dtype)i;
        *size = dtype_size((dtype)i);
    }
    for (size_t i = 0; i < sizeof foreign_types / sizeof *foreign_types; i++)
        if (strcmp(t->type_name, foreign_types[i].name) == 0) *size = foreign_types[i].size;
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
    tensor *t = &file->tensors[file->tensor_count];
    size_t size = 0, bytes;
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
    file->tensor_count++;
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

static int by_name(const void *a, const void *b)
{
    const tensor *const *x = a, *const *y = b;
    return strcmp((*x)->entry.name, (*y)->entry.name);
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

/* Sorts the tensors and sets up the ways to reach them. */
static leco_status make_indices(safetensors *file, size_t data_size, leco_error *err)
{
    size_t count = file->tensor_count;
    if (count > 0) qsort(file->tensors, count, sizeof *file->tensors, by_offset);
    LECO_TRY(check_layout(file, data_size, err));
    file->known = arena_alloc(file->arena, count, sizeof *file->known);
    file->skipped = arena_alloc(file->arena, count, sizeof *file->skipped);
    file->by_name = arena_alloc(file->arena, count, sizeof *file->by_name);
    if (!file->known || !file->skipped || !file->by_name)
        return error_memory(err, count * sizeof *file->known, file->path);
    for (size_t i = 0; i < count; i++) {
        const tensor *t = &file->tensors[i];
        file->by_name[i] = t;
        if (t->entry.type == DTYPE_COUNT)
            file->skipped[file->skipped_count++] = t;
        else
            file->known[file->known_count++] = t;
    }
    if (count > 0) qsort(file->by_name, count, sizeof *file->by_name, by_name);
    return LECO_OK;
}

static leco_status parse_root(safetensors *file, json_t *root, const unsigned char *data, size_t data_size,
                              leco_error *err)
{
    if (!json_is_object(root)) return error_set(err, LECO_FORMAT, "%s: the header is not a JSON object", file->path);
    size_t count = json_object_size(root);
    file->tensors = arena_alloc(file->arena, count, sizeof *file->tensors);
    if (!file->tensors) return error_memory(err, count * sizeof *file->tensors, file->path);
    const char *name;
    json_t *info;
    json_object_foreach(root, name, info) {
        if (strcmp(name, SAFETENSORS_METADATA) == 0)
            LECO_TRY(parse_metadata(file, info, err));
        else
            LECO_TRY(parse_tensor(file, name, info, data, data_size, err));
    }
    return make_indices(file, data_size, err);
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
    json_error_t problem;
    json_t *root = json_parse(header, (size_t)length, JSON_REJECT_DUPLICATES, &problem);
    if (!root && json_lacks_memory(&problem)) return error_memory(err, (size_t)length, file->path);
    if (!root)
        return error_set(err, LECO_FORMAT, "%s: header, byte %d: %s", file->path, problem.position, problem.text);
    const unsigned char *data = file->map.data + PREFIX_BYTES + length;
    leco_status status = parse_root(file, root, data, rest - (size_t)length, err);
    json_decref(root);
    return status;
}

/* ---- the public functions ---- */

leco_status safetensors_open(const char *path, safetensors **out, leco_error *err)
{
    *out = NULL;
    safetensors *file = mem_calloc(1, sizeof *file);
    if (!file) return error_memory(err, sizeof *file, path);
    file->path = mem_strdup(path);
    file->arena = arena_create();
    leco_status status = file->path && file->arena ? LECO_OK : error_memory(err, strlen(path), path);
    if (status == LECO_OK) status = file_map_open(path, &file->map, err);
    if (status == LECO_OK) status = parse_file(file, err);
    if (status != LECO_OK) {
        safetensors_close(file);
        return status;
    }
    *out = file;
    return LECO_OK;
}

leco_status safetensors_unchanged(const safetensors *file, leco_error *err)
{
    return file_map_check(&file->map, err);
}

void safetensors_close(safetensors *file)
{
    if (!file) return;
    file_map_close(&file->map);
    arena_destroy(file->arena);
    mem_free(file->path);
    mem_free(file);
}

const char *safetensors_path(const safetensors *file)
{
    return file->path;
}

size_t safetensors_count(const safetensors *file)
{
    return file->known_count;
}

const safetensors_entry *safetensors_at(const safetensors *file, size_t index)
{
    return index < file->known_count ? &file->known[index]->entry : NULL;
}

size_t safetensors_skipped_count(const safetensors *file)
{
    return file->skipped_count;
}

const safetensors_entry *safetensors_skipped_at(const safetensors *file, size_t index, const char **name,
                                                const char **type)
{
    *name = file->skipped[index]->entry.name;
    *type = file->skipped[index]->type_name;
    return &file->skipped[index]->entry;
}

const char *safetensors_type(const safetensors_entry *entry)
{
    return ((const tensor *)entry)->type_name;
}

/* Bits of an integer type, 0 for another: by the whole name, since the size of an unknown type was never checked. */
static int integer_bits(const char *type)
{
    static const char *const names[] = {"I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64"};
    for (int i = 0; i < 8; i++)
        if (strcmp(type, names[i]) == 0) return 8 << (i / 2);
    return 0;
}

bool safetensors_number(const safetensors_entry *entry, double *out)
{
    if (entry->count != 1) return false;
    const char *type = safetensors_type(entry);
    const int bits = integer_bits(type);
    if (bits == 0) {
        if (entry->type != DTYPE_COUNT) dtype_convert(out, DTYPE_F64, entry->data, entry->type, 1);
        return entry->type != DTYPE_COUNT;
    }
    uint64_t value = 0;
    memcpy(&value, entry->data, (size_t)bits / 8);
    const uint64_t sign = UINT64_C(1) << (bits - 1);
    bool negative = type[0] == 'I' && (value & sign);
    *out = negative ? -(double)(sign - (value & (sign - 1))) : (double)value;
    return true;
}

static const tensor *find_tensor(const safetensors *file, const char *name)
{
    const tensor key = {.entry.name = name}, *wanted = &key;
    if (file->tensor_count == 0) return NULL;
    const tensor *const *found = bsearch(&wanted, file->by_name, file->tensor_count, sizeof *file->by_name, by_name);
    return found ? *found : NULL;
}

const safetensors_entry *safetensors_find(const safetensors *file, const char *name)
{
    const tensor *t = find_tensor(file, name);
    return t && t->entry.type != DTYPE_COUNT ? &t->entry : NULL;
}

/* "[4, ?, 320]", cut where it doesn't fit. */
static const char *shape_text(char *text, size_t capacity, int rank, const int64_t *shape)
{
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < rank && used < capacity; i++) {
        const char *comma = i > 0 ? ", " : "";
        int wrote = shape[i] < 0 ? snprintf(text + used, capacity - used, "%s?", comma)
                                 : snprintf(text + used, capacity - used, "%s%lld", comma, (long long)shape[i]);
        used += (size_t)wrote;
    }
    return text;
}

leco_status safetensors_require(const safetensors *file, const char *name, int rank, const int64_t *shape,
                                const safetensors_entry **out, leco_error *err)
{
    *out = NULL;
    const tensor *t = find_tensor(file, name);
    if (!t) return error_set(err, LECO_FORMAT, "%s: there is no tensor \"%s\"", file->path, name);
    if (t->entry.type == DTYPE_COUNT)
        return error_set(err, LECO_UNSUPPORTED, "%s: tensor \"%s\" is of type %s, which is not supported", file->path,
                         name, t->type_name);
    bool same = t->entry.rank == rank;
    for (int i = 0; same && i < rank; i++) same = shape[i] < 0 || shape[i] == t->entry.shape[i];
    if (!same) {
        char expected[192], found[192];
        return error_set(err, LECO_FORMAT, "%s: tensor \"%s\" has shape [%s], expected [%s]", file->path, name,
                         shape_text(found, sizeof found, t->entry.rank, t->entry.shape),
                         shape_text(expected, sizeof expected, rank, shape));
    }
    *out = &t->entry;
    return LECO_OK;
}

const char *safetensors_metadata(const safetensors *file, const char *key)
{
    for (size_t i = 0; i < file->metadata_count; i++)
        if (strcmp(file->metadata[i][0], key) == 0) return file->metadata[i][1];
    return NULL;
}

size_t safetensors_metadata_count(const safetensors *file)
{
    return file->metadata_count;
}

void safetensors_metadata_at(const safetensors *file, size_t index, const char **key, const char **value)
{
    *key = file->metadata[index][0];
    *value = file->metadata[index][1];
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
