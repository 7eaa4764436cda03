/* Closed-form edits against the papers' formulas in float64, and their LoRAs against the best there is. */
#include "parity_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/rng.h"
#include "solve/cut.h"

#define BOUND 1e-6

enum { MATRICES = 3 };

static leco_error err;
static safetensors *file;
static arena *memory;

/* A tensor in float64, row-major as the file has it; the arena's. */
static double *read_doubles(int64_t *rows, const char *format, ...) __attribute__((format(printf, 2, 3)));
static double *read_doubles(int64_t *rows, const char *format, ...)
{
    char name[64];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    const safetensors_entry *e = safetensors_find(file, name);
    if (!e) fail_msg("no tensor %s", name);
    assert_int_equal(e->type, DTYPE_F64);
    double *out = arena_alloc(memory, e->count, sizeof *out);
    assert_non_null(out);
    memcpy(out, e->data, e->count * sizeof *out);
    if (rows) *rows = e->shape[0];
    return out;
}

static double norm(const double *a, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += a[i] * a[i];
    return sqrt(sum);
}

/* out [rows, n] = a [rows, n] b [n, n], a and out row-major, b column-major, by plain loops. */
static void times(const double *a, const double *b, int64_t rows, int64_t n, double *out)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t k = 0; k < n; k++) sum += a[i * n + k] * b[k + j * n];
            out[i * n + j] = sum;
        }
}

/* The sums of one case: what its states weigh, too. */
static moments gather(const char *name, int64_t width)
{
    moments m;
    assert_works(moments_create(width, memory, &m, &err), &err);
    values c = fixture_read(file, "%s.c", name), g = fixture_read(file, "%s.g", name);
    values of_state = fixture_read(file, "%s.weight.c", name);
    assert_works(moments_erase(&m, c.at, g.at, of_state.at, c.dim[0], &err), &err);
    values_free(&c);
    values_free(&g);
    values_free(&of_state);
    if (!fixture_has(file, "%s.p", name)) return m;
    values p = fixture_read(file, "%s.p", name);
    of_state = fixture_read(file, "%s.weight.p", name);
    assert_works(moments_keep(&m, p.at, of_state.at, p.dim[0], &err), &err);
    values_free(&p);
    values_free(&of_state);
    return m;
}

static void add_anchors(moments *m)
{
    values anchors = fixture_read(file, "anchors");
    m->anchors = arena_alloc(memory, anchors.count, sizeof *m->anchors);
    assert_non_null(m->anchors);
    for (size_t i = 0; i < anchors.count; i++) m->anchors[i] = (double)anchors.at[i];
    values_free(&anchors);
}

/* sum W^T W */
static void add_gram(moments *m)
{
    m->gram = arena_alloc(memory, (size_t)(m->width * m->width), sizeof *m->gram);
    assert_non_null(m->gram);
    for (int k = 0; k < MATRICES; k++) {
        int64_t rows;
        const double *w = read_doubles(&rows, "W.%d", k);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t i = 0; i < m->width; i++)
                for (int64_t j = 0; j < m->width; j++)
                    m->gram[i + j * m->width] += w[r * m->width + i] * w[r * m->width + j];
    }
}

/* The edit of one case in one method, "rounds0" to "rounds2" or "speed". */
static edit solve(const char *name, const char *method)
{
    int64_t width;
    read_doubles(&width, "W.1"); /* the square one */
    moments m = gather(name, width);
    const bool speed = strcmp(method, "speed") == 0;
    edit_options o = {.method = speed ? EDIT_SPEED : EDIT_UCE, .lambda = *read_doubles(NULL, "lambda")};
    if (!speed) o.rounds = method[strlen("rounds")] - '0';
    if (speed) add_anchors(&m);
    if (o.rounds > 0) add_gram(&m);
    edit e;
    assert_works(edit_solve(&m, &o, memory, &e, &err), &err);
    return e;
}

