#include "train/state.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/digest.h"
#include "base/mem.h"
#include "format/safetensors.h"

#define VERSION "2"
#define KIND "leco_state" /* its version: what tells these files from others */
#define CHECKSUM "sha256"
#define SETTING "is:"

enum { DONE, ITERATIONS, LEARNT, KEPT_COUNT, FIRST_COUNT, LAST_COUNT, THREADS, GATHERED_COUNT, STATE_COUNTERS };
enum { FIRST_SUM, LAST_SUM, LOSS, SECONDS, GATHERED_LOSS, STATE_SUMS };
enum { VALUES, OPTIMIZER, RNG, COUNTERS, SUMS, KEPT, SAVED, AVERAGE, GATHERED, SCALING, TENSORS };

static const struct {
    const char *name;
    dtype type;
    bool may_be_missing;
} tensors[TENSORS] = {
    [VALUES] = {"values", DTYPE_F32, false},    [OPTIMIZER] = {"optimizer", DTYPE_F32, true},
    [RNG] = {"rng", DTYPE_I64, false},          [COUNTERS] = {"counters", DTYPE_I64, false},
    [SUMS] = {"sums", DTYPE_F64, false},        [KEPT] = {"kept", DTYPE_F32, true},
    [SAVED] = {"saved", DTYPE_I64, true},       [AVERAGE] = {"average", DTYPE_F32, true},
    [GATHERED] = {"gathered", DTYPE_F32, true}, [SCALING] = {"scaling", DTYPE_I64, true},
};

/* ---- what no byte of may change ---- */

/* The metadata but the checksum itself, then the tensors in the order of the table. */
static bool checksum(const char *const (*pairs)[2], size_t pair_count, const safetensors_entry *const *entries,
                     char text[DIGEST_TEXT])
{
    digest *d = digest_create();
    if (!d) return false;
    for (size_t i = 0; i < pair_count; i++) {
        if (strcmp(pairs[i][0], CHECKSUM) == 0) continue;
        digest_add_text(d, pairs[i][0]);
        digest_add_text(d, pairs[i][1]);
    }
    for (size_t i = 0; i < TENSORS; i++) {
        const uint64_t count = entries[i] ? entries[i]->count : 0;
        digest_add(d, &count, sizeof count);
        if (count) digest_add(d, entries[i]->data, (size_t)count * dtype_size(entries[i]->type));
    }
    const bool good = digest_text(d, text);
    digest_destroy(d);
    return good;
}

/* ---- writing ---- */

static safetensors_entry entry_of(int which, size_t count, const void *data)
{
    return (safetensors_entry){.name = tensors[which].name,
                               .type = tensors[which].type,
                               .rank = 1,
                               .shape = {(int64_t)count},
                               .count = count,
                               .data = data};
}

/* All pairs of the file but the checksum, for which there is room at the end. NULL: out of memory. */
static const char *(*make_pairs(const train_state *s, arena *memory))[2]
{
    const char *(*pairs)[2] = arena_alloc(memory, s->settings.count + 2, sizeof *pairs);
    if (!pairs) return NULL;
    pairs[0][0] = KIND;
    pairs[0][1] = VERSION;
    for (size_t i = 0; i < s->settings.count; i++) {
        pairs[1 + i][0] = arena_printf(memory, SETTING "%s", s->settings.pair[i][0]);
        pairs[1 + i][1] = s->settings.pair[i][1];
        if (!pairs[1 + i][0]) return NULL;
    }
    return pairs;
}

static leco_status write_entries(const train_state *s, const safetensors_entry *all, arena *memory, const char *path,
                                 leco_error *err)
{
    const char *(*pairs)[2] = make_pairs(s, memory);
    size_t pair_count = 1 + s->settings.count, count = 0;
    char sum[DIGEST_TEXT];
    safetensors_entry there[TENSORS];
    const safetensors_entry *places[TENSORS] = {0};
    for (size_t i = 0; i < TENSORS; i++) {
        if (all[i].count == 0) continue;
        places[i] = &all[i];
        there[count++] = all[i];
    }
    if (!pairs) return error_memory(err, (pair_count + 1) * sizeof *pairs, "the metadata");
    if (!checksum((const char *const(*)[2])pairs, pair_count, places, sum)) return error_memory(err, 0, "a SHA-256");
    pairs[pair_count][0] = CHECKSUM;
    pairs[pair_count++][1] = sum;
    return safetensors_write(path, there, count, (const char *const(*)[2])pairs, pair_count, err);
}

