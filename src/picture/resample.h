/* Pictures of other sizes.
 *
 * The largest part of the picture that has the asked shape, from its centre, is scaled to the asked size by Lanczos'
 * filter over three lobes,
 *
 *     L(x) = sinc(x) sinc(x / 3),  |x| < 3,
 *
 * stretched by the scale where the picture becomes smaller (antialiasing); first along rows, then along columns, with
 * weights and results rounded as Pillow has it: the same picture as its ImageOps.fit(picture, size, LANCZOS), to the
 * bit (of a strip many times as tall as it is wide it scales the columns first). Source: Turkowski, "Filters for common
 * resampling tasks" (1990); Pillow's documentation. */
#ifndef LECO_PICTURE_RESAMPLE_H
#define LECO_PICTURE_RESAMPLE_H

#include "picture/image.h"

leco_status image_fit(const image *from, int width, int height, image *out, leco_error *err);

#endif
