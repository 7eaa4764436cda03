#include "api/internal.h"
#include "api/locale.h"
#include "base/mem.h"

leco_status images_create(size_t count, leco_images *out, leco_error *err)
{
    leco_images made = {count, mem_calloc(count, sizeof *made.image), mem_calloc(count, sizeof *made.parameters),
                        mem_calloc(count, sizeof *made.prompts)};
    if (!made.image || !made.parameters || !made.prompts) {
        leco_images_free(&made);
        return error_memory(err, count * sizeof *made.image, "the pictures");
    }
    *out = made;
    return LECO_OK;
}

void leco_image_free(leco_image *picture)
{
    mem_free(picture->rgb);
    *picture = (leco_image){0};
}

void leco_images_free(leco_images *images)
{
    for (size_t i = 0; i < images->count; i++) {
        if (images->image) leco_image_free(&images->image[i]);
        if (images->parameters) mem_free(images->parameters[i]);
        if (images->prompts) mem_free(images->prompts[i]);
    }
    mem_free(images->image);
    mem_free(images->parameters);
    mem_free(images->prompts);
    *images = (leco_images){0};
}

leco_status leco_image_write(const char *path, const leco_image *picture, const char *parameters, leco_error *err)
{
    IN_C_LOCALE;
    const image view = {picture->width, picture->height, picture->rgb};
    return png_write(path, &view, parameters, err);
}

leco_status leco_image_read(const char *path, leco_image *out, leco_error *err)
{
    IN_C_LOCALE;
    image read;
    LECO_TRY(png_read(path, &read, NULL, err));
    *out = (leco_image){read.width, read.height, read.rgb};
    return LECO_OK;
}