leco_status state_write(const train_state *s, const char *path, leco_error *err)
{
    int64_t rngs[2 * RNG_NUMBERS];
    const int64_t counters[STATE_COUNTERS] = {[DONE] = s->done,
                                              [ITERATIONS] = s->iterations,
                                              [LEARNT] = s->learnt,
                                              [KEPT_COUNT] = s->kept_count,
                                              [FIRST_COUNT] = s->first_count,
                                              [LAST_COUNT] = s->last_count,
                                              [THREADS] = s->threads,
                                              [GATHERED_COUNT] = s->gathered};
    const double sums[STATE_SUMS] = {[FIRST_SUM] = s->first_sum,
                                     [LAST_SUM] = s->last_sum,
                                     [LOSS] = s->loss,
                                     [SECONDS] = s->seconds,
                                     [GATHERED_LOSS] = s->gathered_loss};
    const int64_t scaling[] = {s->scale.exponent, s->scale.good};
    rng_export(&s->rng, rngs);
    rng_export(&s->drawn, rngs + RNG_NUMBERS);
    const safetensors_entry entries[TENSORS] = {[VALUES] = entry_of(VALUES, s->value_count, s->values),
                                                [OPTIMIZER] = entry_of(OPTIMIZER, s->optimizer_count, s->optimizer),
                                                [RNG] = entry_of(RNG, 2 * RNG_NUMBERS, rngs),
                                                [COUNTERS] = entry_of(COUNTERS, STATE_COUNTERS, counters),
                                                [SUMS] = entry_of(SUMS, STATE_SUMS, sums),
                                                [KEPT] = entry_of(KEPT, s->kept_floats, s->kept),
                                                [SAVED] = entry_of(SAVED, s->saved_count, s->saved),
                                                [AVERAGE] = entry_of(AVERAGE, s->average_count, s->average),
                                                [GATHERED] = entry_of(GATHERED, s->gradient_count, s->gradients),
                                                [SCALING] = entry_of(SCALING, s->scaled ? 2 : 0, scaling)};
    arena *memory = arena_create();
    if (!memory) return error_memory(err, 0, "a training's state");
    leco_status status = write_entries(s, entries, memory, path, err);
    arena_destroy(memory);
    return status;
}

/* ---- reading ---- */

typedef struct reader {
    const char *path;
    const safetensors *file;
    const safetensors_entry *entry[TENSORS]; /* NULL: not there */
    train_state *out;
} reader;

static leco_status damaged(const reader *r, const char *what, leco_error *err)
{
    return error_set(err, LECO_FORMAT, "%s: is no state that leco wrote: %s", r->path, what);
}

static leco_status find_entries(reader *r, leco_error *err)
{
    const char *version = safetensors_metadata(r->file, KIND);
    size_t found = 0;
    if (!version) return error_set(err, LECO_FORMAT, "%s: is not the state of a leco training", r->path);
    if (strcmp(version, VERSION) != 0)
        return error_set(err, LECO_UNSUPPORTED, "%s: was written by another version of leco, which this one can't read",
                         r->path);
    for (size_t i = 0; i < TENSORS; i++) {
        const int64_t any[] = {-1};
        if (tensors[i].may_be_missing && !safetensors_find(r->file, tensors[i].name)) continue;
        LECO_TRY(safetensors_require(r->file, tensors[i].name, 1, any, &r->entry[i], err));
        found++;
        if (r->entry[i]->type != tensors[i].type)
            return error_set(err, LECO_FORMAT, "%s: tensor \"%s\" is %s, not %s", r->path, tensors[i].name,
                             safetensors_type(r->entry[i]), safetensors_type_name(tensors[i].type));
    }
    if (found != safetensors_count(r->file) || safetensors_skipped_count(r->file) > 0)
        return damaged(r, "it has tensors besides", err);
    return LECO_OK;
}

