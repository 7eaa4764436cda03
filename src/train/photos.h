/* Folders of pictures: what is in them, what each shows, and the sizes that they are trained in. */
#ifndef LECO_TRAIN_PHOTOS_H
#define LECO_TRAIN_PHOTOS_H

#include "base/arena.h"
#include "train/objective.h"

typedef struct photo_list {
    photo *item; /* in the arena, by name */
    size_t count;
} photo_list;

/* The pictures of a folder, by their headers: files that picture_named knows, but not hidden ones. A text file beside a
 * picture, NAME.txt, holds its prompt in its first line that isn't empty; `prompt` (may be NULL) is that of the others.
 * A folder without pictures, one that leco can't read, or one without a prompt is an error that names it. */
leco_status photos_find(const char *folder, const char *prompt, arena *memory, photo_list *out, leco_error *err);

/* The same of two folders: pictures of the same name (whatever they end in) and size are a pair. None has a prompt. */
leco_status photos_find_pairs(const char *before, const char *after, arena *memory, photo_list *out, leco_error *err);

/* The size whose shape is nearest to the picture's: `asked` itself (pixels), or one of whole `unit`s that has no more
 * pixels, and no side longer than twice or shorter than half of the asked square's. */
picture_size photo_bucket(const photo *p, picture_size asked, int64_t unit);

#endif
