/* Trainables that were computed rather than trained. */
#include "model/trainable_internal.h"

static leco_status put_all(trainable *t, const trainable_spec *specs, leco_error *err)
{
    for (size_t i = 0; i < t->module_count; i++) {
        const trainable_spec *s = &specs[i];
        const trainable_module m = {.kind = s->kind, .layer = *s->layer, .rank = s->rank, .alpha = s->alpha};
        LECO_TRY(trainable_put(t, i, &m, err));
    }
    LECO_TRY(trainable_finish(t, err));
    return trainable_take(t, err);
}

leco_status trainable_assemble(const trainable_spec *specs, size_t count, dtype exact, trainable **out, leco_error *err)
{
    trainable *t = NULL;
    *out = NULL;
    LECO_TRY(trainable_begin(count, false, exact, &t, err));
    leco_status status = put_all(t, specs, err);
    if (status == LECO_OK)
        *out = t;
    else
        trainable_destroy(t);
    return status;
}

void *trainable_in_file(const trainable *t, size_t module, size_t k)
{
    const size_t index = (size_t)(t->modules[module].param - t->params) + k;
    return t->original[index] ? t->original[index] : t->params[index].value;
}
