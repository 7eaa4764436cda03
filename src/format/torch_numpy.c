/* numpy's arrays and scalars in pickles. Source: __reduce__ of ndarray, generic and dtype in numpy 1 and 2. */
#include <string.h>

#include "format/tensor_set.h"
#include "format/torch_globals.h"
#include "format/torch_values.h"

typedef struct numpy_type {
    const char *name; /* numpy's: "f4" */
    const char *type; /* as safetensors spells it; NULL: none that leco has */
    size_t size;
} numpy_type;

static const numpy_type types[] = {
    {"f4", "F32", 4}, {"f2", "F16", 2}, {"f8", "F64", 8}, {"i8", "I64", 8}, {"i4", "I32", 4}, {"i2", "I16", 2},
    {"i1", "I8", 1},  {"u1", "U8", 1},  {"u2", "U16", 2}, {"u4", "U32", 4}, {"u8", "U64", 8}, {"b1", "BOOL", 1},
};

static leco_status no_memory(const char *path, leco_error *err)
{
    return error_memory(err, 0, path);
}

/* dtype("f4", False, True). Of names, times and the like, which are no tensors, nothing is made. */
static leco_status make_type(arena *memory, const char *path, const pickle_value *a, pickle_value *out, leco_error *err)
{
    if (a->count < 1 || a->item[0]->kind != PICKLE_TEXT) return LECO_OK;
    const char *name = a->item[0]->text;
    if (!*name || !strchr("fiubc", *name)) return LECO_OK;
    numpy_type *t = arena_alloc(memory, 1, sizeof *t);
    if (!t) return no_memory(path, err);
    t->name = name;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(name, types[i].name) == 0) *t = types[i];
    *out = (pickle_value){.kind = PICKLE_OBJECT, .object = t, .count = OBJECT_NUMPY_TYPE};
    return LECO_OK;
}

/* Its state's second item is the order of bytes. Types are each a value of its own, which others may share. */
static leco_status set_order(arena *memory, const char *path, pickle_value *of, const pickle_value *state,
                             leco_error *err)
{
    if (state->kind != PICKLE_TUPLE || state->count < 2 || state->item[1]->kind != PICKLE_TEXT) return LECO_OK;
    if (strcmp(state->item[1]->text, ">") != 0) return LECO_OK;
    const numpy_type *from = of->object;
    numpy_type *t = arena_alloc(memory, 1, sizeof *t);
    if (!t) return no_memory(path, err);
    *t = (numpy_type){.name = arena_printf(memory, ">%s", from->name)};
    of->object = t;
    return t->name ? LECO_OK : no_memory(path, err);
}

/* Until protocol 3 bytes are texts: encode(text, "latin1"), each character one. Others stay None. */
static leco_status make_bytes(arena *memory, const char *path, const pickle_value *a, pickle_value *out,
                              leco_error *err)
{
    if (a->count == 0) *out = (pickle_value){.kind = PICKLE_BYTES, .bytes = (const unsigned char *)""};
    if (a->count < 2 || a->item[1]->kind != PICKLE_TEXT || strcmp(a->item[1]->text, "latin1") != 0) return LECO_OK;
    const pickle_value *text = a->item[0];
    if (text->kind != PICKLE_TEXT && text->kind != PICKLE_BYTES) return LECO_OK;
    const unsigned char *from = text->kind == PICKLE_TEXT ? (const unsigned char *)text->text : text->bytes;
    unsigned char *bytes = arena_alloc(memory, text->count + 1, 1);
    size_t count = 0;
    if (!bytes) return no_memory(path, err);
    for (size_t i = 0; i < text->count; i++) {
        const bool two = (from[i] == 0xc2 || from[i] == 0xc3) && i + 1 < text->count && (from[i + 1] & 0xc0) == 0x80;
        if (from[i] >= 0x80 && !two) return LECO_OK;
        bytes[count++] = two ? (unsigned char)((from[i] & 3) << 6 | (from[i + 1] & 0x3f)) : from[i];
        i += two;
    }
    *out = (pickle_value){.kind = PICKLE_BYTES, .count = count, .bytes = bytes};
    return LECO_OK;
}

