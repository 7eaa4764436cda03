#include "train/photos.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "model/text_clean.h"
#include "picture/picture.h"
#include "train/phrases.h"

enum { LARGEST_CAPTION = 64 << 10 };

/* ---- names ---- */

typedef struct name_list {
    char **item;
    size_t count;
} name_list;

static void names_free(name_list *names)
{
    for (size_t i = 0; i < names->count; i++) mem_free(names->item[i]);
    mem_free(names->item);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static leco_status add_name(name_list *names, const char *name, leco_error *err)
{
    char **grown = mem_realloc(names->item, names->count + 1, sizeof *grown);
    if (!grown) return error_memory(err, (names->count + 1) * sizeof *grown, "the pictures' names");
    names->item = grown;
    grown[names->count] = mem_strdup(name);
    if (!grown[names->count]) return error_memory(err, strlen(name), "a picture's name");
    names->count++;
    return LECO_OK;
}

/* names is to be freed, also on failure. */
static leco_status list_pictures(const char *folder, name_list *names, leco_error *err)
{
    *names = (name_list){0};
    DIR *listing = opendir(folder);
    if (!listing) return error_errno(err, folder, "cannot read the folder", errno);
    leco_status status = LECO_OK;
    for (const struct dirent *entry; status == LECO_OK && (entry = readdir(listing));)
        if (entry->d_name[0] != '.' && picture_named(entry->d_name)) status = add_name(names, entry->d_name, err);
    closedir(listing);
    LECO_TRY(status);
    if (names->count == 0) return error_set(err, LECO_INVALID, "%s: no pictures in it (.png, .jpg or .jpeg)", folder);
    qsort(names->item, names->count, sizeof *names->item, by_name);
    return LECO_OK;
}

/* How long a name is without its ending. */
static size_t stem(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? (size_t)(dot - name) : strlen(name);
}

static bool same_stem(const char *a, const char *b)
{
    return stem(a) == stem(b) && memcmp(a, b, stem(a)) == 0;
}

/* ---- pictures ---- */

static leco_status measure(const char *folder, const char *name, arena *memory, const char **path, photo *p,
                           leco_error *err)
{
    int width = 0, height = 0;
    *path = arena_printf(memory, "%s/%s", folder, name);
    if (!*path) return error_memory(err, strlen(name), "a picture's name");
    LECO_TRY(picture_measure(*path, &width, &height, err));
    p->width = width;
    p->height = height;
    return LECO_OK;
}

/* *caption, the first line of `text` that isn't empty, becomes a copy in the arena; "" where there is none. */
static leco_status keep_caption(char *text, const char *path, arena *memory, const char **caption, leco_error *err)
{
    size_t ways;
    if (strncmp(text, "\xEF\xBB\xBF", 3) == 0) text += 3; /* a byte order mark */
    text += strspn(text, " \t\r\n");
    size_t length = strcspn(text, "\r\n");
    while (length > 0 && strchr(" \t", text[length - 1])) length--;
    text[length] = '\0';
    leco_status status = text_check_utf8(text, length, err);
    if (status == LECO_OK) status = phrase_ways(text, &ways, err);
    if (status != LECO_OK) return error_prefix(err, status, "%s", path);
    *caption = arena_strdup(memory, text);
    return *caption ? LECO_OK : error_memory(err, length, "a caption");
}

/* The first file that is there of the names that captions have: .caption is kohya's other one. */
static leco_status find_caption(const char *picture, arena *memory, const char **out, leco_error *err)
{
    static const char *const endings[] = {".txt", ".caption", ".TXT"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        const char *path = arena_printf(memory, "%.*s%s", (int)stem(picture), picture, endings[i]);
        if (!path) return error_memory(err, strlen(picture), "a caption's name");
        *out = file_exists(path) ? path : NULL;
        if (*out) return LECO_OK;
    }
    return LECO_OK;
}

static leco_status read_caption(photo *p, const char *prompt, arena *memory, leco_error *err)
{
    const char *picture = p->path[0], *path;
    char *text;
    p->prompt = prompt;
    LECO_TRY(find_caption(picture, memory, &path, err));
    if (path) {
        LECO_TRY(file_read_text(path, LARGEST_CAPTION, &text, NULL, err));
        leco_status status = keep_caption(text, path, memory, &p->prompt, err);
        mem_free(text);
        return status;
    }
    if (prompt) return LECO_OK;
    return error_set(err, LECO_INVALID, "%s: nothing says what it shows: neither a prompt in the config nor a %.*s.txt",
                     picture, (int)stem(picture), picture);
}

static leco_status make_list(size_t count, arena *memory, photo_list *out, leco_error *err)
{
    out->item = arena_alloc(memory, count, sizeof *out->item);
    out->count = count;
    return out->item ? LECO_OK : error_memory(err, count * sizeof *out->item, "the pictures");
}

static leco_status fill(const name_list *names, const char *folder, const char *prompt, arena *memory, photo_list *out,
                        leco_error *err)
{
    LECO_TRY(make_list(names->count, memory, out, err));
    for (size_t i = 0; i < names->count; i++) {
        photo *p = &out->item[i];
        *p = (photo){0};
        LECO_TRY(measure(folder, names->item[i], memory, &p->path[0], p, err));
        LECO_TRY(read_caption(p, prompt, memory, err));
    }
    return LECO_OK;
}

leco_status photos_find(const char *folder, const char *prompt, arena *memory, photo_list *out, leco_error *err)
{
    name_list names;
    leco_status status = list_pictures(folder, &names, err);
    if (status == LECO_OK) status = fill(&names, folder, prompt, memory, out, err);
    names_free(&names);
    return status;
}

/* ---- pairs ---- */

static leco_status alone(const char *folder, const char *name, const char *other, leco_error *err)
{
    return error_set(err, LECO_INVALID, "%s/%s: has no partner of that name in %s", folder, name, other);
}

static leco_status pair_up(const name_list names[2], const char *const folder[2], arena *memory, photo_list *out,
                           leco_error *err)
{
    const name_list *a = &names[0], *b = &names[1];
    LECO_TRY(make_list(a->count, memory, out, err));
    for (size_t i = 0; i < a->count || i < b->count; i++) { /* both are in order */
        if (i == b->count || (i < a->count && !same_stem(a->item[i], b->item[i]) && strcmp(a->item[i], b->item[i]) < 0))
            return alone(folder[0], a->item[i], folder[1], err);
        if (i == a->count || !same_stem(a->item[i], b->item[i])) return alone(folder[1], b->item[i], folder[0], err);
        photo *p = &out->item[i], after;
        *p = (photo){0};
        LECO_TRY(measure(folder[0], a->item[i], memory, &p->path[0], p, err));
        LECO_TRY(measure(folder[1], b->item[i], memory, &p->path[1], &after, err));
        if (p->width != after.width || p->height != after.height)
            return error_set(err, LECO_INVALID, "%s is %lld x %lld pixels, but %s is %lld x %lld: a pair must be alike",
                             p->path[1], (long long)after.width, (long long)after.height, p->path[0],
                             (long long)p->width, (long long)p->height);
    }
    return LECO_OK;
}

leco_status photos_find_pairs(const char *before, const char *after, arena *memory, photo_list *out, leco_error *err)
{
    const char *const folder[] = {before, after};
    name_list names[2] = {{0}, {0}};
    leco_status status = list_pictures(before, &names[0], err);
    if (status == LECO_OK) status = list_pictures(after, &names[1], err);
    if (status == LECO_OK) status = pair_up(names, folder, memory, out, err);
    names_free(&names[0]);
    names_free(&names[1]);
    return status;
}

/* ---- sizes ---- */

static double log_shape(int64_t width, int64_t height)
{
    return log((double)width / (double)height);
}

picture_size photo_bucket(const photo *p, picture_size asked, int64_t unit)
{
    const int64_t area = asked.width * asked.height, side = (int64_t)sqrt((double)area);
    const double wanted = log_shape(p->width, p->height);
    picture_size best = asked;
    double nearest = fabs(log_shape(asked.width, asked.height) - wanted);
    for (int64_t width = unit; width <= 2 * side; width += unit) {
        const int64_t height = area / width / unit * unit;
        if (2 * width < side || height <= 0 || 2 * height < side || height > 2 * side) continue;
        const double off = fabs(log_shape(width, height) - wanted);
        const bool larger = width * height > best.width * best.height;
        if (off > nearest || (off == nearest && !larger)) continue;
        nearest = off;
        best.width = width;
        best.height = height;
    }
    return best;
}
