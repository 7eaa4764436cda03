#include "model/file_layers.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/safetensors.h"
#include "model/adapter_keys.h"
#include "model/adapter_open.h"
#include "model/kinds.h"
#include "model/part.h"

/* What one tensor tells of its layer; 0 where it doesn't. */
typedef struct hint {
    layer_info layer; /* the path is the hint's */
    size_t order;
} hint;

typedef struct hints {
    hint *at;
    size_t count, capacity;
} hints;

static leco_status add_hint(hints *h, const layer_info *layer, const char *path, size_t length, leco_error *err)
{
    if (h->count == h->capacity) {
        const size_t capacity = h->capacity ? 2 * h->capacity : 512;
        hint *grown = mem_realloc(h->at, capacity, sizeof *grown);
        if (!grown) return error_memory(err, capacity * sizeof *grown, "the layers of a LoRA");
        h->at = grown;
        h->capacity = capacity;
    }
    hint *new = &h->at[h->count];
    *new = (hint){.layer = *layer, .order = h->count};
    new->layer.path = mem_strndup(path, length);
    if (!new->layer.path) return error_memory(err, length, "the layers of a LoRA");
    h->count++;
    return LECO_OK;
}

static leco_status read_entry(hints *h, const safetensors_entry *e, leco_error *err)
{
    layer_info layer = {0};
    const char *path = adapter_path(e->name, &layer), *suffix = adapter_suffix(e->name);
    if (!path || !suffix || suffix <= path || e->rank < 2 || adapter_path_is_original(path)) return LECO_OK;
    const bool is_conv = e->rank == 4;
    if (strcmp(suffix, ".lora_down.weight") == 0) {
        const bool three = is_conv && e->shape[2] == 3 && e->shape[3] == 3;
        layer.in = e->shape[1], layer.kernel = three ? 3 : 1, layer.is_conv = is_conv;
    } else if (strcmp(suffix, ".lora_up.weight") == 0) {
        layer.out = e->shape[0];
    } else {
        return LECO_OK;
    }
    return add_hint(h, &layer, path, (size_t)(suffix - path), err);
}

static int by_layer(const void *a, const void *b)
{
    const hint *x = a, *y = b;
    if (x->layer.part != y->layer.part) return x->layer.part < y->layer.part ? -1 : 1;
    const int order = strcmp(x->layer.path, y->layer.path);
    return order ? order : x->order < y->order ? -1 : x->order > y->order;
}

/* Hints of the same layer are one; the earliest says most. Their paths go into the list, or are freed. */
static leco_status fold(hints *h, layer_list *lists, leco_error *err)
{
    for (size_t i = 0; i < h->count; i++) {
        hint *this = &h->at[i];
        layer_list *list = &lists[this->layer.part];
        layer_info *last = list->count ? &list->layer[list->count - 1] : NULL;
        const bool same = last && strcmp(last->path, this->layer.path) == 0;
        if (!list->layer) {
            list->layer = mem_calloc(h->count, sizeof *list->layer);
            if (!list->layer) return error_memory(err, h->count * sizeof *list->layer, "the layers of a LoRA");
            list->capacity = h->count;
        }
        if (!same) {
            list->layer[list->count++] = this->layer;
            this->layer.path = NULL;
            continue;
        }
        if (!last->kernel)
            last->in = this->layer.in, last->kernel = this->layer.kernel, last->is_conv = this->layer.is_conv;
        if (!last->out) last->out = this->layer.out;
    }
    for (int part = 0; part < PART_COUNT; part++) {
        for (size_t i = 0; i < lists[part].count;
             i++) { /* what no tensor told, or nothing useful: refused when loaded */
            layer_info *layer = &lists[part].layer[i];
            if (layer->in < 1) layer->in = 1;
            if (layer->out < 1) layer->out = 1;
            if (layer->kernel < 1) layer->kernel = 1;
        }
    }
    return LECO_OK;
}

static leco_status read_file(const char *path, hints *h, leco_error *err)
{
    safetensors *file;
    LECO_TRY(adapter_open(path, &file, err));
    leco_status status = LECO_OK;
    for (size_t i = 0; i < safetensors_count(file) && status == LECO_OK; i++)
        status = read_entry(h, safetensors_at(file, i), err);
    safetensors_close(file);
    return status;
}

leco_status file_layers_read(const char *const *paths, size_t count, layer_list *lists, leco_error *err)
{
    hints h = {0};
    leco_status status = LECO_OK;
    memset(lists, 0, PART_COUNT * sizeof *lists);
    for (size_t i = 0; i < count && status == LECO_OK; i++) status = read_file(paths[i], &h, err);
    if (status == LECO_OK && h.count > 0) qsort(h.at, h.count, sizeof *h.at, by_layer);
    if (status == LECO_OK) status = fold(&h, lists, err);
    for (size_t i = 0; i < h.count; i++) mem_free((char *)(uintptr_t)h.at[i].layer.path);
    mem_free(h.at);
    for (int part = 0; part < PART_COUNT && status != LECO_OK; part++) layer_list_free(&lists[part]);
    return status;
}

leco_status file_layers_need_model(const char *path, char **name, leco_error *err)
{
    safetensors *file;
    leco_status status = LECO_OK;
    *name = NULL;
    LECO_TRY(adapter_open(path, &file, err));
    for (size_t i = 0; i < safetensors_count(file) && !*name && status == LECO_OK; i++) {
        const char *known = adapter_suffix(safetensors_at(file, i)->name);
        if (!known || strcmp(known, ADAPTER_ALPHA) == 0 || strncmp(known, ".lora_", 6) == 0) continue;
        *name = mem_strdup(safetensors_at(file, i)->name);
        if (!*name) status = error_memory(err, 0, path);
    }
    safetensors_close(file);
    return status;
}
