/* Pictures of any kind that leco reads, told apart by their first bytes. */
#ifndef LECO_PICTURE_PICTURE_H
#define LECO_PICTURE_PICTURE_H

#include <stdbool.h>

#include "picture/image.h"

/* PNG and JPEG (png_read, jpeg_read) as RGB, the right way up. Another format is LECO_UNSUPPORTED, by its name where
 * that is known. */
leco_status picture_read(const char *path, image *out, leco_error *err);

/* The size that it would have, from the file's header. */
leco_status picture_measure(const char *path, int *width, int *height, leco_error *err);

/* Does a file's name end as pictures' names do: in .png, .jpg, .jpeg, or what other formats have? */
bool picture_named(const char *name);

#endif
