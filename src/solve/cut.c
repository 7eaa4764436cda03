#include "solve/cut.h"

#include <math.h>
#include <string.h>

/* How many more directions of the change are kept than a layer may use, as each layer wants others. */
enum { SPARE = 16 };

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* [rows, columns] row-major of a column-major one, or the other way round. */
static double *turned(const double *a, int64_t rows, int64_t columns, arena *memory, leco_error *err)
{
    double *out = dense_new(memory, rows, columns, err);
    if (out) dense_transpose(a, rows, columns, out);
    return out;
}

/* change L, row-major. */
static double *measured_change(const edit *e, arena *memory, leco_error *err)
{
    double *out = dense_new(memory, e->width, e->width, err);
    if (!out) return NULL;
    dense_product(e->change, e->metric, e->width, e->width, e->width, out);
    return turned(out, e->width, e->width, memory, err);
}

leco_status cut_create(const edit *e, size_t count, int64_t most, arena *memory, cut *out, leco_error *err)
{
    const int64_t n = e->width;
    *out = (cut){.width = n, .most = smaller(most, n), .count = count, .metric = e->metric, .memory = memory};
    out->inner = smaller(n, 2 * out->most + SPARE);
    out->layer = arena_alloc(memory, count, sizeof *out->layer);
    if (!out->layer) return error_memory(err, count * sizeof *out->layer, "an edit");
    const double *change = measured_change(e, memory, err);
    if (!change) return LECO_MEMORY;
    low_rank parts = {0};
    LECO_TRY(low_rank_of_matrix(change, n, n, out->inner, &parts, err));
    out->left_out = parts.lost * parts.lost;
    out->basis = dense_new(memory, n, out->inner, err);
    out->coordinates = dense_new(memory, n, out->inner, err);
    const size_t bytes = (size_t)(n * out->inner) * sizeof *out->basis;
    if (out->basis && out->coordinates) {
        memcpy(out->basis, parts.up, bytes);
        memcpy(out->coordinates, parts.down, bytes);
    }
    low_rank_free(&parts);
    return out->basis && out->coordinates ? LECO_OK : LECO_MEMORY;
}

/* Both sides of each of a layer's ranks get the same norm: files keep them in 16 bits. */
static void balance(cut_layer *l, int64_t rank, int64_t width)
{
    for (int64_t r = 0; r < rank; r++) {
        double up = 0, down = 0;
        for (int64_t i = 0; i < l->rows; i++) up += l->up[i + r * l->rows] * l->up[i + r * l->rows];
        for (int64_t i = 0; i < width; i++) down += l->down[r * width + i] * l->down[r * width + i];
        if (up == 0 || down == 0) continue;
        const double times = sqrt(sqrt(down / up));
        for (int64_t i = 0; i < l->rows; i++) l->up[i + r * l->rows] *= times;
        for (int64_t i = 0; i < width; i++) l->down[r * width + i] /= times;
    }
}

/* Takes over what low_rank_of_product gave for this layer. */
static leco_status put(cut *c, cut_layer *l, const low_rank *parts, leco_error *err)
{
    const int64_t rank = l->rank = parts->rank;
    double *flat = turned(parts->down, c->width, rank, c->memory, err); /* [rank, width] column-major */
    l->up = turned(parts->up, rank, l->rows, c->memory, err);
    l->lost2 = arena_alloc(c->memory, (size_t)c->most + 1, sizeof *l->lost2);
    if (!l->lost2) return error_memory(err, (size_t)c->most * sizeof *l->lost2, "an edit");
    if (!flat || !l->up) return LECO_MEMORY;
    dense_divide_lower(flat, c->metric, rank, c->width, false);
    l->down = turned(flat, rank, c->width, c->memory, err);
    if (!l->down) return LECO_MEMORY;
    double kept = 0, lost = 0;
    for (int64_t i = 0; i < rank; i++) kept += parts->singular[i] * parts->singular[i];
    /* `lost` of parts is relative to the whole, of which `kept` is the rest. */
    const double part = parts->lost * parts->lost;
    if (part < 1) lost = kept * part / (1 - part);
    l->lost2[rank] = lost;
    for (int64_t i = rank; i > 0; i--) l->lost2[i - 1] = l->lost2[i] + parts->singular[i - 1] * parts->singular[i - 1];
    for (int64_t i = rank + 1; i <= c->most; i++) l->lost2[i] = lost;
    balance(l, rank, c->width);
    return LECO_OK;
}

/* W basis, [rows, inner] row-major: as columns, (basis^T) W^T. */
static double *matrix_on_basis(const cut *c, const double *matrix, int64_t rows, arena *scratch, leco_error *err)
{
    double *out = dense_new(scratch, c->inner, rows, err);
    if (out) dense_flat_product(c->basis, matrix, c->inner, c->width, rows, out);
    return out;
}

leco_status cut_add(cut *c, size_t index, const double *matrix, int64_t rows, leco_error *err)
{
    cut_layer *l = &c->layer[index];
    l->rows = rows;
    arena *scratch = arena_create();
    if (!scratch) return error_memory(err, 0, "an edit");
    double *left = matrix_on_basis(c, matrix, rows, scratch, err);
    low_rank parts = {0};
    const int64_t rank = smaller(c->most, smaller(rows, c->inner));
    leco_status status = LECO_MEMORY;
    if (left) status = low_rank_of_product(left, c->coordinates, rows, c->inner, c->width, rank, &parts, err);
    if (status == LECO_OK) {
        status = put(c, l, &parts, err);
        low_rank_free(&parts);
    }
    arena_destroy(scratch);
    return status;
}

double cut_lost(const cut *c, int64_t rank)
{
    double lost = 0, all = 0;
    for (size_t i = 0; i < c->count; i++) {
        lost += c->layer[i].lost2[rank];
        all += c->layer[i].lost2[0];
    }
    /* The layers know nothing of what was left out before. */
    return all > 0 ? sqrt(c->left_out + (1 - c->left_out) * lost / all) : 0;
}

int64_t cut_rank(const cut *c, double lost)
{
    int64_t rank = 1;
    while (rank < c->most && cut_lost(c, rank) > lost) rank++;
    return rank;
}
