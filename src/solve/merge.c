#include "solve/merge.h"

#include "base/log.h"
#include "base/mem.h"
#include "model/kinds.h"
#include "solve/low_rank.h"

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The rank that a layer's change may have. */
static int64_t most_rank(const change *c)
{
    const int64_t side = smaller(c->rows, c->columns);
    return c->no_product ? side : smaller(side, c->rank);
}

static leco_status check(const change_list *changes, int64_t rank, leco_error *err)
{
    if (changes->count == 0)
        return error_set(err, LECO_INVALID, "all weights are 0: there would be nothing in the result");
    for (size_t i = 0; i < changes->count; i++) {
        const change *c = &changes->at[i];
        if (c->of_weight)
            return error_set(err, LECO_UNSUPPORTED,
                             "%s: holds a %s, whose change depends on the model's weights: it can be put into a model "
                             "(--into), not joined into a LoRA",
                             c->of_weight, c->its_kind);
        if (c->of_vector)
            return error_set(err, LECO_UNSUPPORTED,
                             "%s: changes %s.%s, for which a LoRA has no place: it can be put into a model (--into), "
                             "not joined into a LoRA",
                             c->of_vector, c->layer->path, c->tensor);
        if (c->no_product && rank == 0)
            return error_set(err, LECO_UNSUPPORTED,
                             "%s: holds a %s, which no LoRA equals exactly: give the rank (--rank) of the one that is "
                             "to come near it",
                             c->no_product, c->its_kind);
    }
    return LECO_OK;
}

/* A rank that no layer has leaves out nothing: the LoRAs stand side by side as if none were given, but where one of
 * them is no product, or where their ranks add up to more. */
static int64_t rank_wanted(const change_list *changes, int64_t rank)
{
    int64_t most = 0;
    bool side_by_side = true;
    for (size_t i = 0; i < changes->count; i++) {
        const change *c = &changes->at[i];
        if (most_rank(c) > most) most = most_rank(c);
        side_by_side = side_by_side && !c->no_product && c->rank <= rank;
    }
    if (rank <= most) return rank;
    log_message(LOG_INFO, "a rank of %lld is above what there is, %lld at most in any layer: nothing is left out",
                (long long)rank, (long long)most);
    return side_by_side ? 0 : most;
}

/* As they are, side by side. */
static leco_status join(const change *c, thin_list *list, arena *scratch, leco_error *err)
{
    double *up = arena_alloc(scratch, (size_t)c->rows, (size_t)c->rank * sizeof *up);
    double *down = arena_alloc(scratch, (size_t)c->rank, (size_t)c->columns * sizeof *down);
    if (!up || !down) return error_memory(err, (size_t)(c->rows + c->columns) * (size_t)c->rank * 8, c->layer->path);
    change_factors(c, up, down);
    return thin_add(list, c->layer, c->rank, up, down, c->scale, err);
}

static leco_status approximate(const change *c, int64_t rank, low_rank *out, arena *scratch, leco_error *err)
{
    if (!c->no_product) {
        double *up = arena_alloc(scratch, (size_t)c->rows, (size_t)c->rank * sizeof *up);
        double *down = arena_alloc(scratch, (size_t)c->rank, (size_t)c->columns * sizeof *down);
        if (!up || !down)
            return error_memory(err, (size_t)(c->rows + c->columns) * (size_t)c->rank * 8, c->layer->path);
        change_factors(c, up, down);
        return low_rank_of_product(up, down, c->rows, c->rank, c->columns, rank, out, err);
    }
    double *matrix = arena_alloc(scratch, (size_t)c->rows, (size_t)c->columns * sizeof *matrix);
    if (!matrix) return error_memory(err, (size_t)(c->rows * c->columns) * 8, c->layer->path);
    LECO_TRY(change_add(c, NULL, matrix, scratch, err));
    return low_rank_of_matrix(matrix, c->rows, c->columns, rank, out, err);
}

static leco_status reduce(const change *c, int64_t rank, thin_list *list, thin_report *report, arena *scratch,
                          leco_error *err)
{
    low_rank r = {0};
    leco_status status = approximate(c, smaller(rank, most_rank(c)), &r, scratch, err);
    if (status != LECO_OK) return error_prefix(err, status, "%s", c->layer->path);
    thin_note(report, c->layer, r.rank, r.norm, r.lost);
    status = thin_add(list, c->layer, r.rank, r.up, r.down, 1, err);
    low_rank_free(&r);
    return status;
}

static leco_status merge_layer(const change *c, int64_t rank, thin_list *list, thin_report *report, leco_error *err)
{
    arena *scratch = arena_create();
    if (!scratch) return error_memory(err, 0, c->layer->path);
    leco_status status = rank > 0 ? reduce(c, rank, list, report, scratch, err) : join(c, list, scratch, err);
    if (rank == 0 && status == LECO_OK) thin_note(report, c->layer, c->rank, 0, 0);
    arena_destroy(scratch);
    return status;
}

static double cost_of(const change *c)
{
    return (double)(c->rows + c->columns) * (double)c->rank * (double)c->rank;
}

leco_status merge_loras(const change_list *changes, int64_t rank, work *w, trainable **out, thin_report *report,
                        leco_error *err)
{
    thin_list list = {0};
    double cost = 0;
    *report = (thin_report){0};
    LECO_TRY(check(changes, rank, err));
    rank = rank_wanted(changes, rank);
    for (size_t i = 0; i < changes->count; i++) cost += cost_of(&changes->at[i]);
    work_begin(w, (int64_t)changes->count, cost);
    leco_status status = LECO_OK;
    for (size_t i = 0; i < changes->count && status == LECO_OK; i++) {
        status = merge_layer(&changes->at[i], rank, &list, report, err);
        if (status == LECO_OK) status = work_step(w, cost_of(&changes->at[i]), err);
    }
    if (status == LECO_OK) status = thin_assemble(&list, out, err);
    thin_free(&list);
    return status;
}
