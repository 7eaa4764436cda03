#include "format/torch.h"

#include <string.h>

#include "base/mem.h"
#include "format/file_kind.h"
#include "format/tensor_set.h"
#include "format/torch_globals.h"
#include "format/torch_values.h"
#include "format/zip.h"

enum { MAX_DEPTH = 8, LONGEST_NAME = 1000 };

/* ---- storages and tensors ---- */

typedef struct reader {
    safetensors *file;
    zip archive;      /* zeroed: a sequence of pickles */
    const char *root; /* "archive/", before the names of its files */
    name_table by_key;
    storage **storage; /* [storage_count], of a sequence of pickles; the arena's */
    size_t storage_count, storage_room;
} reader;

static leco_status odd(const reader *r, const char *what, leco_error *err)
{
    return error_set(err, LECO_FORMAT, "%s: is no PyTorch file that can be read: %s", r->file->path, what);
}

static leco_status no_memory(const reader *r, leco_error *err)
{
    return error_memory(err, 0, r->file->path);
}

/* The bytes of an element; of untyped storages 1. */
static size_t element_size(const char *type)
{
    tensor t;
    size_t size = 1;
    if (type) tensor_set_type(&t, type, &size);
    return size;
}

static leco_status find_in_archive(const reader *r, storage *s, leco_error *err)
{
    const char *name = arena_printf(r->file->arena, "%sdata/%s", r->root, s->key);
    if (!name) return no_memory(r, err);
    const zip_file *f = zip_find(&r->archive, name);
    size_t bytes;
    if (!f) return odd(r, "a tensor's data aren't in it", err);
    if (!mem_mul((size_t)s->count, element_size(s->type), &bytes) || bytes > f->size)
        return odd(r, "a tensor's data are too short", err);
    s->data = f->data;
    s->bytes = bytes;
    return LECO_OK;
}

static leco_status add_storage(reader *r, storage *s, leco_error *err)
{
    if (r->storage_count == r->storage_room) {
        const size_t room = 2 * r->storage_room + 64;
        storage **grown = arena_alloc(r->file->arena, room, sizeof *grown);
        if (!grown) return no_memory(r, err);
        if (r->storage_count) memcpy(grown, r->storage, r->storage_count * sizeof *grown);
        r->storage = grown;
        r->storage_room = room;
    }
    if (!name_table_add(&r->by_key, s->key, r->storage_count)) return no_memory(r, err);
    r->storage[r->storage_count++] = s;
    return LECO_OK;
}

/* ("storage", torch.FloatStorage, key, location, count[, view]); or ("module", class, its file, its source), which is
 * the class, in a sequence of pickles. */
static leco_status find_persistent(void *user, const pickle_value *id, pickle_value *out, leco_error *err)
{
    reader *r = user;
    uint64_t count;
    if (id->kind == PICKLE_TUPLE && id->count >= 2 && id->item[0]->kind == PICKLE_TEXT &&
        strcmp(id->item[0]->text, "module") == 0 && id->item[1]->kind == PICKLE_GLOBAL) {
        *out = *id->item[1];
        return LECO_OK;
    }
    const bool told = id->kind == PICKLE_TUPLE && id->count >= 5 && id->item[0]->kind == PICKLE_TEXT &&
                      strcmp(id->item[0]->text, "storage") == 0 && id->item[1]->kind == PICKLE_GLOBAL &&
                      id->item[1]->global->what >= STORAGES && id->item[1]->global->what < 2 * STORAGES &&
                      id->item[2]->kind == PICKLE_TEXT && torch_is_whole(id->item[4], &count);
    if (!told) return odd(r, "a storage that isn't told as one", err);
    if (id->count > 5 && id->item[5]->kind != PICKLE_NONE) return odd(r, "a storage that is a view of another", err);
    const int row = id->item[1]->global->what - STORAGES;
    const char *type = row == UNTYPED ? NULL : torch_types[row];
    const size_t *known = name_table_find(&r->by_key, id->item[2]->text);
    storage *s = known ? r->storage[*known] : arena_alloc(r->file->arena, 1, sizeof *s);
    if (!s) return no_memory(r, err);
    if (known && (s->count != count || s->type != type)) return odd(r, "a storage is told in two ways", err);
    if (!known) {
        *s = (storage){.key = id->item[2]->text, .type = type, .count = count};
        if (r->archive.count) LECO_TRY(find_in_archive(r, s, err));
        LECO_TRY(add_storage(r, s, err));
    }
    *out = (pickle_value){.kind = PICKLE_OBJECT, .object = s};
    return LECO_OK;
}

