#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "format/safetensors.h"
#include "model/adapter_internal.h"
#include "model/walk.h"

/* A layer of the model that a file may have a module for, and what the file has. */
typedef struct target {
    char *key; /* "lora_unet_down_blocks_0_..." */
    model_part part;
    const layer_info *layer;
    const safetensors_entry *down, *up, *alpha;
} target;

typedef struct loader {
    const char *path;
    safetensors *file;
    bool has_text;
    int64_t text_layers;
    layer_list unet, text;
    target *targets; /* sorted by key */
    size_t count;
    size_t beyond;      /* tensors for text layers that the model doesn't have */
    size_t alphas_of_0; /* modules */
} loader;

/* ---- the layers of the model ---- */

static int by_key(const void *a, const void *b)
{
    return strcmp(((const target *)a)->key, ((const target *)b)->key);
}

static int key_to_target(const void *key, const void *element)
{
    return strcmp(key, ((const target *)element)->key);
}

static leco_status add_targets(loader *ld, model_part part, const layer_list *list, leco_error *err)
{
    for (size_t i = 0; i < list->count; i++) {
        target *t = &ld->targets[ld->count];
        *t = (target){.key = lora_key(part, list->layer[i].path), .part = part, .layer = &list->layer[i]};
        if (!t->key) return error_memory(err, strlen(list->layer[i].path), "the keys of a LoRA");
        ld->count++;
    }
    return LECO_OK;
}

static leco_status make_targets(loader *ld, const unet_config *unet_c, const text_config *text_c, leco_error *err)
{
    LECO_TRY(walk_unet(unet_c, &ld->unet, err));
    if (text_c) LECO_TRY(walk_text_encoder(text_c, &ld->text, err));
    ld->has_text = text_c != NULL;
    ld->text_layers = text_c ? text_c->layers : 0;
    size_t most = ld->unet.count + ld->text.count;
    ld->targets = mem_calloc(most, sizeof *ld->targets);
    if (!ld->targets) return error_memory(err, most * sizeof *ld->targets, "the keys of a LoRA");
    LECO_TRY(add_targets(ld, PART_UNET, &ld->unet, err));
    LECO_TRY(add_targets(ld, PART_TEXT_ENCODER, &ld->text, err));
    qsort(ld->targets, ld->count, sizeof *ld->targets, by_key);
    return LECO_OK;
}

/* ---- the tensors of the file ---- */

#define TEXT "lora_te_"
#define FIRST_TEXT "lora_te1_" /* the same, in files for models with two text encoders */
#define TEXT_LAYER TEXT "text_model_encoder_layers_"

/* The layer's key, as a target has it, out of a tensor's name whose suffix begins at `length`. NULL: out of memory. */
static char *layer_key(const char *name, size_t length)
{
    const size_t first = strlen(FIRST_TEXT);
    if (strncmp(name, FIRST_TEXT, first) != 0) return mem_strndup(name, length);
    return mem_printf(TEXT "%.*s", (int)(length - first), name + first);
}

static target *find_target(const loader *ld, const char *key)
{
    return bsearch(key, ld->targets, ld->count, sizeof *ld->targets, key_to_target);
}

/* Is this a layer of the text encoder's kind beyond its last? Models with clip skip built in lack the last layers, and
 * LoRAs of the whole encoder fit them, nevertheless: what those layers would do is never looked at. */
static leco_status is_beyond(const loader *ld, const char *key, bool *beyond, leco_error *err)
{
    *beyond = false;
    const size_t prefix = strlen(TEXT_LAYER);
    if (!ld->has_text || strncmp(key, TEXT_LAYER, prefix) != 0 || !isdigit((unsigned char)key[prefix])) return LECO_OK;
    char *rest;
    long index = strtol(key + prefix, &rest, 10); /* LONG_MAX where it is larger */
    if (index < ld->text_layers) return LECO_OK;
    char *as_first = mem_printf(TEXT_LAYER "0%s", rest);
    if (!as_first) return error_memory(err, strlen(key), "the keys of a LoRA");
    *beyond = find_target(ld, as_first) != NULL;
    mem_free(as_first);
    return LECO_OK;
}

