#include "model/bpe.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/name_table.h"
#include "format/json.h"
#include "model/clip_merges.h"

#define MOST_ID (1 << 24)
#define MOST_MERGES_BYTES (64 << 20)
/* transformers reads no more merges than this, which is what CLIP's own vocabulary has. */
#define MOST_MERGES (49152 - 256 - 2)
#define WORD_END "</w>"
#define MOST_WORD (1 << 30)

/* A piece of text that is a token or takes part in a merge. */
typedef struct symbol {
    const char *text;
    int32_t id; /* in vocab.json, or -1 */
} symbol;

typedef struct merge {
    int32_t left, right, result; /* symbols */
    uint32_t rank;               /* the lower, the earlier */
} merge;

struct bpe {
    arena *memory;
    symbol *symbols;
    size_t symbol_count, symbol_capacity;
    name_table by_text;    /* places in symbols */
    merge *merge_table;    /* open addressing; left is -1 in a free slot */
    size_t merge_slots;    /* a power of two */
    int32_t *symbol_of_id; /* [id_count], -1 where no token has the id */
    size_t id_count;
    int32_t byte_symbol[256], last_byte_symbol[256]; /* of a byte within, and at the end of a word */
};

/* ---- hash tables ---- */

static uint64_t hash_pair(int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ h >> 31;
}

/* A power of two, at least twice `count`. */
static size_t slots_for(size_t count)
{
    size_t slots = 1024;
    while (slots < 2 * count) slots *= 2;
    return slots;
}

/* The symbol of `text`, new (with id -1) if need be. */
static leco_status intern(bpe *b, const char *text, int32_t *out, leco_error *err)
{
    const size_t *known = name_table_find(&b->by_text, text);
    if (known) {
        *out = (int32_t)*known;
        return LECO_OK;
    }
    if (b->symbol_count == b->symbol_capacity) {
        size_t capacity = b->symbol_capacity ? 2 * b->symbol_capacity : 1024;
        symbol *grown = mem_realloc(b->symbols, capacity, sizeof *grown);
        if (!grown) return error_memory(err, capacity * sizeof *grown, "a vocabulary");
        b->symbols = grown;
        b->symbol_capacity = capacity;
    }
    const char *copy = arena_strdup(b->memory, text);
    if (!copy || !name_table_add(&b->by_text, copy, b->symbol_count))
        return error_memory(err, strlen(text), "a vocabulary");
    b->symbols[b->symbol_count] = (symbol){copy, -1};
    *out = (int32_t)b->symbol_count++;
    return LECO_OK;
}

static merge *find_merge_slot(const bpe *b, int32_t left, int32_t right)
{
    size_t i = hash_pair(left, right) & (b->merge_slots - 1);
    while (b->merge_table[i].left >= 0 && (b->merge_table[i].left != left || b->merge_table[i].right != right))
        i = (i + 1) & (b->merge_slots - 1);
    return &b->merge_table[i];
}

/* ---- vocab.json ---- */

static leco_status add_token(bpe *b, const char *path, const char *text, const json_t *value, leco_error *err)
{
    int32_t index;
    json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    if (id < 0 || id >= MOST_ID)
        return error_set(err, LECO_FORMAT, "%s: key \"%s\": expected a token id from 0 to %d", path, text, MOST_ID - 1);
    LECO_TRY(intern(b, text, &index, err));
    b->symbols[index].id = (int32_t)id;
    if ((size_t)id >= b->id_count) b->id_count = (size_t)id + 1;
    return LECO_OK;
}

