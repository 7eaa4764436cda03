#include "graph/tensor.h"

#include <inttypes.h>
#include <stdio.h>

int64_t shape_count(const shape *s)
{
    int64_t count = 1;
    for (int i = 0; i < s->rank; i++) count *= s->dim[i];
    return count;
}

bool shape_equal(const shape *a, const shape *b)
{
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++) {
        if (a->dim[i] != b->dim[i]) return false;
    }
    return true;
}

int64_t shape_last(const shape *s)
{
    return s->rank == 0 ? 1 : s->dim[s->rank - 1];
}

int64_t shape_rows(const shape *s)
{
    int64_t rows = 1;
    for (int i = 0; i + 1 < s->rank; i++) rows *= s->dim[i];
    return rows;
}

const char *shape_format(const shape *s, char text[SHAPE_TEXT])
{
    size_t used = 0;
    text[used++] = '[';
    for (int i = 0; i < s->rank; i++) {
        int n = snprintf(text + used, SHAPE_TEXT - used, "%s%" PRId64, i == 0 ? "" : ",", s->dim[i]);
        used += (size_t)n;
    }
    snprintf(text + used, SHAPE_TEXT - used, "]");
    return text;
}

const char *op_name(op_code op)
{
    static const char *const names[OP_COUNT] = {
#define OP(code, name, inputs, outputs, shared_input, summary) #name,
#include "graph/ops.def"
#undef OP
    };
    return names[op];
}
