/* Reading zip archives whose files are stored as they are, as PyTorch writes them; also those beyond 4 GiB (zip64).
 *
 * Source: PKWARE's APPNOTE.TXT, 4.3. An archive is hostile until checked: the directory at its end must lie in the
 * file, as must what it lists. Checksums are not looked at: that would read gigabytes. */
#ifndef LECO_FORMAT_ZIP_H
#define LECO_FORMAT_ZIP_H

#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/name_table.h"

typedef struct zip_file {
    const char *name;
    const unsigned char *data; /* [size] into the archive */
    size_t size;
} zip_file;

typedef struct zip {
    zip_file *file; /* [count] in the directory's order; the arena's, as are the names */
    size_t count;
    name_table by_name; /* places in `file` */
} zip;

/* The archive in data [size], which messages call `path`. Files that are compressed or encrypted are LECO_UNSUPPORTED,
 * names that are given twice LECO_FORMAT. zip_close, also on failure. */
leco_status zip_open(const char *path, const unsigned char *data, size_t size, arena *memory, zip *out,
                     leco_error *err);
void zip_close(zip *z);

const zip_file *zip_find(const zip *z, const char *name); /* NULL: not there */

#endif
