#include "solve/change.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "model/kinds.h"

enum { ROWS_AT_ONCE = 64 };

static const trainable_module *module_of(const struct change_part *p)
{
    return trainable_module_at(p->source->trainable, p->module);
}

static double scale_of(const struct change_part *p)
{
    const trainable_module *m = module_of(p);
    return p->source->weight * (double)m->alpha / (double)m->rank;
}

static const double *left_of(const struct change_part *p, int product)
{
    return trainable_in_file(p->source->trainable, p->module, (size_t)module_of(p)->kind->product[product].left);
}

static const double *right_of(const struct change_part *p, int product)
{
    return trainable_in_file(p->source->trainable, p->module, (size_t)module_of(p)->kind->product[product].right);
}

/* ---- collecting ---- */

static bool is_next(const change_source *s, size_t module, const layer_info *layer)
{
    if (module >= trainable_module_count(s->trainable)) return false;
    const layer_info *other = &trainable_module_at(s->trainable, module)->layer;
    return other->part == layer->part && strcmp(other->path, layer->path) == 0;
}

static leco_status add_part(const change_source *source, size_t module, change *c, leco_error *err)
{
    const struct change_part p = {source, module};
    const trainable_module *m = module_of(&p);
    if (source->weight == 0) return LECO_OK;
    if (m->kind->products == 0 && !m->kind->change)
        return error_set(err, LECO_UNSUPPORTED, "%s: a %s can't be joined with others yet", source->path,
                         m->kind->name);
    if (m->kind->needs_weight && !c->of_weight) c->of_weight = source->path, c->its_kind = m->kind->name;
    if (m->kind->products != 1 && !c->no_product) c->no_product = source->path, c->its_kind = m->kind->name;
    if ((m->kind->of_bias || m->kind->of_norm) && !c->of_vector) c->of_vector = source->path;
    c->rank += m->rank;
    c->scale = fmax(c->scale, fabs(scale_of(&p)));
    c->part[c->count++] = p;
    return LECO_OK;
}

/* Notes what the sources have for a layer, of its bias or of its weight; next[i] is the first module of source i that
 * wasn't reached yet: they are in the order of the layers. */
static leco_status collect_tensor(const layer_info *layer, bool of_bias, const change_source *sources, size_t count,
                                  const size_t *next, arena *memory, change *c, leco_error *err)
{
    const bool vector = of_bias || layer->class == LAYER_NORMS;
    *c = (change){.layer = layer,
                  .tensor = of_bias ? "bias" : "weight",
                  .rows = layer->out,
                  .columns = vector ? 1 : layer->in * layer->kernel * layer->kernel};
    c->part = arena_alloc(memory, count, sizeof *c->part);
    if (!c->part) return error_memory(err, count * sizeof *c->part, "the changes of a layer");
    for (size_t i = 0; i < count; i++)
        for (size_t k = next[i]; is_next(&sources[i], k, layer); k++)
            if (trainable_module_at(sources[i].trainable, k)->kind->of_bias == of_bias)
                LECO_TRY(add_part(&sources[i], k, c, err));
    return LECO_OK;
}

/* The layers of a list, in its order. */
static leco_status collect_list(const layer_list *list, const change_source *sources, size_t count, size_t *next,
                                arena *memory, change_list *out, leco_error *err)
{
    for (size_t i = 0; list && i < list->count; i++) {
        const layer_info *layer = &list->layer[i];
        if (layer->class == LAYER_TOKENS) continue;
        bool found = false;
        for (int of_bias = 0; of_bias < 2; of_bias++) {
            change *c = &out->at[out->count];
            LECO_TRY(collect_tensor(layer, of_bias, sources, count, next, memory, c, err));
            c->beside = found;
            found = c->count > 0;
            if (found) out->count++;
        }
        for (size_t k = 0; k < count; k++)
            while (is_next(&sources[k], next[k], layer)) next[k]++;
    }
    return LECO_OK;
}

