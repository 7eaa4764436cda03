/* What LyCORIS writes beside two thin matrices, as these: a convolution in three steps (Tucker's form) is one in two,
 * since the first is no wider than a pixel; a whole difference of weights is itself times one. And what an (IA)^3
 * scales. The rest: adapter_fold_oft.c, adapter_fold_peft.c. */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "model/adapter_fold.h"

/* ---- Tucker's form ---- */

/* core [I,J,k,k] and b [J,in] (or [J,in,1,1]): the convolution [I,in,k,k] that both of them are. */
static leco_status fold_core(const folding *f, const safetensors_entry *core, const safetensors_entry *b, float **out,
                             int64_t shape[4])
{
    float *of_core = NULL, *of_b = NULL, *made = NULL;
    if (core->rank != 4 || core->count == 0) return fold_wrong(f, core, "a tensor of four dimensions");
    if (b->rank < 2 || b->shape[0] != core->shape[1] || (int64_t)b->count != b->shape[0] * b->shape[1])
        return fold_wrong(f, b, "a matrix with as many rows as the core beside it has columns");
    const size_t rows = (size_t)core->shape[0], inner = (size_t)core->shape[1], in = (size_t)b->shape[1];
    const size_t taps = (size_t)(core->shape[2] * core->shape[3]);
    const int64_t folded[] = {core->shape[0], b->shape[1], core->shape[2], core->shape[3]};
    memcpy(shape, folded, sizeof folded);
    LECO_TRY(fold_make_room(f, core, folded, 4, &made));
    leco_status status = fold_values_of(f, core, &of_core);
    if (status == LECO_OK) status = fold_values_of(f, b, &of_b);
    for (size_t i = 0; status == LECO_OK && i < rows * in * taps; i++) {
        const size_t row = i / (in * taps), column = i / taps % in, tap = i % taps;
        double sum = 0;
        for (size_t j = 0; j < inner; j++)
            sum += (double)of_core[(row * inner + j) * taps + tap] * (double)of_b[j * in + column];
        made[i] = (float)sum;
    }
    mem_free(of_core);
    mem_free(of_b);
    if (status == LECO_OK)
        *out = made;
    else
        mem_free_aligned(made);
    return status;
}

/* LoCon: down, mid, up become down, up. GLoRA (LyCORIS 3.0.0 alone wrote it): b2, bm, b1 become b2, b1. */
static leco_status fold_mid(folding *f, const safetensors_entry *mid, size_t stem, const char *suffix,
                            const char *expected)
{
    const safetensors_entry *down = fold_beside(f, mid->name, stem, suffix);
    int64_t shape[4];
    float *made;
    if (!down) return fold_wrong(f, mid, expected);
    LECO_TRY(fold_core(f, mid, down, &made, shape));
    LECO_TRY(fold_add(f, mid->name, stem, suffix, 4, shape, made));
    return fold_take_away(f, mid->name, stem, mid->name + stem);
}

/* LoHa and LoKr: core [I,J,k,k], a [I,out], b [J,in] become a [out,I], b [I,in k k]. */
static leco_status fold_pair(folding *f, const safetensors_entry *core, size_t stem, const char *const suffix[3])
{
    const safetensors_entry *a = fold_beside(f, core->name, stem, suffix[1]),
                            *b = fold_beside(f, core->name, stem, suffix[2]);
    int64_t shape[4];
    float *made, *turned, *of_a;
    if (!a || !b) return fold_wrong(f, core, "two matrices beside it");
    if (a->rank != 2 || core->rank != 4 || a->shape[0] != core->shape[0])
        return fold_wrong(f, a, "a matrix with as many rows as the core beside it");
    LECO_TRY(fold_core(f, core, b, &made, shape));
    const int64_t of_b[] = {shape[0], shape[1] * shape[2] * shape[3]}, transposed[] = {a->shape[1], a->shape[0]};
    LECO_TRY(fold_add(f, core->name, stem, suffix[2], 2, of_b, made));
    LECO_TRY(fold_take_away(f, core->name, stem, suffix[0]));
    LECO_TRY(fold_values_of(f, a, &of_a));
    leco_status status = fold_make_room(f, a, transposed, 2, &turned);
    const size_t rows = (size_t)a->shape[0], columns = (size_t)a->shape[1];
    for (size_t i = 0; status == LECO_OK && i < rows * columns; i++) turned[i % columns * rows + i / columns] = of_a[i];
    mem_free(of_a);
    return status == LECO_OK ? fold_add(f, core->name, stem, suffix[1], 2, transposed, turned) : status;
}

/* ---- whole differences ---- */

