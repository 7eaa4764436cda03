#include <math.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/number.h"
#include "model/model.h"
#include "model/trainable_internal.h"

/* The lists of the parts that are trained; NULL for the others. */
typedef struct trained_layers {
    const layer_list *part[PART_COUNT];
    size_t listed, selected;
} trained_layers;

static leco_status list_layers(model *m, const layer_selection *selection, trained_layers *out, leco_error *err)
{
    *out = (trained_layers){0};
    for (int part = 0; part < PART_COUNT; part++) {
        if (!selection_reaches(selection, (model_part)part)) continue;
        LECO_TRY(model_layers(m, (model_part)part, &out->part[part], err));
        out->listed += out->part[part]->count;
        for (size_t i = 0; i < out->part[part]->count; i++)
            out->selected += layer_selected(selection, &out->part[part]->layer[i]);
    }
    return LECO_OK;
}

static leco_status put_modules(trainable *t, model *m, const layer_list *layers, const trainable_options *o,
                               size_t *next, leco_error *err)
{
    for (size_t i = 0; layers && i < layers->count; i++) {
        const layer_info *layer = &layers->layer[i];
        if (!layer_selected(&o->layers, layer)) continue;
        if (!o->kind->fits(layer))
            return error_set(err, LECO_UNSUPPORTED, "a %s can't be trained on the layer %s yet", o->kind->name,
                             layer->path);
        LECO_TRY(trainable_put(t, *next, o->kind, layer, o->kind->rank(layer, o), o->alpha, err));
        if (o->kind->attach) LECO_TRY(o->kind->attach(&t->modules[*next], o, m, err));
        ++*next;
    }
    return LECO_OK;
}

static leco_status put_all(trainable *t, model *m, const trained_layers *layers, const trainable_options *o,
                           leco_error *err)
{
    size_t next = 0;
    for (int part = 0; part < PART_COUNT; part++) LECO_TRY(put_modules(t, m, layers->part[part], o, &next, err));
    return trainable_finish(t, true, err);
}

/* Module after module, in the order in which PyTorch makes them. */
static leco_status make_values(trainable *t, model *m, rng *r, leco_error *err)
{
    size_t most = 0;
    for (size_t i = 0; i < t->param_count; i++) {
        size_t count = (size_t)shape_count(&t->params[i].shape);
        if (count > most) most = count;
    }
    const kind_start start = {m, r, mem_calloc(most, sizeof(float))};
    if (!start.draw) return error_memory(err, most * sizeof(float), "an adapter's initial values");
    leco_status status = LECO_OK;
    for (size_t i = 0; i < t->module_count && status == LECO_OK; i++)
        status = t->modules[i].kind->initialise(&t->modules[i], &start, err);
    mem_free(start.draw);
    return status;
}

static leco_status check_options(const trainable_options *o, leco_error *err)
{
    if (o->kind->alone) return LECO_OK;
    if (o->rank < 1 || o->rank > 65536)
        return error_set(err, LECO_INVALID, "LoRA rank %lld: expected 1 to 65536", (long long)o->rank);
    if (!isfinite(o->alpha) || o->alpha <= 0)
        return error_set(err, LECO_INVALID, "LoRA alpha %g: expected a positive number", number_shown(o->alpha));
    return LECO_OK;
}

leco_status trainable_plan(model *m, const trainable_options *options, trainable **out, leco_error *err)
{
    *out = NULL;
    LECO_TRY(check_options(options, err));
    trained_layers layers;
    LECO_TRY(list_layers(m, &options->layers, &layers, err));
    if (layers.selected == 0) return error_set(err, LECO_INVALID, "the training method selects no layer of this U-Net");
    trainable *t = NULL;
    LECO_TRY(trainable_begin(layers.selected, options->exact, &t, err));
    leco_status status = put_all(t, m, &layers, options, err);
    if (status != LECO_OK) {
        trainable_destroy(t);
        return status;
    }
    log_message(LOG_DEBUG, "adapter %s on %zu of %zu layers, %lld parameters", options->kind->name, layers.selected,
                layers.listed, (long long)trainable_parameters(t));
    *out = t;
    return LECO_OK;
}

leco_status trainable_start(trainable *t, model *m, rng *r, leco_error *err)
{
    LECO_TRY(trainable_take(t, err));
    return make_values(t, m, r, err);
}

leco_status trainable_create(model *m, const trainable_options *options, rng *r, trainable **out, leco_error *err)
{
    LECO_TRY(trainable_plan(m, options, out, err));
    leco_status status = trainable_start(*out, m, r, err);
    if (status == LECO_OK) return LECO_OK;
    trainable_destroy(*out);
    *out = NULL;
    return status;
}
