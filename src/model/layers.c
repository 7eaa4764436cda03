#include "model/layers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/part.h"

void layer_list_free(layer_list *list)
{
    for (size_t i = 0; i < list->count; i++) mem_free((char *)(uintptr_t)list->layer[i].path);
    mem_free(list->layer);
    memset(list, 0, sizeof *list);
}

/* ---- PyTorch's order ---- */

/* Where a layer comes among the modules as diffusers registers them: by section, block, sort and index; then in the
 * order of building, which follows registration except for the shortcut of a residual block. */
typedef struct place {
    int section, sort;
    long block, index;
    bool shortcut;
    size_t built;
    layer_info layer;
} place;

static place place_of(const layer_info *layer, size_t built)
{
    place p = {.section = 0, .built = built, .layer = *layer};
    const char *rest = layer->path;
    long block = 0;
    int used = 0;
    if (sscanf(rest, "down_blocks.%ld.%n", &block, &used) == 1 && used)
        p.section = 1;
    else if (sscanf(rest, "up_blocks.%ld.%n", &block, &used) == 1 && used)
        p.section = 2;
    else if (strncmp(rest, "mid_block.", 10) == 0)
        p.section = 3, used = 10;
    else if (strcmp(rest, "conv_out") == 0)
        p.section = 4;
    p.block = block;
    rest += used;
    if (p.section == 0 || p.section == 4) return p;
    p.sort = strncmp(rest, "attentions.", 11) == 0 ? 0 : strncmp(rest, "resnets.", 8) == 0 ? 1 : 2;
    const char *dot = strchr(rest, '.');
    p.index = dot ? strtol(dot + 1, NULL, 10) : 0;
    p.shortcut = strstr(rest, "conv_shortcut") != NULL;
    return p;
}

static int by_place(const void *left, const void *right)
{
    const place *a = left, *b = right;
#define ORDER(member)                                                                                                  \
    if (a->member != b->member) return a->member < b->member ? -1 : 1
    ORDER(section);
    ORDER(block);
    ORDER(sort);
    ORDER(index);
    ORDER(shortcut);
    ORDER(built);
#undef ORDER
    return 0;
}

static leco_status sort_as_registered(layer_list *list, leco_error *err)
{
    place *places = mem_calloc(list->count, sizeof *places);
    if (!places) return error_memory(err, list->count * sizeof *places, "the list of layers");
    for (size_t i = 0; i < list->count; i++) places[i] = place_of(&list->layer[i], i);
    qsort(places, list->count, sizeof *places, by_place);
    for (size_t i = 0; i < list->count; i++) list->layer[i] = places[i].layer;
    mem_free(places);
    return LECO_OK;
}

/* ---- building blank ---- */

typedef struct collection {
    layer_list list, norms;
    bool out_of_memory;
} collection;

static void collect(void *user, const layer_info *layer)
{
    collection *c = user;
    layer_list *list = layer->class == LAYER_NORMS ? &c->norms : &c->list;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 256;
        layer_info *grown = mem_realloc(list->layer, capacity, sizeof *grown);
        if (!grown) {
            c->out_of_memory = true;
            return;
        }
        list->layer = grown;
        list->capacity = capacity;
    }
    char *path = mem_strdup(layer->path);
    if (!path) {
        c->out_of_memory = true;
        return;
    }
    list->layer[list->count] = *layer;
    list->layer[list->count++].path = path;
}

static leco_status build_blank(const model *m, model_part part, collection *to, leco_error *err)
{
    graph *g = graph_create(DTYPE_F32);
    weights *w = weights_blank();
    leco_status status = g && w ? LECO_OK : error_memory(err, 0, "a graph");
    if (status == LECO_OK) {
        nn c;
        nn_init(&c, g, w, NULL, part);
        c.visit = collect;
        c.visit_user = to;
        part_rows[part].build(&c, m);
        status = graph_finish(g, err);
    }
    if (status == LECO_OK && to->out_of_memory) status = error_memory(err, 0, "the list of layers");
    graph_destroy(g);
    weights_close(w);
    return status;
}

static leco_status list_layers(model *m, model_part part, leco_error *err)
{
    if (m->layers[part].count > 0) return LECO_OK;
    collection made = {0};
    leco_status status = build_blank(m, part, &made, err);
    if (status == LECO_OK && part == PART_UNET) status = sort_as_registered(&made.list, err);
    if (status != LECO_OK) {
        layer_list_free(&made.list);
        layer_list_free(&made.norms);
        return status;
    }
    const bool is_first = part == PART_TEXT_ENCODER && model_has(m, PART_TEXT_ENCODER_2);
    for (size_t i = 0; i < made.list.count; i++) made.list.layer[i].is_first = is_first;
    for (size_t i = 0; i < made.norms.count; i++) made.norms.layer[i].is_first = is_first;
    m->layers[part] = made.list;
    m->norms[part] = made.norms;
    return LECO_OK;
}

leco_status model_layers(model *m, model_part part, const layer_list **out, leco_error *err)
{
    LECO_TRY(list_layers(m, part, err));
    *out = &m->layers[part];
    return LECO_OK;
}

leco_status model_norms(model *m, model_part part, const layer_list **out, leco_error *err)
{
    LECO_TRY(list_layers(m, part, err));
    *out = &m->norms[part];
    return LECO_OK;
}

void model_free_layers(model *m)
{
    for (int part = 0; part < PART_COUNT; part++) {
        layer_list_free(&m->layers[part]);
        layer_list_free(&m->norms[part]);
    }
}

leco_status model_adapter_layers(model *m, adapter_layers *out, leco_error *err)
{
    *out = (adapter_layers){0};
    for (int part = 0; part < PART_COUNT; part++) {
        if (!part_rows[part].lora_prefix || !model_has(m, (model_part)part)) continue;
        LECO_TRY(model_layers(m, (model_part)part, &out->part[part], err));
        LECO_TRY(model_norms(m, (model_part)part, &out->norms[part], err));
    }
    return LECO_OK;
}
