/* YAML files, and the assignments of --set: one a line of the part "@set". */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "format/document.h"

const char *const fuzz_words[] = {"=== @set\n",
                                  "a: ",
                                  "- ",
                                  "? ",
                                  "<<: ",
                                  "&a ",
                                  "*a",
                                  "!!str ",
                                  "!!int ",
                                  "---\n",
                                  "...\n",
                                  "%YAML 1.1\n",
                                  "|\n",
                                  ">-\n",
                                  "{a: b}",
                                  "[a, b]",
                                  "\"\\x41\"",
                                  "'",
                                  "\"\\u263a\"",
                                  "null",
                                  "~",
                                  "\t",
                                  "# ",
                                  "\xef\xbb\xbf",
                                  "\xff\xfe",
                                  "prompts.0.action=erase\n",
                                  "train.lr=2\n",
                                  "a.b.c={d: e}\n",
                                  "=",
                                  ".",
                                  NULL};

static const char *const names[] = {"yaml", "@set", NULL};

/* ---- a tree, written as YAML again ---- */

typedef struct text {
    char *at;
    size_t used, capacity;
} text;

static void put(text *t, const char *bytes, size_t size)
{
    if (t->used + size + 1 > t->capacity) {
        t->capacity = 2 * t->capacity + size + 1;
        t->at = realloc(t->at, t->capacity);
        FUZZ_CHECK(t->at);
    }
    memcpy(t->at + t->used, bytes, size);
    t->used += size;
    t->at[t->used] = '\0';
}

/* In double quotes, where YAML takes every printable character but two as it is. Others are escaped byte by byte of
 * their code point. */
static void put_scalar(text *t, const char *value)
{
    static const char digits[] = "0123456789abcdef";
    put(t, "\"", 1);
    for (const unsigned char *p = (const unsigned char *)value; *p;) {
        size_t bytes = *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
        uint32_t c = bytes == 1 ? *p : *p & (0x7fu >> bytes);
        for (size_t i = 1; i < bytes; i++) c = c << 6 | (p[i] & 0x3fu);
        char escape[10] = "\\U";
        for (int i = 0; i < 8; i++) escape[2 + i] = digits[c >> (28 - 4 * i) & 15];
        bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
        put(t, plain ? (const char *)p : escape, plain ? 1 : sizeof escape);
        p += bytes;
    }
    put(t, "\"", 1);
}

static void put_node(text *t, const doc_node *n)
{
    if (n->kind == DOC_SCALAR) {
        put_scalar(t, n->text);
        return;
    }
    put(t, n->kind == DOC_MAP ? "{" : "[", 1);
    for (size_t i = 0; i < n->count; i++) {
        if (i > 0) put(t, ",", 1);
        if (n->kind == DOC_MAP) {
            put(t, "? ", 2); /* a key of any length */
            put_scalar(t, n->item[i].key);
            put(t, ": ", 2);
        }
        put_node(t, n->item[i].value);
    }
    put(t, n->kind == DOC_MAP ? "}" : "]", 1);
}

/* ---- checks ---- */

static bool same(const doc_node *a, const doc_node *b)
{
    if (a->kind != b->kind || a->count != b->count || strcmp(a->text, b->text) != 0) return false;
    for (size_t i = 0; i < a->count; i++) {
        if (a->item[i].key && strcmp(a->item[i].key, b->item[i].key) != 0) return false;
        if (!same(a->item[i].value, b->item[i].value)) return false;
    }
    return true;
}

/* A value as each of the types that there are. */
static void check_types(const doc_node *n)
{
    leco_error err = {0};
    const char *value = NULL;
    int64_t whole = 77;
    double number = 77;
    bool flag;
    leco_status status = doc_int(n, "key", -5, 100, &whole, &err);
    FUZZ_CHECK(whole >= -5 && whole <= 100);
    if (status != LECO_OK) FUZZ_REFUSED(status, &err);
    status = doc_number(n, "key", 1e-12, 1e9, &number, &err);
    FUZZ_CHECK(number >= 1e-12 && number <= 1e9);
    if (status != LECO_OK) FUZZ_REFUSED(status, &err);
    status = doc_bool(n, "key", &flag, &err);
    if (status != LECO_OK) FUZZ_REFUSED(status, &err);
    status = doc_text(n, "key", &value, &err);
    FUZZ_CHECK(status == LECO_OK ? value == n->text : value == NULL);
    FUZZ_CHECK(!doc_is_null(n) || n->text[0] == '\0' || strlen(n->text) <= 4);
    for (size_t i = 0; i < n->count; i++) check_types(n->item[i].value);
}

