/* JPEG files, read by libjpeg-turbo. */
#ifndef LECO_PICTURE_JPEG_H
#define LECO_PICTURE_JPEG_H

#include "picture/image.h"

/* Reads baseline and progressive JPEGs of 8 bits into RGB: grey becomes RGB; CMYK does without its colour profile,
 * taken as inverted, as Adobe writes it and other programs read it; an EXIF orientation is respected. Sizes are limited
 * (image_check_size). A file that ends inside the picture, or whose data is damaged, is LECO_FORMAT; what libjpeg finds
 * odd but bearable goes to the log. */
leco_status jpeg_read(const char *path, image *out, leco_error *err);

/* The size that jpeg_read's picture would have, without reading pixels. */
leco_status jpeg_size(const char *path, int *width, int *height, leco_error *err);

#endif