/* W change = edited W - W */
static void check_edit(const edit *e, const char *name, const char *method)
{
    for (int k = 0; k < MATRICES; k++) {
        int64_t rows, n = e->width;
        const double *w = read_doubles(&rows, "W.%d", k), *want = read_doubles(NULL, "%s.%s.W.%d", name, method, k);
        double *got = arena_alloc(memory, (size_t)(rows * n), sizeof *got);
        assert_non_null(got);
        times(w, e->change, rows, n, got);
        double change = 0, error = 0;
        for (int64_t i = 0; i < rows * n; i++) {
            change += (want[i] - w[i]) * (want[i] - w[i]);
            error += (w[i] + got[i] - want[i]) * (w[i] + got[i] - want[i]);
        }
        if (!(sqrt(error / change) < BOUND))
            fail_msg("%s.%s.W.%d: off by %g of the change", name, method, k, sqrt(error / change));
    }
}

/* W change - up down at a rank, times L: its norm. */
static double cut_error(const edit *e, const cut_layer *l, const double *w, int64_t rank)
{
    const int64_t n = e->width, size = l->rows * n;
    double *change = arena_alloc(memory, (size_t)size, sizeof *change);
    double *measured = arena_alloc(memory, (size_t)size, sizeof *measured);
    assert_true(change && measured);
    times(w, e->change, l->rows, n, change);
    for (int64_t i = 0; i < l->rows; i++)
        for (int64_t j = 0; j < n; j++)
            for (int64_t r = 0; r < rank; r++) change[i * n + j] -= l->up[i + r * l->rows] * l->down[r * n + j];
    times(change, e->metric, l->rows, n, measured);
    return norm(measured, size);
}

/* Both sides of a rank have the same norm. */
static void check_balance(const cut_layer *l, int64_t rank, int64_t width)
{
    for (int64_t r = 0; r < rank; r++) {
        const double up = norm(l->up + r * l->rows, l->rows), down = norm(l->down + r * width, width);
        assert_true(fabs(up - down) <= 1e-12 * (up + down));
    }
}

/* What is left at each rank is what the singular values behind it say. */
static void check_layer(const edit *e, const cut *c, int k, const double *w, const double *singular, const char *what)
{
    const cut_layer *l = &c->layer[k];
    const int64_t most = l->rows < e->width ? l->rows : e->width;
    const double all = norm(singular, most);
    for (int64_t rank = 0; rank <= c->most && rank <= most; rank++) {
        const double least = norm(singular + rank, most - rank), got = cut_error(e, l, w, rank);
        if (!(fabs(got - least) < BOUND * all))
            fail_msg("%s.%d: rank %d is %g of %g off, the least is %g", what, k, (int)rank, got, all, least);
        if (!(fabs(sqrt(l->lost2[rank]) - least) < BOUND * all))
            fail_msg("%s.%d: rank %d is said to lose %g, not %g", what, k, (int)rank, sqrt(l->lost2[rank]), least);
    }
    check_balance(l, c->most < most ? c->most : most, e->width);
}

static void check_cut(const edit *e, const char *name, const char *method, int64_t most)
{
    cut c;
    double lost[64] = {0}, all = 0;
    assert_works(cut_create(e, MATRICES, most, memory, &c, &err), &err);
    assert_int_equal(c.most, most < e->width ? most : e->width);
    for (int k = 0; k < MATRICES; k++) {
        int64_t rows, known;
        const double *w = read_doubles(&rows, "W.%d", k);
        const double *singular = read_doubles(&known, "%s.%s.singular.%d", name, method, k);
        assert_works(cut_add(&c, (size_t)k, w, rows, &err), &err);
        char what[64];
        snprintf(what, sizeof what, "%s.%s", name, method);
        check_layer(e, &c, k, w, singular, what);
        for (int64_t rank = 0; rank <= c.most; rank++)
            for (int64_t i = rank; i < known; i++) lost[rank] += singular[i] * singular[i];
        all += norm(singular, known) * norm(singular, known);
    }
    for (int64_t rank = 0; rank <= c.most; rank++)
        assert_true(fabs(cut_lost(&c, rank) - sqrt(lost[rank] / all)) < BOUND);
    for (double asked = 0.9; asked > 0.01; asked *= 0.7) {
        int64_t rank = 1;
        while (rank < c.most && sqrt(lost[rank] / all) > asked) rank++;
        assert_int_equal(cut_rank(&c, asked), rank);
    }
}