static leco_status refuse_type(const loader *ld, const safetensors_entry *e, const char *expected, leco_error *err)
{
    return error_set(err, LECO_UNSUPPORTED, "%s: tensor \"%s\" is %s, which leco can't read yet (expected %s)",
                     ld->path, e->name, safetensors_type(e), expected);
}

/* Puts an entry where it belongs in the target. */
static leco_status place(const loader *ld, target *t, const char *suffix, const safetensors_entry *entry,
                         leco_error *err)
{
    bool down = strcmp(suffix, LORA_DOWN) == 0, up = strcmp(suffix, LORA_UP) == 0;
    const safetensors_entry **slot = down ? &t->down : up ? &t->up : &t->alpha;
    if (*slot)
        return error_set(err, LECO_FORMAT, "%s: tensors \"%s\" and \"%s\" are for the same layer", ld->path,
                         (*slot)->name, entry->name);
    if ((down || up) && entry->type == DTYPE_COUNT) return refuse_type(ld, entry, "floating-point values", err);
    *slot = entry;
    return LECO_OK;
}

static leco_status assign(loader *ld, const safetensors_entry *entry, leco_error *err)
{
    const char *suffix = lora_suffix(entry->name);
    if (!suffix) return lora_refuse(ld->path, entry->name, ld->has_text, err);
    char *key = layer_key(entry->name, (size_t)(suffix - entry->name));
    if (!key) return error_memory(err, strlen(entry->name), "the keys of a LoRA");
    target *t = find_target(ld, key);
    bool beyond = false;
    leco_status status = t ? place(ld, t, suffix, entry, err) : is_beyond(ld, key, &beyond, err);
    mem_free(key);
    if (status != LECO_OK || t) return status;
    if (!beyond) return lora_refuse(ld->path, entry->name, ld->has_text, err);
    ld->beyond++;
    return LECO_OK;
}

static shape shape_of_entry(const safetensors_entry *e)
{
    return shape_of(e->rank < TENSOR_MAX_DIMS ? e->rank : TENSOR_MAX_DIMS, e->shape);
}

/* Is it [rows,columns] or [rows,columns,k,k]? -1 for rows matches any. */
static bool fits(const safetensors_entry *e, int64_t rows, int64_t columns, int kernel)
{
    if (e->rank != 2 && e->rank != 4) return false;
    if ((rows >= 0 && e->shape[0] != rows) || e->shape[1] != columns) return false;
    return e->rank == 2 ? kernel == 1 : e->shape[2] == kernel && e->shape[3] == kernel;
}

static leco_status check_target(const loader *ld, const target *t, leco_error *err)
{
    char found[SHAPE_TEXT];
    const layer_info *layer = t->layer;
    if (!t->down || !t->up)
        return error_set(err, LECO_FORMAT, "%s: tensor \"%s%s\" is missing", ld->path, t->key,
                         t->down ? LORA_UP : LORA_DOWN);
    shape s = shape_of_entry(t->down);
    if (!fits(t->down, -1, layer->in, layer->kernel) || t->down->shape[0] < 1)
        return error_set(err, LECO_INVALID,
                         "%s: this LoRA is for another model: tensor \"%s\" has shape %s, the layer takes %lld channels"
                         " through a %dx%d kernel",
                         ld->path, t->down->name, shape_format(&s, found), (long long)layer->in, layer->kernel,
                         layer->kernel);
    s = shape_of_entry(t->up);
    if (!fits(t->up, layer->out, t->down->shape[0], 1))
        return error_set(
            err, LECO_INVALID, "%s: this LoRA is for another model: tensor \"%s\" has shape %s, expected [%lld,%lld]",
            ld->path, t->up->name, shape_format(&s, found), (long long)layer->out, (long long)t->down->shape[0]);
    if (t->alpha && t->alpha->count != 1)
        return error_set(err, LECO_FORMAT, "%s: tensor \"%s\": expected one number, found %zu", ld->path,
                         t->alpha->name, t->alpha->count);
    return LECO_OK;
}