/* diff [out,in] or [out,in,k,k]: times one, on its narrower side. */
static leco_status split(folding *f, const safetensors_entry *diff, size_t stem)
{
    const int64_t out = diff->shape[0], in = diff->shape[1];
    const bool pixel = diff->rank == 2 || (diff->shape[2] == 1 && diff->shape[3] == 1), right = pixel && in < out;
    const int64_t side = right ? in : out, one_shape[] = {side, side, 1, 1};
    float *one, *copy;
    LECO_TRY(fold_make_room(f, diff, one_shape, 2, &one));
    memset(one, 0, (size_t)(side * side) * sizeof *one);
    for (int64_t i = 0; i < side; i++) one[i * side + i] = 1;
    LECO_TRY(
        fold_add(f, diff->name, stem, right ? ".lora_down.weight" : ".lora_up.weight", diff->rank, one_shape, one));
    LECO_TRY(fold_make_room(f, diff, diff->shape, diff->rank, &copy));
    if (dtype_is_float(diff->type)) dtype_convert(copy, DTYPE_F32, diff->data, diff->type, diff->count);
    LECO_TRY(
        fold_add(f, diff->name, stem, right ? ".lora_up.weight" : ".lora_down.weight", diff->rank, diff->shape, copy));
    LECO_TRY(fold_take_away(f, diff->name, stem, ".alpha")); /* it isn't scaled */
    f->whole++;
    return fold_take_away(f, diff->name, stem, ".diff");
}

/* ---- (IA)^3 ---- */

/* What it scales: on_input is 0 or 1. A scale that nothing says this of stays, to be refused. */
static leco_status fold_ia3(folding *f, const safetensors_entry *e, size_t stem)
{
    const safetensors_entry *on_input = fold_beside(f, e->name, stem, ".on_input");
    double value;
    if (!on_input || !dtype_is_float(e->type) || e->count == 0) return LECO_OK;
    if (!safetensors_number(on_input, &value)) return fold_wrong(f, on_input, "a number, 0 or 1");
    float *copy;
    LECO_TRY(fold_make_room(f, e, e->shape, e->rank, &copy));
    dtype_convert(copy, DTYPE_F32, e->data, e->type, e->count);
    LECO_TRY(fold_add(f, e->name, stem, value != 0 ? ".ia3_in" : ".ia3_out", e->rank, e->shape, copy));
    LECO_TRY(fold_take_away(f, e->name, stem, ".weight"));
    return fold_take_away(f, e->name, stem, ".on_input");
}

/* ---- all ---- */

/* Norms' differences are of one dimension, and have a kind of their own. */
static bool is_split(const safetensors_entry *e, const char *suffix)
{
    return strcmp(suffix, ".diff") == 0 && (e->rank == 2 || e->rank == 4) && e->count > 0 && dtype_is_float(e->type);
}

static leco_status fold(folding *f, const safetensors_entry *e)
{
    static const char *const cores[][3] = {{".hada_t1", ".hada_w1_a", ".hada_w1_b"},
                                           {".hada_t2", ".hada_w2_a", ".hada_w2_b"},
                                           {".lokr_t2", ".lokr_w2_a", ".lokr_w2_b"}};
    const char *suffix = strchr(e->name, '.');
    if (!suffix) return LECO_OK;
    const size_t stem = (size_t)(suffix - e->name);
    if (strncmp(e->name, ADAPTER_BUNDLE, sizeof ADAPTER_BUNDLE - 1) == 0) {
        f->bundled++;
        return fold_take_away(f, e->name, strlen(e->name), "");
    }
    if (strcmp(suffix, ".lora_mid.weight") == 0)
        return fold_mid(f, e, stem, ".lora_down.weight", "a .lora_down.weight beside it");
    if (strcmp(suffix, ".bm.weight") == 0) return fold_mid(f, e, stem, ".b2.weight", "a .b2.weight beside it");
    if (strcmp(suffix, ".oft_blocks") == 0) return fold_oft(f, e, stem);
    if (strcmp(suffix, ".oft_diag") == 0) return fold_oft_diag(f, e, stem);
    if (strcmp(suffix, ".weight") == 0) return fold_ia3(f, e, stem);
    for (size_t i = 0; i < sizeof cores / sizeof *cores; i++)
        if (strcmp(suffix, cores[i][0]) == 0) return fold_pair(f, e, stem, cores[i]);
    return is_split(e, suffix) ? split(f, e, stem) : fold_peft(f, e, stem);
}

leco_status adapter_fold(safetensors *file, leco_error *err)
{
    folding f = {.file = file, .err = err};
    leco_status status = LECO_OK;
    for (size_t i = 0; i < safetensors_count(file) && status == LECO_OK; i++)
        status = fold(&f, safetensors_at(file, i));
    status = fold_finish(&f, status);
    fold_peft_end(&f);
    LECO_TRY(status);
    if (f.whole)
        log_message(LOG_DEBUG, "%s: %zu whole differences of weights, which are slower than thin matrices",
                    safetensors_path(file), f.whole);
    if (f.bundled)
        log_message(LOG_DEBUG, "%s: %zu tensors are embeddings that come with the LoRA", safetensors_path(file),
                    f.bundled);
    return LECO_OK;
}