/* _rebuild_tensor_v2(storage, offset, shape, stride, ...), or _v3 with the type at the seventh place. */
static leco_status make_tensor(reader *r, const pickle_value *a, bool typed, pickle_value *out, leco_error *err)
{
    view *v = arena_alloc(r->file->arena, 1, sizeof *v);
    if (!v) return no_memory(r, err);
    const bool told = a->count >= (typed ? 7u : 4u) && torch_is_object(a->item[0], OBJECT_STORAGE) &&
                      torch_is_whole(a->item[1], &v->offset) && torch_read_dims(a->item[2], v->shape) &&
                      torch_read_dims(a->item[3], v->stride) && a->item[2]->count == a->item[3]->count;
    if (!told) return odd(r, "a tensor that isn't told as one", err);
    v->of = a->item[0]->object;
    v->rank = (int)a->item[2]->count;
    v->type = v->of->type;
    if (typed) {
        const pickle_value *type = a->item[6];
        if (type->kind != PICKLE_GLOBAL || type->global->what < 2 * STORAGES)
            return odd(r, "a tensor that isn't told as one", err);
        v->type = torch_types[type->global->what - 2 * STORAGES];
    }
    if (!v->type) return odd(r, "a tensor without a type", err);
    *out = (pickle_value){.kind = PICKLE_OBJECT, .object = v, .count = OBJECT_TENSOR};
    return LECO_OK;
}

/* Empty, but for Python 2, which gives it a list of pairs. */
static leco_status make_dict(const reader *r, const pickle_value *a, pickle_value *out, leco_error *err)
{
    *out = (pickle_value){.kind = PICKLE_DICT};
    if (a->count == 0 || a->item[0]->kind != PICKLE_LIST) return LECO_OK;
    const pickle_value *pairs = a->item[0];
    out->room = 2 * pairs->count;
    out->item = arena_alloc(r->file->arena, out->room, sizeof *out->item);
    if (!out->item) return no_memory(r, err);
    for (size_t i = 0; i < pairs->count; i++) {
        const pickle_value *pair = pairs->item[i];
        if ((pair->kind != PICKLE_LIST && pair->kind != PICKLE_TUPLE) || pair->count != 2)
            return odd(r, "a dict of what are no pairs", err);
        out->item[out->count++] = pair->item[0];
        out->item[out->count++] = pair->item[1];
    }
    return LECO_OK;
}

static leco_status call(void *user, const pickle_global *global, const pickle_value *a, pickle_value *out,
                        leco_error *err)
{
    reader *r = user;
    switch (global->what) {
    case DICT:
        return make_dict(r, a, out, err);
    case TENSOR:
    case TENSOR_OF_TYPE:
        return make_tensor(r, a, global->what == TENSOR_OF_TYPE, out, err);
    case PARAMETER:
        if (a->count < 1 || !torch_is_tensor(a->item[0])) return odd(r, "a parameter without a tensor", err);
        *out = *a->item[0];
        return LECO_OK;
    case TYPED: /* (function, type, its arguments, state) */
        if (a->count < 3 || a->item[0]->kind != PICKLE_GLOBAL || a->item[2]->kind != PICKLE_TUPLE ||
            a->item[0]->global->what == TYPED)
            return odd(r, "a tensor that isn't told as one", err);
        return call(user, a->item[0]->global, a->item[2], out, err);
    case BYTES_OF_TEXT:
    case NUMPY_TYPE:
    case NUMPY_SCALAR:
    case NUMPY_ARRAY:
    case NUMPY_BUFFER:
        return torch_numpy_call(r->file->arena, r->file->path, global->what, a, out, err);
    case PASSED_OVER:
        return LECO_OK; /* None */
    default:
        return error_set(err, LECO_UNSUPPORTED, "%s: is a pickle that calls %s.%s, which leco doesn't", r->file->path,
                         global->module, global->name);
    }
}

