#include "format/tensor_set.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

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

/* ---- making ---- */

leco_status tensor_set_open(const char *path, safetensors **out, leco_error *err)
{
    *out = NULL;
    safetensors *file = mem_calloc(1, sizeof *file);
    if (!file) return error_memory(err, sizeof *file, path);
    file->path = mem_strdup(path);
    file->arena = arena_create();
    leco_status status = file->path && file->arena ? LECO_OK : error_memory(err, strlen(path), path);
    if (status == LECO_OK) status = file_map_open(path, &file->map, err);
    if (status != LECO_OK) {
        safetensors_close(file);
        return status;
    }
    *out = file;
    return LECO_OK;
}

leco_status tensor_set_reserve(safetensors *file, size_t room, leco_error *err)
{
    if (room <= file->tensor_room) return LECO_OK;
    tensor *grown = arena_alloc(file->arena, room, sizeof *grown);
    if (!grown) return error_memory(err, room * sizeof *grown, file->path);
    if (file->tensor_count) memcpy(grown, file->tensors, file->tensor_count * sizeof *grown);
    file->tensors = grown;
    file->tensor_room = room;
    return LECO_OK;
}

tensor *tensor_set_add(safetensors *file, leco_error *err)
{
    const bool full = file->tensor_count == file->tensor_room;
    if (full && tensor_set_reserve(file, 2 * file->tensor_room + 64, err) != LECO_OK) return NULL;
    return &file->tensors[file->tensor_count++];
}

void tensor_set_type(tensor *t, const char *name, size_t *size)
{
    *size = 0;
    t->type_name = name;
    t->entry.type = DTYPE_COUNT;
    for (int i = 0; i < DTYPE_COUNT; i++) {
        if (strcmp(name, type_names[i]) != 0) continue;
        t->entry.type = (dtype)i;
        *size = dtype_size((dtype)i);
    }
    for (size_t i = 0; i < sizeof foreign_types / sizeof *foreign_types; i++)
        if (strcmp(name, foreign_types[i].name) == 0) *size = foreign_types[i].size;
}

static int by_name(const void *a, const void *b)
{
    const tensor *const *x = a, *const *y = b;
    return strcmp((*x)->entry.name, (*y)->entry.name);
}

leco_status tensor_set_index(safetensors *file, leco_error *err)
{
    const size_t count = file->tensor_count;
    file->known_count = file->skipped_count = 0;
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
    for (size_t i = 1; i < count; i++)
        if (strcmp(file->by_name[i - 1]->entry.name, file->by_name[i]->entry.name) == 0)
            return error_set(err, LECO_FORMAT, "%s: tensor \"%s\" is there twice", file->path,
                             file->by_name[i]->entry.name);
    return LECO_OK;
}

/* ---- changing ---- */

leco_status safetensors_rename(safetensors *file, leco_status (*rename)(const char *name, char **out, leco_error *err),
                               size_t *count, leco_error *err)
{
    *count = 0;
    for (size_t i = 0; i < file->tensor_count; i++) {
        char *name;
        LECO_TRY(rename(file->tensors[i].entry.name, &name, err));
        if (!name) continue;
        const char *kept = arena_strdup(file->arena, name);
        mem_free(name);
        if (!kept) return error_memory(err, 0, file->path);
        file->tensors[i].entry.name = kept;
        ++*count;
    }
    return *count > 0 ? tensor_set_index(file, err) : LECO_OK;
}

leco_status safetensors_add_numbers(safetensors *file, const safetensors_number_to_add *numbers, size_t count,
                                    leco_error *err)
{
    for (size_t i = 0; i < count; i++) {
        size_t size;
        double *value = arena_alloc(file->arena, 1, sizeof *value);
        const char *name = arena_strdup(file->arena, numbers[i].name);
        tensor *t = value && name ? tensor_set_add(file, err) : NULL;
        if (!t) return error_memory(err, sizeof *value, file->path);
        *value = numbers[i].value;
        t->entry = (safetensors_entry){.name = name, .count = 1, .data = value};
        tensor_set_type(t, type_names[DTYPE_F64], &size);
    }
    return tensor_set_index(file, err);
}

leco_status tensor_set_keep(safetensors *file, void *data, leco_error *err)
{
    void **grown = data ? mem_realloc(file->copies, file->copy_count + 1, sizeof *grown) : NULL;
    if (!grown) {
        mem_free_aligned(data);
        return error_memory(err, (file->copy_count + 1) * sizeof *grown, file->path);
    }
    file->copies = grown;
    grown[file->copy_count++] = data;
    return LECO_OK;
}

