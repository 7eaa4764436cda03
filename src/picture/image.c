#include "picture/image.h"

#include <stdbool.h>
#include <string.h>

#include "base/mem.h"

leco_status image_create(int width, int height, image *out, leco_error *err)
{
    *out = (image){0};
    size_t pixels, bytes;
    if (width <= 0 || height <= 0 || !mem_mul((size_t)width, (size_t)height, &pixels) || !mem_mul(pixels, 3, &bytes))
        return error_set(err, LECO_INVALID, "an image of %d x %d pixels is not possible", width, height);
    uint8_t *rgb = mem_calloc(bytes, 1);
    if (!rgb) return error_memory(err, bytes, "an image");
    *out = (image){width, height, rgb};
    return LECO_OK;
}

void image_free(image *img)
{
    mem_free(img->rgb);
    *img = (image){0};
}

leco_status image_check_size(const char *path, uint64_t width, uint64_t height, leco_error *err)
{
    const unsigned long long w = width, h = height;
    if (width == 0 || height == 0)
        return error_set(err, LECO_FORMAT, "%s: is %llu x %llu pixels: there is nothing in it", path, w, h);
    if (width > IMAGE_LARGEST_SIDE || height > IMAGE_LARGEST_SIDE)
        return error_set(err, LECO_UNSUPPORTED, "%s: is %llu x %llu pixels; at most %d a side are read", path, w, h,
                         IMAGE_LARGEST_SIDE);
    if (width * height > IMAGE_MOST_PIXELS)
        return error_set(err, LECO_UNSUPPORTED, "%s: is %llu x %llu pixels; at most %d million are read", path, w, h,
                         IMAGE_MOST_PIXELS / 1000000);
    return LECO_OK;
}

/* ---- orientation ---- */

/* Where the pixel (x, y) of a turned picture is in the one that it was, width x height: what each orientation says of
 * the stored picture's first row and first column. */
static size_t stored_at(int orientation, int width, int height, int x, int y)
{
    const bool turned = orientation > 4;
    int column = turned ? y : x, row = turned ? x : y;
    if (orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8) column = width - 1 - column;
    if (orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7) row = height - 1 - row;
    return ((size_t)row * (size_t)width + (size_t)column) * 3;
}

leco_status image_orient(image *img, int orientation, leco_error *err)
{
    if (orientation <= 1 || orientation > 8) return LECO_OK;
    const bool turned = orientation > 4;
    image made;
    LECO_TRY(image_create(turned ? img->height : img->width, turned ? img->width : img->height, &made, err));
    uint8_t *to = made.rgb;
    for (int y = 0; y < made.height; y++)
        for (int x = 0; x < made.width; x++, to += 3)
            memcpy(to, img->rgb + stored_at(orientation, img->width, img->height, x, y), 3);
    image_free(img);
    *img = made;
    return LECO_OK;
}

/* ---- EXIF ---- */

typedef struct tiff {
    const uint8_t *data;
    size_t size;
    bool big; /* its numbers begin with their highest byte */
} tiff;

static uint32_t number(const tiff *t, size_t at, size_t bytes)
{
    uint32_t value = 0;
    for (size_t i = 0; i < bytes; i++) value = value << 8 | t->data[at + (t->big ? i : bytes - 1 - i)];
    return value;
}

int image_exif_orientation(const uint8_t *data, size_t size)
{
    enum { ORIENTATION = 0x0112, SHORT = 3, ENTRY = 12 };
    if (size < 8 || (memcmp(data, "MM\0*", 4) != 0 && memcmp(data, "II*\0", 4) != 0)) return 1;
    const tiff t = {data, size, data[0] == 'M'};
    const size_t at = number(&t, 4, 4); /* the first directory */
    if (at > size || size - at < 2) return 1;
    size_t count = number(&t, at, 2);
    const size_t room = (size - at - 2) / ENTRY;
    if (count > room) count = room;
    for (size_t i = 0; i < count; i++) {
        const size_t entry = at + 2 + i * ENTRY;
        if (number(&t, entry, 2) != ORIENTATION) continue;
        const uint32_t value = number(&t, entry + 8, 2);
        return number(&t, entry + 2, 2) == SHORT && value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}