/* A ParameterDict is a module: its entries are part of its state. */
static leco_status build(void *user, pickle_value *of, const pickle_value *state, leco_error *err)
{
    const reader *r = user;
    if (torch_is_object(of, OBJECT_NUMPY_TYPE) || torch_is_object(of, OBJECT_NUMPY_ARRAY))
        return torch_numpy_build(r->file->arena, r->file->path, of, state, err);
    const pickle_value *entries = pickle_find(state, "_parameters");
    if (of->kind != PICKLE_DICT || of->count > 0 || !entries || entries->kind != PICKLE_DICT) return LECO_OK;
    *of = *entries;
    of->room = of->count; /* what is added to one isn't to the other */
    return LECO_OK;
}

/* ---- tensors into the file's list ---- */

static bool is_in_order(const view *v)
{
    uint64_t expected = 1;
    for (int i = v->rank; i-- > 0;) {
        if (v->shape[i] != 1 && v->stride[i] != expected) return false;
        if (v->shape[i] == 0) return true;
        if (__builtin_mul_overflow(expected, v->shape[i], &expected)) return false;
    }
    return true;
}

/* One more than the place of its last element in the storage; false where that overflows. */
static bool reach_of(const view *v, uint64_t *out)
{
    uint64_t last = v->offset;
    for (int i = 0; i < v->rank; i++) {
        uint64_t steps;
        if (v->shape[i] == 0) {
            *out = 0;
            return true;
        }
        if (__builtin_mul_overflow(v->shape[i] - 1, v->stride[i], &steps) || __builtin_add_overflow(last, steps, &last))
            return false;
    }
    return !__builtin_add_overflow(last, UINT64_C(1), out);
}

/* Elements in another order than they lie in: a copy in theirs. */
static leco_status copy_view(reader *r, const view *v, size_t size, const tensor *t, const void **out, leco_error *err)
{
    safetensors *file = r->file;
    size_t bytes, at[SAFETENSORS_MAX_DIMS] = {0};
    if (!mem_mul(t->entry.count, size, &bytes) || bytes > v->of->bytes)
        return error_set(err, LECO_UNSUPPORTED, "%s: tensor \"%s\" repeats its elements", file->path, t->entry.name);
    unsigned char *copy = mem_aligned(bytes ? bytes : 1);
    LECO_TRY(tensor_set_keep(file, copy, err));
    for (size_t i = 0; i < t->entry.count; i++) {
        uint64_t from = v->offset;
        for (int k = 0; k < v->rank; k++) from += at[k] * v->stride[k];
        memcpy(copy + i * size, v->of->data + from * size, size);
        for (int k = v->rank; k-- > 0 && ++at[k] == v->shape[k];) at[k] = 0;
    }
    *out = copy;
    return LECO_OK;
}

static leco_status add_tensor(reader *r, const char *name, const view *v, leco_error *err)
{
    size_t size;
    uint64_t reach;
    tensor *t = tensor_set_add(r->file, err);
    if (!t) return LECO_MEMORY;
    t->entry.name = name;
    t->entry.rank = v->rank;
    t->entry.count = 1;
    tensor_set_type(t, v->type, &size);
    for (int i = 0; i < v->rank; i++) {
        t->entry.shape[i] = (int64_t)v->shape[i];
        if (!mem_mul(t->entry.count, (size_t)v->shape[i], &t->entry.count))
            return error_set(err, LECO_FORMAT, "%s: tensor \"%s\": its shape overflows", r->file->path, name);
    }
    if (!reach_of(v, &reach) || reach > v->of->bytes / size)
        return error_set(err, LECO_FORMAT, "%s: tensor \"%s\" reaches beyond its data", r->file->path, name);
    if (!is_in_order(v)) return copy_view(r, v, size, t, &t->entry.data, err);
    t->entry.data = t->entry.count ? v->of->data + v->offset * size : v->of->data;
    return LECO_OK;
}

/* A number that belongs to a layer's tensors: one itself, of no dimensions. (Others count epochs, or tokens.) */
static bool is_number(const pickle_value *key, const pickle_value *value)
{
    static const char *const ends[] = {".alpha", ".scale", ".scalar"};
    if (key->kind != PICKLE_TEXT || (value->kind != PICKLE_WHOLE && value->kind != PICKLE_NUMBER)) return false;
    const char *end = strrchr(key->text, '.');
    for (size_t i = 0; end && i < sizeof ends / sizeof *ends; i++)
        if (strcmp(end, ends[i]) == 0) return true;
    return false;
}

