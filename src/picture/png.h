/* 8-bit RGB images in PNG files, with tEXt/iTXt entries (A1111 keeps its generation parameters under "parameters"). */
#ifndef LECO_PICTURE_PNG_H
#define LECO_PICTURE_PNG_H

#include <stdint.h>

#include "base/error.h"

typedef struct image {
    int width, height;
    uint8_t *rgb; /* [height, width, 3], rows from the top; mem_calloc'd */
} image;

/* A black image. A side that is not positive is LECO_INVALID. *out is zeroed on failure, here and in png_read. */
leco_status image_create(int width, int height, image *out, leco_error *err);
void image_free(image *img); /* safe on a zeroed image */

/* Writes atomically. `parameters` (UTF-8; may be NULL) becomes the text chunk "parameters": tEXt where it is ASCII,
 * iTXt otherwise. */
leco_status png_write(const char *path, const image *img, const char *parameters, leco_error *err);

/* Reads any PNG into 8-bit RGB (alpha is dropped, 16 bits are scaled). *parameters (may be NULL) gets that text chunk,
 * or NULL where there is none; mem_free it. A tEXt chunk's Latin-1 is turned into UTF-8; iTXt is given as stored. Sizes
 * above 16384 a side are refused. What libpng finds odd but bearable goes to the log, a text that unpacks to more than
 * 8 MiB among it. */
leco_status png_read(const char *path, image *out, char **parameters, leco_error *err);

#endif
