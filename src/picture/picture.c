#include "picture/picture.h"

#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "picture/jpeg.h"
#include "picture/png.h"

enum { LONGEST_HEAD = 12 };

/* A file's first bytes; '?' stands for any. */
typedef struct head {
    const char *bytes;
    size_t length;
    const char *name;
} head;

static const head heads[] = {
    {"\x89PNG\r\n\x1a\n", 8, "PNG"},
    {"\xff\xd8\xff", 3, "JPEG"},
    {"GIF8", 4, "a GIF"},
    {"RIFF????WEBP", 12, "a WebP picture"},
    {"BM", 2, "a BMP picture"},
    {"II*\0", 4, "a TIFF picture"},
    {"MM\0*", 4, "a TIFF picture"},
    {"????ftypavif", 12, "an AVIF picture"},
    {"????ftyphei", 11, "a HEIC picture"},
    {"????ftypmif1", 12, "a HEIC picture"},
    {"\xff\x0a", 2, "a JPEG XL picture"},
    {"\0\0\0\x0cJXL ", 8, "a JPEG XL picture"},
    {"\0\0\0\x0cjP  ", 8, "a JPEG 2000 picture"},
    {"8BPS", 4, "a Photoshop document"},
    {"<svg", 4, "an SVG drawing"},
};
enum { HEAD_PNG, HEAD_JPEG };

static bool begins(const file_map *map, const head *h)
{
    if (map->size < h->length) return false;
    for (size_t i = 0; i < h->length; i++)
        if (h->bytes[i] != '?' && (unsigned char)h->bytes[i] != map->data[i]) return false;
    return true;
}

/* HEAD_PNG or HEAD_JPEG. */
static leco_status find_kind(const char *path, size_t *kind, leco_error *err)
{
    const size_t count = sizeof heads / sizeof *heads;
    file_map map;
    LECO_TRY(file_map_open(path, &map, err));
    *kind = 0;
    while (*kind < count && !begins(&map, &heads[*kind])) ++*kind;
    const bool empty = map.size == 0;
    file_map_close(&map);
    if (*kind <= HEAD_JPEG) return LECO_OK;
    if (empty) return error_set(err, LECO_FORMAT, "%s: is empty; expected a PNG or JPEG picture", path);
    if (*kind < count)
        return error_set(err, LECO_UNSUPPORTED, "%s: is %s; leco reads PNG and JPEG", path, heads[*kind].name);
    return error_set(err, LECO_FORMAT, "%s: is not a picture that leco reads: expected PNG or JPEG", path);
}

leco_status picture_read(const char *path, image *out, leco_error *err)
{
    size_t kind;
    *out = (image){0};
    LECO_TRY(find_kind(path, &kind, err));
    return kind == HEAD_PNG ? png_read(path, out, NULL, err) : jpeg_read(path, out, err);
}

leco_status picture_measure(const char *path, int *width, int *height, leco_error *err)
{
    size_t kind;
    LECO_TRY(find_kind(path, &kind, err));
    return kind == HEAD_PNG ? png_size(path, width, height, err) : jpeg_size(path, width, height, err);
}

bool picture_named(const char *name)
{
    static const char *const ends[] = {".png", ".jpg",  ".jpeg", ".jpe",  ".jfif", ".gif", ".webp", ".bmp",
                                       ".tif", ".tiff", ".avif", ".heic", ".heif", ".jxl", ".apng"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof ends / sizeof *ends; i++)
        if (strcasecmp(dot, ends[i]) == 0) return true;
    return false;
}
