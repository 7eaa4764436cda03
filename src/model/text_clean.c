#include "model/text_clean.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <utf8proc.h>

#include "base/mem.h"

/* Code points under way. */
typedef struct points {
    int32_t *at;
    size_t count;
} points;

leco_status text_check_utf8(const char *text, size_t size, leco_error *err)
{
    for (size_t i = 0; i < size;) {
        utf8proc_int32_t point;
        utf8proc_ssize_t used =
            utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(size - i), &point);
        if (used <= 0) return error_set(err, LECO_INVALID, "the prompt is not valid UTF-8 at byte %zu", i);
        i += (size_t)used;
    }
    return LECO_OK;
}

/* ---- characters ---- */

static utf8proc_category_t category(int32_t c)
{
    return utf8proc_category(c);
}

static bool is_dropped(int32_t c)
{
    if (c == '\t' || c == '\n' || c == '\r') return false;
    if (c == 0xfffd) return true;
    switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
        return true;
    default:
        return false;
    }
}

static bool is_space(int32_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || category(c) == UTF8PROC_CATEGORY_ZS || c == 0x2028 ||
           c == 0x2029;
}

/* The blocks of CJK ideographs, which BERT's tokenizer takes for words of their own. */
static bool is_ideograph(int32_t c)
{
    static const int32_t ranges[][2] = {{0x4e00, 0x9fff},   {0x3400, 0x4dbf},   {0x20000, 0x2a6df}, {0x2a700, 0x2b73f},
                                        {0x2b740, 0x2b81f}, {0x2b820, 0x2ceaf}, {0xf900, 0xfaff},   {0x2f800, 0x2fa1f}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (c >= ranges[i][0] && c <= ranges[i][1]) return true;
    return false;
}

/* Unicode's Case_Ignorable (section 3.13): some categories, and what can stand within a word. */
static bool is_case_ignorable(int32_t c)
{
    static const int32_t within_words[] = {0x27,   0x2e,   0x3a,   0xb7,   0x387,  0x55f,  0x5f4,  0x2018, 0x2019,
                                           0x2024, 0x2027, 0xfe13, 0xfe52, 0xfe55, 0xff07, 0xff0e, 0xff1a};
    for (size_t i = 0; i < sizeof within_words / sizeof *within_words; i++)
        if (c == within_words[i]) return true;
    switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
        return true;
    default:
        return false;
    }
}

/* Unicode's Cased: letters with case, Roman numerals, circled and squared letters. */
static bool is_cased(int32_t c)
{
    utf8proc_category_t k = category(c);
    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT ||
           (c >= 0x2160 && c <= 0x217f) || (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f189) ||
           c == 0xaa || c == 0xba;
}

/* ---- steps ---- */

/* Does the capital sigma at `i` end the word [begin, end)? Then it becomes the final form. */
static bool is_final_sigma(const points *p, size_t begin, size_t end, size_t i)
{
    size_t j = i;
    while (j > begin && is_case_ignorable(p->at[j - 1])) j--;
    if (j == begin || !is_cased(p->at[j - 1])) return false;
    j = i + 1;
    while (j < end && is_case_ignorable(p->at[j])) j++;
    return j == end || !is_cased(p->at[j]);
}

static size_t put(char *out, int32_t c)
{
    return (size_t)utf8proc_encode_char(c, (utf8proc_uint8_t *)out);
}

/* What is kept, with a space for white space and around ideographs. `out` has room for two bytes a byte: an ideograph
 * is three and gets two more. Returns the bytes used. */
static size_t keep(const char *text, size_t size, char *out)
{
    size_t used = 0;
    for (size_t i = 0; i < size;) {
        utf8proc_int32_t c;
        i += (size_t)utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(size - i), &c);
        if (is_dropped(c)) continue;
        bool apart = is_ideograph(c);
        if (apart) out[used++] = ' ';
        used += put(out + used, is_space(c) ? ' ' : c);
        if (apart) out[used++] = ' ';
    }
    return used;
}

/* NFC. points->at is mem_calloc'd. */
static leco_status normalise(const char *text, size_t size, points *out, leco_error *err)
{
    const utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    const utf8proc_uint8_t *bytes = (const utf8proc_uint8_t *)text;
    utf8proc_ssize_t length = utf8proc_decompose(bytes, (utf8proc_ssize_t)size, NULL, 0, options);
    /* One more: utf8proc ends the sequence with a zero. */
    out->at = length < 0 ? NULL : mem_calloc((size_t)length + 1, sizeof *out->at);
    if (!out->at) return error_memory(err, size, "a prompt");
    length = utf8proc_decompose(bytes, (utf8proc_ssize_t)size, out->at, length, options);
    if (length > 0) length = utf8proc_normalize_utf32(out->at, length, options);
    if (length < 0) return error_set(err, LECO_INTERNAL, "the prompt: %s", utf8proc_errmsg(length));
    out->count = (size_t)length;
    return LECO_OK;
}

/* Lower-cases word by word (a sigma's form depends on its word); one space between words. `out` has room for eight
 * bytes a code point. Returns the bytes used. */
static size_t lower(const points *in, char *out)
{
    size_t used = 0;
    for (size_t begin = 0, end; begin < in->count; begin = end + 1) {
        for (end = begin; end < in->count && in->at[end] != ' ';) end++;
        if (end > begin && used) out[used++] = ' ';
        for (size_t i = begin; i < end; i++) {
            int32_t c = in->at[i];
            if (c == 0x3a3)
                used += put(out + used, is_final_sigma(in, begin, end, i) ? 0x3c2 : 0x3c3);
            else if (c == 0x130) /* the one letter whose lower case is two code points */
                used += put(out + used, 'i'), used += put(out + used, 0x307);
            else
                used += put(out + used, utf8proc_tolower(c));
        }
    }
    out[used] = '\0';
    return used;
}

leco_status text_clean(const char *text, size_t size, char **out, size_t *out_size, leco_error *err)
{
    points p = {NULL, 0};
    *out = NULL;
    char *kept = mem_calloc(2 * size + 1, 1);
    if (!kept) return error_memory(err, 2 * size + 1, "a prompt");
    leco_status status = normalise(kept, keep(text, size, kept), &p, err);
    mem_free(kept);
    if (status == LECO_OK) {
        *out = mem_calloc(8 * p.count + 1, 1);
        if (*out)
            *out_size = lower(&p, *out);
        else
            status = error_memory(err, 8 * p.count + 1, "a prompt");
    }
    mem_free(p.at);
    return status;
}