/* The steps between elements of an array that lies in order, or the other way round; false where they overflow. */
static bool lay_out(view *v, bool fortran)
{
    uint64_t step = 1;
    for (int i = 0; i < v->rank; i++) {
        const int dim = fortran ? i : v->rank - 1 - i;
        v->stride[dim] = step;
        if (__builtin_mul_overflow(step, v->shape[dim], &step)) return false;
    }
    return step <= INT64_MAX;
}

/* bytes: PICKLE_BYTES, or a text that happens to be one. */
static leco_status make_array(arena *memory, const char *path, const pickle_value *type, const pickle_value *shape,
                              bool fortran, const pickle_value *bytes, pickle_value *out, leco_error *err)
{
    if (!torch_is_object(type, OBJECT_NUMPY_TYPE)) return LECO_OK;
    const numpy_type *t = type->object;
    view *v = arena_alloc(memory, 1, sizeof *v);
    storage *s = arena_alloc(memory, 1, sizeof *s);
    if (!v || !s) return no_memory(path, err);
    *out = (pickle_value){.kind = PICKLE_OBJECT, .object = t->name, .count = OBJECT_ODD};
    if (!t->type || (bytes->kind != PICKLE_BYTES && bytes->kind != PICKLE_TEXT)) return LECO_OK;
    *s = (storage){.type = t->type,
                   .count = bytes->count / t->size,
                   .data = bytes->kind == PICKLE_BYTES ? bytes->bytes : (const unsigned char *)bytes->text,
                   .bytes = bytes->count};
    *v = (view){.of = s, .type = t->type};
    if (!torch_read_dims(shape, v->shape)) return LECO_OK;
    v->rank = (int)shape->count;
    if (!lay_out(v, fortran)) return LECO_OK;
    *out = (pickle_value){.kind = PICKLE_OBJECT, .object = v, .count = OBJECT_TENSOR};
    return LECO_OK;
}

/* (type, bytes): a number, as Python's are. */
static leco_status make_number(const pickle_value *a, pickle_value *out)
{
    if (a->count < 2 || !torch_is_object(a->item[0], OBJECT_NUMPY_TYPE)) return LECO_OK;
    const numpy_type *t = a->item[0]->object;
    const pickle_value *bytes = a->item[1];
    const bool told = bytes->kind == PICKLE_BYTES || bytes->kind == PICKLE_TEXT;
    tensor number = {.entry = {.count = 1}};
    size_t size;
    double value;
    if (!t->type || !told || bytes->count != t->size) return LECO_OK;
    tensor_set_type(&number, t->type, &size);
    number.entry.data = bytes->kind == PICKLE_BYTES ? bytes->bytes : (const unsigned char *)bytes->text;
    if (safetensors_number(&number.entry, &value)) *out = (pickle_value){.kind = PICKLE_NUMBER, .number = value};
    return LECO_OK;
}

leco_status torch_numpy_call(arena *memory, const char *path, int what, const pickle_value *a, pickle_value *out,
                             leco_error *err)
{
    switch (what) {
    case BYTES_OF_TEXT:
        return make_bytes(memory, path, a, out, err);
    case NUMPY_TYPE:
        return make_type(memory, path, a, out, err);
    case NUMPY_SCALAR:
        return make_number(a, out);
    case NUMPY_BUFFER: { /* (bytes, type, shape, order) */
        if (a->count < 4 || a->item[3]->kind != PICKLE_TEXT) return LECO_OK;
        const bool fortran = strcmp(a->item[3]->text, "F") == 0;
        return make_array(memory, path, a->item[1], a->item[2], fortran, a->item[0], out, err);
    }
    default: /* an array whose state comes later */
        *out = (pickle_value){.kind = PICKLE_OBJECT, .count = OBJECT_NUMPY_ARRAY};
        return LECO_OK;
    }
}

leco_status torch_numpy_build(arena *memory, const char *path, pickle_value *of, const pickle_value *state,
                              leco_error *err)
{
    if (torch_is_object(of, OBJECT_NUMPY_TYPE)) return set_order(memory, path, of, state, err);
    if (state->kind != PICKLE_TUPLE || state->count < 5) return LECO_OK;
    /* (version, shape, type, is it Fortran's order?, bytes) */
    const bool fortran = state->item[3]->kind == PICKLE_BOOL && state->item[3]->flag;
    return make_array(memory, path, state->item[2], state->item[1], fortran, state->item[4], of, err);
}
