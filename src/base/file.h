/* Files: memory-mapped reading and atomic replacement. */
#ifndef LECO_BASE_FILE_H
#define LECO_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* A read-only memory map of a regular file. data is NULL and size 0 for an empty one. */
typedef struct file_map {
    const unsigned char *data;
    size_t size;
} file_map;

leco_status file_map_open(const char *path, file_map *map, leco_error *err);
void file_map_close(file_map *map); /* safe on a zeroed map */
/* LECO_IO for a file that couldn't be opened, with the errno: of a link, what it points to is said, too. */
leco_status file_refuse_open(const char *path, int number, leco_error *err);

/* LECO_IO where the file has become shorter since it was mapped: within its last page that raises no signal, and zeros
 * were read. Another file of that name, which replaced it, is none of its business. */
leco_status file_map_check(const file_map *map, leco_error *err);

/* The path of the mapped file that `address` lies in, or NULL. Reading from a map raises SIGBUS where the file has
 * become shorter, or its disk fails: a handler of that signal may call this. */
const char *file_mapped_at(const void *address);

/* These bytes won't be wanted soon: where they are mapped from a file, the process gives their pages back, which are
 * read again when anybody asks for them. What isn't mapped stays as it is. */
void file_forget(const void *address, size_t bytes);

/* Reads a whole small text file or pipe (at most `limit` bytes, else LECO_FORMAT) into a NUL-terminated string that the
 * caller frees with mem_free. *size excludes the NUL; without size a NUL inside of the text is refused. */
leco_status file_read_text(const char *path, size_t limit, char **text, size_t *size, leco_error *err);

/* Atomic replacement: bytes go to a temporary file beside `path`; commit flushes it to disk (fsync), renames it over
 * `path` and syncs the folder. Until then, and after any failure, `path` is as it was and abort leaves nothing behind.
 * A process that is killed leaves its temporary file; open removes such files of others from the folder. A file that is
 * replaced keeps its permissions; one without permission to write isn't replaced. */
typedef struct file_writer file_writer;
leco_status file_writer_open(const char *path, file_writer **out, leco_error *err);
leco_status file_writer_write(file_writer *w, const void *data, size_t size, leco_error *err);
const char *file_writer_place(const file_writer *w);             /* where the bytes are until then, to be read back */
leco_status file_writer_commit(file_writer *w, leco_error *err); /* frees w, also on failure */
void file_writer_abort(file_writer *w);                          /* frees w; NULL is fine */

bool file_exists(const char *path);
bool file_is_folder(const char *path);
bool file_is_same(const char *a, const char *b);                  /* are both there, and one? */
bool file_is_dangling(const char *path);                          /* a link to what isn't there */
leco_status file_make_folders(const char *path, leco_error *err); /* mkdir -p */

/* "folder/name", or a copy of `name` where it is absolute or folder is "" or NULL. mem_free it. NULL: out of memory. */
char *file_join(const char *folder, const char *name);
/* The folder part of a path ("." where there is none). mem_free it. NULL: out of memory. */
char *file_folder_of(const char *path);
bool file_ends_in(const char *path, const char *end); /* and is longer than that: ".safetensors" */
/* "x" of "a/x.png": the name without folder and ending; mem_free it; NULL: out of memory. */
char *file_stem(const char *path);

#endif
