#include "solve/erase_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

/* Parts of the way: moved further, what is kept no longer is itself; and further than any sound solve goes. */
#define FAR 0.3
#define WILD 10
#define CAREFUL (100 * ERASE_LAMBDA)
/* How many kept texts are measured at a time, and where the progress bar then begins. */
enum { AT_A_TIME = 16 };
#define MEASURING 0.9

/* The sketch of what states x [width, count] are read as, behind the edit or (`matrix`: s->sketch) by the model itself.
 */
static double *read_states(const solver *s, const double *matrix, const float *x, size_t count, arena *scratch)
{
    const int64_t width = s->readers.width, n = (int64_t)count;
    double *from = dense_new(scratch, width, n, s->err);
    double *out = from ? dense_new(scratch, READERS_SKETCH, n, s->err) : NULL;
    if (!out) return NULL;
    for (int64_t i = 0; i < width * n; i++) from[i] = (double)x[i];
    dense_flat_product(matrix, from, READERS_SKETCH, width, n, out);
    return out;
}

/* Sums over columns of weight |y|^2, y [READERS_SKETCH, count]. */
static double squares(const double *y, const float *of_state, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        double square = 0;
        for (size_t k = 0; k < READERS_SKETCH; k++) square += y[i * READERS_SKETCH + k] * y[i * READERS_SKETCH + k];
        sum += (double)of_state[i] * square;
    }
    return sum;
}

typedef struct distances {
    double before, after, weight; /* sums over the states of a concept, of squares */
} distances;

static leco_status add_distances(solver *s, const state_pairs *p, void *user)
{
    distances *d = user;
    arena *scratch = arena_create();
    if (!scratch) return error_memory(s->err, 0, "text states");
    double *c = read_states(s, s->sketch, p->c, p->count, scratch), *g = NULL, *moved = NULL;
    if (c) g = read_states(s, s->sketch, p->g, p->count, scratch);
    if (g) moved = read_states(s, s->moved, p->c, p->count, scratch);
    if (moved) {
        const size_t elements = READERS_SKETCH * p->count;
        for (size_t i = 0; i < elements; i++) g[i] -= c[i];
        for (size_t i = 0; i < elements; i++) moved[i] -= g[i];
        d->before += squares(g, p->weight, p->count);
        d->after += squares(moved, p->weight, p->count);
        for (size_t i = 0; i < p->count; i++) d->weight += (double)p->weight[i];
    }
    arena_destroy(scratch);
    return moved ? LECO_OK : LECO_MEMORY;
}

static int most_moved_first(const void *left, const void *right)
{
    const kept_text *a = left, *b = right;
    if (a->moved != b->moved) return a->moved > b->moved ? -1 : 1;
    return strcmp(a->text, b->text);
}

/* Of how many texts from the one at `from` on the states lie side by side. */
static size_t side_by_side(const solver *s, size_t from)
{
    const size_t each = s->tokens * (size_t)s->readers.width;
    size_t count = 1;
    while (count < AT_A_TIME && from + count < s->kept_count &&
           s->kept[from + count].states == s->kept[from].states + count * each)
        count++;
    return count;
}

/* How far each of these texts moves, squared: the mean over its states. */
static leco_status measure_some(solver *s, size_t from, size_t count, const float *of_state, double *mean)
{
    const size_t length = tokenizer_length(s->model->tokenizer);
    arena *scratch = arena_create();
    const double *y = scratch ? read_states(s, s->moved, s->kept[from].states, count * s->tokens, scratch) : NULL;
    for (size_t i = 0; y && i < count; i++)
        mean[i] = squares(y + i * s->tokens * READERS_SKETCH, of_state, s->tokens) / (double)length;
    arena_destroy(scratch);
    return y ? LECO_OK : error_memory(s->err, 0, "text states");
}

