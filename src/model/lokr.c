/* LoKr:  y = W x + multiplier * (alpha / rank) * (w1 (x) w2) x,  a Kronecker product: element (i b + k, j d + l) of the
 * change is w1[i,j] w2[k,l]. w1 [a,c] with a b = out, c d = in; w2 [b,d], on a 3x3 convolution [b,d,3,3]; mostly w2 is
 * a product itself, w2_a [b,rank] w2_b [rank,d] (there [rank,d*9]). Source: Yeh et al., "Navigating text-to-image
 * customization: from LyCORIS fine-tuning to model evaluation" (2024); sizes, names in files and what training starts
 * with as LyCORIS has them. Its forms: w2 thin; both whole, whose scale is 1; both thin, which files may have. (Not its
 * Tucker form, which has a tensor lokr_t2 beside these.) */
#include <math.h>

#include "base/mem.h"
#include "model/kinds.h"
#include "op/op.h"

enum { W1, W2_A, W2_B };                   /* of kind_lokr */
enum { WHOLE_W1, WHOLE_W2 };               /* of kind_lokr_whole */
enum { W1_A, W1_B, THIN_W2_A, THIN_W2_B }; /* of kind_lokr_thin */

/* The two factors of a number that LyCORIS takes, the smaller one first: its factorization(). */
static int64_t first_factor(int64_t number, int64_t factor)
{
    if (factor > 0 && number % factor == 0) return factor < number / factor ? factor : number / factor;
    if (factor < 0) factor = number;
    int64_t m = 1, n = number;
    const int64_t length = m + n;
    while (m < n) {
        int64_t next = m + 1;
        while (number % next != 0) next++;
        const int64_t other = number / next;
        if (next + other > length || next > factor) break;
        m = next, n = other;
    }
    return m < n ? m : n;
}

static void settle(trainable_module *m, const trainable_options *o)
{
    m->rows = first_factor(m->layer.out, o->factor);
    m->columns = first_factor(m->layer.in, o->factor);
    const int64_t b = m->layer.out / m->rows, d = m->layer.in / m->columns, larger = b > d ? b : d;
    if (2 * m->rank < larger) return;
    m->kind = &kind_lokr_whole; /* a product would be no smaller */
    m->alpha = (float)m->rank;  /* its scale is 1 */
}

static int64_t taps_of(const trainable_module *m)
{
    return m->layer.kernel * m->layer.kernel;
}

/* Sizes b and d of the second matrix. */
static int64_t b_of(const trainable_module *m)
{
    return m->layer.out / m->rows;
}

static int64_t d_of(const trainable_module *m)
{
    return m->layer.in / m->columns;
}

static kind_shape same(shape s)
{
    return (kind_shape){s, s};
}

static void shapes(const trainable_module *m, kind_shape out[KIND_MAX_PARAMS])
{
    const int64_t b = b_of(m), d = d_of(m), k = m->layer.kernel;
    out[W1] = same(SHAPE(m->rows, m->columns));
    out[W2_A] = same(SHAPE(b, m->rank));
    out[W2_B] = same(SHAPE(m->rank, d * taps_of(m)));
    if (m->kind == &kind_lokr_whole) {
        out[WHOLE_W2] = same(m->layer.is_conv ? SHAPE(b, d, k, k) : SHAPE(b, d));
    } else if (m->kind == &kind_lokr_thin) {
        out[W1_A] = same(SHAPE(m->rows, m->rank));
        out[W1_B] = same(SHAPE(m->rank, m->columns));
        out[THIN_W2_A] = same(SHAPE(b, m->rank));
        out[THIN_W2_B] = same(SHAPE(m->rank, d * taps_of(m)));
    }
}

/* kaiming_uniform_(a = sqrt 5) of a matrix, whose columns are its inputs. */
static void draw(param *p, const kind_start *s)
{
    const size_t count = (size_t)shape_count(&p->shape);
    const float bound = (float)(sqrt(3.0) * sqrt(2.0 / (1.0 + 5.0)) / sqrt((double)p->shape.dim[1]));
    rng_uniform(s->rng, s->draw, count, -bound, bound);
    dtype_convert(p->value, p->type, s->draw, DTYPE_F32, count);
}

/* LyCORIS's draws, in its order. w2_b, or the whole w2, stays 0, and so what is added. */
static leco_status initialise(trainable_module *m, const kind_start *s, leco_error *err)
{
    (void)err;
    if (m->kind == &kind_lokr) draw(&m->param[W2_A], s);
    draw(&m->param[W1], s);
    return LECO_OK;
}

static float scale_of(const trainable_module *m)
{
    return m->kind == &kind_lokr_whole ? 1.0f : m->alpha / (float)m->rank;
}

