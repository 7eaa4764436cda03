/* Folders: the files in one, and writing a whole one at once. */
#ifndef LECO_BASE_FOLDER_H
#define LECO_BASE_FOLDER_H

#include <stdbool.h>

#include "base/error.h"

/* A new folder, all or nothing: its files are written into a temporary one beside it, which commit renames. `path` must
 * not be there, or be an empty folder: others are refused, so that nobody's files are lost. Until commit, and after any
 * failure, there is nothing at `path` that wasn't there before. A process that is killed leaves its temporary folder,
 * .leco-PROCESS.new. */
typedef struct folder_writer folder_writer;
leco_status folder_writer_open(const char *path, folder_writer **out, leco_error *err);
const char *folder_writer_place(const folder_writer *w);             /* where to write its files, for the time being */
leco_status folder_writer_commit(folder_writer *w, leco_error *err); /* frees w, also on failure */
void folder_writer_abort(folder_writer *w);                          /* frees w; NULL is fine */

/* Calls `visit` for each file below a folder, with its path from there ("unet/config.json"), and for each folder before
 * what is in it; links are followed, to eight folders' depth. In order of their names. A special file is LECO_IO. */
typedef leco_status (*folder_visit)(void *user, const char *relative, bool is_folder, leco_error *err);
leco_status folder_walk(const char *folder, folder_visit visit, void *user, leco_error *err);

/* Copies a file's bytes to where there is none yet, and has them on disk; `to` gets its permissions. */
leco_status folder_copy_file(const char *from, const char *to, leco_error *err);

/* A `path`, which need not be there, that is a model's `folder` itself or lies below it is LECO_INVALID: what is
 * computed must not get among what it was computed from. Links are followed. */
leco_status folder_refuse_inside(const char *folder, const char *path, leco_error *err);

#endif
