#include "train/objective.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/number.h"

static bool is_same(const term *t, size_t which, const char *prompt, size_t view)
{
    return t->model == which && t->view == view && strcmp(t->prompt, prompt) == 0;
}

void terms_add_seen(term_list *list, double factor, size_t which, const char *prompt, size_t view)
{
    size_t i = 0;
    while (i < list->count && !is_same(&list->item[i], which, prompt, view)) i++;
    if (i == list->count) {
        assert(list->count < TERMS_MAX);
        list->item[list->count++] = (term){0, which, prompt, view};
    }
    list->item[i].weight += factor;
    if (list->item[i].weight != 0) return;
    list->count--;
    memmove(&list->item[i], &list->item[i + 1], (list->count - i) * sizeof list->item[0]);
}

void terms_add(term_list *list, double factor, size_t which, const char *prompt)
{
    terms_add_seen(list, factor, which, prompt, 0);
}

/* ---- drawing ---- */

static int64_t tickets_of(const objective *o)
{
    if (o->other_size) return 0;
    return o->tickets ? o->tickets : 1;
}

static int64_t all_tickets(const objective *item, size_t count)
{
    int64_t sum = 0;
    for (size_t i = 0; i < count; i++) sum += tickets_of(&item[i]);
    return sum;
}

/* One of item [count]. */
static size_t draw_one(const objective *item, size_t count, rng *r)
{
    int64_t ticket = rng_randint(r, 0, all_tickets(item, count));
    size_t i = 0;
    for (; ticket >= tickets_of(&item[i]); i++) ticket -= tickets_of(&item[i]);
    return i;
}

size_t objectives_draw(const objective_list *list, rng *r)
{
    const size_t others = list->count - list->held;
    if (list->held == 0) return draw_one(list->item, others, r);
    float place;
    rng_uniform(r, &place, 1, 0, 1);
    if ((double)place < list->held_share) return others + draw_one(list->item + others, list->held, r);
    return draw_one(list->item, others, r);
}

size_t objectives_draw_size(const objective_list *list, size_t drawn, rng *r)
{
    const objective *o = &list->item[drawn];
    const int64_t row = rng_randint(r, 0, o->heights), column = rng_randint(r, 0, o->widths);
    return drawn + (size_t)(row * o->widths + column);
}

double objectives_probability(const objective_list *list, size_t index)
{
    size_t first = index;
    while (list->item[first].other_size) first--;
    const int64_t sizes = list->item[first].heights * list->item[first].widths;
    const size_t others = list->count - list->held;
    const double share = list->held == 0 ? 0 : list->held_share;
    const bool held = index >= others;
    const int64_t all = held ? all_tickets(list->item + others, list->held) : all_tickets(list->item, others);
    const double drawn = (held ? share : 1 - share) * (double)tickets_of(&list->item[first]) / (double)all;
    return sizes > 0 ? drawn / (double)sizes : drawn;
}

/* ---- sums ---- */

void terms_sum(const term_list *list, const size_t *place, const float *predictions, float *target, size_t count)
{
    memset(target, 0, count * sizeof *target);
    for (size_t k = 0; k < list->count; k++) {
        float factor = (float)list->item[k].weight;
        const float *one = predictions + place[k] * count;
        for (size_t i = 0; i < count; i++) target[i] += factor * one[i];
    }
}

static void moments_of(const float *x, size_t count, double *mean, double *deviation)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++) sum += (double)x[i];
    *mean = sum / (double)count;
    for (size_t i = 0; i < count; i++) squares += ((double)x[i] - *mean) * ((double)x[i] - *mean);
    *deviation = sqrt(squares / (double)count);
}

void match_moments(float *x, const float *like, size_t batch, size_t stride)
{
    for (size_t b = 0; b < batch; b++, x += stride, like += stride) {
        double mean, deviation, wanted_mean, wanted;
        moments_of(x, stride, &mean, &deviation);
        moments_of(like, stride, &wanted_mean, &wanted);
        const double scale = deviation > 0 ? wanted / deviation : 0;
        for (size_t i = 0; i < stride; i++) x[i] = (float)(wanted_mean + scale * ((double)x[i] - mean));
    }
}

/* ---- what stands still ---- */

const term_list *branch_list(const branch *b, size_t index)
{
    static const term_list none;
    const term_list *const lists[BRANCH_LISTS] = {&b->terms, b->early, b->like};
    return lists[index] ? lists[index] : &none;
}

/* Is a list the model's own prediction, as far as a sum in float32 can tell? */
static bool is_own(const branch *b, const term_list *list)
{
    bool own = false;
    if (b->added_noise) return false;
    for (size_t i = 0; i < list->count; i++) {
        const term *t = &list->item[i];
        if (is_same(t, 0, b->prompt, b->view) && (float)t->weight == 1.0f)
            own = true;
        else if (fabs(t->weight) > FLT_EPSILON / 2)
            return false;
    }
    return own;
}

/* The loss of the student's own prediction against itself is 0, and so is the gradient of one that is switched off. */
static bool branch_is_still(const branch *b)
{
    const bool own = is_own(b, &b->terms) && (!b->early || is_own(b, b->early));
    return own || number_is_lost(b->weight) || number_is_lost(b->multiplier);
}

bool objective_is_still(const objective *o)
{
    for (size_t i = 0; i < o->branch_count; i++)
        if (!branch_is_still(&o->branches[i])) return false;
    return true;
}