leco_status changes_collect(const adapter_layers *layers, const change_source *sources, size_t count, arena *memory,
                            change_list *out, leco_error *err)
{
    size_t most = 0;
    for (int part = 0; part < PART_COUNT; part++) {
        most += layers->part[part] ? 2 * layers->part[part]->count : 0; /* weights and biases */
        most += layers->norms[part] ? 2 * layers->norms[part]->count : 0;
    }
    size_t *next = arena_alloc(memory, count, sizeof *next);
    *out = (change_list){.at = arena_alloc(memory, most, sizeof *out->at)};
    if (!next || !out->at) return error_memory(err, most * sizeof *out->at, "the changes of layers");
    for (int part = 0; part < PART_COUNT; part++) {
        LECO_TRY(collect_list(layers->part[part], sources, count, next, memory, out, err));
        LECO_TRY(collect_list(layers->norms[part], sources, count, next, memory, out, err));
    }
    return LECO_OK;
}

/* ---- computing ---- */

/* out [rows, columns] = keep * out + scale * that product, [rows, rank] times [rank, columns], row-major. */
static void add_product(const change *c, const struct change_part *p, int product, double scale, double keep,
                        double *out)
{
    const double *left = left_of(p, product), *right = right_of(p, product);
    const int64_t rows = c->rows, columns = c->columns, rank = module_of(p)->rank;
#pragma omp parallel for num_threads(cpu_threads()) schedule(dynamic)
    for (int64_t i = 0; i < rows; i += ROWS_AT_ONCE) {
        const int64_t count = rows - i < ROWS_AT_ONCE ? rows - i : ROWS_AT_ONCE;
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)count, (int)columns, (int)rank, scale,
                    left + i * rank, (int)rank, right, (int)columns, keep, out + i * columns, (int)columns);
    }
}

/* Two products, multiplied element by element. */
static leco_status add_two_products(const change *c, const struct change_part *p, double *matrix, arena *scratch,
                                    leco_error *err)
{
    const int64_t elements = c->rows * c->columns;
    double *first = arena_alloc(scratch, (size_t)elements, sizeof *first);
    double *second = arena_alloc(scratch, (size_t)elements, sizeof *second);
    if (!first || !second) return error_memory(err, (size_t)elements * sizeof *first, c->layer->path);
    add_product(c, p, 0, scale_of(p), 0, first);
    add_product(c, p, 1, 1, 0, second);
    for (int64_t i = 0; i < elements; i++) matrix[i] += first[i] * second[i];
    return LECO_OK;
}

/* As the kind itself says it. */
static leco_status add_own(const struct change_part *p, const double *w, double *matrix, leco_error *err)
{
    const trainable_module *m = module_of(p);
    const double *params[KIND_MAX_PARAMS];
    if (m->kind->needs_weight && !w)
        return error_set(err, LECO_UNSUPPORTED,
                         "%s: the change of kind %s depends on the model's weights, which aren't at hand",
                         p->source->path, m->kind->name);
    for (size_t k = 0; k < m->params; k++) params[k] = trainable_in_file(p->source->trainable, p->module, k);
    leco_status status = m->kind->change(m, params, p->source->weight, w, matrix, err);
    return status == LECO_OK ? LECO_OK : error_prefix(err, status, "%s", p->source->path);
}

leco_status change_add(const change *c, const double *w, double *matrix, arena *scratch, leco_error *err)
{
    for (size_t i = 0; i < c->count; i++) {
        const struct change_part *p = &c->part[i];
        if (module_of(p)->kind->products == 0)
            LECO_TRY(add_own(p, w, matrix, err));
        else if (module_of(p)->kind->products == 1)
            add_product(c, p, 0, scale_of(p), 1, matrix);
        else
            LECO_TRY(add_two_products(c, p, matrix, scratch, err));
    }
    return LECO_OK;
}

void change_factors(const change *c, double *up, double *down)
{
    for (size_t i = 0, from = 0; i < c->count; i++) {
        const struct change_part *p = &c->part[i];
        const size_t rank = (size_t)module_of(p)->rank, columns = (size_t)c->columns;
        const double scale = scale_of(p), *own_up = left_of(p, 0), *own_down = right_of(p, 0);
        memcpy(down + from * columns, own_down, rank * columns * sizeof *down);
        for (size_t row = 0; row < (size_t)c->rows; row++)
            for (size_t k = 0; k < rank; k++) up[row * (size_t)c->rank + from + k] = scale * own_up[row * rank + k];
        from += rank;
    }
}
