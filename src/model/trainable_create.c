#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/adapter_internal.h"
#include "model/walk.h"

/* ---- names of options ---- */

static leco_status parse(const char *what, const char *name, const char *const *names, int count, int *out,
                         leco_error *err)
{
    char known[128] = "";
    for (int i = 0; i < count; i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = i;
            return LECO_OK;
        }
        if (i) strcat(known, ", ");
        strcat(known, names[i]);
    }
    return error_set(err, LECO_INVALID, "%s \"%s\" is not known (known: %s)", what, name, known);
}

leco_status lora_type_parse(const char *name, lora_type *out, leco_error *err)
{
    static const char *const names[] = {[LORA_LIERLA] = "lierla"};
    int index = 0;
    if (strcmp(name, "c3lier") == 0)
        return error_set(err, LECO_UNSUPPORTED, "network type \"c3lier\" can't be trained yet (known: lierla)");
    LECO_TRY(parse("network type", name, names, 1, &index, err));
    *out = (lora_type)index;
    return LECO_OK;
}

leco_status lora_layers_parse(const char *name, lora_layers *out, leco_error *err)
{
    static const char *const names[] = {
        [LORA_FULL] = "full",       [LORA_SELFATTN] = "selfattn",
        [LORA_XATTN] = "xattn",     [LORA_XATTN_STRICT] = "xattn-strict",
        [LORA_NOXATTN] = "noxattn", [LORA_INNOXATTN] = "innoxattn",
    };
    int index = 0;
    LECO_TRY(parse("training method", name, names, sizeof names / sizeof *names, &index, err));
    *out = (lora_layers)index;
    return LECO_OK;
}

static bool selects(const lora_options *o, const layer_info *layer)
{
    if (!layer->in_transformer || layer->kernel != 1) return false;
    bool attn1 = strstr(layer->path, ".attn1.") != NULL, attn2 = strstr(layer->path, ".attn2.") != NULL;
    switch (o->layers) {
    case LORA_SELFATTN:
        return attn1;
    case LORA_XATTN:
        return attn2;
    case LORA_XATTN_STRICT:
        return strstr(layer->path, ".attn2.to_k") != NULL || strstr(layer->path, ".attn2.to_v") != NULL;
    case LORA_NOXATTN:
        return !attn2;
    case LORA_INNOXATTN:
        return !attn1;
    case LORA_FULL:
        break;
    }
    return true;
}

/* ---- creating ---- */

static void store(param *p, const float *values)
{
    dtype_convert(p->value, p->type, values, DTYPE_F32, (size_t)shape_count(&p->shape));
}

/* The draws that PyTorch makes for one module: nn.Linear's (or nn.Conv2d's) own for down, then for up, then the
 * kaiming-uniform for down that is kept. `draw` holds the larger of the two. */
static void initialise(lora_module *m, rng *r, float *draw)
{
    const double gain = sqrt(2.0 / (1.0 + 5.0)); /* kaiming_uniform_(a = sqrt 5) */
    float of_down = (float)(sqrt(3.0) * gain / sqrt((double)m->in));
    float of_up = (float)(sqrt(3.0) * gain / sqrt((double)m->rank));
    size_t down_count = (size_t)(m->rank * m->in), up_count = (size_t)(m->out * m->rank);
    rng_uniform(r, draw, down_count, -of_down, of_down);
    rng_uniform(r, draw, up_count, -of_up, of_up);
    rng_uniform(r, draw, down_count, -of_down, of_down);
    store(&m->down, draw);
}

/* A convolution gets no more rank than it has channels, as in p1atdev's LECO; a linear layer gets what was asked for.
 * The draws of all later modules depend on it. alpha stays: the scale is alpha / the rank that the module has. */
static int64_t rank_of(const lora_options *o, const layer_info *layer)
{
    int64_t most = layer->in < layer->out ? layer->in : layer->out;
    return layer->is_conv && o->rank > most ? most : o->rank;
}

static leco_status create_modules(lora *l, const layer_list *list, const lora_options *o, rng *r, leco_error *err)
{
    size_t next = 0, most = 0;
    for (size_t i = 0; i < list->count; i++) {
        const layer_info *layer = &list->layer[i];
        if (!selects(o, layer)) continue;
        lora_module *m = &l->modules[next++];
        m->part = PART_UNET;
        m->in = layer->in;
        m->out = layer->out;
        m->rank = rank_of(o, layer);
        m->alpha = o->alpha;
        m->kernel = 1;
        m->is_conv = layer->is_conv;
        LECO_TRY(lora_module_allocate(l, m, layer->path, true, err));
        size_t larger = (size_t)(m->rank * (m->in > m->out ? m->in : m->out));
        if (larger > most) most = larger;
    }
    lora_index(l);
    float *draw = mem_calloc(most, sizeof *draw);
    if (!draw) return error_memory(err, most * sizeof *draw, "a LoRA's initial values");
    for (size_t i = 0; i < l->count; i++) initialise(&l->modules[i], r, draw);
    mem_free(draw);
    return LECO_OK;
}

leco_status lora_create(const unet_config *config, const lora_options *options, rng *r, lora **out, leco_error *err)
{
    *out = NULL;
    if (options->rank < 1 || options->rank > 65536)
        return error_set(err, LECO_INVALID, "LoRA rank %lld: expected 1 to 65536", (long long)options->rank);
    if (!isfinite(options->alpha) || options->alpha <= 0)
        return error_set(err, LECO_INVALID, "LoRA alpha %g: expected a positive number", (double)options->alpha);
    layer_list list;
    LECO_TRY(walk_unet(config, &list, err));
    size_t count = 0;
    for (size_t i = 0; i < list.count; i++) count += selects(options, &list.layer[i]);
    lora *l = NULL;
    leco_status status = count ? lora_allocate(count, options->exact, &l, err)
                               : error_set(err, LECO_INVALID, "the training method selects no layer of this U-Net");
    if (status == LECO_OK) status = create_modules(l, &list, options, r, err);
    layer_list_free(&list);
    if (status != LECO_OK) {
        lora_destroy(l);
        return status;
    }
    *out = l;
    return LECO_OK;
}
