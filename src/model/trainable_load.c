#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/number.h"
#include "format/safetensors.h"
#include "model/adapter_keys.h"
#include "model/adapter_open.h"
#include "model/trainable_internal.h"

/* A layer of the model that a file may have a module for, and what the file has. */
typedef struct target {
    char *key; /* "lora_unet_down_blocks_0_..." */
    const layer_info *layer;
    struct {
        const char *suffix;
        const safetensors_entry *entry;
    } tensor[KIND_MAX_PARAMS]; /* in the file's order */
    size_t count;
    const safetensors_entry *alpha, *bias; /* of the bias, which is a module of its own, of this kind: */
    const trainable_kind *bias_kind;
    trainable_module is; /* once it is checked */
} target;

typedef struct loader {
    const char *path;
    safetensors *file;
    int texts;                       /* encoders that the model has */
    int64_t text_layers[PART_COUNT]; /* of each; 0: it isn't one */
    target *targets;                 /* sorted by key */
    size_t count;
    size_t beyond[PART_COUNT]; /* tensors for text layers that the model doesn't have */
    size_t strays, lone_alphas;
    const char *stray;
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

static leco_status add_targets(loader *ld, const layer_list *list, leco_error *err)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->layer[i].class == LAYER_TOKENS) continue; /* whose kind has files of its own */
        target *t = &ld->targets[ld->count];
        layer_info only = list->layer[i];
        only.is_first = false; /* as layer_key has it */
        *t = (target){.key = adapter_key(&only), .layer = &list->layer[i]};
        if (!t->key) return error_memory(err, strlen(list->layer[i].path), "the keys of a LoRA");
        ld->count++;
    }
    return LECO_OK;
}

static leco_status make_targets(loader *ld, const adapter_layers *layers, leco_error *err)
{
    size_t most = 0;
    for (int part = 0; part < PART_COUNT; part++) {
        most += layers->part[part] ? layers->part[part]->count : 0;
        most += layers->norms[part] ? layers->norms[part]->count : 0;
    }
    ld->targets = mem_calloc(most, sizeof *ld->targets);
    if (!ld->targets) return error_memory(err, most * sizeof *ld->targets, "the keys of a LoRA");
    for (int part = 0; part < PART_COUNT; part++) {
        if (layers->part[part]) LECO_TRY(add_targets(ld, layers->part[part], err));
        if (layers->norms[part]) LECO_TRY(add_targets(ld, layers->norms[part], err));
    }
    qsort(ld->targets, ld->count, sizeof *ld->targets, by_key);
    return LECO_OK;
}

/* ---- the tensors of the file ---- */

#define TEXT "lora_te_"

/* The layer's key, as a target has it, out of a tensor's name whose suffix begins at `length`. NULL: out of memory. */
static char *layer_key(const char *name, size_t length)
{
    layer_info layer;
    const char *path = adapter_path(name, &layer);
    if (!path || !layer.is_first) return mem_strndup(name, length);
    return mem_printf(TEXT "%.*s", (int)(length - (size_t)(path - name)), path);
}

static target *find_target(const loader *ld, const char *key)
{
    return bsearch(key, ld->targets, ld->count, sizeof *ld->targets, key_to_target);
}

/* Is this a layer of the text encoder's kind beyond its last? Models with clip skip built in lack the last layers, and
 * LoRAs of the whole encoder fit them, nevertheless: what those layers would do is never looked at. */
static leco_status is_beyond(loader *ld, const char *key, bool *beyond, leco_error *err)
{
    model_part part;
    int64_t number;
    char *as_first;
    *beyond = false;
    LECO_TRY(adapter_text_layer(key, &part, &number, &as_first, err));
    if (!as_first) return LECO_OK;
    *beyond = ld->text_layers[part] > 0 && number >= ld->text_layers[part] && find_target(ld, as_first);
    ld->beyond[part] += *beyond;
    mem_free(as_first);
    return LECO_OK;
}

static leco_status refuse_type(const loader *ld, const safetensors_entry *e, const char *expected, leco_error *err)
{
    return error_set(err, LECO_UNSUPPORTED, "%s: tensor \"%s\" is %s, which leco can't read yet (expected %s)",
                     ld->path, e->name, safetensors_type(e), expected);
}

