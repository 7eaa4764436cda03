/* The keys of what is to stay, and of pictures; rows as in config_keys.c. */
#include "train/config_keys.h"

#include "base/mem.h"
#include "diffusion/latents.h"
#include "train/config.h"

#define KEYS_OF train_config

leco_status config_read_size(const doc_node *n, const char *name, int64_t *height, int64_t *width, leco_error *err)
{
    if (n->kind == DOC_MAP) return doc_wrong(n, name, "a size or [height, width]", err);
    if (n->kind == DOC_LIST && n->count != 2)
        return error_set(err, LECO_INVALID, "%s: %s: expected a size or [height, width], found a list of %zu", n->place,
                         name, n->count);
    const bool both = n->kind == DOC_LIST;
    LECO_TRY(doc_int(both ? n->item[0].value : n, name, 8, LARGEST_SIDE, height, err));
    return doc_int(both ? n->item[1].value : n, name, 8, LARGEST_SIDE, width, err);
}

char *config_show_size(int64_t height, int64_t width)
{
    return mem_printf("[%lld, %lld]", (long long)height, (long long)width);
}

static leco_status read_preserve_resolution(const doc_node *n, const char *name, void *values, leco_error *err)
{
    preserve_config *p = &((train_config *)values)->preserve;
    return config_read_size(n, name, &p->height, &p->width, err);
}

static char *show_preserve_resolution(const void *values)
{
    const train_config *c = values;
    return config_show_size(c->preserve.height, c->preserve.width);
}

const key_row config_preserve_keys[] = {
    TEXT("prompts", preserve.prompt,
         UNSET("none; beside a concept alone the texts it stands in, with words near to it"),
         "texts that the adapted model must draw as the base does: a list, or `{file: NAME}` with a line each. "
         "`preserve: [...]` is short for it"),
    NUMBER("share", preserve.share, 0.01, 0.99, "0.5",
           "of all denoising runs that are made for these; the others are shared by the entries of `prompts`"),
    NUMBER("weight", preserve.weight, 1e-6, 1e6, "1.0", "of their loss"),
    OWN("resolution", read_preserve_resolution, show_preserve_resolution, "the model's own", "as in `prompts`"),
    INT("batch_size", preserve.batch_size, 1, 64, UNSET("`train.batch_size`"), "latents a step"),
    KEYS_END,
};

static leco_status read_images_resolution(const doc_node *n, const char *name, void *values, leco_error *err)
{
    images_config *p = &((train_config *)values)->images;
    return config_read_size(n, name, &p->height, &p->width, err);
}

static char *show_images_resolution(const void *values)
{
    const train_config *c = values;
    return config_show_size(c->images.height, c->images.width);
}

const key_row config_images_keys[] = {
    TEXT("path", images.path, UNSET("required"), "a folder of pictures: PNG and JPEG of any size"),
    TEXT("prompt", images.prompt, UNSET("none"),
         "what they show. A picture with a text file of its name beside it, `a.txt` of `a.png`, has the first line of "
         "that as its prompt"),
    INT("repeats", images.repeats, 1, 100000, "1",
        "each picture is drawn so many times as often as an entry of `prompts`"),
    OWN("resolution", read_images_resolution, show_images_resolution, "the model's own",
        "as in `prompts`: what pictures are scaled to"),
    BOOL("buckets", images.buckets, "true",
         "pictures become as large as `resolution` but keep their shape, as far as sizes that suit the U-Net come near "
         "it; with `false` all are cropped to `resolution`"),
    INT("batch_size", images.batch_size, 1, 64, UNSET("`train.batch_size`"), "pictures a step, all of one size"),
    NUMBER("weight", images.weight, 1e-6, 1e6, "1.0", "of their loss"),
    NUMBER(
        "guidance_scale", images.guidance_scale, 1, 1000, "1.0",
        "that of the pictures they are for: above 1 they are learnt without a prompt, too, at 1 - 1 / guidance_scale "
        "of the weight, for guidance leads away from what is drawn so. Preserve `\"\"` then"),
    NODE("regularisation", "other pictures of the same class, which the adapted model goes on to learn; `preserve` "
                           "needs none"),
    KEYS_END,
};

const key_row config_regularisation_keys[] = {
    TEXT("path", images.regularisation.path, UNSET("required"), "a folder of pictures, as `images.path`"),
    TEXT("prompt", images.regularisation.prompt, UNSET("none"), "what they show, as `images.prompt`"),
    NUMBER("weight", images.regularisation.weight, 1e-6, 1e6, "1.0", "of their loss"),
    NUMBER("share", images.regularisation.share, 0.01, 0.99, "0.5", "of all steps that are made on these"),
    KEYS_END,
};