static leco_status index_ids(bpe *b, const char *path, leco_error *err)
{
    b->symbol_of_id = mem_calloc(b->id_count, sizeof *b->symbol_of_id);
    if (!b->symbol_of_id) return error_memory(err, b->id_count * sizeof *b->symbol_of_id, "a vocabulary");
    memset(b->symbol_of_id, 0xff, b->id_count * sizeof *b->symbol_of_id);
    for (size_t i = 0; i < b->symbol_count; i++) {
        int32_t *owner = &b->symbol_of_id[b->symbols[i].id];
        if (*owner >= 0)
            return error_set(err, LECO_FORMAT, "%s: tokens \"%s\" and \"%s\" have the same id %d", path,
                             b->symbols[*owner].text, b->symbols[i].text, (int)b->symbols[i].id);
        *owner = (int32_t)i;
    }
    return LECO_OK;
}

static leco_status add_tokens(bpe *b, const char *path, json_t *vocabulary, leco_error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(vocabulary) || json_object_size(vocabulary) == 0)
        return error_set(err, LECO_FORMAT, "%s: expected a JSON object of tokens and their ids", path);
    json_object_foreach(vocabulary, key, value) LECO_TRY(add_token(b, path, key, value, err));
    return index_ids(b, path, err);
}

static leco_status read_vocabulary(bpe *b, const char *path, leco_error *err)
{
    json_t *root;
    LECO_TRY(json_read_file(path, &root, err));
    leco_status status = add_tokens(b, path, root, err);
    json_decref(root);
    return status;
}

/* ---- bytes ---- */

/* GPT-2's printable character for each byte: itself where it is printable Latin-1, else the next from U+0100 on. */
static leco_status make_bytes(bpe *b, leco_error *err)
{
    int32_t next = 0x100;
    for (int byte = 0; byte < 256; byte++) {
        bool printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
        int32_t c = printable ? byte : next++;
        char text[8], ending[16];
        if (c < 0x80)
            snprintf(text, sizeof text, "%c", c);
        else
            snprintf(text, sizeof text, "%c%c", 0xc0 | c >> 6, 0x80 | (c & 0x3f));
        snprintf(ending, sizeof ending, "%s" WORD_END, text);
        LECO_TRY(intern(b, text, &b->byte_symbol[byte], err));
        LECO_TRY(intern(b, ending, &b->last_byte_symbol[byte], err));
    }
    return LECO_OK;
}

/* ---- merges.txt ---- */

static leco_status add_merge(bpe *b, const char *path, size_t line, char *text, uint32_t rank, leco_error *err)
{
    char *space = strchr(text, ' ');
    if (!space || space == text || !space[1] || strchr(space + 1, ' '))
        return error_set(err, LECO_FORMAT, "%s:%zu: expected two tokens and a space between them", path, line);
    merge m = {.rank = rank};
    *space = '\0';
    LECO_TRY(intern(b, text, &m.left, err));
    LECO_TRY(intern(b, space + 1, &m.right, err));
    memmove(space, space + 1, strlen(space + 1) + 1);
    LECO_TRY(intern(b, text, &m.result, err));
    *find_merge_slot(b, m.left, m.right) = m; /* of two equal lines the latter counts, as in transformers */
    return LECO_OK;
}

/* The first line is a version comment. */
static leco_status parse_merges(bpe *b, const char *path, char *text, leco_error *err)
{
    uint32_t rank = 0;
    size_t line = 0;
    for (char *next = text; next; line++) {
        char *begin = next;
        next = strchr(begin, '\n');
        if (next) *next++ = '\0';
        size_t length = strlen(begin);
        if (length && begin[length - 1] == '\r') begin[--length] = '\0';
        if (line == 0 || (!length && !next)) continue;
        if (rank == MOST_MERGES) {
            log_message(LOG_WARNING, "%s:%zu: the merges from here on are not used, as in transformers", path,
                        line + 1);
            break;
        }
        LECO_TRY(add_merge(b, path, line + 1, begin, rank++, err));
    }
    return LECO_OK;
}

