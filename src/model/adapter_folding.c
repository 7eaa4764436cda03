/* What folding takes, whatever is folded. */
#include "base/mem.h"
#include "model/adapter_fold.h"

enum { LARGEST = 1 << 26 }; /* values of a tensor that is made */

leco_status fold_add(folding *f, const char *name, size_t stem, const char *suffix, int rank, const int64_t *shape,
                     float *values)
{
    char *full = mem_printf("%.*s%s", (int)stem, name, suffix);
    safetensors_change *grown = f->change;
    if (full && f->count == f->room) grown = mem_realloc(f->change, 2 * f->room + 64, sizeof *grown);
    if (!full || !grown) {
        mem_free(full);
        mem_free_aligned(values);
        return error_memory(f->err, 0, "the tensors of a LoRA");
    }
    if (f->count == f->room) f->room = 2 * f->room + 64;
    f->change = grown;
    safetensors_change *c = &grown[f->count++];
    *c = (safetensors_change){.name = full, .rank = rank, .values = values};
    for (int i = 0; i < rank; i++) c->shape[i] = shape[i];
    return LECO_OK;
}

leco_status fold_take_away(folding *f, const char *name, size_t stem, const char *suffix)
{
    return fold_add(f, name, stem, suffix, 0, NULL, NULL);
}

leco_status fold_finish(folding *f, leco_status status)
{
    if (status == LECO_OK)
        status = safetensors_apply(f->file, f->change, f->count, f->err);
    else
        for (size_t i = 0; i < f->count; i++) mem_free_aligned(f->change[i].values);
    for (size_t i = 0; i < f->count; i++) mem_free((char *)(uintptr_t)f->change[i].name);
    mem_free(f->change);
    f->change = NULL;
    f->count = f->room = 0;
    return status;
}

leco_status fold_wrong(const folding *f, const safetensors_entry *e, const char *expected)
{
    return error_set(f->err, LECO_FORMAT, "%s: tensor \"%s\": expected %s", safetensors_path(f->file), e->name,
                     expected);
}

leco_status fold_check_size(const folding *f, const safetensors_entry *of, const int64_t *shape, int rank)
{
    size_t count = 1;
    for (int i = 0; i < rank; i++) {
        if (shape[i] < 1 || (size_t)shape[i] > LARGEST / count)
            return fold_wrong(f, of, "a matrix of a size that layers have");
        count *= (size_t)shape[i];
    }
    return LECO_OK;
}

leco_status fold_make_room(const folding *f, const safetensors_entry *of, const int64_t *shape, int rank, float **out)
{
    size_t count = 1;
    LECO_TRY(fold_check_size(f, of, shape, rank));
    for (int i = 0; i < rank; i++) count *= (size_t)shape[i];
    *out = mem_aligned(count * sizeof **out);
    return *out ? LECO_OK : error_memory(f->err, count * sizeof **out, of->name);
}

leco_status fold_values_of(const folding *f, const safetensors_entry *e, float **out)
{
    *out = dtype_is_float(e->type) ? mem_calloc(e->count, sizeof **out) : NULL;
    if (!dtype_is_float(e->type)) return fold_wrong(f, e, "floating-point values");
    if (!*out) return error_memory(f->err, e->count * sizeof **out, e->name);
    dtype_convert(*out, DTYPE_F32, e->data, e->type, e->count);
    return LECO_OK;
}

const safetensors_entry *fold_beside(const folding *f, const char *name, size_t stem, const char *suffix)
{
    char *full = mem_printf("%.*s%s", (int)stem, name, suffix);
    const safetensors_entry *e = full ? safetensors_find(f->file, full) : NULL;
    mem_free(full);
    return e;
}