static leco_status measure_kept(solver *s, double unit)
{
    const size_t length = tokenizer_length(s->model->tokenizer);
    float *of_state = arena_alloc(s->texts, s->tokens, sizeof *of_state);
    s->result->kept = arena_alloc(s->memory, s->kept_count, sizeof *s->result->kept);
    if (!of_state || !s->result->kept) return error_memory(s->err, 0, "texts");
    state_weights(s->tokens, length, of_state);
    double all = 0, mean[AT_A_TIME];
    for (size_t from = 0, count; from < s->kept_count; from += count) {
        count = side_by_side(s, from);
        LECO_TRY(measure_some(s, from, count, of_state, mean));
        for (size_t i = 0; i < count; i++) {
            all += mean[i];
            s->result->kept[from + i] = (kept_text){s->kept_name[from + i], sqrt(mean[i]) / unit};
        }
        LECO_TRY(erase_report(s, MEASURING + (1 - MEASURING) * (double)from / (double)s->kept_count));
    }
    s->result->kept_count = s->kept_count;
    s->result->kept_moved = sqrt(all / (double)s->kept_count) / unit;
    qsort(s->result->kept, s->kept_count, sizeof *s->result->kept, most_moved_first);
    return LECO_OK;
}

typedef struct adding {
    const solver *s;
    const cut *c;
} adding;

/* What the LoRA adds to one matrix. */
static leco_status fill_product(const void *user, size_t index, double *out, leco_error *err)
{
    (void)err;
    const adding *a = user;
    const cut_layer *l = &a->c->layer[index];
    const int64_t width = a->s->readers.width;
    for (int64_t r = 0; r < a->s->result->rank && r < l->rank; r++)
        for (int64_t i = 0; i < l->rows; i++) {
            const double times = a->s->options->strength * l->up[i + r * l->rows];
            for (int64_t k = 0; k < width; k++) out[i * width + k] += times * l->down[r * width + k];
        }
    return LECO_OK;
}

static void warn(const solver *s)
{
    const erase_result *r = s->result;
    for (size_t i = 0; i < s->count && s->options->strength > 0; i++)
        if (r->erased[i].left > ERASE_HARDLY)
            log_message(LOG_WARNING, "%.0f%% of the way is left of \"%.60s\": it will hardly be erased; %s",
                        100 * r->erased[i].left, s->subject[i].word,
                        s->options->strength < 1       ? "the strength is below 1"
                        : s->options->strength > 1     ? "a strength above 1 goes beyond where it should be"
                        : s->options->rounds > 0       ? "more rounds go beyond where it should be"
                        : s->options->lambda > CAREFUL ? "a smaller lambda changes more"
                        : s->count > 1                 ? "take fewer words at a time"
                        : s->options->targets > 1      ? "a mixture of these isn't far enough from it"
                        : s->options->targets > 0      ? "another word in its place may serve"
                                                       : "say what comes in its place");
    if (r->kept_moved > FAR)
        log_message(
            LOG_WARNING,
            "what is kept moves by %.0f%% of the way, too: look at pictures before you use this; perhaps the model "
            "doesn't know the word, texts near to it share words with it, or more is to be kept",
            100 * r->kept_moved);
}

leco_status erase_measure(solver *s, const cut *c)
{
    distances all = {0};
    const adding adds = {s, c};
    LECO_TRY(readers_sketch_of(&s->readers, fill_product, &adds, s->texts, &s->moved, s->err));
    for (size_t i = 0; i < s->count; i++) {
        distances d = {0};
        LECO_TRY(erase_each_pair(s, &s->subject[i], add_distances, &d));
        s->result->erased[i].left = d.before > 0 ? sqrt(d.after / d.before) : 0;
        all.before += d.before;
        all.after += d.after;
        all.weight += d.weight;
    }
    if (all.before == 0)
        return error_set(s->err, LECO_INVALID,
                         "\"%.60s\" and what comes in its place are the same to this model: nothing is to be changed",
                         s->subject[0].word);
    LECO_TRY(measure_kept(s, sqrt(all.before / all.weight)));
    const double most = WILD * fmax(1, fabs(s->options->strength));
    if (!(s->result->kept_moved < most) || !(all.after < most * most * all.before))
        return error_set(s->err, LECO_INVALID,
                         "the system of equations is nearly singular: what is kept would move by %.0f%% of the way; a "
                         "larger --lambda (now %g) makes it sound",
                         100 * s->result->kept_moved, s->options->lambda);
    warn(s);
    return LECO_OK;
}