/* ---- values ---- */

static leco_status read_values(const char *path, const safetensors_entry *e, void *out, dtype type, leco_error *err)
{
    if (e->type == DTYPE_I32 || e->type == DTYPE_I64)
        return error_set(err, LECO_FORMAT, "%s: tensor \"%s\": expected floating-point values, found %s", path, e->name,
                         dtype_name(e->type));
    dtype_convert(out, type, e->data, e->type, e->count);
    for (size_t i = 0; i < e->count; i++) {
        double value = type == DTYPE_F64 ? ((double *)out)[i] : (double)((float *)out)[i];
        if (!isfinite(value))
            return error_set(err, LECO_FORMAT, "%s: tensor \"%s\": element %zu is not a finite number", path, e->name,
                             i);
    }
    return LECO_OK;
}

/* An alpha of 0 counts as the rank, as in kohya's sd-scripts and p1atdev's LECO. */
static leco_status read_alpha(loader *ld, const safetensors_entry *e, int64_t rank, float *alpha, leco_error *err)
{
    double value;
    if (!safetensors_number(e, &value)) return refuse_type(ld, e, "a number", err);
    *alpha = (float)value;
    if (!isfinite(*alpha))
        return error_set(err, LECO_FORMAT, "%s: tensor \"%s\" is not a finite number", ld->path, e->name);
    if (*alpha != 0) return LECO_OK;
    ld->alphas_of_0++;
    *alpha = (float)rank;
    return LECO_OK;
}

static leco_status load_module(loader *ld, const target *t, lora *l, lora_module *m, leco_error *err)
{
    m->part = t->part;
    m->in = t->layer->in;
    m->out = t->layer->out;
    m->kernel = t->layer->kernel;
    m->is_conv = t->layer->is_conv;
    m->rank = t->down->shape[0];
    m->alpha = (float)m->rank;
    if (t->alpha) LECO_TRY(read_alpha(ld, t->alpha, m->rank, &m->alpha, err));
    LECO_TRY(lora_module_allocate(l, m, t->layer->path, false, err));
    void *down = m->kernel == 1 ? m->down.value : (void *)(uintptr_t)m->down_kernel.data;
    LECO_TRY(read_values(ld->path, t->down, down, l->exact, err));
    return read_values(ld->path, t->up, m->up_loaded, l->exact, err);
}

/* The order of modules is the model's, whatever the file's is. */
static int by_layer(const void *a, const void *b)
{
    const target *x = a, *y = b;
    if (x->part != y->part) return x->part < y->part ? -1 : 1;
    return x->layer < y->layer ? -1 : x->layer > y->layer;
}

/* What a user should know about a file that was loaded all the same. */
static void warn(const loader *ld)
{
    if (ld->beyond)
        log_message(LOG_WARNING,
                    "%s: %zu tensors are not used: they are for text layers from number %lld on, which the model lacks",
                    ld->path, ld->beyond, (long long)ld->text_layers);
    if (ld->alphas_of_0)
        log_message(LOG_WARNING, "%s: alpha is 0 in %zu modules; it counts as their rank, as in kohya's sd-scripts",
                    ld->path, ld->alphas_of_0);
}

/* All tensors of the file, also those of types that leco can't compute with. */
static leco_status assign_all(loader *ld, leco_error *err)
{
    const char *name, *type;
    for (size_t i = 0; i < safetensors_count(ld->file); i++) LECO_TRY(assign(ld, safetensors_at(ld->file, i), err));
    for (size_t i = 0; i < safetensors_skipped_count(ld->file); i++)
        LECO_TRY(assign(ld, safetensors_skipped_at(ld->file, i, &name, &type), err));
    return LECO_OK;
}

