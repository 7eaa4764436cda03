#include "cli/option_value.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "leco/leco.h"

size_t option_value_size(option_kind kind)
{
    switch (kind) {
    case OPTION_FLAG:
        return sizeof(bool);
    case OPTION_TEXT:
    case OPTION_PROMPT:
    case OPTION_CHOICE:
        return sizeof(const char *);
    case OPTION_WHOLE:
        return sizeof(int64_t);
    case OPTION_NUMBER:
        return sizeof(double);
    case OPTION_NUMBERS:
        return sizeof(number_list);
    case OPTION_BYTES:
        return sizeof(uint64_t);
    case OPTION_TEXTS:
        return sizeof(text_list);
    case OPTION_ANSWER:
    case OPTION_REFUSED:
        break;
    }
    return 0;
}

bool number_read(const char *text, double *value)
{
    /* strtod alone would take leading blanks, "nan", "infinity" and hexadecimal. */
    if (*text == '\0' || text[strspn(text, "0123456789+-.eE")] != '\0') return false;
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(number)) return false;
    *value = number;
    return true;
}

static bool read_whole(const option_spec *spec, const char *text, int64_t *value, char *why, size_t why_size)
{
    char *end = NULL;
    errno = 0;
    long long number = 0;
    bool digits_only = *text && text[strspn(text, "0123456789+-")] == '\0';
    if (digits_only) number = strtoll(text, &end, 10);
    if (!digits_only || *end != '\0' || end == text) {
        snprintf(why, why_size, "takes a whole number from %" PRId64 " to %" PRId64 ", not '%s'", spec->min, spec->max,
                 text);
        return false;
    }
    if (errno == ERANGE || number < spec->min || number > spec->max) {
        snprintf(why, why_size, "%s is out of range: it takes a whole number from %" PRId64 " to %" PRId64, text,
                 spec->min, spec->max);
        return false;
    }
    *value = number;
    return true;
}

static bool read_number(const option_spec *spec, const char *text, double *value, char *why, size_t why_size)
{
    double number;
    char range[96];
    snprintf(range, sizeof range, "a number %s %" PRId64 "%s %" PRId64, spec->above ? "above" : "from", spec->min,
             spec->above ? " and up to" : " to", spec->max);
    if (!number_read(text, &number)) {
        snprintf(why, why_size, "takes %s, not '%s'", range, text);
        return false;
    }
    if (number < (double)spec->min || number > (double)spec->max || (spec->above && number <= (double)spec->min)) {
        snprintf(why, why_size, "%s is out of range: it takes %s", text, range);
        return false;
    }
    *value = number;
    return true;
}

static bool read_numbers(const option_spec *spec, const char *text, number_list *list, char *why, size_t why_size)
{
    list->count = 0;
    for (const char *at = text;;) {
        size_t length = strcspn(at, ",");
        char part[64];
        snprintf(part, sizeof part, "%.*s", (int)(length < sizeof part ? length : sizeof part - 1), at);
        if (list->count == LIST_MAX) {
            snprintf(why, why_size, "takes %d numbers at most", LIST_MAX);
            return false;
        }
        if (!read_number(spec, part, &list->item[list->count], why, why_size)) return false;
        list->count++;
        if (at[length] == '\0') return true;
        at += length + 1;
    }
}

static bool read_bytes(const char *text, uint64_t *value, char *why, size_t why_size)
{
    static const char units[] = "KMGT";
    char *end = NULL;
    bool starts_well = *text >= '0' && *text <= '9' && !strpbrk(text, "xXpPeEnN");
    double number = starts_well ? strtod(text, &end) : 0;
    if (starts_well) {
        const char *unit = *end ? strchr(units, *end >= 'a' ? *end - 'a' + 'A' : *end) : NULL;
        if (unit) {
            for (const char *u = units; u <= unit; u++) number *= 1024;
            end++;
        }
        if (strcasecmp(end, "B") == 0 || (unit && strcasecmp(end, "iB") == 0)) end += strlen(end);
    }
    if (!starts_well || *end != '\0' || !(number >= 1) || number > 0x1p62) {
        snprintf(why, why_size, "takes a number of bytes such as 512M or 4G, not '%s'", text);
        return false;
    }
    *value = (uint64_t)number;
    return true;
}

/* The index-th name that a choice may be, and its length; 0: no more. */
static size_t choice_named(const option_spec *spec, size_t index, const char **name)
{
    if (spec->choice_at) {
        *name = spec->choice_at(index);
        return *name ? strlen(*name) : 0;
    }
    *name = spec->choices;
    for (; index > 0; index--) {
        *name = strchr(*name, '|');
        if (!*name) return 0;
        (*name)++;
    }
    return strcspn(*name, "|");
}

void option_choices_text(const option_spec *spec, char *text, size_t size)
{
    const char *name;
    size_t used = 0, length;
    *text = '\0';
    for (size_t i = 0; (length = choice_named(spec, i, &name)) > 0 && used + length + 3 <= size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%.*s", i > 0 ? ", " : "", (int)length, name);
}

/* Of names that stand one by one. */
static const char *choice_near(const option_spec *spec, const char *text)
{
    const char *known[32];
    size_t count = 0;
    if (!spec->choice_at) return NULL;
    while (count < sizeof known / sizeof *known && spec->choice_at(count)) {
        known[count] = spec->choice_at(count);
        count++;
    }
    return leco_suggest(text, known, count);
}

static bool read_choice(const option_spec *spec, const char *text, const char **value, char *why, size_t why_size)
{
    const char *name;
    size_t length;
    for (size_t i = 0; (length = choice_named(spec, i, &name)) > 0; i++) {
        if (strlen(text) != length || memcmp(name, text, length) != 0) continue;
        *value = text;
        return true;
    }
    char all[256];
    option_choices_text(spec, all, sizeof all);
    const char *near = choice_near(spec, text);
    if (spec->later && strcmp(text, spec->later) == 0)
        snprintf(why, why_size, "%s was not built into this leco: it takes one of %s", text, all);
    else
        snprintf(why, why_size, "takes one of %s, not '%s'%s%s%s", all, text, near ? "; did you mean " : "",
                 near ? near : "", near ? "?" : "");
    return false;
}

bool option_value_read(const option_spec *spec, const char *text, void *value, char *why, size_t why_size)
{
    switch (spec->kind) {
    case OPTION_FLAG:
        *(bool *)value = true;
        return true;
    case OPTION_WHOLE:
        return read_whole(spec, text, value, why, why_size);
    case OPTION_NUMBER:
        return read_number(spec, text, value, why, why_size);
    case OPTION_NUMBERS:
        return read_numbers(spec, text, value, why, why_size);
    case OPTION_BYTES:
        return read_bytes(text, value, why, why_size);
    case OPTION_CHOICE:
        return read_choice(spec, text, value, why, why_size);
    case OPTION_PROMPT:
        *(const char **)value = text;
        return true;
    case OPTION_TEXT:
        if (*text == '\0') {
            snprintf(why, why_size, "takes a %s, not nothing", spec->argument);
            return false;
        }
        *(const char **)value = text;
        return true;
    case OPTION_TEXTS: {
        text_list *list = value;
        if (list->count == LIST_MAX) {
            snprintf(why, why_size, "may be given %d times at most", LIST_MAX);
            return false;
        }
        list->item[list->count++] = text;
        return true;
    }
    case OPTION_ANSWER:
    case OPTION_REFUSED:
        break;
    }
    snprintf(why, why_size, "%s", spec->help);
    return false;
}
