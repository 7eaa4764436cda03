#include "train/albums.h"

#include <string.h>

#include "base/log.h"
#include "train/photos.h"
#include "train/source.h"

/* The list in the making. */
typedef struct album {
    const model *model;
    arena *memory;
    objective *item;
    size_t count, room;
} album;

static leco_status add(album *a, const objective *o, leco_error *err)
{
    if (a->count == a->room) {
        const size_t room = 2 * a->room + 8;
        objective *grown = arena_alloc(a->memory, room, sizeof *grown);
        if (!grown) return error_memory(err, room * sizeof *grown, "the objectives");
        if (a->count) memcpy(grown, a->item, a->count * sizeof *grown);
        a->item = grown;
        a->room = room;
    }
    a->item[a->count++] = *o;
    return LECO_OK;
}

/* ---- sizes ---- */

/* Pixels that the deepest level of the U-Net halves to whole numbers. */
static int64_t unit_of(const model *m)
{
    return vae_factor(&m->vae) << (m->unet.level_count - 1);
}

static picture_size size_of(const album *a, const photo *p, picture_size asked, bool buckets)
{
    const int64_t factor = vae_factor(&a->model->vae);
    if (!asked.width) asked.width = a->model->unet.sample_width * factor;
    if (!asked.height) asked.height = a->model->unet.sample_height * factor;
    return buckets ? photo_bucket(p, asked, unit_of(a->model)) : asked;
}

static bool same_size(picture_size a, picture_size b)
{
    return a.width == b.width && a.height == b.height;
}

/* For each size of the pictures a copy of the objective, on those of them that have it. */
static leco_status add_sizes(album *a, const objective *like, const photo_list *photos, bool buckets, int64_t repeats,
                             leco_error *err)
{
    const size_t count = photos->count, first = a->count;
    picture_size *size = arena_alloc(a->memory, count, sizeof *size);
    if (!size) return error_memory(err, count * sizeof *size, "the pictures");
    for (size_t i = 0; i < count; i++) size[i] = size_of(a, &photos->item[i], like->size, buckets);
    for (size_t i = 0; i < count; i++) {
        size_t at = first;
        while (at < a->count && !same_size(a->item[at].size, size[i])) at++;
        if (at < a->count) continue; /* it was among those of an earlier one */
        photo *own = arena_alloc(a->memory, count - i, sizeof *own);
        if (!own) return error_memory(err, count * sizeof *own, "the pictures");
        objective o = *like;
        o.size = size[i];
        o.source.photos = own;
        for (size_t k = i; k < count; k++)
            if (same_size(size[k], size[i])) own[o.source.photo_count++] = photos->item[k];
        o.tickets = (int64_t)o.source.photo_count * repeats;
        log_message(LOG_DEBUG, "%s: %zu of %zu photographs at %lldx%lld pixels", like->place, o.source.photo_count,
                    count, (long long)o.size.width, (long long)o.size.height);
        LECO_TRY(add(a, &o, err));
    }
    return LECO_OK;
}

/* ---- what the config asks for ---- */

static leco_status add_pairs(album *a, const train_prompt *p, const objective *o, leco_error *err)
{
    photo_list pairs;
    leco_status status = photos_find_pairs(p->before, p->after, a->memory, &pairs, err);
    if (status != LECO_OK) return error_prefix(err, status, "%s: prompts.images", p->place);
    return add_sizes(a, o, &pairs, true, 1, err);
}

/* A folder whose pictures are to be learnt as they are; above a guidance_scale of 1 without a prompt, too, as what a
 * transplant brings in is (train/modes.c). */
static leco_status add_folder(album *a, const images_config *c, const char *key, const char *folder, const char *prompt,
                              double factor, double guidance_scale, int64_t repeats, leco_error *err)
{
    photo_list photos;
    leco_status status = photos_find(folder, prompt, a->memory, &photos, err);
    if (status != LECO_OK) return error_prefix(err, status, "%s: %s", c->place, key);
    const double part = 1 - 1 / guidance_scale;
    branch *b = arena_alloc(a->memory, 2, sizeof *b);
    if (!b) return error_memory(err, 2 * sizeof *b, "the objectives");
    b[0] = (branch){.weight = factor, .multiplier = 1, .added_noise = true};
    b[1] = (branch){.weight = factor * part, .multiplier = 1, .prompt = "", .added_noise = true};
    const objective like = {.place = c->place,
                            .branches = b,
                            .branch_count = part > 0 ? 2 : 1,
                            .source = {.row = &source_photographs},
                            .size = {c->batch_size, c->height, c->width}};
    return add_sizes(a, &like, &photos, c->buckets, repeats, err);
}

leco_status albums_add(const train_config *config, const struct model *m, arena *memory, objective_list *list,
                       leco_error *err)
{
    const images_config *images = &config->images;
    const regularisation_config *other = &images->regularisation;
    album a = {.model = m, .memory = memory};
    for (size_t i = 0; i < config->prompt_count; i++) {
        const train_prompt *p = &config->prompt[i];
        LECO_TRY(p->before ? add_pairs(&a, p, &list->item[i], err) : add(&a, &list->item[i], err));
    }
    if (images->path)
        LECO_TRY(add_folder(&a, images, "images.path", images->path, images->prompt, images->weight,
                            images->guidance_scale, images->repeats, err));
    const size_t others = a.count;
    for (size_t i = config->prompt_count; i < list->count; i++) LECO_TRY(add(&a, &list->item[i], err));
    if (other->path)
        LECO_TRY(
            add_folder(&a, images, "images.regularisation.path", other->path, other->prompt, other->weight, 1, 1, err));
    list->item = a.item;
    list->count = a.count;
    list->held = a.count - others;
    if (other->path) list->held_share = other->share;
    return LECO_OK;
}
