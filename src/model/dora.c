/* DoRA:  W' = m / |W + s up down| * (W + s up down),  s = alpha / rank, and what is added is multiplier * (W' - W) x.
 * The norms |..| are those of the rows (outputs), m [out] with them; they count as constants in the gradient, as the
 * paper proposes and PEFT has it (LyCORIS lets gradients through). Source: Liu et al., "DoRA: weight-decomposed
 * low-rank adaptation" (2024), section 4.3; names in files as LyCORIS and ComfyUI have them: LoRA's, and dora_scale
 * [out,1] (of a convolution [out,1,1,1]). Files may have norms of the columns (inputs), too, dora_scale [1,in]:
 * kind_dora_in. At other multipliers than 1 it is ComfyUI's formula: the whole change is scaled.
 *
 * With v = m / |..|, u = W x without bias:  y + multiplier * ((v - 1) u + v s up (down x));  by columns
 * y + multiplier * (W ((v - 1) x) + s up (down (v x))). */
#include <math.h>

#include "base/mem.h"
#include "model/kinds.h"
#include "model/model.h"
#include "op/op.h"

enum { DOWN, UP, MAGNITUDE, MULTIPLIER };

static bool by_column(const trainable_module *m)
{
    return m->kind == &kind_dora_in;
}

static int64_t channels(const trainable_module *m)
{
    return by_column(m) ? m->layer.in : m->layer.out;
}

static bool fits_nothing(const layer_info *layer)
{
    (void)layer;
    return false; /* files have it, nobody trains it */
}

static void shapes(const trainable_module *m, kind_shape out[KIND_MAX_PARAMS])
{
    const int64_t rows = by_column(m) ? 1 : m->layer.out, columns = by_column(m) ? m->layer.in : 1;
    lora_shapes(m, out);
    out[MAGNITUDE] =
        (kind_shape){SHAPE(channels(m)), m->layer.is_conv ? SHAPE(rows, columns, 1, 1) : SHAPE(rows, columns)};
    out[MULTIPLIER] = (kind_shape){SHAPE(channels(m)), SHAPE(channels(m))};
}

/* The norms of the frozen weight's rows: it starts as the model itself. */
static leco_status norms_of_weight(trainable_module *m, const kind_start *s, leco_error *err)
{
    const layer_info *layer = &m->layer;
    weights *from = s->model->weights[layer->part];
    weight *w;
    char *name = mem_printf("%s.weight", layer->path);
    if (!name) return error_memory(err, 0, "a DoRA");
    const shape expected =
        layer->is_conv ? SHAPE(layer->out, layer->in, layer->kernel, layer->kernel) : SHAPE(layer->out, layer->in);
    leco_status status = from ? weights_get(from, name, expected, &w, err)
                              : error_set(err, LECO_INTERNAL, "a DoRA of %s needs the model's weights", name);
    mem_free(name);
    if (status != LECO_OK) return status;
    const size_t columns = (size_t)(layer->in * layer->kernel * layer->kernel);
    double *row = mem_calloc(columns, sizeof *row);
    if (!row) return error_memory(err, columns * sizeof *row, "a DoRA");
    for (size_t i = 0; i < (size_t)layer->out; i++) {
        double sum = 0;
        dtype_convert(row, DTYPE_F64, (const char *)w->data + i * columns * dtype_size(w->type), w->type, columns);
        for (size_t k = 0; k < columns; k++) sum += row[k] * row[k];
        sum = sqrt(sum);
        param *p = &m->param[MAGNITUDE];
        dtype_convert((char *)p->value + i * dtype_size(p->type), p->type, &sum, DTYPE_F64, 1);
    }
    mem_free(row);
    return LECO_OK;
}

static leco_status initialise(trainable_module *m, const kind_start *s, leco_error *err)
{
    LECO_TRY(lora_initialise(m, s, err));
    return norms_of_weight(m, s, err);
}

