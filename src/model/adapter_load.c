#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/number.h"
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
    layer_list unet, text;
    target *targets; /* sorted by key */
    size_t count;
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
    size_t most = ld->unet.count + ld->text.count;
    ld->targets = mem_calloc(most, sizeof *ld->targets);
    if (!ld->targets) return error_memory(err, most * sizeof *ld->targets, "the keys of a LoRA");
    LECO_TRY(add_targets(ld, PART_UNET, &ld->unet, err));
    LECO_TRY(add_targets(ld, PART_TEXT_ENCODER, &ld->text, err));
    qsort(ld->targets, ld->count, sizeof *ld->targets, by_key);
    return LECO_OK;
}

/* ---- the tensors of the file ---- */

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* A key that names no layer of the model: say why as exactly as it shows. */
static leco_status refuse_layer(const loader *ld, const char *name, leco_error *err)
{
    static const char *const sgm[] = {"lora_unet_input_blocks_", "lora_unet_middle_block_", "lora_unet_output_blocks_"};
    for (size_t i = 0; i < sizeof sgm / sizeof *sgm; i++)
        if (starts_with(name, sgm[i]))
            return error_set(err, LECO_UNSUPPORTED,
                             "%s: tensor \"%s\": the block names of original checkpoints are not supported yet "
                             "(leco reads diffusers' names, lora_unet_down_blocks_...)",
                             ld->path, name);
    if (starts_with(name, "lora_te1_") || starts_with(name, "lora_te2_"))
        return error_set(err, LECO_INVALID,
                         "%s: this LoRA is for another model: tensor \"%s\" belongs to a model "
                         "with two text encoders",
                         ld->path, name);
    if (starts_with(name, "lora_te_") && !ld->has_text)
        return error_set(err, LECO_UNSUPPORTED, "%s: tensor \"%s\": no text encoder to apply it to", ld->path, name);
    if (!starts_with(name, "lora_unet_") && !starts_with(name, "lora_te_"))
        return error_set(err, LECO_FORMAT,
                         "%s: tensor \"%s\": not a LoRA with kohya's keys (lora_unet_..., lora_te_...)", ld->path,
                         name);
    return error_set(err, LECO_INVALID,
                     "%s: this LoRA is for another model: tensor \"%s\" is for a layer that the "
                     "model doesn't have",
                     ld->path, name);
}

static leco_status assign(loader *ld, const safetensors_entry *entry, leco_error *err)
{
    const char *suffix = strchr(entry->name, '.');
    char *base = mem_strndup(entry->name, suffix ? (size_t)(suffix - entry->name) : strlen(entry->name));
    if (!base) return error_memory(err, strlen(entry->name), "the keys of a LoRA");
    target *t = bsearch(base, ld->targets, ld->count, sizeof *ld->targets, key_to_target);
    mem_free(base);
    if (!t) return refuse_layer(ld, entry->name, err);
    if (suffix && strcmp(suffix, LORA_DOWN) == 0)
        t->down = entry;
    else if (suffix && strcmp(suffix, LORA_UP) == 0)
        t->up = entry;
    else if (suffix && strcmp(suffix, LORA_ALPHA) == 0)
        t->alpha = entry;
    else
        return error_set(err, LECO_UNSUPPORTED,
                         "%s: tensor \"%s\": only lora_down.weight, lora_up.weight and alpha are supported", ld->path,
                         entry->name);
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

static leco_status load_module(const loader *ld, const target *t, lora *l, lora_module *m, leco_error *err)
{
    m->part = t->part;
    m->in = t->layer->in;
    m->out = t->layer->out;
    m->kernel = t->layer->kernel;
    m->is_conv = t->layer->is_conv;
    m->rank = t->down->shape[0];
    m->alpha = (float)m->rank;
    if (t->alpha) LECO_TRY(read_values(ld->path, t->alpha, &m->alpha, DTYPE_F32, err));
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

static leco_status load(loader *ld, dtype exact, lora **l, leco_error *err)
{
    size_t entries = safetensors_count(ld->file), present = 0;
    for (size_t i = 0; i < entries; i++) LECO_TRY(assign(ld, safetensors_at(ld->file, i), err));
    for (size_t i = 0; i < ld->count; i++) {
        const target *t = &ld->targets[i];
        if (!t->down && !t->up && !t->alpha) continue;
        LECO_TRY(check_target(ld, t, err));
        present++;
    }
    if (present == 0) return error_set(err, LECO_FORMAT, "%s: holds no LoRA", ld->path);
    LECO_TRY(lora_allocate(present, exact, l, err));
    qsort(ld->targets, ld->count, sizeof *ld->targets, by_layer);
    lora_module *m = (*l)->modules;
    for (size_t i = 0; i < ld->count; i++)
        if (ld->targets[i].down) LECO_TRY(load_module(ld, &ld->targets[i], *l, m++, err));
    lora_index(*l);
    lora_set_multiplier(*l, 1.0f);
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
                         LORA_ALPHA, number_shown(m->alpha), number_shown(alpha));
    LECO_TRY(load_tensor(file, key, LORA_DOWN, m->down.shape, m->is_conv, m->down.value, l->exact, err));
    return load_tensor(file, key, LORA_UP, m->up.shape, m->is_conv, m->up.value, l->exact, err);
}

leco_status lora_load_values(lora *l, const char *path, leco_error *err)
{
    safetensors *file;
    LECO_TRY(safetensors_open(path, &file, err));
    leco_status status = LECO_OK;
    if (safetensors_count(file) != 3 * l->count)
        status = error_set(err, LECO_INVALID, "%s: expected the %zu tensors of this LoRA, found %zu", path,
                           3 * l->count, safetensors_count(file));
    for (size_t i = 0; i < l->count && status == LECO_OK; i++) {
        char *key = lora_key(l->modules[i].part, l->modules[i].path);
        status = key ? load_into(file, l, &l->modules[i], key, err) : error_memory(err, 0, "the keys of a LoRA");
        mem_free(key);
    }
    safetensors_close(file);
    return status;
}
