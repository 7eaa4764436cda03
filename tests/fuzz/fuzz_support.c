#define _GNU_SOURCE /* memfd_create */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/utf8.h"
#include "format/document.h"

bool fuzz_accepted;

__attribute__((weak)) size_t fuzz_repair(uint8_t *data, size_t size, size_t capacity)
{
    (void)data;
    (void)capacity;
    return size;
}

/* ---- checks ---- */

void fuzz_fail(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: impossible result: not (%s)\n", file, line, condition);
    abort();
}

bool fuzz_is_utf8(const char *text, size_t size)
{
    char *copy = fuzz_text(&(fuzz_part){(const uint8_t *)text, size}); /* ends with NUL, which is in no character */
    size_t at = 0, bytes = 1;
    while (bytes > 0 && at < size) at += bytes = utf8_bytes((const unsigned char *)copy + at);
    free(copy);
    return bytes > 0;
}

enum { DOCUMENT_DEPTH = 32 };

size_t fuzz_check_document(const doc_node *n, int depth)
{
    size_t nodes = 1;
    FUZZ_CHECK(depth <= DOCUMENT_DEPTH && n->place && n->place[0] && n->text);
    FUZZ_CHECK(fuzz_is_utf8(n->text, strlen(n->text)));
    FUZZ_CHECK(n->kind == DOC_SCALAR ? n->count == 0 : n->text[0] == '\0');
    for (size_t i = 0; i < n->count; i++) {
        const doc_item *item = &n->item[i];
        FUZZ_CHECK(item->value && (n->kind == DOC_MAP) == (item->key != NULL));
        if (item->key) FUZZ_CHECK(doc_find(n, item->key) == item->value); /* no key twice */
        nodes += fuzz_check_document(item->value, depth + 1);
    }
    FUZZ_CHECK(nodes <= 400000);
    return nodes;
}

bool fuzz_is_tidy(const char *text, bool lines)
{
    char *copy = strdup(text);
    FUZZ_CHECK(copy);
    utf8_tidy(copy, lines);
    bool same = strcmp(copy, text) == 0;
    free(copy);
    return same;
}

void fuzz_check_refusal(leco_status status, const leco_error *err, const char *file, int line)
{
    bool good = status != LECO_OK && status != LECO_MEMORY && status != LECO_INTERNAL && err->status == status;
    if (good && err->message[0] && fuzz_is_tidy(err->message, false)) return;
    fprintf(stderr, "%s:%d: a refusal with status %s (%s), message \"%s\"\n", file, line, leco_status_name(status),
            leco_status_name(err->status), err->message);
    abort();
}

/* ---- a file ---- */