static leco_status add_number(reader *r, const char *name, const pickle_value *value, leco_error *err)
{
    size_t size;
    double *number = arena_alloc(r->file->arena, 1, sizeof *number);
    tensor *t = number ? tensor_set_add(r->file, err) : NULL;
    if (!t) return no_memory(r, err);
    *number = value->kind == PICKLE_WHOLE ? (double)value->whole : value->number;
    t->entry = (safetensors_entry){.name = name, .count = 1, .data = number};
    tensor_set_type(t, "F64", &size);
    return LECO_OK;
}

static leco_status add_value(reader *r, const char *name, const pickle_value *value, leco_error *err)
{
    if (torch_is_tensor(value)) return add_tensor(r, name, value->object, err);
    if (!torch_is_object(value, OBJECT_ODD)) return add_number(r, name, value, err);
    return error_set(err, LECO_UNSUPPORTED,
                     "%s: \"%s\" is an array of numpy's type %.40s, or not told as one, which leco can't read",
                     r->file->path, name, (const char *)value->object);
}

/* All tensors of a dict and those in it. */
static leco_status add_dict(reader *r, const pickle_value *dict, const char *prefix, int depth, leco_error *err)
{
    if (depth > MAX_DEPTH) return odd(r, "its dicts are nested too deeply", err);
    for (size_t i = 0; i + 1 < dict->count; i += 2) {
        const pickle_value *key = dict->item[i], *value = dict->item[i + 1];
        const bool of_interest = torch_is_tensor(value) || value->kind == PICKLE_DICT ||
                                 torch_is_object(value, OBJECT_ODD) || is_number(key, value);
        if (!of_interest || key->kind != PICKLE_TEXT) continue;
        if (strlen(prefix) + key->count > LONGEST_NAME) return odd(r, "a name that is too long", err);
        const char *name = arena_printf(r->file->arena, "%s%s", prefix, key->text);
        if (!name) return no_memory(r, err);
        if (value->kind != PICKLE_DICT) {
            LECO_TRY(add_value(r, name, value, err));
            continue;
        }
        const char *inner = arena_printf(r->file->arena, "%s.", name);
        if (!inner) return no_memory(r, err);
        LECO_TRY(add_dict(r, value, inner, depth + 1, err));
    }
    return LECO_OK;
}

/* A1111's embeddings say what they are called: told as safetensors files' metadata are. */
static leco_status add_name(reader *r, const pickle_value *root, leco_error *err)
{
    const pickle_value *name = pickle_find(root, "name");
    if (!pickle_find(root, "string_to_param") || !name || name->kind != PICKLE_TEXT) return LECO_OK;
    safetensors *file = r->file;
    file->metadata = arena_alloc(file->arena, 1, sizeof *file->metadata);
    if (!file->metadata || !(file->metadata[0][1] = arena_strdup(file->arena, name->text))) return no_memory(r, err);
    file->metadata[0][0] = "name";
    file->metadata_count = 1;
    return LECO_OK;
}

static leco_status add_all(reader *r, const pickle_value *root, leco_error *err)
{
    root = torch_find_state(root);
    if (root->kind != PICKLE_DICT)
        return error_set(err, LECO_UNSUPPORTED, "%s: is a PyTorch file that holds no dict of tensors", r->file->path);
    LECO_TRY(add_dict(r, root, "", 0, err));
    LECO_TRY(add_name(r, root, err));
    return tensor_set_index(r->file, err);
}

/* ---- the two forms ---- */

static pickle_rules rules_of(reader *r)
{
    return (pickle_rules){
        .globals = torch_globals, .call = call, .build = build, .persistent = find_persistent, .user = r};
}

/* "archive/" of the file "archive/data.pkl". */
static leco_status find_root(reader *r, const zip_file **pickle, leco_error *err)
{
    static const char name[] = "data.pkl";
    const size_t length = sizeof name - 1;
    for (size_t i = 0; i < r->archive.count; i++) {
        const zip_file *f = &r->archive.file[i];
        const size_t all = strlen(f->name);
        if (all < length || strcmp(f->name + all - length, name) != 0) continue;
        char *root = arena_strdup(r->file->arena, f->name);
        if (!root) return no_memory(r, err);
        root[all - length] = '\0';
        r->root = root;
        *pickle = f;
        return LECO_OK;
    }
    return error_set(err, LECO_FORMAT, "%s: is a zip archive, but not PyTorch's: there is no data.pkl in it",
                     r->file->path);
}

