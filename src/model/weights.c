#include "model/weights.h"

#include <stdlib.h>
#include <string.h>

#include "backend/weight_form.h"
#include "base/cpu.h"
#include "base/digest.h"
#include "base/dtype.h"
#include "base/log.h"
#include "base/mem.h"
#include "format/tensors.h"
#include "model/weights_internal.h"

/* ---- opening ---- */

leco_status weights_add(weights *w, const safetensors_entry *from, const char *name, int64_t third, bool transposed,
                        leco_error *err)
{
    bool found;
    size_t at = weights_locate(w, name, &found);
    if (found)
        return error_set(err, LECO_FORMAT, "%s: tensors \"%s\" and \"%s\" are the same one's", weights_path(w),
                         w->slots[at]->from->name, from->name);
    if (third >= 0 && (from->rank < 1 || from->shape[0] % 3))
        return error_set(err, LECO_FORMAT, "%s: tensor \"%s\": expected three products above each other",
                         weights_path(w), from->name);
    weights_slot *s = weights_insert(w, at, name);
    if (!s) return error_memory(err, sizeof *s, "the table of weights");
    s->from = from;
    s->third = third;
    s->transposed = transposed;
    weights_describe(s);
    return LECO_OK;
}

leco_status weights_of(const safetensors *file, weights **out, leco_error *err)
{
    weights *w = *out = mem_calloc(1, sizeof *w);
    if (!w) return error_memory(err, sizeof *w, "weights");
    w->file = (safetensors *)(uintptr_t)file;
    w->borrowed = true;
    return LECO_OK;
}

/* All tensors under their own names. */
static leco_status add_all(weights *w, leco_error *err)
{
    const char *name, *type;
    for (size_t i = 0; i < safetensors_count(w->file); i++) {
        const safetensors_entry *e = safetensors_at(w->file, i);
        LECO_TRY(weights_add(w, e, e->name, -1, false, err));
    }
    for (size_t i = 0; i < safetensors_skipped_count(w->file); i++) {
        const safetensors_entry *e = safetensors_skipped_at(w->file, i, &name, &type);
        LECO_TRY(weights_add(w, e, e->name, -1, false, err));
    }
    return LECO_OK;
}

leco_status weights_open_file(const char *path, weights **out, leco_error *err)
{
    *out = NULL;
    weights *w = mem_calloc(1, sizeof *w);
    if (!w) return error_memory(err, sizeof *w, "weights");
    leco_status status = tensors_open(path, &w->file, err);
    if (status == LECO_OK) status = add_all(w, err);
    if (status != LECO_OK) {
        weights_close(w);
        return status;
    }
    *out = w;
    return LECO_OK;
}

void weights_close(weights *w)
{
    if (!w) return;
    for (size_t i = 0; i < w->count; i++) {
        weight_release(&w->slots[i]->w);
        mem_free_aligned(w->slots[i]->own);
        mem_free((char *)(uintptr_t)w->slots[i]->w.name);
        mem_free(w->slots[i]);
    }
    for (size_t i = 0; i < POOL_COUNT; i++) mem_free_aligned(w->pools[i].data);
    for (weights_own *own = w->constants, *next; own; own = next) {
        next = own->next;
        weight_release(&own->w);
        mem_free(own);
    }
    mem_free(w->slots);
    if (!w->borrowed) safetensors_close(w->file);
    mem_free(w);
}

/* ---- asking ---- */

/* [O,I] matches [O,I,1,1], either way round. */
static bool shapes_match(const shape *a, const shape *b)
{
    if (shape_equal(a, b)) return true;
    const shape *two = a->rank == 2 ? a : b, *four = a->rank == 2 ? b : a;
    return two->rank == 2 && four->rank == 4 && four->dim[0] == two->dim[0] && four->dim[1] == two->dim[1] &&
           four->dim[2] == 1 && four->dim[3] == 1;
}