const char *fuzz_path(const uint8_t *data, size_t size)
{
    static int fd = -1; /* a file in memory: thousands a second */
    static char path[64];
    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        FUZZ_CHECK(fd >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    FUZZ_CHECK(ftruncate(fd, 0) == 0);
    FUZZ_CHECK(size == 0 || pwrite(fd, data, size, 0) == (ssize_t)size);
    return path;
}

/* ---- folders ---- */

#define MAX_MADE 64

static char base[64], input_folder[80], again_folder[80];
static char made[MAX_MADE][192]; /* what was made in there, in this order */
static size_t made_count;

static void remember(const char *path)
{
    for (size_t i = 0; i < made_count; i++)
        if (strcmp(made[i], path) == 0) return;
    FUZZ_CHECK(made_count < MAX_MADE && strlen(path) < sizeof made[0]);
    memcpy(made[made_count++], path, strlen(path) + 1);
}

void fuzz_remove_folders(void)
{
    for (size_t i = made_count; i-- > 0;) remove(made[i]);
    if (base[0]) rmdir(base);
}

static void make_folder(const char *path)
{
    if (mkdir(path, 0777) == 0) remember(path);
}

/* In memory, where the system has such a file system. */
static void make_base(void)
{
    if (base[0]) return;
    snprintf(base, sizeof base, "/dev/shm/leco-fuzz-XXXXXX");
    if (!mkdtemp(base)) {
        snprintf(base, sizeof base, "/tmp/leco-fuzz-XXXXXX");
        FUZZ_CHECK(mkdtemp(base));
    }
    atexit(fuzz_remove_folders);
    snprintf(input_folder, sizeof input_folder, "%s/input", base);
    snprintf(again_folder, sizeof again_folder, "%s/again", base);
    make_folder(input_folder);
    make_folder(again_folder);
}

static void write_file(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    FUZZ_CHECK(file);
    setbuf(file, NULL);
    FUZZ_CHECK(fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

static size_t index_of(const char *const *names, const uint8_t *name, size_t length)
{
    size_t i = 0;
    while (names[i] && (strlen(names[i]) != length || memcmp(names[i], name, length) != 0)) i++;
    return i;
}

void fuzz_split(const uint8_t *data, size_t size, const char *const *names, fuzz_part *parts)
{
    static const uint8_t mark[] = {'=', '=', '=', ' '};
    size_t at = 0, current = 0, begin = 0;
    memset(parts, 0, FUZZ_MAX_PARTS * sizeof *parts);
    for (bool first = true;; first = false) {
        bool marks = size - at >= sizeof mark && memcmp(data + at, mark, sizeof mark) == 0;
        if ((marks || at == size) && names[current] && !(first && marks))
            parts[current] = (fuzz_part){data + begin, at - begin};
        if (at == size) return;
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t next = end ? (size_t)(end - data) + 1 : size;
        if (marks) {
            size_t name = at + sizeof mark;
            current = index_of(names, data + name, next - name - (end != NULL));
            begin = next;
        }
        at = next;
    }
}

static bool equal(const fuzz_part *a, const fuzz_part *b)
{
    if (!a->data || !b->data) return !a->data && !b->data;
    return a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

/* Makes the file at `path` what `p` is, or removes it. */
static void put_part(char *path, const fuzz_part *p)
{
    if (!p->data) {
        unlink(path);
        return;
    }
    char *slash = strrchr(path, '/');
    *slash = '\0';
    make_folder(path);
    *slash = '/';
    write_file(path, p->data, p->size);
    remember(path);
}

const char *fuzz_folder(const char *const *names, const fuzz_part *parts)
{
    static fuzz_part last[FUZZ_MAX_PARTS]; /* what the files hold: most inputs change one of them */
    make_base();
    for (size_t i = 0; names[i]; i++) {
        FUZZ_CHECK(i < FUZZ_MAX_PARTS);
        if (names[i][0] == '@' || equal(&parts[i], &last[i])) continue;
        char path[192];
        snprintf(path, sizeof path, "%s/%s", input_folder, names[i]);
        put_part(path, &parts[i]);
        free((uint8_t *)(uintptr_t)last[i].data);
        last[i] = (fuzz_part){(const uint8_t *)fuzz_text(&parts[i]), parts[i].size};
    }
    return input_folder;
}

char *fuzz_text(const fuzz_part *part)
{
    if (!part->data) return NULL;
    char *text = malloc(part->size + 1);
    FUZZ_CHECK(text);
    if (part->size > 0) memcpy(text, part->data, part->size);
    text[part->size] = '\0';
    return text;
}

const char *fuzz_again(const char *name, const char *text)
{
    char path[192];
    make_base();
    snprintf(path, sizeof path, "%s/%s", again_folder, name);
    write_file(path, text, strlen(text));
    remember(path);
    return again_folder;
}

const char *fuzz_result(void)
{
    static char path[128];
    make_base();
    snprintf(path, sizeof path, "%s/result", again_folder);
    remember(path);
    return path;
}

bool fuzz_has_large_id(const uint8_t *data, size_t size)
{
    size_t digits = 0;
    for (size_t i = 0; i <= size; i++) {
        bool digit = i < size && data[i] >= '0' && data[i] <= '9';
        if (!digit && digits >= 6 && digits <= 8) return true;
        digits = digit ? digits + 1 : 0;
    }
    return false;
}

/* ---- seeds ---- */

static void append(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "ab");
    FUZZ_CHECK(file);
    FUZZ_CHECK(fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

void fuzz_put(const char *path, const char *text)
{
    append(path, text, strlen(text));
}

void fuzz_put_file(const char *path, const char *name)
{
    char from[512], text[32768];
    snprintf(from, sizeof from, "%s/%s", LECO_SOURCE_DIR, name);
    FILE *file = fopen(from, "rb");
    FUZZ_CHECK(file);
    size_t size = fread(text, 1, sizeof text, file);
    FUZZ_CHECK(size < sizeof text);
    fclose(file);
    append(path, text, size);
}