/* What is added to y of (v - 1) x: v carries a loaded one's multiplier, and what stands for 1 does. */
static tensor *add_shifted(const trainable_module *m, graph *g, tensor *x, tensor *v, tensor *y, float multiplier)
{
    if (m->params <= MULTIPLIER) return op_affine(g, x, v, NULL, y, -multiplier, multiplier);
    tensor *one = graph_param(g, &m->param[MULTIPLIER]);
    return op_affine(g, x, one, NULL, op_affine(g, x, v, NULL, y, 0, multiplier), 0, -multiplier);
}

static tensor *apply(const trainable_module *m, const layer_site *at, float multiplier)
{
    graph *g = at->g;
    const float s = m->alpha / (float)m->rank;
    tensor *up = graph_param(g, &m->param[UP]);
    tensor *q = op_row_norms(g, at->w, up, graph_param(g, &m->param[DOWN]), s, by_column(m));
    tensor *v = op_multiply(g, graph_param(g, &m->param[MAGNITUDE]), q);
    if (!by_column(m)) {
        tensor *change = op_linear(g, lora_low(m, at, at->x), up, NULL, NULL, 1.0f);
        tensor *y = add_shifted(m, g, at->base, v, at->y, multiplier);
        return op_affine(g, change, v, NULL, y, 0, multiplier * s);
    }
    tensor *x = add_shifted(m, g, at->x, v, NULL, multiplier);
    tensor *y = adapter_through_weight(m, at, x, at->y);
    return op_linear(g, lora_low(m, at, op_affine(g, at->x, v, NULL, NULL, 0, multiplier)), up, NULL, y, s);
}

static leco_status change(const trainable_module *m, const double *const *params, double times, const double *w,
                          double *matrix, leco_error *err)
{
    const int64_t rows = m->layer.out, taps = m->layer.kernel * m->layer.kernel, columns = m->layer.in * taps;
    double *adapted = mem_calloc((size_t)(rows * columns), sizeof *adapted);
    double *norm = mem_calloc((size_t)channels(m), sizeof *norm);
    const double s = (double)m->alpha / (double)m->rank;
    for (int64_t i = 0; adapted && norm && i < rows; i++)
        for (int64_t k = 0; k < columns; k++) {
            double sum = 0;
            for (int64_t r = 0; r < m->rank; r++) sum += params[UP][i * m->rank + r] * params[DOWN][r * columns + k];
            const double value = w[i * columns + k] + s * sum;
            adapted[i * columns + k] = value;
            norm[by_column(m) ? k / taps : i] += value * value;
        }
    for (int64_t i = 0; adapted && norm && i < rows; i++)
        for (int64_t k = 0; k < columns; k++) {
            const int64_t c = by_column(m) ? k / taps : i;
            matrix[i * columns + k] +=
                times * (params[MAGNITUDE][c] / sqrt(norm[c]) * adapted[i * columns + k] - w[i * columns + k]);
        }
    const bool good = adapted && norm;
    mem_free(adapted);
    mem_free(norm);
    return good ? LECO_OK : error_memory(err, (size_t)(rows * columns) * sizeof *adapted, m->layer.path);
}

#define COMMON                                                                                                         \
    .file_module = "lycoris.kohya", .architecture = "lora", .settle = lora_settle, .shapes = shapes,                   \
    .param = {[DOWN] = {".lora_down.weight", false},                                                                   \
              [UP] = {".lora_up.weight", false},                                                                       \
              [MAGNITUDE] = {".dora_scale", true},                                                                     \
              [MULTIPLIER] = {".multiplier", true, .added = true}},                                                    \
    .size = {[KIND_RANK] = {DOWN, 0}, [KIND_ROWS] = {0, -1}, [KIND_COLUMNS] = {0, -1}}, .initialise = initialise,      \
    .apply = apply, .change = change, .needs_weight = true, .wants_base = true

const trainable_kind kind_dora = {COMMON, .name = "dora", .fits = kind_fits_weight};
const trainable_kind kind_dora_in = {COMMON, .name = "dora", .variant_of = &kind_dora, .fits = fits_nothing};