/* Where the rank isn't cut, a file holds the edit: W + up down is the edited W. */
static void check_whole(const edit *e, const char *name, const char *method)
{
    cut c;
    assert_works(cut_create(e, MATRICES, 1000, memory, &c, &err), &err);
    for (int k = 0; k < MATRICES; k++) {
        int64_t rows, n = e->width;
        const double *w = read_doubles(&rows, "W.%d", k), *want = read_doubles(NULL, "%s.%s.W.%d", name, method, k);
        assert_works(cut_add(&c, (size_t)k, w, rows, &err), &err);
        const cut_layer *l = &c.layer[k];
        double error = 0, change = 0;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < n; j++) {
                double got = w[i * n + j];
                for (int64_t r = 0; r < n && r < rows; r++) got += l->up[i + r * rows] * l->down[r * n + j];
                error += (got - want[i * n + j]) * (got - want[i * n + j]);
                change += (w[i * n + j] - want[i * n + j]) * (w[i * n + j] - want[i * n + j]);
            }
        if (!(sqrt(error / change) < BOUND))
            fail_msg("%s.%s.W.%d: the LoRA is off by %g of the change", name, method, k, sqrt(error / change));
    }
}

static const char *const names[] = {"1of0", "1of7", "3of0", "3of7", "10of0", "10of7"};
static const char *const methods[] = {"rounds0", "rounds1", "rounds2", "speed"};

#define EACH(NAME, WAY)                                                                                                \
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)                                                          \
        for (const char *NAME = names[i], *const *at = methods, *WAY; at < methods + 4 && (WAY = *at, true); at++)

static void edits_are_the_papers(void **state)
{
    (void)state;
    EACH(name, method)
    {
        const edit e = solve(name, method);
        check_edit(&e, name, method);
    }
}

static void uncut_loras_are_the_edits(void **state)
{
    (void)state;
    EACH(name, method)
    {
        const edit e = solve(name, method);
        check_whole(&e, name, method);
    }
}

static void lower_ranks_lose_the_least(void **state)
{
    (void)state;
    EACH(name, method)
    {
        const edit e = solve(name, method);
        for (int64_t most = 1; most <= e.width + 1; most += 4) check_cut(&e, name, method, most);
    }
}

static void averages_weigh_both_sides_alike(void **state)
{
    (void)state;
    int64_t n;
    read_doubles(&n, "W.1");
    moments sum = gather("3of7", n), average = gather("3of7", n);
    moments_average(&average);
    for (int64_t i = 0; i < n * n; i++) {
        assert_true(fabs(average.cc[i] * sum.erased - sum.cc[i]) < 1e-12);
        assert_true(fabs(average.gc[i] * sum.erased - sum.gc[i]) < 1e-12);
        assert_true(fabs(average.pp[i] * sum.kept - sum.pp[i]) < 1e-12);
    }
    moments none = gather("1of0", n);
    moments_average(&none); /* nothing kept: no division by it */
    for (int64_t i = 0; i < n * n; i++) assert_true(none.pp[i] == 0 && isfinite(none.cc[i]));
}

static void what_states_leave_open_is_refused(void **state)
{
    (void)state;
    int64_t n;
    read_doubles(&n, "W.1");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        moments m = gather(names[i], n);
        edit e;
        /* 17 states at most in 20 dimensions */
        assert_fails(edit_solve(&m, &(edit_options){.method = EDIT_UCE}, memory, &e, &err), LECO_INVALID, &err,
                     "singular", "lambda");
    }
}

static void speed_needs_room(void **state)
{
    (void)state;
    int64_t n;
    read_doubles(&n, "W.1");
    moments m = gather("3of7", n);
    float *all = arena_alloc(memory, (size_t)(n * n), sizeof *all),
          *of_state = arena_alloc(memory, (size_t)n, sizeof *of_state);
    assert_true(all && of_state);
    for (int64_t i = 0; i < n; i++) all[i + i * n] = of_state[i] = 1;
    assert_works(moments_keep(&m, all, of_state, n, &err), &err);
    edit e;
    const edit_options o = {.method = EDIT_SPEED, .lambda = 0.1};
    assert_fails(edit_solve(&m, &o, memory, &e, &err), LECO_INVALID, &err, "SPEED", "keep fewer");
}

