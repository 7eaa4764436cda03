#include "base/date.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

leco_status date_now(char date[DATE_ROOM], leco_error *err)
{
    const intmax_t last = 253402300799; /* of the year 9999, which ISO 8601 has four digits for */
    const char *text = getenv("SOURCE_DATE_EPOCH");
    intmax_t seconds = (intmax_t)time(NULL);
    if (text) {
        errno = 0;
        seconds = strtoimax(text, NULL, 10);
        if (!*text || strspn(text, "0123456789") != strlen(text) || errno || seconds > last)
            return error_set(err, LECO_INVALID,
                             "the environment variable SOURCE_DATE_EPOCH is \"%.100s\": expected the seconds since "
                             "1970, a whole number up to %jd",
                             text, last);
    }
    time_t when = (time_t)seconds;
    struct tm utc;
    date[0] = '\0';
    if (gmtime_r(&when, &utc)) strftime(date, DATE_ROOM, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return LECO_OK;
}

double date_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