static leco_status make_table(bpe *b, const char *path, size_t merges, leco_error *err)
{
    b->merge_slots = slots_for(merges < MOST_MERGES ? merges : MOST_MERGES);
    b->merge_table = mem_calloc(b->merge_slots, sizeof *b->merge_table);
    if (!b->merge_table) return error_memory(err, b->merge_slots * sizeof(merge), path);
    for (size_t i = 0; i < b->merge_slots; i++) b->merge_table[i].left = -1;
    return LECO_OK;
}

/* The text is written over. */
static leco_status take_merges(bpe *b, const char *path, char *text, leco_error *err)
{
    size_t lines = 1, length = strlen(text);
    while (length > 0 && strchr(" \t\r\n", text[length - 1])) text[--length] = '\0'; /* as transformers does */
    for (const char *at = text; *at; at++) lines += *at == '\n';
    LECO_TRY(make_table(b, path, lines, err));
    return parse_merges(b, path, text, err);
}

static leco_status read_merges(bpe *b, const char *path, leco_error *err)
{
    char *text;
    size_t size;
    LECO_TRY(file_read_text(path, MOST_MERGES_BYTES, &text, &size, err));
    leco_status status = strlen(text) == size ? take_merges(b, path, text, err)
                                              : error_set(err, LECO_FORMAT, "%s: holds a zero byte", path);
    mem_free(text);
    return status;
}

/* ---- tokenizer.json ---- */

/* A merge is "left right" or, from transformers 4.45 on, ["left", "right"]. */
static leco_status add_json_merge(bpe *b, const char *path, size_t index, const json_t *value, leco_error *err)
{
    const json_t *left = json_array_get(value, 0), *right = json_array_get(value, 1);
    char *text = NULL;
    if (json_is_text(value)) text = mem_strdup(json_string_value(value));
    if (json_array_size(value) == 2 && json_is_text(left) && json_is_text(right))
        text = mem_printf("%s %s", json_string_value(left), json_string_value(right));
    else if (!json_is_text(value))
        return error_set(err, LECO_FORMAT, "%s: model.merges: element %zu: expected two tokens", path, index);
    if (!text) return error_memory(err, 0, path);
    leco_status status = add_merge(b, path, index, text, (uint32_t)index, err);
    mem_free(text);
    return status == LECO_FORMAT
               ? error_set(err, LECO_FORMAT, "%s: model.merges: element %zu: expected two tokens", path, index)
               : status;
}

static leco_status take_json(bpe *b, const char *path, const json_t *root, leco_error *err)
{
    const json_t *model = json_object_get(root, "model"), *merges = json_object_get(model, "merges"), *value;
    const json_t *type = json_object_get(model, "type");
    size_t index;
    if (type && (!json_is_text(type) || strcmp(json_string_value(type), "BPE") != 0))
        return error_set(err, LECO_UNSUPPORTED, "%s: model.type: expected \"BPE\", which CLIP's tokenizer is", path);
    if (!json_is_array(merges)) return error_set(err, LECO_FORMAT, "%s: model.merges: expected a list of merges", path);
    LECO_TRY(add_tokens(b, path, json_object_get(model, "vocab"), err));
    LECO_TRY(make_bytes(b, err));
    LECO_TRY(make_table(b, path, json_array_size(merges), err));
    json_array_foreach(merges, index, value) {
        if (index == MOST_MERGES) break;
        LECO_TRY(add_json_merge(b, path, index, value, err));
    }
    return LECO_OK;
}

/* ---- CLIP's own ---- */

/* The bytes in the order of their characters' codes, which is GPT-2's; then those at the ends of words. */
static leco_status add_bytes(bpe *b, leco_error *err)
{
    int32_t id = 0;
    LECO_TRY(make_bytes(b, err));
    for (int last = 0; last < 2; last++)
        for (int pass = 0; pass < 2; pass++)
            for (int byte = 0; byte < 256; byte++) {
                const bool printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
                if (printable != (pass == 0)) continue;
                b->symbols[last ? b->last_byte_symbol[byte] : b->byte_symbol[byte]].id = id++;
            }
    return LECO_OK;
}