static const safetensors_entry *tensor_of(const target *t, const char *suffix)
{
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->tensor[i].suffix, suffix) == 0) return t->tensor[i].entry;
    return NULL;
}

/* The kind of a bias's change that has this tensor; NULL: none. */
static const trainable_kind *bias_kind_of(const char *suffix)
{
    for (const trainable_kind *const *kind = trainable_kinds; *kind; kind++)
        if ((*kind)->of_bias && strcmp((*kind)->param[0].suffix, suffix) == 0) return *kind;
    return NULL;
}

static leco_status add_tensor(const loader *ld, target *t, const char *suffix, const safetensors_entry *entry,
                              leco_error *err)
{
    const bool is_alpha = strcmp(suffix, ADAPTER_ALPHA) == 0;
    const trainable_kind *of_bias = bias_kind_of(suffix);
    const safetensors_entry *other = is_alpha ? t->alpha : of_bias ? t->bias : tensor_of(t, suffix);
    if (other)
        return error_set(err, LECO_FORMAT, "%s: tensors \"%s\" and \"%s\" are for the same layer", ld->path,
                         other->name, entry->name);
    if (is_alpha) {
        t->alpha = entry;
        return LECO_OK;
    }
    if (entry->type == DTYPE_COUNT) return refuse_type(ld, entry, "floating-point values", err);
    if (of_bias) {
        t->bias = entry;
        t->bias_kind = of_bias;
        return LECO_OK;
    }
    if (t->count == KIND_MAX_PARAMS)
        return error_set(err, LECO_FORMAT, "%s: tensor \"%s\" is one too many for its layer", ld->path, entry->name);
    t->tensor[t->count].suffix = suffix;
    t->tensor[t->count++].entry = entry;
    return LECO_OK;
}

static leco_status assign(loader *ld, const safetensors_entry *entry, leco_error *err)
{
    const char *suffix = adapter_suffix(entry->name);
    if (!suffix && adapter_is_stray(entry)) {
        if (ld->strays++ == 0) ld->stray = entry->name;
        return LECO_OK;
    }
    if (!suffix) return adapter_refuse(ld->path, entry->name, ld->texts, err);
    char *key = layer_key(entry->name, (size_t)(suffix - entry->name));
    if (!key) return error_memory(err, strlen(entry->name), "the keys of a LoRA");
    target *t = find_target(ld, key);
    bool beyond = false;
    leco_status status = t ? add_tensor(ld, t, suffix, entry, err) : is_beyond(ld, key, &beyond, err);
    mem_free(key);
    if (status != LECO_OK || t || beyond) return status;
    return adapter_refuse(ld->path, entry->name, ld->texts, err);
}

static shape shape_of_entry(const safetensors_entry *e)
{
    return shape_of(e->rank < TENSOR_MAX_DIMS ? e->rank : TENSOR_MAX_DIMS, e->shape);
}

/* The same dimensions, but perhaps with or without the 1x1 of a convolution, with its taps as columns, or with a vector
 * as a column? */
static bool fits(const safetensors_entry *e, const shape *s)
{
    if (e->rank == 2 && s->rank == 4 && e->shape[0] == s->dim[0] && e->shape[1] == s->dim[1] * s->dim[2] * s->dim[3])
        return true;
    const bool column = e->rank == 1 && s->rank > 1;
    if (e->rank != s->rank && !column && !(e->rank == 2 && s->rank == 4) && !(e->rank == 4 && s->rank == 2))
        return false;
    for (int i = 0; i < e->rank || i < s->rank; i++)
        if ((i < e->rank ? e->shape[i] : 1) != (i < s->rank ? s->dim[i] : 1)) return false;
    return true;
}

/* Has the target all tensors of this kind, and no others? *absent: the first that is missing; *found: how many aren't.
 */
static bool has_all(const target *t, const trainable_kind *kind, const char **absent, size_t *found)
{
    const size_t count = kind_file_params(kind);
    *absent = NULL;
    *found = 0;
    for (size_t i = 0; i < count; i++) {
        if (tensor_of(t, kind->param[i].suffix))
            ++*found;
        else if (!*absent)
            *absent = kind->param[i].suffix;
    }
    return *found == count && t->count == count;
}

