/* The date that files carry. */
#ifndef LECO_BASE_DATE_H
#define LECO_BASE_DATE_H

#include "base/error.h"

#define DATE_ROOM 32

/* Now, as ISO 8601 has it, or what SOURCE_DATE_EPOCH says (https://reproducible-builds.org/specs/source-date-epoch), so
 * that the same run can write the same file: seconds since 1970. Another text there is LECO_INVALID. */
leco_status date_now(char date[DATE_ROOM], leco_error *err);

double date_seconds(void); /* since 1970, by the system's clock */

#endif
