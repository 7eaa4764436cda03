#include "format/tensors.h"

#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/name_table.h"
#include "format/json.h"
#include "format/tensor_set.h"
#include "format/torch.h"

/* A file that holds tensors itself. */
static leco_status open_one(const char *path, safetensors **out, leco_error *err)
{
    file_map map;
    *out = NULL;
    LECO_TRY(file_map_open(path, &map, err));
    const bool is_torch = torch_is(map.data, map.size);
    file_map_close(&map);
    return is_torch ? torch_open(path, out, err) : safetensors_open(path, out, err);
}

/* ---- several files ---- */

typedef struct shards {
    safetensors *file; /* of the index: gets all tensors */
    char *folder;
    name_table by_name; /* of files; places in file->parts */
} shards;

/* The part called so, opened where it isn't yet. */
static leco_status part_of(shards *s, const char *name, const safetensors **out, leco_error *err)
{
    safetensors *file = s->file;
    const size_t *known = name_table_find(&s->by_name, name);
    *out = NULL;
    if (known) {
        *out = file->parts[*known];
        return LECO_OK;
    }
    if (strchr(name, '/') || strchr(name, '\\') || strcmp(name, "..") == 0 || !*name)
        return error_set(err, LECO_FORMAT, "%s: expected the names of files beside it, found \"%.100s\"", file->path,
                         name);
    safetensors **parts = mem_realloc(file->parts, file->part_count + 1, sizeof *parts);
    char *path = parts ? file_join(s->folder, name) : NULL;
    if (parts) file->parts = parts;
    if (!path) return error_memory(err, strlen(name), file->path);
    leco_status status = open_one(path, &file->parts[file->part_count], err);
    mem_free(path);
    LECO_TRY(status);
    *out = file->parts[file->part_count++];
    const char *kept = arena_strdup(file->arena, name);
    if (!kept || !name_table_add(&s->by_name, kept, file->part_count - 1))
        return error_memory(err, strlen(name), file->path);
    return LECO_OK;
}

static leco_status add_tensor(shards *s, const char *name, const json_t *where, leco_error *err)
{
    const safetensors *part;
    if (!json_is_text(where))
        return error_set(err, LECO_FORMAT, "%s: weight_map: \"%.200s\": expected a file's name", s->file->path, name);
    LECO_TRY(part_of(s, json_string_value(where), &part, err));
    const tensor *there = tensor_set_find(part, name);
    if (!there)
        return error_set(err, LECO_FORMAT, "%s: tensor \"%.200s\" is not in %s", s->file->path, name,
                         safetensors_path(part));
    tensor *t = tensor_set_add(s->file, err);
    if (!t) return LECO_MEMORY;
    *t = *there; /* its strings and data are the part's, which stays open */
    return LECO_OK;
}

static leco_status read_index(shards *s, leco_error *err)
{
    const file_map *map = &s->file->map;
    json_error_t problem;
    json_t *root = json_parse(map->size ? (const char *)map->data : "", map->size, JSON_REJECT_DUPLICATES, &problem);
    if (!root && json_lacks_memory(&problem)) return error_memory(err, map->size, s->file->path);
    if (!root) return error_set(err, LECO_FORMAT, "%s:%d: %s", s->file->path, problem.line, problem.text);
    json_t *list = json_object_get(root, "weight_map"), *where;
    leco_status status = json_is_object(list) ? LECO_OK
                                              : error_set(err, LECO_FORMAT,
                                                          "%s: expected a \"weight_map\" that says "
                                                          "which tensor is in which file",
                                                          s->file->path);
    const char *name;
    if (status == LECO_OK)
        json_object_foreach(list, name, where) {
            status = add_tensor(s, name, where, err);
            if (status != LECO_OK) break;
        }
    json_decref(root);
    return status == LECO_OK ? tensor_set_index(s->file, err) : status;
}

static leco_status open_shards(const char *index, safetensors **out, leco_error *err)
{
    shards s = {0};
    *out = NULL;
    LECO_TRY(tensor_set_open(index, &s.file, err));
    s.folder = file_folder_of(index);
    leco_status status = s.folder ? read_index(&s, err) : error_memory(err, strlen(index), "a path");
    mem_free(s.folder);
    name_table_free(&s.by_name);
    if (status != LECO_OK) {
        safetensors_close(s.file);
        return status;
    }
    *out = s.file;
    return LECO_OK;
}

static bool is_index(const char *path)
{
    static const char end[] = ".json";
    const size_t length = strlen(path), tail = sizeof end - 1;
    return length > tail && strcmp(path + length - tail, end) == 0;
}

leco_status tensors_open(const char *path, safetensors **out, leco_error *err)
{
    return is_index(path) ? open_shards(path, out, err) : open_one(path, out, err);
}