/* What was read, written and read again is the same. */
static void check_again(arena *memory, const doc_node *root)
{
    leco_error err = {0};
    text t = {0};
    doc_node *again = NULL;
    put_node(&t, root);
    FUZZ_CHECK(document_read(memory, fuzz_path((const uint8_t *)t.at, t.used), &again, &err) == LECO_OK);
    FUZZ_CHECK(same(root, again));
    free(t.at);
}

/* After "a.b=c" what is found at a, then b, is what reading "c" by itself gives. */
static void check_assigned(arena *memory, const doc_node *root, const char *assignment)
{
    leco_error err = {0};
    const char *equals = strchr(assignment, '=');
    doc_node *other = NULL;
    char *alone = malloc(strlen(assignment) + 8);
    FUZZ_CHECK(alone && equals);
    strcpy(alone, "{}");
    FUZZ_CHECK(document_read(memory, fuzz_path((const uint8_t *)alone, 2), &other, &err) == LECO_OK);
    strcpy(alone, "x");
    strcat(alone, equals);
    FUZZ_CHECK(document_set(memory, other, alone, &err) == LECO_OK);
    const doc_node *at = root;
    for (const char *p = assignment; p < equals;) {
        size_t length = strcspn(p, ".=");
        if (length > 0) { /* "a..b" is "a.b" */
            memcpy(alone, p, length);
            alone[length] = '\0';
            if (at->kind == DOC_LIST) {
                size_t position = strtoull(alone, NULL, 10);
                FUZZ_CHECK(position < at->count);
                at = at->item[position].value;
            } else {
                at = doc_find(at, alone);
            }
            FUZZ_CHECK(at);
        }
        p += length + (p[length] == '.');
    }
    FUZZ_CHECK(same(at, doc_find(other, "x")));
    free(alone);
}

static void check_set(arena *memory, doc_node *root, char *lines)
{
    leco_error err = {0};
    char *rest = NULL;
    int depth = 0;
    for (char *line = strtok_r(lines, "\n", &rest); line && depth < 8; line = strtok_r(NULL, "\n", &rest)) {
        leco_status status = document_set(memory, root, line, &err);
        if (status == LECO_OK)
            check_assigned(memory, root, line);
        else
            FUZZ_REFUSED(status, &err);
        depth++;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    fuzz_part parts[FUZZ_MAX_PARTS];
    fuzz_split(data, size, names, parts);
    arena *memory = arena_create();
    doc_node *root = NULL;
    leco_status status = document_read(memory, fuzz_path(parts[0].data, parts[0].size), &root, &err);
    fuzz_accepted = status == LECO_OK;
    if (fuzz_accepted) {
        fuzz_check_document(root, 0);
        check_types(root);
        check_again(memory, root);
        char *lines = fuzz_text(&parts[1]);
        if (lines) check_set(memory, root, lines);
        free(lines);
    } else {
        FUZZ_REFUSED(status, &err);
        FUZZ_CHECK(!root);
    }
    arena_destroy(memory);
    return 0;
}

bool fuzz_seed(unsigned index, const char *path)
{
    static const char *const seeds[] = {
        "",
        "prompts_file: \"prompts.yaml\"\nnetwork:\n  type: lierla\n  rank: 4\n# a comment\ntrain: {lr: 1e-4}\n",
        "- target: red\n  positive: 'a \"red\" thing'\n  action: erase\n- &b\n  target: |\n    two\n    lines\n- *b\n",
        "prompts: [{action: enhance}, {action: no}]\n=== @set\nprompts.0.action=erase\nprompts.1={a: "
        "b}\ntrain.lr=1e-3\n",
        "a: \"\\u263a\\x41\"\nb: caf\xc3\xa9\nc:\nd: ~\n=== @set\nc=\nb.c=1\nb=[1, 2]\n",
        "- {a: [1, 2, [3, 4]]}\n- x\n=== @set\n0.a.2.1=5\n0.a.0=6\n1=y\n",
        "- - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - x\n"};
    if (index < sizeof seeds / sizeof *seeds) {
        fuzz_put(path, seeds[index]);
        return true;
    }
    if (index > sizeof seeds / sizeof *seeds) return false;
    fuzz_put_file(path, "examples/enhance_blue.yaml");
    fuzz_put(path, "=== @set\ntrain.iterations=20\nprompts.0.guidance_scale=2\n");
    return true;
}
