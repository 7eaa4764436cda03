#include <math.h>
#include <string.h>

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
        if (!selection_reaches(selection, (model_part)part) || !model_has(m, (model_part)part)) continue;
        LECO_TRY(model_layers(m, (model_part)part, &out->part[part], err));
        out->listed += out->part[part]->count;
        for (size_t i = 0; i < out->part[part]->count; i++)
            out->selected += layer_selected(selection, &out->part[part]->layer[i]);
    }
    return LECO_OK;
}

/* ---- ranks, and what a file has ---- */

/* What a layer of its own is to have. */
static void wish(const layer_info *layer, const trainable_options *o, trainable_module *m)
{
    *m = (trainable_module){.kind = o->kind, .layer = *layer, .rank = o->rank, .alpha = o->alpha};
    if (layer->kernel > 1 && o->conv_rank) m->rank = o->conv_rank;
    if (layer->kernel > 1 && o->conv_alpha > 0) m->alpha = o->conv_alpha;
    for (size_t i = 0; i < o->rule_count; i++) {
        const rank_rule *r = &o->rules[i];
        if (!layer_matches(r->match, layer)) continue;
        if (r->rank) m->rank = r->rank;
        if (r->alpha > 0) m->alpha = r->alpha;
        break;
    }
    m->kind->settle(m, o);
}

static trainable_module *module_on(const trainable *from, const layer_info *layer)
{
    for (size_t i = 0; from && i < from->module_count; i++)
        if (trainable_compare(layer->part, layer->path, &from->modules[i]) == 0) return &from->modules[i];
    return NULL;
}

static leco_status check_kind(const trainable_module *m, const trainable_options *o, leco_error *err)
{
    if (m->kind->only_read)
        return error_set(err, LECO_UNSUPPORTED, "%s: has a change of %s (%s), which leco applies, but can't train",
                         o->start_from, m->layer.path, m->kind->name);
    if (kind_is(m->kind, o->kind) && m->kind->fits(&m->layer)) return LECO_OK;
    if (kind_is(m->kind, o->kind))
        return error_set(err, LECO_UNSUPPORTED, "%s: has norms by input on %s: a %s is trained with norms by output",
                         o->start_from, m->layer.path, m->kind->name);
    return error_set(err, LECO_INVALID, "%s: holds a %s, and network.kind is %s: say kind: %s", o->start_from,
                     m->kind->name, o->kind->name, m->kind->name);
}

/* What a file has must be what is trained. */
static leco_status check_start(const trainable *from, const trainable_options *o, leco_error *err)
{
    for (size_t i = 0; from && i < from->module_count; i++) {
        const trainable_module *m = &from->modules[i];
        LECO_TRY(check_kind(m, o, err));
        if (!layer_selected(&o->layers, &m->layer))
            return error_set(err, LECO_INVALID,
                             "%s: has %s, which the type, the training_method or the patterns leave out: it would be "
                             "lost",
                             o->start_from, m->layer.path);
    }
    return LECO_OK;
}

static leco_status put_module(trainable *t, const layer_info *layer, const trainable_options *o, const trainable *from,
                              size_t index, leco_error *err)
{
    trainable_module new;
    const trainable_module *there = module_on(from, layer);
    if (there)
        new = *there;
    else
        wish(layer, o, &new);
    new.layer = *layer;
    if (!new.kind->fits(layer))
        return error_set(err, LECO_UNSUPPORTED, "a %s can't be trained on the layer %s", o->kind->name, layer->path);
    return trainable_put(t, index, &new, err);
}

static leco_status put_all(trainable *t, model *m, const trained_layers *layers, const trainable_options *o,
                           const trainable *from, leco_error *err)
{
    size_t next = 0;
    for (int part = 0; part < PART_COUNT; part++)
        for (size_t i = 0; layers->part[part] && i < layers->part[part]->count; i++) {
            const layer_info *layer = &layers->part[part]->layer[i];
            if (layer_selected(&o->layers, layer)) LECO_TRY(put_module(t, layer, o, from, next++, err));
        }
    if (o->kind->attach) LECO_TRY(o->kind->attach(t->modules, next, o, m, err));
    return trainable_finish(t, err);
}

