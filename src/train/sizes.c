#include "train/sizes.h"

#include "model/model.h"

/* Heights, or widths: first, first + step, ... */
typedef struct side {
    int64_t first, step, count;
} side;

static side sides_of(int64_t largest, int64_t unit, bool as_p1atdev)
{
    enum { USUAL_STEP = 64, SMALL = 256 };
    side s = {.step = largest >= SMALL && USUAL_STEP % unit == 0 ? USUAL_STEP : unit};
    const int64_t low = largest / 2 / s.step, high = largest / s.step;
    s.first = (low > 0 ? low : 1) * s.step;
    s.count = high - s.first / s.step + !as_p1atdev;
    return s;
}

static leco_status sizes_of(const train_config *c, const model *m, const objective *o, side *high, side *wide,
                            leco_error *err)
{
    const int64_t factor = vae_factor(&m->vae), unit = factor << (m->unet.level_count - 1);
    const int64_t height = o->size.height ? o->size.height : m->unet.sample_height * factor;
    const int64_t width = o->size.width ? o->size.width : m->unet.sample_width * factor;
    const bool as_p1atdev = c->compat == TIMESTEPS_P1ATDEV;
    *high = sides_of(height, unit, as_p1atdev);
    *wide = sides_of(width, unit, as_p1atdev);
    if (high->count > 0 && wide->count > 0 && high->count * wide->count > 1) return LECO_OK;
    return error_set(
        err, LECO_INVALID,
        "%s: dynamic_resolution: %lldx%lld pixels leave no several sizes, in steps of %lld from half of it", o->place,
        (long long)width, (long long)height, (long long)unit);
}

/* Puts them at out, which has room. */
static size_t put_sizes(const objective *o, side high, side wide, objective *out)
{
    size_t count = 0;
    for (int64_t i = 0; i < high.count; i++)
        for (int64_t k = 0; k < wide.count; k++) {
            objective *one = &out[count];
            *one = *o;
            one->size.height = high.first + i * high.step;
            one->size.width = wide.first + k * wide.step;
            one->heights = count ? 0 : high.count;
            one->widths = count ? 0 : wide.count;
            one->other_size = count++ > 0;
        }
    return count;
}

leco_status sizes_add(const train_config *c, const struct model *m, arena *memory, objective_list *list,
                      leco_error *err)
{
    side high, wide;
    size_t count = list->count, at = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (!list->item[i].dynamic) continue;
        LECO_TRY(sizes_of(c, m, &list->item[i], &high, &wide, err));
        count += (size_t)(high.count * wide.count) - 1;
    }
    if (count == list->count) return LECO_OK;
    objective *all = arena_alloc(memory, count, sizeof *all);
    if (!all) return error_memory(err, count * sizeof *all, "the objectives");
    for (size_t i = 0; i < list->count; i++) {
        const objective *o = &list->item[i];
        if (!o->dynamic) {
            all[at++] = *o;
            continue;
        }
        LECO_TRY(sizes_of(c, m, o, &high, &wide, err));
        at += put_sizes(o, high, wide, all + at);
    }
    list->item = all;
    list->count = count;
    return LECO_OK;
}