static leco_status take_clip(bpe *b, leco_error *err)
{
    static const char name[] = "CLIP's vocabulary";
    static const char *const special[] = {"<|startoftext|>", "<|endoftext|>"};
    char *text = mem_strdup(clip_merges);
    if (!text) return error_memory(err, 0, name);
    leco_status status = add_bytes(b, err);
    const size_t bytes = b->symbol_count;
    if (status == LECO_OK) status = take_merges(b, name, text, err);
    mem_free(text);
    LECO_TRY(status);
    /* Each merge made a symbol, in order: its parts were there. */
    int32_t id = (int32_t)bytes;
    for (size_t i = bytes; i < b->symbol_count; i++) b->symbols[i].id = id++;
    for (int i = 0; i < 2; i++) {
        int32_t index;
        LECO_TRY(intern(b, special[i], &index, err));
        b->symbols[index].id = id++;
    }
    b->id_count = (size_t)id;
    return index_ids(b, name, err);
}

/* ---- opening and asking ---- */

static leco_status create(bpe **out, leco_error *err)
{
    bpe *b = *out = mem_calloc(1, sizeof *b);
    if (b) b->memory = arena_create();
    return b && b->memory ? LECO_OK : error_memory(err, sizeof *b, "a tokenizer");
}

/* *b is gone where it failed. */
static leco_status finish(bpe **b, leco_status status)
{
    if (status == LECO_OK) return LECO_OK;
    bpe_close(*b);
    *b = NULL;
    return status;
}

leco_status bpe_open(const char *vocab_path, const char *merges_path, bpe **out, leco_error *err)
{
    leco_status status = create(out, err);
    if (status == LECO_OK) status = read_vocabulary(*out, vocab_path, err);
    if (status == LECO_OK) status = make_bytes(*out, err);
    if (status == LECO_OK) status = read_merges(*out, merges_path, err);
    return finish(out, status);
}

leco_status bpe_open_json(const char *path, bpe **out, leco_error *err)
{
    json_t *root = NULL;
    leco_status status = create(out, err);
    if (status == LECO_OK) status = json_read_file(path, &root, err);
    if (status == LECO_OK) status = take_json(*out, path, root, err);
    json_decref(root);
    return finish(out, status);
}

leco_status bpe_open_clip(bpe **out, leco_error *err)
{
    leco_status status = create(out, err);
    if (status == LECO_OK) status = take_clip(*out, err);
    return finish(out, status);
}

void bpe_close(bpe *b)
{
    if (!b) return;
    arena_destroy(b->memory);
    mem_free(b->symbols);
    name_table_free(&b->by_text);
    mem_free(b->merge_table);
    mem_free(b->symbol_of_id);
    mem_free(b);
}

int32_t bpe_id(const bpe *b, const char *text)
{
    const size_t *index = name_table_find(&b->by_text, text);
    return index ? b->symbols[*index].id : -1;
}

const char *bpe_text(const bpe *b, int32_t id)
{
    if (id < 0 || (size_t)id >= b->id_count || b->symbol_of_id[id] < 0) return NULL;
    return b->symbols[b->symbol_of_id[id]].text;
}

size_t bpe_id_count(const bpe *b)
{
    return b->id_count;
}

/* ---- encoding ---- */

#define NOTHING UINT32_MAX

/* A word under merging: a chain of parts, each at the place of its first byte, and a heap of the pairs of neighbors
 * that may be merged, the lowest rank first and of equal ranks the leftmost. A pair that is gone stays in the heap
 * until its turn: it is known by its rank, which is no longer that of its place. */
typedef struct word {
    const bpe *bpe;
    int32_t *part;         /* symbols */
    uint32_t *next, *last; /* places of the neighbors; NOTHING past either end */
    uint32_t *rank;        /* of a part and its right neighbor, or NOTHING */
    uint64_t *heap;        /* rank << 32 | place */
    size_t heap_count;
    uint32_t *touched; /* places whose pair is new since the last rank was done */
    size_t touched_count;
} word;

