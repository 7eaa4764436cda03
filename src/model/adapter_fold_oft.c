/* OFT and BOFT as kohya's networks.oft and LyCORIS write them: rotations of what a layer gives. PEFT's:
 * adapter_fold_peft.c. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/adapter_fold.h"

/* Below the bound, so that products of these fit. */
static bool is_square_blocks(const safetensors_entry *e)
{
    const int last = e->rank - 1;
    if ((e->rank != 3 && e->rank != 4) || e->count == 0 || e->shape[last] != e->shape[last - 1]) return false;
    for (int i = 0; i < e->rank; i++)
        if (e->shape[i] > INT32_MAX) return false;
    return true;
}

/* By how much Q shrinks. An alpha is the constraint, over the layer's outputs, as kohya and LyCORIS have it; 0, or
 * none: there isn't any. */
static leco_status find_shrink(const folding *f, const safetensors_entry *alpha, const rotation *r, double *shrink)
{
    const size_t n = r->side;
    double value = 0, sum = 0;
    *shrink = 1;
    if (alpha && (!safetensors_number(alpha, &value) || !isfinite(value)))
        return fold_wrong(f, alpha, "a finite number");
    for (size_t k = 0; k < r->stages * r->count; k++)
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < i; j++) {
                const float *q = r->q + k * n * n;
                const double skew = (double)q[i * n + j] - (double)q[j * n + i];
                sum += 2 * skew * skew;
            }
    const double most = value * (double)(r->count * n);
    if (most > 0 && sqrt(sum) > most) *shrink = most / sqrt(sum);
    return LECO_OK;
}

leco_status fold_rotation(folding *f, const safetensors_entry *e, size_t stem, const rotation *r, const float *rescale,
                          const char *suffix)
{
    const int64_t shape[] = {(int64_t)(r->count * r->side), (int64_t)(r->count * r->side)};
    const size_t width = r->count * r->side;
    float *out;
    LECO_TRY(fold_make_room(f, e, shape, 2, &out));
    memset(out, 0, width * width * sizeof *out);
    if (!rotation_make(r, out)) {
        mem_free_aligned(out);
        return error_memory(f->err, 3 * r->side * r->side * sizeof(double), e->name);
    }
    for (size_t i = 0; i < width; i++) {
        for (size_t j = 0; j < width && rescale; j++) out[i * width + j] *= rescale[i];
        out[i * width + i] -= 1;
    }
    return fold_add(f, e->name, stem, suffix, 2, shape, out);
}

static leco_status turn(folding *f, const safetensors_entry *e, size_t stem, rotation *r, const float *rescale)
{
    double shrink;
    LECO_TRY(find_shrink(f, fold_beside(f, e->name, stem, ".alpha"), r, &shrink));
    r->times = e->rank == 3 ? -shrink : shrink; /* LyCORIS has an OFT's blocks transposed, and a BOFT's not */
    return fold_rotation(f, e, stem, r, rescale, ".oft_change");
}

leco_status fold_oft(folding *f, const safetensors_entry *e, size_t stem)
{
    const safetensors_entry *rescale = fold_beside(f, e->name, stem, ".rescale");
    const bool boft = e->rank == 4;
    float *q = NULL, *scale = NULL;
    if (!is_square_blocks(e))
        return fold_wrong(f, e, "square blocks [count,side,side], or [stages,count,side,side] of a BOFT");
    rotation r = {.stages = boft ? (size_t)e->shape[0] : 1,
                  .count = (size_t)e->shape[boft],
                  .side = (size_t)e->shape[boft + 1],
                  .series = ROTATION_EXACT,
                  .order = boft ? ROTATION_ROWS : ROTATION_NEIGHBOURS};
    if (!rotation_fits(&r)) return fold_wrong(f, e, "blocks that so many stages of a BOFT can be made of");
    if (rescale && rescale->count != r.count * r.side)
        return fold_wrong(f, rescale, "a number for each of the layer's outputs");
    leco_status status = fold_values_of(f, e, &q);
    if (status == LECO_OK && rescale) status = fold_values_of(f, rescale, &scale);
    r.q = q;
    if (status == LECO_OK) status = turn(f, e, stem, &r, scale);
    mem_free(q);
    mem_free(scale);
    LECO_TRY(status);
    LECO_TRY(fold_take_away(f, e->name, stem, ".oft_blocks"));
    LECO_TRY(fold_take_away(f, e->name, stem, ".rescale"));
    return fold_take_away(f, e->name, stem, ".alpha"); /* which was the constraint, no scale */
}

/* LyCORIS 2.0 wrote the blocks R themselves, [count,side,side], and turned by their transposed. */
leco_status fold_oft_diag(folding *f, const safetensors_entry *e, size_t stem)
{
    if (e->rank != 3 || !is_square_blocks(e)) return fold_wrong(f, e, "square blocks [count,side,side]");
    const size_t count = (size_t)e->shape[0], side = (size_t)e->shape[1], width = count * side;
    const int64_t shape[] = {(int64_t)width, (int64_t)width};
    float *r, *out;
    LECO_TRY(fold_make_room(f, e, shape, 2, &out));
    const leco_status status = fold_values_of(f, e, &r);
    if (status != LECO_OK) {
        mem_free_aligned(out);
        return status;
    }
    memset(out, 0, width * width * sizeof *out);
    for (size_t i = 0; i < width; i++) {
        const size_t begin = i - i % side;
        for (size_t j = 0; j < side; j++) out[i * width + begin + j] = r[(begin + j) * side + i % side];
        out[i * width + i] -= 1;
    }
    mem_free(r);
    LECO_TRY(fold_add(f, e->name, stem, ".oft_change", 2, shape, out));
    return fold_take_away(f, e->name, stem, ".oft_diag");
}
