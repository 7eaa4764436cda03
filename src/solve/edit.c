#include "solve/edit.h"

#include <string.h>

/* Eigenvalues of the kept states' sum below this part of the largest are taken for 0: hundreds of states reach a little
 * into every direction, and with none left SPEED could change nothing. (Its authors' 0.1 is about that, too.) */
#define NOTHING 1e-4

static size_t elements(int64_t width)
{
    return (size_t)(width * width);
}

leco_status moments_create(int64_t width, arena *memory, moments *out, leco_error *err)
{
    *out = (moments){.width = width};
    double **const all[] = {&out->cc, &out->gc, &out->pp};
    for (int i = 0; i < 3; i++)
        if (!(*all[i] = dense_new(memory, width, width, err))) return LECO_MEMORY;
    return LECO_OK;
}

/* Doubles of states, times their weights where there are any. */
static double *columns_of(const float *x, const float *weight, int64_t width, int64_t count, arena *scratch,
                          leco_error *err)
{
    double *out = dense_new(scratch, width, count, err);
    for (int64_t j = 0; out && j < count; j++)
        for (int64_t i = 0; i < width; i++)
            out[i + j * width] = (double)x[i + j * width] * (weight ? (double)weight[j] : 1.0);
    return out;
}

static double sum(const float *weight, int64_t count)
{
    double total = 0;
    for (int64_t i = 0; i < count; i++) total += (double)weight[i];
    return total;
}

leco_status moments_erase(moments *m, const float *c, const float *g, const float *weight, int64_t count,
                          leco_error *err)
{
    const int64_t width = m->width;
    arena *scratch = arena_create();
    if (!scratch) return error_memory(err, 0, "text states");
    const double *from = columns_of(c, NULL, width, count, scratch, err), *to = NULL, *weighted = NULL;
    if (from) to = columns_of(g, NULL, width, count, scratch, err);
    if (to) weighted = columns_of(c, weight, width, count, scratch, err);
    if (weighted) {
        dense_add_symmetric(from, weighted, width, count, m->cc);
        dense_add_outer(to, weighted, width, width, count, m->gc);
        m->erased += sum(weight, count);
    }
    arena_destroy(scratch);
    return weighted ? LECO_OK : LECO_MEMORY;
}

leco_status moments_keep(moments *m, const float *p, const float *weight, int64_t count, leco_error *err)
{
    const int64_t width = m->width;
    arena *scratch = arena_create();
    if (!scratch) return error_memory(err, 0, "text states");
    const double *state = columns_of(p, NULL, width, count, scratch, err), *weighted = NULL;
    if (state) weighted = columns_of(p, weight, width, count, scratch, err);
    if (weighted) {
        dense_add_symmetric(state, weighted, width, count, m->pp);
        m->kept += sum(weight, count);
    }
    arena_destroy(scratch);
    return weighted ? LECO_OK : LECO_MEMORY;
}

void moments_average(moments *m)
{
    const double erased = m->erased > 0 ? 1 / m->erased : 0, kept = m->kept > 0 ? 1 / m->kept : 0;
    for (size_t i = 0; i < elements(m->width); i++) {
        m->cc[i] *= erased;
        m->gc[i] *= erased;
        m->pp[i] *= kept;
    }
    m->erased = m->kept = 1;
}

/* ---- solving ---- */

/* What is worked on. */
typedef struct work {
    int64_t n;
    const moments *m;
    const edit_options *options;
    arena *memory;
    double *toward; /* sum (g - c) c^T */
    leco_error *err;
} work;

static double *copy_of(const work *w, const double *a)
{
    double *out = dense_new(w->memory, w->n, w->n, w->err);
    if (out) memcpy(out, a, elements(w->n) * sizeof *out);
    return out;
}

static void add_identity(double *a, int64_t n, double times)
{
    for (int64_t i = 0; i < n; i++) a[i + i * n] += times;
}

static double *product(const work *w, const double *a, const double *b)
{
    double *out = dense_new(w->memory, w->n, w->n, w->err);
    if (out) dense_product(a, b, w->n, w->n, w->n, out);
    return out;
}

static double *transposed(const work *w, const double *a)
{
    double *out = dense_new(w->memory, w->n, w->n, w->err);
    if (out) dense_transpose(a, w->n, w->n, out);
    return out;
}

/* L of the metric. */
static leco_status find_metric(const work *w, double **out)
{
    double *a = copy_of(w, w->m->cc);
    if (!a) return LECO_MEMORY;
    for (size_t i = 0; i < elements(w->n); i++) a[i] += w->m->pp[i];
    add_identity(a, w->n, w->options->lambda);
    LECO_TRY(dense_cholesky(a, w->n, w->err));
    *out = a;
    return LECO_OK;
}

static leco_status solve_uce(const work *w, const double *metric, double **change)
{
    if (!(*change = copy_of(w, w->toward))) return LECO_MEMORY;
    dense_divide_lower(*change, metric, w->n, w->n, true);
    dense_divide_lower(*change, metric, w->n, w->n, false);
    return LECO_OK;
}