static leco_status refuse_unusable(const weights *w, const weights_slot *there, const shape *s, leco_error *err)
{
    char expected[SHAPE_TEXT];
    shape_format(s, expected);
    if (there->from->rank > TENSOR_MAX_DIMS)
        return error_set(err, LECO_FORMAT, "%s: tensor \"%s\": expected shape %s, found %d dimensions", weights_path(w),
                         there->from->name, expected, there->from->rank);
    if (there->w.type != DTYPE_COUNT)
        return error_set(err, LECO_FORMAT, "%s: tensor \"%s\": expected floating-point values %s, found %s",
                         weights_path(w), there->w.name, expected, dtype_name(there->w.type));
    return error_set(err, LECO_UNSUPPORTED,
                     "%s: tensor \"%s\" is %s, which leco can't read yet (expected floating-point values %s)",
                     weights_path(w), there->w.name, safetensors_type(there->from), expected);
}

void weights_narrow(weights *w)
{
    w->narrow = true;
    for (size_t i = 0; i < w->count; i++)
        if (w->slots[i]->used && w->slots[i]->w.shape.rank >= 2) w->slots[i]->w.narrow = true;
}

static leco_status get(weights *w, const char *name, shape s, weight **out, leco_error *err)
{
    bool found;
    char expected[SHAPE_TEXT], actual[SHAPE_TEXT];
    size_t at = weights_locate(w, name, &found);
    if (!found && !w->file) return weights_make_up(w, name, s, at, out, err);
    if (!found)
        return error_set(err, LECO_FORMAT, "%s: tensor \"%s\" %s is missing", weights_path(w), name,
                         shape_format(&s, expected));
    weights_slot *there = w->slots[at];
    if (w->file) LECO_TRY(weights_find_scale(w, there, err));
    if (w->file) LECO_TRY(weights_copy(there, err));
    if (w->file && !there->w.data) return refuse_unusable(w, there, &s, err);
    if (!shapes_match(&there->w.shape, &s))
        return error_set(err, LECO_FORMAT, "%s: tensor \"%s\": expected shape %s, found %s", weights_path(w), name,
                         shape_format(&s, expected), shape_format(&there->w.shape, actual));
    there->used = true;
    *out = &there->w;
    return LECO_OK;
}

leco_status weights_get(weights *w, const char *name, shape s, weight **out, leco_error *err)
{
    LECO_TRY(get(w, name, s, out, err));
    if (w->narrow && s.rank >= 2) (*out)->narrow = true;
    return LECO_OK;
}

bool weights_has(const weights *w, const char *name)
{
    bool found;
    weights_locate(w, name, &found);
    return found || !w->file;
}

leco_status weights_constant(weights *w, int value, int64_t count, weight **out, leco_error *err)
{
    for (weights_own *own = w->constants; own; own = own->next)
        if (own->value[0] == (float)value && own->w.shape.dim[0] == count) {
            *out = &own->w;
            return LECO_OK;
        }
    const size_t bytes = sizeof(weights_own) + (size_t)count * sizeof(float);
    weights_own *made = mem_calloc(1, bytes);
    if (!made) return error_memory(err, bytes, "constant weights");
    for (int64_t i = 0; i < count; i++) made->value[i] = (float)value;
    made->w = (weight){.name = value ? "(ones)" : "(zeros)",
                       .type = DTYPE_F32,
                       .shape = SHAPE(count),
                       .data = made->value,
                       .keep_out_of_place = true};
    made->next = w->constants;
    w->constants = made;
    *out = &made->w;
    return LECO_OK;
}

/* ---- checking ---- */

/* The bits of an exponent that is all ones: infinity or NaN. */
static uint64_t exponent_of(dtype type)
{
    switch (type) {
    case DTYPE_F16:
        return 0x7c00;
    case DTYPE_BF16:
        return 0x7f80;
    case DTYPE_F64:
        return UINT64_C(0x7ff) << 52;
    default:
        return 0x7f800000;
    }
}

#define CHUNK 2048
#define ALL_FINITE INT64_MAX

/* Has one of count <= CHUNK values that exponent? Data in a file may lie at any address, hence the copies. */
#define HAS_EXPONENT(name, type)                                                                                       \
    static bool name(const unsigned char *data, size_t count, type exponent)                                           \
    {                                                                                                                  \
        type bits[CHUNK];                                                                                              \
        int bad = 0;                                                                                                   \
        memcpy(bits, data, count * sizeof(type));                                                                      \
        _Pragma("omp simd reduction(| : bad)") for (size_t i = 0; i < count; i++) bad |=                               \
            (bits[i] & exponent) == exponent;                                                                          \
        return bad != 0;                                                                                               \
    }
