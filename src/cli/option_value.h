/* Reading one option's value (for options.c). */
#ifndef LECO_CLI_OPTION_VALUE_H
#define LECO_CLI_OPTION_VALUE_H

#include "cli/options.h"

/* Bytes of a value of this kind in its group's struct; 0 for OPTION_REFUSED. */
size_t option_value_size(option_kind kind);

/* Stores `text` (NULL for a flag) at `value`. False after writing what is wrong into why[]. */
bool option_value_read(const option_spec *spec, const char *text, void *value, char *why, size_t why_size);

#endif