leco_status safetensors_widen(safetensors *file, leco_error *err)
{
    bool any = false;
    for (size_t i = 0; i < file->tensor_count; i++) {
        tensor *t = &file->tensors[i];
        const bool e4m3 = strcmp(t->type_name, "F8_E4M3") == 0;
        size_t size;
        if (!e4m3 && strcmp(t->type_name, "F8_E5M2") != 0) continue;
        bf16 *wide = mem_aligned(t->entry.count * sizeof *wide + 1);
        LECO_TRY(tensor_set_keep(file, wide, err));
        for (size_t k = 0; k < t->entry.count; k++)
            wide[k] = bf16_from_float8(((const unsigned char *)t->entry.data)[k], e4m3);
        t->entry.data = wide;
        tensor_set_type(t, type_names[DTYPE_BF16], &size);
        any = true;
    }
    return any ? tensor_set_index(file, err) : LECO_OK;
}

/* place: of the tensor of that name, or SIZE_MAX where there is none. */
static leco_status apply(safetensors *file, const safetensors_change *c, size_t place, leco_error *err)
{
    size_t size;
    const bool there = place != SIZE_MAX;
    if (!c->values) {
        if (there) file->tensors[place].entry.name = NULL; /* until the list is closed up */
        return LECO_OK;
    }
    const char *name = arena_strdup(file->arena, c->name);
    tensor *t = !name ? NULL : there ? &file->tensors[place] : tensor_set_add(file, err);
    if (!t) return error_memory(err, strlen(c->name), file->path);
    t->entry = (safetensors_entry){.name = name, .rank = c->rank, .count = 1, .data = c->values};
    for (int i = 0; i < c->rank; i++) t->entry.count *= (size_t)(t->entry.shape[i] = c->shape[i]);
    tensor_set_type(t, type_names[DTYPE_F32], &size);
    return LECO_OK;
}

static leco_status apply_all(safetensors *file, const safetensors_change *changes, size_t count, leco_error *err)
{
    size_t *place = arena_alloc(file->arena, count, sizeof *place), kept = 0;
    if (!place) return error_memory(err, count * sizeof *place, file->path);
    for (size_t i = 0; i < count; i++) {
        const tensor *t = tensor_set_find(file, changes[i].name);
        place[i] = t ? (size_t)(t - file->tensors) : SIZE_MAX;
    }
    for (size_t i = 0; i < count; i++) LECO_TRY(apply(file, &changes[i], place[i], err));
    for (size_t i = 0; i < file->tensor_count; i++)
        if (file->tensors[i].entry.name) file->tensors[kept++] = file->tensors[i];
    file->tensor_count = kept;
    return tensor_set_index(file, err);
}

leco_status safetensors_apply(safetensors *file, const safetensors_change *changes, size_t count, leco_error *err)
{
    leco_status status = LECO_OK;
    for (size_t i = 0; i < count; i++) {
        if (status != LECO_OK)
            mem_free_aligned(changes[i].values);
        else if (changes[i].values)
            status = tensor_set_keep(file, changes[i].values, err);
    }
    return status == LECO_OK && count > 0 ? apply_all(file, changes, count, err) : status;
}

/* ---- looking ---- */

leco_status safetensors_unchanged(const safetensors *file, leco_error *err)
{
    for (size_t i = 0; i < file->part_count; i++) LECO_TRY(safetensors_unchanged(file->parts[i], err));
    return file_map_check(&file->map, err);
}

void safetensors_close(safetensors *file)
{
    if (!file) return;
    for (size_t i = 0; i < file->copy_count; i++) mem_free_aligned(file->copies[i]);
    for (size_t i = 0; i < file->part_count; i++) safetensors_close(file->parts[i]);
    mem_free(file->copies);
    mem_free(file->parts);
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

const tensor *tensor_set_find(const safetensors *file, const char *name)
{
    const tensor key = {.entry.name = name}, *wanted = &key;
    if (file->tensor_count == 0) return NULL;
    const tensor *const *found = bsearch(&wanted, file->by_name, file->tensor_count, sizeof *file->by_name, by_name);
    return found ? *found : NULL;
}

size_t safetensors_any_count(const safetensors *file)
{
    return file->known_count + file->skipped_count;
}

const safetensors_entry *safetensors_any_at(const safetensors *file, size_t index)
{
    return &(index < file->known_count ? file->known[index] : file->skipped[index - file->known_count])->entry;
}

const safetensors_entry *safetensors_find_any(const safetensors *file, const char *name)
{
    const tensor *t = tensor_set_find(file, name);
    return t ? &t->entry : NULL;
}

const safetensors_entry *safetensors_find(const safetensors *file, const char *name)
{
    const tensor *t = tensor_set_find(file, name);
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
    const tensor *t = tensor_set_find(file, name);
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
