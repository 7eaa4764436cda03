/* Contact sheets: a title, a text before each row and above each column, and a picture in each cell.
 *
 *     sheet *s;
 *     LECO_TRY(sheet_create(&spec, &s, err));
 *     sheet_put(s, row, column, picture);      any cell, in any order; cells without a picture stay white
 *     ... sheet_image(s) ...
 *     sheet_destroy(s); */
#ifndef LECO_PICTURE_SHEET_H
#define LECO_PICTURE_SHEET_H

#include <stdbool.h>

#include "picture/png.h"

typedef struct sheet sheet;

/* Texts are UTF-8, borrowed while the sheet is created. Long ones are wrapped; small pictures are enlarged by a whole
 * factor, so that they stay what they are. */
typedef struct sheet_spec {
    const char *title;
    const char *const *row, *const *column; /* [rows], [columns] texts; row: NULL where sheet_label sets them, */
    const char *widest;                     /* none of them wider than this */
    size_t rows, columns;
    int width, height; /* of each picture, pixels */
} sheet_spec;

/* What it would take, refused as below. */
leco_status sheet_measure(const sheet_spec *spec, size_t *bytes, leco_error *err);

/* A sheet of more than 16384 pixels a side is LECO_INVALID. On failure *out is NULL. */
leco_status sheet_create(const sheet_spec *spec, sheet **out, leco_error *err);
void sheet_destroy(sheet *s); /* NULL is fine */

/* picture has the spec's size. */
void sheet_put(sheet *s, size_t row, size_t column, const image *picture);

/* The text before a row, in place of what it had. */
void sheet_label(sheet *s, size_t row, const char *text);

/* The sheet as it is now; owned by it. */
image *sheet_image(sheet *s);

/* One that grows, row by row: the part of it with the first rows, whose pixels are the sheet's own; and the other way,
 * the first rows of what was such a part of a sheet of the same texts. False where that picture can't be one. */
image sheet_top(const sheet *s, size_t rows);
bool sheet_take_top(sheet *s, const image *top, size_t rows);

#endif