/* P = the sum of v v^T over the eigenvectors v of sum p p^T with an eigenvalue of about 0. */
static leco_status find_projector(const work *w, double **out)
{
    const int64_t n = w->n;
    double *vectors = copy_of(w, w->m->pp), *value = dense_new(w->memory, n, 1, w->err);
    *out = dense_new(w->memory, n, n, w->err);
    if (!vectors || !value || !*out) return LECO_MEMORY;
    LECO_TRY(dense_eigen(vectors, value, n, w->memory, w->err));
    int64_t none = 0; /* they rise */
    while (none < n && value[none] <= NOTHING * value[n - 1]) none++;
    if (none == 0)
        return error_set(w->err, LECO_INVALID,
                         "the kept states reach everywhere, so that SPEED has nothing left to change: keep fewer");
    dense_add_symmetric(vectors, vectors, n, none, *out);
    return LECO_OK;
}

/* K (K^T P M K + lambda I)^-1 K^T P, [n, n] */
static leco_status find_correction(const work *w, const double *projector, const double *m, double **out)
{
    const int64_t n = w->n;
    double *pmk = dense_new(w->memory, n, 2, w->err), *kp = dense_new(w->memory, 2, n, w->err);
    double *mk = dense_new(w->memory, n, 2, w->err), *kt = dense_new(w->memory, 2, n, w->err);
    double *inside = dense_new(w->memory, 2, 2, w->err);
    *out = dense_new(w->memory, n, n, w->err);
    if (!pmk || !kp || !mk || !kt || !inside || !*out) return LECO_MEMORY;
    dense_transpose(w->m->anchors, n, 2, kt);
    dense_product(m, w->m->anchors, n, n, 2, mk);
    dense_product(projector, mk, n, n, 2, pmk);
    dense_product(kt, projector, 2, n, n, kp);
    dense_product(kt, pmk, 2, n, 2, inside);
    add_identity(inside, 2, w->options->lambda);
    LECO_TRY(dense_solve(inside, kp, 2, n, w->memory, w->err));
    dense_product(w->m->anchors, kp, n, 2, n, *out);
    return LECO_OK;
}

static leco_status solve_speed(const work *w, double **change)
{
    const int64_t n = w->n;
    double *projector, *correction, *inverse = dense_new(w->memory, n, n, w->err);
    LECO_TRY(find_projector(w, &projector));
    double *a = product(w, w->m->cc, projector);
    if (!inverse || !a) return LECO_MEMORY;
    add_identity(a, n, w->options->lambda);
    add_identity(inverse, n, 1);
    LECO_TRY(dense_solve(a, inverse, n, n, w->memory, w->err));
    double *right = copy_of(w, inverse);
    if (right && w->m->anchors) {
        LECO_TRY(find_correction(w, projector, inverse, &correction));
        double *mc = product(w, inverse, correction), *moved = mc ? product(w, mc, inverse) : NULL;
        if (!moved) return LECO_MEMORY;
        for (size_t i = 0; i < elements(n); i++) right[i] -= moved[i];
    }
    double *left = product(w, w->toward, projector);
    *change = left && right ? product(w, left, right) : NULL;
    return *change ? LECO_OK : LECO_MEMORY;
}

static leco_status find_toward(work *w)
{
    if (!(w->toward = copy_of(w, w->m->gc))) return LECO_MEMORY;
    for (size_t i = 0; i < elements(w->n); i++) w->toward[i] -= w->m->cc[i];
    return LECO_OK;
}

static leco_status solve_once(work *w, edit *out)
{
    LECO_TRY(find_toward(w));
    LECO_TRY(find_metric(w, &out->metric));
    return w->options->method == EDIT_SPEED ? solve_speed(w, &out->change) : solve_uce(w, out->metric, &out->change);
}

/* ---- RECE ---- */

/* T with c' = T c:  (E^T G E + lambda I)^-1 E^T G, where E = I + change and G = sum W^T W. */
static leco_status find_return(const work *w, const double *change, double **out)
{
    double *e = copy_of(w, change);
    if (!e) return LECO_MEMORY;
    add_identity(e, w->n, 1);
    double *et = transposed(w, e), *a;
    *out = et ? product(w, et, w->m->gram) : NULL;
    if (!*out || !(a = product(w, *out, e))) return LECO_MEMORY;
    add_identity(a, w->n, w->options->lambda);
    return dense_solve(a, *out, w->n, w->n, w->memory, w->err);
}

/* One more solve on top of the last: I + change becomes (I + change) (I + what that solve gives). */
static leco_status solve_again(work *w, edit *out)
{
    double *back;
    LECO_TRY(find_return(w, out->change, &back));
    double *back_t = transposed(w, back), *bc = product(w, back, w->m->cc);
    moments again = *w->m;
    again.cc = bc && back_t ? product(w, bc, back_t) : NULL;
    again.gc = back_t ? product(w, w->m->gc, back_t) : NULL;
    if (!again.cc || !again.gc) return LECO_MEMORY;
    work second = *w;
    second.m = &again;
    edit more;
    LECO_TRY(solve_once(&second, &more));
    double *both = product(w, out->change, more.change);
    if (!both) return LECO_MEMORY;
    for (size_t i = 0; i < elements(w->n); i++) out->change[i] += more.change[i] + both[i];
    return LECO_OK;
}

leco_status edit_solve(const moments *m, const edit_options *options, arena *memory, edit *out, leco_error *err)
{
    work w = {.n = m->width, .m = m, .options = options, .memory = memory, .err = err};
    *out = (edit){.width = m->width};
    leco_status status = solve_once(&w, out);
    for (int round = 0; round < options->rounds && status == LECO_OK; round++) status = solve_again(&w, out);
    if (status != LECO_INVALID || options->lambda > 0) return status;
    return error_set(err, LECO_INVALID,
                     "the states don't determine the edit (the system of equations is singular): lambda must be above "
                     "0, or more must be kept");
}