/* A matrix that is whole, or the product of two params. */
static tensor *factor(const trainable_module *m, graph *g, int first, bool thin)
{
    tensor *left = graph_param(g, &m->param[first]);
    if (!thin) return left;
    tensor *right = graph_param(g, &m->param[first + 1]);
    return op_product(g, left, right, m->rank, 1.0f,
                      SHAPE(m->param[first].shape.dim[0], m->param[first + 1].shape.dim[1]));
}

static tensor *apply(const trainable_module *m, const layer_site *at, float multiplier)
{
    graph *g = at->g;
    const layer_info *layer = &m->layer;
    const bool thin = m->kind == &kind_lokr_thin;
    tensor *first = factor(m, g, 0, thin), *second = factor(m, g, thin ? THIN_W2_A : 1, m->kind != &kind_lokr_whole);
    const int64_t dim[] = {m->rows, m->columns, b_of(m), d_of(m) * taps_of(m)};
    const shape matrix = SHAPE(layer->out, layer->in),
                kernel = SHAPE(layer->out, layer->in, layer->kernel, layer->kernel);
    tensor *outer = op_product(g, first, second, 1, multiplier * scale_of(m), shape_of(4, dim));
    tensor *w = op_swap(g, outer, dim, layer->kernel == 1 ? matrix : kernel);
    return layer->kernel == 1 ? op_linear(g, at->x, w, NULL, at->y, 1.0f)
                              : op_conv2d(g, at->x, w, NULL, at->y, at->stride, at->pad);
}

/* out [rows,columns] = left [rows,depth] right [depth,columns]; the caller's to mem_free, NULL: out of memory. */
static double *multiplied(const double *left, const double *right, int64_t rows, int64_t depth, int64_t columns)
{
    double *out = mem_calloc((size_t)(rows * columns), sizeof *out);
    for (int64_t i = 0; out && i < rows; i++)
        for (int64_t r = 0; r < depth; r++)
            for (int64_t k = 0; k < columns; k++) out[i * columns + k] += left[i * depth + r] * right[r * columns + k];
    return out;
}

static leco_status change(const trainable_module *m, const double *const *params, double times, const double *w,
                          double *matrix, leco_error *err)
{
    (void)w;
    const bool thin = m->kind == &kind_lokr_thin, whole = m->kind == &kind_lokr_whole;
    const int64_t b = b_of(m), d = d_of(m) * taps_of(m), across = m->columns * d;
    const int second = thin ? THIN_W2_A : 1;
    double *own_first = thin ? multiplied(params[W1_A], params[W1_B], m->rows, m->rank, m->columns) : NULL;
    double *own_second = whole ? NULL : multiplied(params[second], params[second + 1], b, m->rank, d);
    const double *first = thin ? own_first : params[0], *other = whole ? params[1] : own_second;
    leco_status status = first && other ? LECO_OK : error_memory(err, (size_t)(b * d) * sizeof *other, m->layer.path);
    for (int64_t i = 0; i < m->rows * b && status == LECO_OK; i++)
        for (int64_t j = 0; j < m->columns; j++)
            for (int64_t k = 0; k < d; k++)
                matrix[i * across + j * d + k] +=
                    times * (double)scale_of(m) * first[i / b * m->columns + j] * other[i % b * d + k];
    mem_free(own_first);
    mem_free(own_second);
    return status;
}

#define COMMON                                                                                                         \
    .name = "lokr", .file_module = "lycoris.kohya", .architecture = "lora", .fits = kind_fits_weight,                  \
    .settle = settle, .shapes = shapes, .initialise = initialise, .apply = apply, .change = change

const trainable_kind kind_lokr = {
    COMMON,
    .param = {[W1] = {".lokr_w1", false}, [W2_A] = {".lokr_w2_a", false}, [W2_B] = {".lokr_w2_b", true}},
    .size = {[KIND_RANK] = {W2_B, 0}, [KIND_ROWS] = {W1, 0}, [KIND_COLUMNS] = {W1, 1}},
};

const trainable_kind kind_lokr_whole = {
    COMMON,
    .variant_of = &kind_lokr,
    .param = {[WHOLE_W1] = {".lokr_w1", false}, [WHOLE_W2] = {".lokr_w2", true}},
    .size = {[KIND_RANK] = {0, -1}, [KIND_ROWS] = {WHOLE_W1, 0}, [KIND_COLUMNS] = {WHOLE_W1, 1}},
};

const trainable_kind kind_lokr_thin = {
    COMMON,
    .variant_of = &kind_lokr,
    .param = {[W1_A] = {".lokr_w1_a", false},
              [W1_B] = {".lokr_w1_b", false},
              [THIN_W2_A] = {".lokr_w2_a", false},
              [THIN_W2_B] = {".lokr_w2_b", true}},
    .size = {[KIND_RANK] = {THIN_W2_B, 0}, [KIND_ROWS] = {W1_A, 0}, [KIND_COLUMNS] = {W1_B, 1}},
};