HAS_EXPONENT(has_exponent16, uint16_t)
HAS_EXPONENT(has_exponent32, uint32_t)
HAS_EXPONENT(has_exponent64, uint64_t)

static bool has_bad(const unsigned char *data, size_t count, dtype type)
{
    uint64_t exponent = exponent_of(type);
    switch (dtype_size(type)) {
    case 2:
        return has_exponent16(data, count, (uint16_t)exponent);
    case 4:
        return has_exponent32(data, count, (uint32_t)exponent);
    default:
        return has_exponent64(data, count, exponent);
    }
}

/* The index of the first value that isn't finite. */
static int64_t first_bad(const weight *w)
{
    const size_t size = dtype_size(w->type);
    const unsigned char *data = w->data;
    int64_t count = shape_count(&w->shape);
    for (int64_t from = 0; from < count; from += CHUNK) {
        int64_t length = count - from < CHUNK ? count - from : CHUNK;
        if (!has_bad(data + (size_t)from * size, (size_t)length, w->type)) continue;
        while (!has_bad(data + (size_t)from * size, 1, w->type)) from++;
        return from;
    }
    return ALL_FINITE;
}

#define WORTH_THREADS (1 << 22)

/* The first tensor in use (by name) with a value that isn't finite, or NULL. */
static const weights_slot *first_bad_slot(const weights *w)
{
    int64_t slots = (int64_t)w->count, worst = slots, values = 0;
    for (int64_t i = 0; i < slots; i++) values += w->slots[i]->used ? shape_count(&w->slots[i]->w.shape) : 0;
    int threads = values > WORTH_THREADS ? cpu_threads() : 1;
#pragma omp parallel for num_threads(threads) reduction(min : worst) schedule(dynamic) if (threads > 1)
    for (int64_t i = 0; i < slots; i++)
        if (w->slots[i]->used && i < worst && first_bad(&w->slots[i]->w) != ALL_FINITE) worst = i;
    return worst < slots ? w->slots[worst] : NULL;
}

/* Tensors that older exporters wrote and nothing needs, or that go with others. */
static bool is_harmless(const char *name)
{
    const char *last = strrchr(name, '.');
    last = last ? last + 1 : name;
    static const char *const names[] = {"position_ids", "logit_scale", /* and with weights of eight bits: */
                                        "scaled_fp8",   "scale_weight", "weight_scale", "scale_input", "input_scale"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(last, names[i]) == 0) return true;
    return false;
}

leco_status weights_check_values(const weights *w, leco_error *err)
{
    const weights_slot *bad = w->file ? first_bad_slot(w) : NULL;
    if (!bad) return LECO_OK;
    return error_set(err, LECO_FORMAT, "%s: tensor \"%s\": element %lld is not a finite number", weights_path(w),
                     bad->w.name, (long long)first_bad(&bad->w));
}

void weights_warn_of_unused(const weights *w)
{
    size_t unused = 0;
    const char *first = NULL;
    for (size_t i = 0; w->file && i < w->count; i++) {
        const weights_slot *s = w->slots[i];
        if (s->used || is_harmless(s->w.name)) continue;
        if (unused++ == 0) first = s->w.name;
    }
    if (unused)
        log_message(LOG_WARNING, "%s: %zu tensor%s not used, the first is \"%s\"", weights_path(w), unused,
                    unused == 1 ? " is" : "s are", first);
}

leco_status weights_unchanged(const weights *w, leco_error *err)
{
    return w->file ? safetensors_unchanged(w->file, err) : LECO_OK;
}

leco_status weights_check(const weights *w, leco_error *err)
{
    LECO_TRY(weights_check_values(w, err));
    weights_warn_of_unused(w);
    return LECO_OK;
}

const char *weights_path(const weights *w)
{
    if (w->file) return safetensors_path(w->file);
    return w->random ? "(random)" : "(blank)";
}