/* A size of the module as its tensors show it. */
static int64_t size_of(const target *t, const trainable_kind *kind, int which)
{
    if (kind->size[which].dim < 0) return 1;
    const safetensors_entry *e = tensor_of(t, kind->param[kind->size[which].param].suffix);
    const int64_t size = kind->size[which].dim < e->rank ? e->shape[kind->size[which].dim] : 1;
    return size < 1 ? 1 : size; /* so that a message can say what was expected */
}

/* Makes t->is a module of this kind, whose tensors it has; LECO_INVALID where their shapes aren't this layer's,
 * LECO_UNSUPPORTED where such a module isn't for such layers. */
static leco_status try_kind(const loader *ld, target *t, const trainable_kind *kind, leco_error *err)
{
    char found[SHAPE_TEXT], expected[SHAPE_TEXT];
    kind_shape shapes[KIND_MAX_PARAMS];
    if (kind->of_pixels && t->layer->kernel > 1)
        return error_set(err, LECO_UNSUPPORTED, "%s: tensor \"%s\" is %s, which leco can't apply", ld->path,
                         t->tensor[0].entry->name, kind->of_pixels);
    t->is = (trainable_module){.kind = kind, .layer = *t->layer, .rank = size_of(t, kind, KIND_RANK)};
    t->is.rows = size_of(t, kind, KIND_ROWS);
    t->is.columns = size_of(t, kind, KIND_COLUMNS);
    if (t->layer->out % t->is.rows) t->is.rows = 1; /* then its tensors don't have the shapes below */
    if (t->layer->in % t->is.columns) t->is.columns = 1;
    kind->shapes(&t->is, shapes);
    for (size_t i = 0; i < t->count; i++) {
        const safetensors_entry *e = tensor_of(t, kind->param[i].suffix);
        shape s = shape_of_entry(e);
        if (!fits(e, &shapes[i].in_file))
            return error_set(err, LECO_INVALID,
                             "%s: this LoRA is for another model: tensor \"%s\" has shape %s, expected %s", ld->path,
                             e->name, shape_format(&s, found), shape_format(&shapes[i].of_param, expected));
    }
    return LECO_OK;
}

static bool is_of_layer(const target *t, const char *suffix)
{
    for (const trainable_kind *const *kind = trainable_kinds; *kind; kind++)
        for (size_t i = 0; i < kind_file_params(*kind) && kind_goes_on(*kind, t->layer) && !(*kind)->of_bias; i++)
            if (strcmp((*kind)->param[i].suffix, suffix) == 0) return true;
    return false;
}

/* A tensor that layers of other sorts have. */
static leco_status refuse_stranger(const loader *ld, const target *t, leco_error *err)
{
    for (size_t i = 0; i < t->count; i++)
        if (!is_of_layer(t, t->tensor[i].suffix))
            return error_set(err, LECO_FORMAT, "%s: tensor \"%s\": %s has no such tensor", ld->path,
                             t->tensor[i].entry->name,
                             t->layer->class == LAYER_NORMS ? "a norm" : "a linear or convolution layer");
    return LECO_OK;
}

/* The kind of which the target has all tensors and no others, in shapes that fit the layer. */
static leco_status find_kind(const loader *ld, target *t, leco_error *err)
{
    const char *missing = NULL;    /* of the first kind that shares a tensor with the target */
    leco_status refused = LECO_OK; /* what is wrong with the first is what is said */
    leco_error why;
    for (const trainable_kind *const *kind = trainable_kinds; *kind; kind++) {
        const char *absent;
        size_t found;
        if (!kind_goes_on(*kind, t->layer) || (*kind)->of_bias) continue;
        if (has_all(t, *kind, &absent, &found)) {
            const leco_status status = try_kind(ld, t, *kind, refused ? &why : err);
            if (status == LECO_OK) return LECO_OK;
            if (refused == LECO_OK) refused = status;
        }
        if (!missing && (found || t->count == 0)) missing = absent;
    }
    if (refused != LECO_OK) return refused;
    LECO_TRY(refuse_stranger(ld, t, err));
    if (missing) return error_set(err, LECO_FORMAT, "%s: tensor \"%s%s\" is missing", ld->path, t->key, missing);
    return error_set(err, LECO_FORMAT, "%s: the tensors \"%s...\" don't belong together", ld->path, t->key);
}