bool state_checksum(const safetensors *file, char text[DIGEST_TEXT])
{
    const size_t count = safetensors_metadata_count(file);
    const char *(*pairs)[2] = mem_calloc(count, sizeof *pairs);
    const safetensors_entry *entries[TENSORS];
    if (!pairs) return false;
    for (size_t i = 0; i < count; i++) safetensors_metadata_at(file, i, &pairs[i][0], &pairs[i][1]);
    for (size_t i = 0; i < TENSORS; i++) entries[i] = safetensors_find(file, tensors[i].name);
    const bool good = checksum((const char *const(*)[2])pairs, count, entries, text);
    mem_free(pairs);
    return good;
}

static leco_status check_sum(const reader *r, leco_error *err)
{
    char found[DIGEST_TEXT];
    const char *said = safetensors_metadata(r->file, CHECKSUM);
    if (!state_checksum(r->file, found)) return error_memory(err, 0, "a SHA-256");
    if (said && strcmp(said, found) == 0) return LECO_OK;
    return error_set(err, LECO_FORMAT, "%s: is damaged: its contents don't have the SHA-256 that it says", r->path);
}

/* A tensor's data, aligned, in the state's arena; NULL and 0 where it isn't there. */
static leco_status take(const reader *r, int which, const void **out, size_t *count, leco_error *err)
{
    const safetensors_entry *e = r->entry[which];
    *out = NULL;
    *count = 0;
    if (!e || e->count == 0) return LECO_OK;
    const size_t size = dtype_size(e->type);
    void *data = arena_alloc(r->out->settings.memory, e->count, size);
    if (!data) return error_memory(err, e->count * size, "a training's state");
    memcpy(data, e->data, e->count * size);
    *out = data;
    *count = e->count;
    return LECO_OK;
}

static leco_status take_settings(const reader *r, leco_error *err)
{
    for (size_t i = 0; i < safetensors_metadata_count(r->file); i++) {
        const char *key, *value;
        safetensors_metadata_at(r->file, i, &key, &value);
        if (strncmp(key, SETTING, strlen(SETTING)) == 0)
            LECO_TRY(settings_add(&r->out->settings, key + strlen(SETTING), value, err));
    }
    return LECO_OK;
}

static leco_status take_numbers(const reader *r, leco_error *err)
{
    train_state *s = r->out;
    const void *at;
    size_t count;
    LECO_TRY(take(r, RNG, &at, &count, err));
    if (count != 2 * RNG_NUMBERS || !rng_import(&s->rng, at) ||
        !rng_import(&s->drawn, (const int64_t *)at + RNG_NUMBERS))
        return damaged(r, "\"rng\" is no random number generator", err);
    LECO_TRY(take(r, COUNTERS, &at, &count, err));
    if (count != STATE_COUNTERS) return damaged(r, "\"counters\" has another length", err);
    const int64_t *c = at;
    s->done = c[DONE];
    s->iterations = c[ITERATIONS];
    s->learnt = c[LEARNT];
    s->kept_count = c[KEPT_COUNT];
    s->first_count = c[FIRST_COUNT];
    s->last_count = c[LAST_COUNT];
    s->threads = c[THREADS];
    s->gathered = c[GATHERED_COUNT];
    LECO_TRY(take(r, SUMS, &at, &count, err));
    if (count != STATE_SUMS) return damaged(r, "\"sums\" has another length", err);
    const double *sum = at;
    s->first_sum = sum[FIRST_SUM];
    s->last_sum = sum[LAST_SUM];
    s->loss = sum[LOSS];
    s->seconds = sum[SECONDS];
    s->gathered_loss = sum[GATHERED_LOSS];
    return LECO_OK;
}

/* Where it has one. */
static leco_status take_scale(const reader *r, leco_error *err)
{
    const void *at;
    size_t count;
    LECO_TRY(take(r, SCALING, &at, &count, err));
    if (!r->entry[SCALING]) return LECO_OK;
    const int64_t *numbers = at;
    const bool good = count == 2 && numbers[0] >= 0 && numbers[0] <= LOSS_SCALE_MOST;
    if (good) r->out->scale = (loss_scale){(int)numbers[0], numbers[1]};
    r->out->scaled = true;
    return good && loss_scale_valid(&r->out->scale) ? LECO_OK : damaged(r, "its loss scale can't be", err);
}