size_t weights_count(const weights *w)
{
    return w->count;
}

const weight *weights_used(const weights *w, size_t index)
{
    return w->slots[index]->used ? &w->slots[index]->w : NULL;
}

const char *weights_name(const weights *w, size_t index)
{
    return w->slots[index]->w.name;
}

static bool equal_values(const safetensors_entry *a, const safetensors_entry *b)
{
    float left[CHUNK], right[CHUNK];
    if (a->count != b->count) return false;
    if (a->type == b->type) return memcmp(a->data, b->data, a->count * dtype_size(a->type)) == 0;
    if (!dtype_is_float(a->type) || !dtype_is_float(b->type)) return false;
    for (size_t i = 0; i < a->count; i += CHUNK) {
        const size_t count = a->count - i < CHUNK ? a->count - i : CHUNK;
        dtype_convert(left, DTYPE_F32, (const char *)a->data + i * dtype_size(a->type), a->type, count);
        dtype_convert(right, DTYPE_F32, (const char *)b->data + i * dtype_size(b->type), b->type, count);
        for (size_t k = 0; k < count; k++)
            if (!(left[k] == right[k])) return false;
    }
    return true;
}

bool weights_same(const weights *w, size_t index, const weights *other)
{
    bool found;
    const weights_slot *s = w->slots[index];
    const size_t at = weights_locate(other, s->w.name, &found);
    return found && s->from && other->slots[at]->from && equal_values(s->from, other->slots[at]->from);
}

int64_t weights_parameters(const weights *w)
{
    int64_t all = 0;
    for (size_t i = 0; w->file && i < w->count; i++) {
        const weights_slot *s = w->slots[i];
        const size_t count = s->third >= 0 ? s->from->count / 3 : s->from->count, room = (size_t)(INT64_MAX - all);
        all = count < room ? all + (int64_t)count : INT64_MAX; /* types that leco doesn't know may claim any number */
    }
    return all;
}

const char *weights_main_type(const weights *w)
{
    const weights_slot *largest = NULL;
    for (size_t i = 0; w->file && i < w->count; i++)
        if (!largest || w->slots[i]->from->count > largest->from->count) largest = w->slots[i];
    if (!largest) return NULL;
    const safetensors_entry *e = largest->from;
    return e->type == DTYPE_COUNT ? safetensors_type(e) : dtype_name(e->type);
}

size_t weights_planned_bytes(const weights *w)
{
    size_t bytes = 0;
    for (size_t i = 0; i < w->count; i++) bytes += weight_wanted_bytes(&w->slots[i]->w);
    for (const weights_own *own = w->constants; own; own = own->next) bytes += weight_wanted_bytes(&own->w);
    return bytes;
}

size_t weights_packed_bytes(const weights *w)
{
    size_t bytes = 0;
    for (size_t i = 0; i < w->count; i++) bytes += weight_taken_bytes(&w->slots[i]->w);
    for (const weights_own *own = w->constants; own; own = own->next) bytes += weight_taken_bytes(&own->w);
    return bytes;
}

void weights_digest(const weights *w, struct digest *d)
{
    enum { PIECE = 256 };
    for (size_t i = 0; i < w->count; i++) {
        const weight *each = &w->slots[i]->w;
        if (!each->data) continue;
        const size_t bytes = (size_t)shape_count(&each->shape) * dtype_size(each->type);
        const size_t piece = bytes < PIECE ? bytes : PIECE;
        digest_add_text(d, each->name);
        digest_add_text(d, dtype_name(each->type));
        for (int k = 0; k < each->shape.rank; k++) digest_add(d, &each->shape.dim[k], sizeof each->shape.dim[k]);
        digest_add(d, each->data, piece);
        digest_add(d, (const unsigned char *)each->data + bytes - piece, piece);
    }
}

size_t weights_mapped_bytes(const weights *w)
{
    size_t bytes = 0;
    for (size_t i = 0; i < w->count; i++) {
        const weight *each = &w->slots[i]->w;
        if (each->data && !each->keep_out_of_place) /* that one is made up */
            bytes += (size_t)shape_count(&each->shape) * dtype_size(each->type);
    }
    return bytes;
}
