/* 8-bit RGB images in PNG files, with tEXt/iTXt entries (A1111 keeps its generation parameters under "parameters"). */
#ifndef LECO_PICTURE_PNG_H
#define LECO_PICTURE_PNG_H

#include <stddef.h>

#include "picture/image.h"

/* Writes atomically. `parameters` (UTF-8; may be NULL) becomes the text chunk "parameters": tEXt where it is ASCII,
 * iTXt otherwise. */
leco_status png_write(const char *path, const image *img, const char *parameters, leco_error *err);

/* The same as a file's bytes in memory: *bytes [*size], mem_free it. `what` is for messages. */
leco_status png_encode(const char *what, const image *img, uint8_t **bytes, size_t *size, leco_error *err);

/* Reads any PNG into 8-bit RGB: 16 bits are scaled, what isn't opaque lies on white, an EXIF orientation is respected;
 * of an animation the still picture is read, which the log says. *parameters (may be NULL) gets that text chunk, or
 * NULL where there is none; mem_free it. A tEXt chunk's Latin-1 is turned into UTF-8; iTXt is given as stored. Sizes
 * are limited (image_check_size). What libpng finds odd but bearable goes to the log, a text that unpacks to more than
 * 8 MiB among it. */
leco_status png_read(const char *path, image *out, char **parameters, leco_error *err);

/* The size that png_read's picture would have, without reading pixels. */
leco_status png_size(const char *path, int *width, int *height, leco_error *err);

#endif