static bool within(int64_t value, int64_t low, int64_t high)
{
    return value >= low && value <= high;
}

/* Of floats that may lie unaligned. */
static bool all_finite(const void *from, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        float value;
        memcpy(&value, (const char *)from + i * sizeof value, sizeof value);
        if (!isfinite(value)) return false;
    }
    return true;
}

static leco_status check_numbers(const reader *r, leco_error *err)
{
    const train_state *s = r->out;
    const int64_t most = (int64_t)1e9; /* as of train.iterations */
    const bool pending = s->learnt > 0;
    if (!within(s->iterations, 1, most) || !within(s->done, 1, s->iterations))
        return damaged(r, "the steps that it says are done can't be", err);
    if (!within(s->learnt, 0, 1000) || !within(s->gathered, 0, most) || !within(s->first_count, 0, s->done) ||
        !within(s->last_count, 0, s->done) || !within(s->threads, 1, INT32_MAX))
        return damaged(r, "one of its counters can't be", err);
    if (pending != (s->kept_floats > 0) || !within(s->kept_count, pending ? s->learnt + 1 : 0, pending ? 1000 : 0))
        return damaged(r, "the latents that it keeps can't be", err);
    if ((s->gathered > 0) != (s->gradient_count > 0)) return damaged(r, "the gradients that it keeps can't be", err);
    if (!isfinite(s->gathered_loss) || !isfinite(s->first_sum) || !isfinite(s->last_sum) || !isfinite(s->loss) ||
        !isfinite(s->seconds) || s->seconds < 0)
        return damaged(r, "one of its sums can't be", err);
    for (size_t i = 0; i < s->saved_count; i++)
        if (!within(s->saved[i], 1, s->done) || (i > 0 && s->saved[i] <= s->saved[i - 1]))
            return damaged(r, "the steps of files that it lists can't be", err);
    if (s->value_count == 0) return damaged(r, "it has no values", err);
    if (!all_finite(s->values, s->value_count) || !all_finite(s->average, s->average_count) ||
        !all_finite(s->gradients, s->gradient_count))
        return damaged(r, "a value that is trained isn't finite", err);
    return LECO_OK;
}

/* A tensor where it lies in the file. */
static const void *look(const reader *r, int which, size_t *count)
{
    const safetensors_entry *e = r->entry[which];
    *count = e ? e->count : 0;
    return *count ? e->data : NULL;
}

static leco_status read_all(reader *r, leco_error *err)
{
    train_state *s = r->out;
    const void *saved;
    LECO_TRY(find_entries(r, err));
    LECO_TRY(check_sum(r, err));
    LECO_TRY(settings_create(&s->settings, err));
    LECO_TRY(take_settings(r, err));
    LECO_TRY(take_numbers(r, err));
    LECO_TRY(take_scale(r, err));
    LECO_TRY(take(r, SAVED, &saved, &s->saved_count, err));
    s->saved = saved;
    s->values = look(r, VALUES, &s->value_count);
    s->optimizer = look(r, OPTIMIZER, &s->optimizer_count);
    s->kept = look(r, KEPT, &s->kept_floats);
    s->average = look(r, AVERAGE, &s->average_count);
    s->gradients = look(r, GATHERED, &s->gradient_count);
    return check_numbers(r, err);
}

leco_status state_read(const char *path, train_state *out, leco_error *err)
{
    train_state s = {0};
    LECO_TRY(safetensors_open(path, &s.file, err));
    reader r = {.path = path, .file = s.file, .out = &s};
    leco_status status = read_all(&r, err);
    if (status != LECO_OK) {
        state_free(&s);
        return status;
    }
    *out = s;
    return LECO_OK;
}

void state_free(train_state *s)
{
    settings_free(&s->settings);
    safetensors_close(s->file);
    *s = (train_state){0};
}
