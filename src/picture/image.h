/* Pictures in memory: 8-bit RGB. */
#ifndef LECO_PICTURE_IMAGE_H
#define LECO_PICTURE_IMAGE_H

#include <stdint.h>

#include "base/error.h"

typedef struct image {
    int width, height;
    uint8_t *rgb; /* [height, width, 3], rows from the top; mem_calloc'd */
} image;

/* A black image. A side that is not positive is LECO_INVALID. *out is zeroed on failure, as by all that make one. */
leco_status image_create(int width, int height, image *out, leco_error *err);
void image_free(image *img); /* safe on a zeroed image */

enum { IMAGE_LARGEST_SIDE = 16384, IMAGE_MOST_PIXELS = 160000000 };
/* What a file claims, before memory is taken for it: above these it is LECO_UNSUPPORTED. */
leco_status image_check_size(const char *path, uint64_t width, uint64_t height, leco_error *err);

/* Turns and mirrors, in place, as EXIF's orientation (1 to 8) says that it is to be shown. */
leco_status image_orient(image *img, int orientation, leco_error *err);

/* The orientation that TIFF-coded EXIF data [size] names: 1 to 8, and 1 (as it is) where it names none. */
int image_exif_orientation(const uint8_t *data, size_t size);

#endif