/* SPEED's promise: kept states read exactly as before. */
static void speed_leaves_what_is_kept(void **state)
{
    (void)state;
    const edit e = solve("10of7", "speed");
    values p = fixture_read(file, "10of7.p");
    for (int64_t k = 0; k < p.dim[0]; k++)
        for (int64_t i = 0; i < e.width; i++) {
            double moved = 0;
            for (int64_t j = 0; j < e.width; j++) moved += e.change[i + j * e.width] * (double)p.at[k * e.width + j];
            assert_true(fabs(moved) < 1e-9);
        }
    values_free(&p);
}

/* A change of more directions than are kept of it: a LoRA of a low rank loses hardly more than the least. */
static void few_directions_are_enough(void **state)
{
    (void)state;
    enum { N = 64, STATES = 60, MOST = 4 };
    float *c = arena_alloc(memory, 3 * N * STATES, sizeof *c),
          *of_state = arena_alloc(memory, STATES, sizeof *of_state);
    assert_true(c && of_state);
    rng r;
    rng_seed(&r, RNG_CPU, 11);
    rng_normal(&r, c, 3 * N * STATES);
    for (size_t i = 0; i < STATES; i++) of_state[i] = 1;
    moments m;
    edit e;
    cut few, all;
    assert_works(moments_create(N, memory, &m, &err), &err);
    assert_works(moments_erase(&m, c, c + N * STATES, of_state, STATES, &err), &err);
    assert_works(edit_solve(&m, &(edit_options){.lambda = 1}, memory, &e, &err), &err);
    assert_works(cut_create(&e, 1, MOST, memory, &few, &err), &err);
    assert_works(cut_create(&e, 1, N, memory, &all, &err), &err);
    assert_true(few.inner < N && few.left_out > 0);
    double *w = arena_alloc(memory, N * N, sizeof *w);
    assert_non_null(w);
    for (size_t i = 0; i < N * N; i++) w[i] = (double)c[2 * N * STATES + i % (N * STATES)];
    assert_works(cut_add(&few, 0, w, N, &err), &err);
    assert_works(cut_add(&all, 0, w, N, &err), &err);
    for (int64_t rank = 1; rank <= MOST; rank++) {
        const double least = cut_error(&e, &all.layer[0], w, rank), got = cut_error(&e, &few.layer[0], w, rank);
        print_message("rank %d: %.4f of %.4f lost, the least is %.4f; said to be %.4f\n", (int)rank,
                      got / cut_error(&e, &all.layer[0], w, 0), 1.0, least / cut_error(&e, &all.layer[0], w, 0),
                      cut_lost(&few, rank));
        assert_true(got >= least * (1 - 1e-9) && got <= least * 1.02);
        assert_true(fabs(cut_lost(&few, rank) * cut_error(&e, &all.layer[0], w, 0) / got - 1) < 0.05);
    }
}

static int begin(void **state)
{
    (void)state;
    memory = arena_create();
    return memory ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    arena_destroy(memory);
    return 0;
}

int main(void)
{
    file = fixture_open("solve/solve.safetensors");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(edits_are_the_papers, begin, end),
        cmocka_unit_test_setup_teardown(uncut_loras_are_the_edits, begin, end),
        cmocka_unit_test_setup_teardown(lower_ranks_lose_the_least, begin, end),
        cmocka_unit_test_setup_teardown(few_directions_are_enough, begin, end),
        cmocka_unit_test_setup_teardown(averages_weigh_both_sides_alike, begin, end),
        cmocka_unit_test_setup_teardown(what_states_leave_open_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(speed_needs_room, begin, end),
        cmocka_unit_test_setup_teardown(speed_leaves_what_is_kept, begin, end),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    safetensors_close(file);
    return failed;
}