static leco_status load(loader *ld, dtype exact, lora **l, leco_error *err)
{
    size_t present = 0;
    LECO_TRY(assign_all(ld, err));
    for (size_t i = 0; i < ld->count; i++) {
        const target *t = &ld->targets[i];
        if (!t->down && !t->up && !t->alpha) continue;
        LECO_TRY(check_target(ld, t, err));
        present++;
    }
    if (present == 0)
        return error_set(err, LECO_FORMAT, "%s: holds no LoRA%s", ld->path,
                         ld->beyond ? " for a layer that the model has" : "");
    LECO_TRY(lora_allocate(present, exact, l, err));
    qsort(ld->targets, ld->count, sizeof *ld->targets, by_layer);
    lora_module *m = (*l)->modules;
    for (size_t i = 0; i < ld->count; i++)
        if (ld->targets[i].down) LECO_TRY(load_module(ld, &ld->targets[i], *l, m++, err));
    lora_index(*l);
    lora_set_multiplier(*l, 1.0f);
    warn(ld);
    return LECO_OK;
}

leco_status lora_load(const char *path, const unet_config *unet_c, const text_config *text_c, dtype exact, lora **out,
                      leco_error *err)
{
    loader ld = {.path = path};
    lora *l = NULL;
    *out = NULL;
    leco_status status = safetensors_open(path, &ld.file, err);
    if (status == LECO_OK) status = make_targets(&ld, unet_c, text_c, err);
    if (status == LECO_OK) status = load(&ld, exact, &l, err);
    for (size_t i = 0; i < ld.count; i++) mem_free(ld.targets[i].key);
    mem_free(ld.targets);
    layer_list_free(&ld.unet);
    layer_list_free(&ld.text);
    safetensors_close(ld.file);
    if (status != LECO_OK) {
        lora_destroy(l);
        return status;
    }
    *out = l;
    return LECO_OK;
}

/* ---- into a LoRA that exists ---- */

static leco_status load_tensor(const safetensors *file, const char *key, const char *suffix, shape s, bool as_conv,
                               void *out, dtype type, leco_error *err)
{
    char *name = mem_printf("%s%s", key, suffix);
    if (!name) return error_memory(err, strlen(key), "the keys of a LoRA");
    int64_t shape4[4] = {s.dim[0], s.dim[1], 1, 1};
    const safetensors_entry *e;
    leco_status status = safetensors_require(file, name, as_conv ? 4 : s.rank, shape4, &e, err);
    if (status == LECO_OK) status = read_values(safetensors_path(file), e, out, type, err);
    mem_free(name);
    return status;
}

static leco_status load_into(const safetensors *file, lora *l, lora_module *m, const char *key, leco_error *err)
{
    float alpha = 0;
    LECO_TRY(load_tensor(file, key, LORA_ALPHA, (shape){.rank = 0}, false, &alpha, DTYPE_F32, err));
    if (alpha != m->alpha)
        return error_set(err, LECO_INVALID, "%s: tensor \"%s%s\": expected %g, found %g", safetensors_path(file), key,
                         LORA_ALPHA, (double)m->alpha, (double)alpha);
    LECO_TRY(load_tensor(file, key, LORA_DOWN, m->down.shape, m->is_conv, m->down.value, l->exact, err));
    return load_tensor(file, key, LORA_UP, m->up.shape, m->is_conv, m->up.value, l->exact, err);
}

leco_status lora_load_values(lora *l, const char *path, leco_error *err)
{
    safetensors *file;
    LECO_TRY(safetensors_open(path, &file, err));
    leco_status status = LECO_OK;
    size_t found = safetensors_count(file) + safetensors_skipped_count(file);
    if (found != 3 * l->count)
        status = error_set(err, LECO_INVALID, "%s: expected the %zu tensors of this LoRA, found %zu", path,
                           3 * l->count, found);
    for (size_t i = 0; i < l->count && status == LECO_OK; i++) {
        char *key = lora_key(l->modules[i].part, l->modules[i].path);
        status = key ? load_into(file, l, &l->modules[i], key, err) : error_memory(err, 0, "the keys of a LoRA");
        mem_free(key);
    }
    safetensors_close(file);
    return status;
}
