/* What tensors of files are for layers: rows of some, others turned round, others of small types. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/weights_internal.h"

/* Eight bits, as the names in files say. */
static bool is_e4m3(const weights_slot *s)
{
    return strcmp(safetensors_type(s->from), "F8_E4M3") == 0;
}

static bool is_float8(const weights_slot *s)
{
    return is_e4m3(s) || strcmp(safetensors_type(s->from), "F8_E5M2") == 0;
}

void weights_describe(weights_slot *s)
{
    const safetensors_entry *e = s->from;
    const bool small = is_float8(s);
    s->w.type = small ? DTYPE_BF16 : e->type;
    /* Tensors of more dimensions, or of other types, are of no use to any layer; weights_get says so if one is asked.
     */
    if (e->rank > TENSOR_MAX_DIMS || (!small && !dtype_is_float(e->type))) return;
    s->w.shape = shape_of(e->rank, e->shape);
    if (s->third >= 0) s->w.shape.dim[0] /= 3;
    if (s->transposed && e->rank == 2) {
        s->w.shape.dim[0] = e->shape[1];
        s->w.shape.dim[1] = e->shape[0];
    }
    if (small || s->transposed) return;
    const size_t rows = s->third >= 0 ? (size_t)s->third * (size_t)shape_count(&s->w.shape) : 0;
    s->w.data = (const unsigned char *)e->data + rows * dtype_size(e->type);
}

static void copy_float8(const weights_slot *s, bf16 *out, size_t first, size_t count)
{
    bf16 table[256];
    for (int i = 0; i < 256; i++) table[i] = bf16_from_float8((unsigned char)i, is_e4m3(s));
    const unsigned char *data = (const unsigned char *)s->from->data + first;
    for (size_t i = 0; i < count; i++) out[i] = table[data[i]];
}

static leco_status take_scale(const weights *w, weights_slot *s, const safetensors_entry *e, leco_error *err)
{
    double value;
    if (e->count != 1)
        return error_set(err, LECO_UNSUPPORTED,
                         "%s: tensor \"%s\" scales parts of a weight one by one, which leco can't read (expected one "
                         "number, found %zu)",
                         safetensors_path(w->file), e->name, e->count);
    if (!safetensors_number(e, &value) || !isfinite(value) || value == 0)
        return error_set(err, LECO_FORMAT, "%s: tensor \"%s\": expected a finite number other than 0",
                         safetensors_path(w->file), e->name);
    s->scale = value;
    if (value == 1 || s->w.shape.rank == 0) return LECO_OK;
    s->w.type = DTYPE_F32; /* in bfloat16 the product would be rounded */
    s->w.data = NULL;
    return LECO_OK;
}

leco_status weights_find_scale(const weights *w, weights_slot *s, leco_error *err)
{
    static const char tail[] = ".weight", *const names[] = {"scale_weight", "weight_scale"};
    const char *name = s->from->name;
    const size_t length = strlen(name), end = sizeof tail - 1;
    if (s->scale != 0) return LECO_OK;
    s->scale = 1;
    if (length <= end || strcmp(name + length - end, tail) != 0) return LECO_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *beside = mem_printf("%.*s.%s", (int)(length - end), name, names[i]);
        if (!beside) return error_memory(err, length, "the name of a tensor");
        const safetensors_entry *e = safetensors_find_any(w->file, beside);
        mem_free(beside);
        if (e) return take_scale(w, s, e, err);
    }
    return LECO_OK;
}

/* What the scale multiplies: a part's elements, from `first` on, as float. */
static void copy_scaled(const weights_slot *s, float *out, size_t first, size_t count)
{
    if (is_float8(s)) {
        float table[256];
        const unsigned char *data = (const unsigned char *)s->from->data + first;
        for (int i = 0; i < 256; i++) {
            const bf16 value = bf16_from_float8((unsigned char)i, is_e4m3(s));
            dtype_convert(&table[i], DTYPE_F32, &value, DTYPE_BF16, 1);
        }
        for (size_t i = 0; i < count; i++) out[i] = table[data[i]];
    } else {
        const dtype type = s->from->type;
        dtype_convert(out, DTYPE_F32, (const unsigned char *)s->from->data + first * dtype_size(type), type, count);
    }
    for (size_t i = 0; i < count; i++) out[i] = (float)(s->scale * (double)out[i]);
}

leco_status weights_copy(weights_slot *s, leco_error *err)
{
    const bool turned = s->transposed && s->w.shape.rank == 2, scaled = s->scale != 0 && s->scale != 1,
               small = is_float8(s) || scaled;
    if (s->w.data || s->w.shape.rank == 0 || (!turned && !small)) return LECO_OK;
    const size_t count = (size_t)shape_count(&s->w.shape), size = dtype_size(s->w.type);
    void *own = mem_aligned(count * size), *plain = small && turned ? mem_aligned(count * size) : own;
    if (!own || !plain) {
        mem_free_aligned(own);
        return error_memory(err, count * size, s->w.name);
    }
    const size_t first = s->third > 0 ? (size_t)s->third * count : 0;
    if (scaled)
        copy_scaled(s, plain, first, count);
    else if (small)
        copy_float8(s, plain, first, count);
    if (turned)
        dtype_transpose(own, small ? plain : s->from->data, (size_t)s->from->shape[0], (size_t)s->from->shape[1], size);
    if (plain != own) mem_free_aligned(plain);
    s->w.data = s->own = own;
    return LECO_OK;
}
