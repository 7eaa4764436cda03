#include "model/walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void layer_list_free(layer_list *list)
{
    for (size_t i = 0; i < list->count; i++) mem_free((char *)(uintptr_t)list->layer[i].path);
    mem_free(list->layer);
    memset(list, 0, sizeof *list);
}

static void collect(void *user, const layer_info *layer)
{
    layer_list *list = user;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 256;
        layer_info *grown = mem_realloc(list->layer, capacity, sizeof *grown);
        if (!grown) {
            list->out_of_memory = true;
            return;
        }
        list->layer = grown;
        list->capacity = capacity;
    }
    char *path = mem_strdup(layer->path);
    if (!path) {
        list->out_of_memory = true;
        return;
    }
    list->layer[list->count] = *layer;
    list->layer[list->count++].path = path;
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

typedef struct blank {
    graph *g;
    weights *w;
    nn c;
} blank;

static leco_status blank_begin(blank *b, model_part part, layer_list *list, leco_error *err)
{
    memset(list, 0, sizeof *list);
    b->g = graph_create(DTYPE_F32);
    b->w = weights_blank();
    if (!b->g || !b->w) {
        graph_destroy(b->g);
        weights_close(b->w);
        return error_memory(err, 0, "a graph");
    }
    nn_init(&b->c, b->g, b->w, NULL, part);
    b->c.visit = collect;
    b->c.visit_user = list;
    return LECO_OK;
}

static leco_status blank_end(blank *b, layer_list *list, leco_error *err)
{
    leco_status status = graph_finish(b->g, err);
    if (status == LECO_OK && list->out_of_memory) status = error_memory(err, 0, "the list of layers");
    graph_destroy(b->g);
    weights_close(b->w);
    if (status != LECO_OK) layer_list_free(list);
    return status;
}

leco_status walk_unet(const unet_config *config, layer_list *list, leco_error *err)
{
    blank b;
    LECO_TRY(blank_begin(&b, PART_UNET, list, err));
    int64_t side = INT64_C(1) << (config->level_count - 1);
    unet_build(&b.c, config, (unet_size){.batch = 1, .height = side, .width = side, .tokens = 1});
    LECO_TRY(blank_end(&b, list, err));
    leco_status status = sort_as_registered(list, err);
    if (status != LECO_OK) layer_list_free(list);
    return status;
}

leco_status unet_walk(const unet_config *config, void (*visit)(void *user, const layer_info *layer), void *user,
                      leco_error *err)
{
    layer_list list;
    LECO_TRY(walk_unet(config, &list, err));
    for (size_t i = 0; i < list.count; i++) visit(user, &list.layer[i]);
    layer_list_free(&list);
    return LECO_OK;
}

leco_status walk_text_encoder(const text_config *config, layer_list *list, leco_error *err)
{
    blank b;
    LECO_TRY(blank_begin(&b, PART_TEXT_ENCODER, list, err));
    text_encoder_build(&b.c, config, 1, 1, (text_options){.pooled = true});
    return blank_end(&b, list, err);
}