/* *from is NULL where there is no such file. */
static leco_status open_start(model *m, const char *path, dtype exact, trainable **from, leco_error *err)
{
    adapter_layers layers;
    *from = NULL;
    if (!path) return LECO_OK;
    LECO_TRY(model_adapter_layers(m, &layers, err));
    return trainable_load(path, &layers, exact, from, err);
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
    if (o->dropout.element + o->dropout.rank + o->dropout.module > 0 && !o->kind->drops)
        return error_set(err, LECO_INVALID, "network.dropout: a %s has none; of these kinds, lora has", o->kind->name);
    if (!isfinite(o->alpha) || o->alpha <= 0)
        return error_set(err, LECO_INVALID, "LoRA alpha %g: expected a positive number", number_shown(o->alpha));
    return LECO_OK;
}

static leco_status check_patterns(const trainable_options *o, const trained_layers *layers, leco_error *err)
{
    const layer_selection *s = &o->layers;
    LECO_TRY(layer_patterns_check(&s->include, "network.include", s, layers->part, err));
    LECO_TRY(layer_patterns_check(&s->exclude, "network.exclude", s, layers->part, err));
    for (size_t i = 0; i < o->rule_count; i++) {
        const layer_patterns one = {&o->rules[i].match, 1, o->rules_place};
        LECO_TRY(layer_patterns_check(&one, "network.ranks", s, layers->part, err));
    }
    if (layers->selected > 0) return LECO_OK;
    if (s->include.count || s->exclude.count)
        return error_set(err, LECO_INVALID, "%s: network: the patterns of include and exclude leave no layer",
                         s->include.count ? s->include.place : s->exclude.place);
    return error_set(err, LECO_INVALID, "the training method selects no layer of this U-Net");
}

static leco_status plan_from(model *m, const trainable_options *o, const trainable *from, trainable **t,
                             leco_error *err)
{
    trained_layers layers;
    LECO_TRY(list_layers(m, &o->layers, &layers, err));
    LECO_TRY(check_patterns(o, &layers, err));
    LECO_TRY(check_start(from, o, err));
    LECO_TRY(trainable_begin(layers.selected, true, o->exact, t, err));
    LECO_TRY(put_all(*t, m, &layers, o, from, err));
    (*t)->dropout = o->dropout;
    if (o->start_from && !((*t)->start_from = mem_strdup(o->start_from)))
        return error_memory(err, strlen(o->start_from), "a path");
    log_message(LOG_DEBUG, "adapter %s on %zu of %zu layers, %lld parameters", o->kind->name, layers.selected,
                layers.listed, (long long)trainable_parameters(*t));
    return LECO_OK;
}

leco_status trainable_plan(model *m, const trainable_options *options, trainable **out, leco_error *err)
{
    trainable *from = NULL, *t = NULL;
    *out = NULL;
    leco_status status = open_start(m, options->start_from, options->exact, &from, err);
    if (status == LECO_OK) status = check_options(options, err);
    if (status == LECO_OK) status = plan_from(m, options, from, &t, err);
    trainable_destroy(from);
    if (status == LECO_OK)
        *out = t;
    else
        trainable_destroy(t);
    return status;
}

static leco_status copy_start(trainable *t, model *m, leco_error *err)
{
    trainable *from;
    LECO_TRY(open_start(m, t->start_from, t->exact, &from, err));
    leco_status status = from ? trainable_copy_values(t, from, err) : LECO_OK;
    if (status != LECO_OK) status = error_prefix(err, status, "%s", t->start_from);
    if (from && status == LECO_OK)
        log_message(LOG_INFO, "%s: starts from its %zu modules", t->start_from, from->module_count);
    trainable_destroy(from);
    return status;
}

leco_status trainable_start(trainable *t, model *m, rng *r, leco_error *err)
{
    LECO_TRY(trainable_take(t, err));
    LECO_TRY(make_values(t, m, r, err));
    return copy_start(t, m, err);
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