static void heap_push(word *w, uint64_t key)
{
    size_t i = w->heap_count++;
    for (; i > 0 && w->heap[(i - 1) / 2] > key; i = (i - 1) / 2) w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = key;
}

static uint64_t heap_pop(word *w)
{
    uint64_t first = w->heap[0], key = w->heap[--w->heap_count];
    size_t i = 0;
    for (size_t child = 1; child < w->heap_count; child = 2 * i + 1) {
        if (child + 1 < w->heap_count && w->heap[child + 1] < w->heap[child]) child++;
        if (w->heap[child] >= key) break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = key;
    return first;
}

/* Looks up what merges the part at `i` and its right neighbor. */
static void look_up(word *w, uint32_t i)
{
    w->rank[i] = NOTHING;
    if (w->next[i] == NOTHING) return;
    const merge *m = find_merge_slot(w->bpe, w->part[i], w->part[w->next[i]]);
    if (m->left < 0) return;
    w->rank[i] = m->rank;
    heap_push(w, (uint64_t)m->rank << 32 | i);
}

static void merge_at(word *w, uint32_t i)
{
    uint32_t right = w->next[i], after = w->next[right];
    w->part[i] = find_merge_slot(w->bpe, w->part[i], w->part[right])->result;
    w->rank[right] = w->rank[i] = NOTHING;
    w->next[i] = after;
    if (after != NOTHING) w->last[after] = i;
    w->touched[w->touched_count++] = i;
    if (w->last[i] == NOTHING) return;
    w->rank[w->last[i]] = NOTHING;
    w->touched[w->touched_count++] = w->last[i];
}

/* Merges the pair of the lowest rank wherever it stands, from the left. The pairs that this makes wait until that is
 * done, even those of a lower rank. */
static void merge_best(word *w)
{
    const uint64_t best = w->heap[0] >> 32;
    w->touched_count = 0;
    while (w->heap_count > 0 && w->heap[0] >> 32 == best) {
        uint32_t i = (uint32_t)heap_pop(w);
        if (w->rank[i] == best) merge_at(w, i);
    }
    for (size_t k = 0; k < w->touched_count; k++) {
        uint32_t i = w->touched[k];
        if (w->rank[i] == NOTHING) look_up(w, i);
    }
}

static void begin(word *w, const char *text, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)text[i];
        w->part[i] = i + 1 < size ? w->bpe->byte_symbol[byte] : w->bpe->last_byte_symbol[byte];
        w->last[i] = i > 0 ? i - 1 : NOTHING;
        w->next[i] = i + 1 < size ? i + 1 : NOTHING;
    }
    for (uint32_t i = 0; i < size; i++) look_up(w, i);
}

leco_status bpe_encode(const bpe *b, const char *text, size_t size, int32_t *ids, size_t *count, leco_error *err)
{
    /* A merge takes a part away and pushes two pairs at most. */
    const size_t bytes = sizeof(uint64_t) * 3 + sizeof(uint32_t) * 5;
    if (size > MOST_WORD) return error_set(err, LECO_INVALID, "a word of %zu bytes is too long", size);
    word w = {.bpe = b, .part = ids, .heap = mem_calloc(size, bytes)};
    if (!w.heap) return error_memory(err, size * bytes, "a word");
    w.next = (uint32_t *)(w.heap + 3 * size);
    w.last = w.next + size;
    w.rank = w.last + size;
    w.touched = w.rank + size;
    begin(&w, text, (uint32_t)size);
    while (w.heap_count > 0) merge_best(&w);
    *count = 0;
    for (uint32_t i = 0; i != NOTHING; i = w.next[i]) ids[(*count)++] = b->symbols[ids[i]].id;
    mem_free(w.heap);
    return LECO_OK;
}