static leco_status check_byte_order(const reader *r, leco_error *err)
{
    const char *name = arena_printf(r->file->arena, "%sbyteorder", r->root);
    if (!name) return no_memory(r, err);
    const zip_file *f = zip_find(&r->archive, name);
    if (!f || (f->size == 6 && memcmp(f->data, "little", 6) == 0)) return LECO_OK;
    return error_set(err, LECO_UNSUPPORTED, "%s: was written on a big-endian machine", r->file->path);
}

static leco_status read_archive(reader *r, leco_error *err)
{
    const file_map *map = &r->file->map;
    const zip_file *pickle = NULL;
    const pickle_value *root;
    const pickle_rules rules = rules_of(r);
    LECO_TRY(zip_open(r->file->path, map->data, map->size, r->file->arena, &r->archive, err));
    LECO_TRY(find_root(r, &pickle, err));
    LECO_TRY(check_byte_order(r, err));
    LECO_TRY(pickle_read(&rules, r->file->arena, r->file->path, pickle->data, pickle->size, NULL, &root, err));
    return add_all(r, root, err);
}

/* Behind the list of the storages' keys: for each of these its count, in eight bytes, and its elements. */
static leco_status read_storages(reader *r, const pickle_value *keys, size_t at, leco_error *err)
{
    const file_map *map = &r->file->map;
    if (keys->kind != PICKLE_LIST) return odd(r, "no list of storages", err);
    for (size_t i = 0; i < keys->count; i++) {
        uint64_t count;
        size_t bytes;
        const size_t *place =
            keys->item[i]->kind == PICKLE_TEXT ? name_table_find(&r->by_key, keys->item[i]->text) : NULL;
        if (map->size - at < sizeof count) return odd(r, "a tensor's data are missing", err);
        if (!place) return odd(r, "data that belong to no tensor", err);
        storage *s = r->storage[*place];
        memcpy(&count, map->data + at, sizeof count);
        at += sizeof count;
        if (count != s->count || !mem_mul((size_t)count, element_size(s->type), &bytes) || bytes > map->size - at)
            return odd(r, "a tensor's data are too short", err);
        s->data = map->data + at;
        s->bytes = bytes;
        at += bytes;
    }
    return LECO_OK;
}

/* A magic number, the version, the machine's sizes, the tree, the storages' keys: a pickle each. */
static leco_status read_sequence(reader *r, leco_error *err)
{
    enum { MAGIC, VERSION, MACHINE, TREE, KEYS, PICKLES };
    const file_map *map = &r->file->map;
    const pickle_rules rules = rules_of(r);
    const pickle_value *value[PICKLES];
    size_t at = 0, used;
    if (map->size == 0) return error_set(err, LECO_FORMAT, "%s: is empty", r->file->path);
    for (int i = 0; i < PICKLES; i++) {
        LECO_TRY(
            pickle_read(&rules, r->file->arena, r->file->path, map->data + at, map->size - at, &used, &value[i], err));
        at += used;
        if (i == MAGIC && value[i]->kind != PICKLE_LARGE) /* ten bytes */
            return error_set(err, LECO_UNSUPPORTED, "%s: is a pickle, but not PyTorch's", r->file->path);
    }
    const pickle_value *little = pickle_find(value[MACHINE], "little_endian");
    if (value[VERSION]->kind != PICKLE_WHOLE || value[VERSION]->whole != 1001 || !little ||
        little->kind != PICKLE_BOOL || !little->flag)
        return odd(r, "its version or byte order is another", err);
    LECO_TRY(read_storages(r, value[KEYS], at, err));
    return add_all(r, value[TREE], err);
}

/* ---- opening ---- */

bool torch_is(const void *data, size_t size)
{
    return file_kind_of(data, size).pickle;
}

leco_status torch_open(const char *path, safetensors **out, leco_error *err)
{
    reader r = {0};
    *out = NULL;
    LECO_TRY(tensor_set_open(path, &r.file, err));
    const bool zipped = r.file->map.size > 1 && r.file->map.data[0] == 'P' && r.file->map.data[1] == 'K';
    leco_status status = zipped ? read_archive(&r, err) : read_sequence(&r, err);
    zip_close(&r.archive);
    name_table_free(&r.by_key);
    if (status != LECO_OK) {
        safetensors_close(r.file);
        return status;
    }
    *out = r.file;
    return LECO_OK;
}