static leco_status check_bias(const loader *ld, const target *t, leco_error *err)
{
    char found[SHAPE_TEXT];
    const shape s = shape_of_entry(t->bias), expected = SHAPE(t->layer->out);
    if (shape_equal(&s, &expected)) return LECO_OK;
    return error_set(err, LECO_INVALID,
                     "%s: this LoRA is for another model: tensor \"%s\" has shape %s, expected [%lld]", ld->path,
                     t->bias->name, shape_format(&s, found), (long long)t->layer->out);
}

/* A bias may be all that a layer has. */
static bool has_kind(const target *t)
{
    return t->count > 0 || !t->bias;
}

static leco_status check_target(const loader *ld, target *t, leco_error *err)
{
    if (has_kind(t)) LECO_TRY(find_kind(ld, t, err));
    if (t->bias) LECO_TRY(check_bias(ld, t, err));
    if (t->alpha && t->alpha->count != 1)
        return error_set(err, LECO_FORMAT, "%s: tensor \"%s\": expected one number, found %zu", ld->path,
                         t->alpha->name, t->alpha->count);
    return LECO_OK;
}

/* ---- values ---- */

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

static leco_status put_own(loader *ld, target *t, trainable *to, size_t index, leco_error *err)
{
    t->is.alpha = (float)t->is.rank;
    if (t->alpha && !t->is.kind->unscaled) LECO_TRY(read_alpha(ld, t->alpha, t->is.rank, &t->is.alpha, err));
    if (t->is.kind->size[KIND_RANK].dim < 0) /* it isn't told: a training's alpha is then its rank */
        t->is.rank = t->is.alpha >= 1 && t->is.alpha <= 65536 ? (int64_t)t->is.alpha : 1;
    return trainable_put(to, index, &t->is, err);
}

/* The modules of a layer: the adapter, and the change of the bias. */
static leco_status put_modules(loader *ld, target *t, trainable *to, size_t *next, leco_error *err)
{
    if (has_kind(t)) LECO_TRY(put_own(ld, t, to, (*next)++, err));
    const trainable_module bias = {
        .kind = t->bias_kind, .layer = *t->layer, .rank = 1, .alpha = 1, .rows = 1, .columns = 1};
    return t->bias ? trainable_put(to, (*next)++, &bias, err) : LECO_OK;
}

/* Into param number *next, which becomes the one behind. */
static leco_status read_param(const loader *ld, const safetensors_entry *e, trainable *to, size_t *next,
                              leco_error *err)
{
    void *values = to->original[*next] ? to->original[*next] : to->params[*next].value;
    ++*next;
    return trainable_read_values(ld->path, e, values, to->exact, err);
}

static leco_status read_modules(const loader *ld, const target *t, trainable *to, size_t *next, leco_error *err)
{
    if (has_kind(t)) {
        const trainable_kind *kind = t->is.kind;
        for (size_t i = 0; i < t->count; i++)
            LECO_TRY(read_param(ld, tensor_of(t, kind->param[i].suffix), to, next, err));
        for (size_t i = t->count; kind->param[i].suffix; i++) ++*next; /* those that no file has */
    }
    return t->bias ? read_param(ld, t->bias, to, next, err) : LECO_OK;
}

/* The order of modules is the model's, whatever the file's is. */
static int by_layer(const void *a, const void *b)
{
    const target *x = a, *y = b;
    const bool norms[] = {x->layer->class == LAYER_NORMS, y->layer->class == LAYER_NORMS};
    if (x->layer->part != y->layer->part) return x->layer->part < y->layer->part ? -1 : 1;
    if (norms[0] != norms[1]) return norms[0] ? 1 : -1; /* which have a list of their own, behind the others */
    return x->layer < y->layer ? -1 : x->layer > y->layer;
}

/* What a user should know about a file that was loaded all the same. */
static void warn(const loader *ld)
{
    for (int part = 0; part < PART_COUNT; part++)
        if (ld->beyond[part])
            log_message(LOG_WARNING,
                        "%s: %zu tensors are not used: they are for text layers from number %lld on, which the "
                        "model%s lacks",
                        ld->path, ld->beyond[part], (long long)ld->text_layers[part],
                        part == PART_TEXT_ENCODER_2 ? "'s second text encoder" : "");
    if (ld->strays)
        log_message(LOG_WARNING, "%s: %zu tensor%s no part of a LoRA, and not used: the first is \"%s\"", ld->path,
                    ld->strays, ld->strays == 1 ? " is" : "s are", ld->stray);
    if (ld->lone_alphas)
        log_message(LOG_WARNING, "%s: %zu layer%s an alpha and no other tensor, and nothing is done to %s", ld->path,
                    ld->lone_alphas, ld->lone_alphas == 1 ? " has" : "s have", ld->lone_alphas == 1 ? "it" : "them");
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

static bool is_present(const target *t)
{
    return t->count || t->alpha || t->bias;
}

/* An alpha of nothing is nothing. */
static void drop_lone_alpha(loader *ld, target *t)
{
    if (!t->alpha || t->count || t->bias) return;
    t->alpha = NULL;
    ld->lone_alphas++;
}

static leco_status fill(loader *ld, trainable *t, leco_error *err)
{
    size_t next = 0;
    for (size_t i = 0; i < ld->count; i++)
        if (is_present(&ld->targets[i])) LECO_TRY(put_modules(ld, &ld->targets[i], t, &next, err));
    LECO_TRY(trainable_finish(t, err));
    LECO_TRY(trainable_take(t, err));
    next = 0;
    for (size_t i = 0; i < ld->count; i++)
        if (is_present(&ld->targets[i])) LECO_TRY(read_modules(ld, &ld->targets[i], t, &next, err));
    trainable_set_multiplier(t, 1.0f);
    return LECO_OK;
}

static leco_status load(loader *ld, dtype exact, trainable **t, leco_error *err)
{
    size_t present = 0;
    LECO_TRY(assign_all(ld, err));
    for (size_t i = 0; i < ld->count; i++) {
        drop_lone_alpha(ld, &ld->targets[i]);
        if (!is_present(&ld->targets[i])) continue;
        LECO_TRY(check_target(ld, &ld->targets[i], err));
        present += (size_t)has_kind(&ld->targets[i]) + (ld->targets[i].bias ? 1 : 0);
    }
    bool beyond = false;
    for (int part = 0; part < PART_COUNT; part++) beyond = beyond || ld->beyond[part];
    if (present == 0)
        return error_set(err, LECO_FORMAT, "%s: holds no LoRA%s", ld->path,
                         beyond ? " for a layer that the model has" : "");
    LECO_TRY(trainable_begin(present, false, exact, t, err));
    qsort(ld->targets, ld->count, sizeof *ld->targets, by_layer);
    LECO_TRY(fill(ld, *t, err));
    warn(ld);
    return LECO_OK;
}

leco_status trainable_load(const char *path, const adapter_layers *layers, dtype exact, trainable **out,
                           leco_error *err)
{
    static const model_part texts[] = {PART_TEXT_ENCODER, PART_TEXT_ENCODER_2};
    loader ld = {.path = path};
    for (int i = 0; i < 2; i++) {
        ld.texts += layers->part[texts[i]] && (i == 0 || layers->part[texts[i]]->count > 0);
        ld.text_layers[texts[i]] = adapter_text_depth(layers->part[texts[i]]);
    }
    trainable *t = NULL;
    *out = NULL;
    leco_status status = adapter_open(path, &ld.file, err);
    if (status == LECO_OK) status = make_targets(&ld, layers, err);
    if (status == LECO_OK) status = load(&ld, exact, &t, err);
    for (size_t i = 0; i < ld.count; i++) mem_free(ld.targets[i].key);
    mem_free(ld.targets);
    safetensors_close(ld.file);
    if (status != LECO_OK) {
        trainable_destroy(t);
        return status;
    }
    log_message(LOG_DEBUG, "%s: %zu modules, %lld parameters", path, trainable_module_count(t),
                (long long)trainable_parameters(t));
    *out = t;
    return LECO_OK;
}
