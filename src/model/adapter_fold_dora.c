/* A DoRA on a LoHa or LoKr, as LyCORIS writes with dora_wd: dora_scale beside hada_* or lokr_*. What these change is a
 * product of two matrices, too, only less thin, and so it becomes a DoRA of a LoRA.
 * LoHa: (a1 b1) * (a2 b2), element by element, is a row's products of a1 and a2 times a column's of b1 and b2: rank^2.
 * LoKr: w1 [A,C] (x) w2, with w2 = l r [B,depth][depth,D], is (w1 (x) l) (1 (x) r): C depth. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/adapter_fold.h"

enum { MOST = 1 << 13 }; /* of a side of a small matrix: so that sizes can be multiplied */

/* A matrix out of the file, or made: float, row by row. */
typedef struct matrix {
    int64_t rows, columns;
    float *at; /* mem_free it */
} matrix;

static leco_status no_memory(const folding *f)
{
    return error_memory(f->err, 0, "the tensors of a LoRA");
}

/* flat: a tensor of four dimensions will do, whose last ones are columns. */
static leco_status read(const folding *f, const safetensors_entry *e, bool flat, matrix *out)
{
    const bool four = flat && e->rank == 4;
    if ((e->rank != 2 && !four) || e->count == 0)
        return fold_wrong(f, e, flat ? "a matrix, or a convolution's weight" : "a matrix");
    out->rows = e->shape[0];
    out->columns = (int64_t)e->count / e->shape[0];
    return fold_values_of(f, e, &out->at);
}

/* The tensors beside it. LECO_FORMAT where one is missing. */
static leco_status find(const folding *f, const safetensors_entry *e, size_t stem, const char *const *suffixes,
                        size_t count, const safetensors_entry **out)
{
    for (size_t i = 0; i < count; i++) {
        out[i] = fold_beside(f, e->name, stem, suffixes[i]);
        if (out[i]) continue;
        return error_set(f->err, LECO_FORMAT, "%s: tensor \"%.*s%s\" is missing", safetensors_path(f->file), (int)stem,
                         e->name, suffixes[i]);
    }
    return LECO_OK;
}

/* alpha / rank; an alpha of 0 counts as the rank, as everywhere. */
static leco_status scale_of(const folding *f, const safetensors_entry *e, size_t stem, int64_t rank, double *out)
{
    const safetensors_entry *alpha = fold_beside(f, e->name, stem, ".alpha");
    double value = 0;
    if (alpha && (!safetensors_number(alpha, &value) || !isfinite(value)))
        return fold_wrong(f, alpha, "a finite number");
    *out = value == 0 ? 1 : value / (double)rank;
    return LECO_OK;
}

/* Puts up [rows,depth] and down [depth,columns] in place of all that the suffixes name. */
static leco_status put(folding *f, const safetensors_entry *e, size_t stem, float *up, int64_t rows, int64_t depth,
                       float *down, int64_t columns)
{
    static const char *const gone[] = {".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".hada_w2_b", ".lokr_w1", ".lokr_w1_a",
                                       ".lokr_w1_b", ".lokr_w2",   ".lokr_w2_a", ".lokr_w2_b", ".alpha"};
    const int64_t of_up[] = {rows, depth}, of_down[] = {depth, columns};
    leco_status status = fold_add(f, e->name, stem, ".lora_up.weight", 2, of_up, up);
    if (status != LECO_OK) {
        mem_free_aligned(down);
        return status;
    }
    LECO_TRY(fold_add(f, e->name, stem, ".lora_down.weight", 2, of_down, down));
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) LECO_TRY(fold_take_away(f, e->name, stem, gone[i]));
    return LECO_OK;
}

static leco_status make_both(const folding *f, const safetensors_entry *e, int64_t rows, int64_t depth, int64_t columns,
                             float **up, float **down)
{
    const int64_t of_up[] = {rows, depth}, of_down[] = {depth, columns};
    LECO_TRY(fold_make_room(f, e, of_up, 2, up));
    leco_status status = fold_make_room(f, e, of_down, 2, down);
    if (status != LECO_OK) mem_free_aligned(*up);
    return status;
}

/* ---- LoHa ---- */

static leco_status make_loha(folding *f, const safetensors_entry *e, size_t stem, const matrix m[4])
{
    const int64_t rows = m[0].rows, rank = m[0].columns, columns = m[1].columns;
    double scale;
    float *up, *down;
    if (rank > MOST || m[1].rows != rank || m[2].rows != rows || m[2].columns != rank || m[3].rows != rank ||
        m[3].columns != columns)
        return fold_wrong(f, e, "four matrices of a LoHa beside it, whose sizes go together");
    LECO_TRY(scale_of(f, e, stem, rank, &scale));
    LECO_TRY(make_both(f, e, rows, rank * rank, columns, &up, &down));
    for (int64_t i = 0; i < rows; i++)
        for (int64_t p = 0; p < rank; p++)
            for (int64_t q = 0; q < rank; q++)
                up[(i * rank + p) * rank + q] =
                    (float)(scale * (double)m[0].at[i * rank + p] * (double)m[2].at[i * rank + q]);
    for (int64_t p = 0; p < rank; p++)
        for (int64_t q = 0; q < rank; q++)
            for (int64_t k = 0; k < columns; k++)
                down[(p * rank + q) * columns + k] = m[1].at[p * columns + k] * m[3].at[q * columns + k];
    return put(f, e, stem, up, rows, rank * rank, down, columns);
}

static leco_status fold_loha(folding *f, const safetensors_entry *e, size_t stem)
{
    static const char *const suffixes[] = {".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".hada_w2_b"};
    const safetensors_entry *found[4];
    matrix m[4] = {0};
    LECO_TRY(find(f, e, stem, suffixes, 4, found));
    leco_status status = LECO_OK;
    for (int i = 0; i < 4 && status == LECO_OK; i++) status = read(f, found[i], false, &m[i]);
    if (status == LECO_OK) status = make_loha(f, e, stem, m);
    for (int i = 0; i < 4; i++) mem_free(m[i].at);
    return status;
}

/* ---- LoKr ---- */

/* left [A,depth] right [depth,C], both of which go. */
static leco_status multiply(const folding *f, const safetensors_entry *e, matrix pair[2], matrix *out)
{
    if (pair[0].columns != pair[1].rows || pair[0].rows > MOST || pair[1].columns > MOST)
        return fold_wrong(f, e, "matrices of a LoKr beside it, whose sizes go together");
    *out = (matrix){.rows = pair[0].rows, .columns = pair[1].columns};
    out->at = mem_calloc((size_t)(out->rows * out->columns), sizeof *out->at);
    if (!out->at) return no_memory(f);
    for (int64_t i = 0; i < out->rows; i++)
        for (int64_t k = 0; k < out->columns; k++) {
            double sum = 0;
            for (int64_t r = 0; r < pair[0].columns; r++)
                sum += (double)pair[0].at[i * pair[0].columns + r] * (double)pair[1].at[r * out->columns + k];
            out->at[i * out->columns + k] = (float)sum;
        }
    return LECO_OK;
}

/* 1 [side,side]. */
static leco_status make_one(const folding *f, int64_t side, matrix *out)
{
    *out = (matrix){.rows = side, .columns = side, .at = mem_calloc((size_t)(side * side), sizeof *out->at)};
    for (int64_t i = 0; out->at && i < side; i++) out->at[i * side + i] = 1;
    return out->at ? LECO_OK : no_memory(f);
}

/* One of the two factors as a product: m[0] m[1], of a whole one with 1 on its narrower side (of a convolution, whose
 * columns aren't all inputs, the left). *rank stays where it is whole. */
static leco_status read_factor(const folding *f, const safetensors_entry *e, size_t stem, const char *whole,
                               const char *const thin[2], matrix m[2], int64_t *rank)
{
    const safetensors_entry *found[2] = {fold_beside(f, e->name, stem, whole)};
    if (!found[0]) {
        LECO_TRY(find(f, e, stem, thin, 2, found));
        LECO_TRY(read(f, found[0], false, &m[0]));
        LECO_TRY(read(f, found[1], false, &m[1]));
        *rank = m[1].rows;
        return m[0].columns == m[1].rows ? LECO_OK : fold_wrong(f, found[0], "as many columns as the other has rows");
    }
    matrix it = {0};
    LECO_TRY(read(f, found[0], true, &it));
    const bool right = found[0]->rank == 2 && it.columns < it.rows;
    m[right ? 0 : 1] = it;
    if ((right ? it.columns : it.rows) > MOST) return fold_wrong(f, found[0], "a matrix of a size that layers have");
    return make_one(f, right ? it.columns : it.rows, &m[right ? 1 : 0]);
}

static leco_status make_lokr(folding *f, const safetensors_entry *e, size_t stem, const matrix *w1, const matrix w2[2],
                             double scale)
{
    const int64_t a = w1->rows, c = w1->columns, b = w2[0].rows, depth = w2[0].columns, d = w2[1].columns;
    float *up, *down;
    if (depth > MOST || b > INT32_MAX / MOST || d > INT32_MAX)
        return fold_wrong(f, e, "matrices of a LoKr beside it, of sizes that layers have");
    LECO_TRY(make_both(f, e, a * b, c * depth, c * d, &up, &down));
    for (int64_t i = 0; i < a * b; i++)
        for (int64_t j = 0; j < c; j++)
            for (int64_t p = 0; p < depth; p++)
                up[(i * c + j) * depth + p] =
                    (float)(scale * (double)w1->at[i / b * c + j] * (double)w2[0].at[i % b * depth + p]);
    memset(down, 0, (size_t)(c * depth * c * d) * sizeof *down);
    for (int64_t j = 0; j < c; j++)
        for (int64_t p = 0; p < depth; p++)
            memcpy(down + (j * depth + p) * c * d + j * d, w2[1].at + p * d, (size_t)d * sizeof *down);
    return put(f, e, stem, up, a * b, c * depth, down, c * d);
}

/* Where both are whole the scale is 1, as LyCORIS has it. */
static leco_status fold_lokr(folding *f, const safetensors_entry *e, size_t stem)
{
    static const char *const first[] = {".lokr_w1_a", ".lokr_w1_b"}, *const second[] = {".lokr_w2_a", ".lokr_w2_b"};
    matrix of_w1[2] = {0}, w1 = {0}, w2[2] = {0};
    int64_t rank = 0;
    double scale = 1;
    leco_status status = read_factor(f, e, stem, ".lokr_w1", first, of_w1, &rank);
    if (status == LECO_OK) status = multiply(f, e, of_w1, &w1);
    if (status == LECO_OK) status = read_factor(f, e, stem, ".lokr_w2", second, w2, &rank);
    if (status == LECO_OK && rank > 0) status = scale_of(f, e, stem, rank, &scale);
    if (status == LECO_OK) status = make_lokr(f, e, stem, &w1, w2, scale);
    for (int i = 0; i < 2; i++) {
        mem_free(of_w1[i].at);
        mem_free(w2[i].at);
    }
    mem_free(w1.at);
    return status;
}

/* ---- all ---- */

static leco_status fold(folding *f, const safetensors_entry *e)
{
    const char *suffix = strchr(e->name, '.');
    if (!suffix || strcmp(suffix, ".dora_scale") != 0) return LECO_OK;
    const size_t stem = (size_t)(suffix - e->name);
    if (fold_beside(f, e->name, stem, ".hada_w1_a")) return fold_loha(f, e, stem);
    const bool lokr = fold_beside(f, e->name, stem, ".lokr_w1") || fold_beside(f, e->name, stem, ".lokr_w1_a");
    return lokr ? fold_lokr(f, e, stem) : LECO_OK;
}

leco_status adapter_fold_doras(safetensors *file, leco_error *err)
{
    folding f = {.file = file, .err = err};
    leco_status status = LECO_OK;
    for (size_t i = 0; i < safetensors_count(file) && status == LECO_OK; i++)
        status = fold(&f, safetensors_at(file, i));
    return fold_finish(&f, status);
}

/* ---- PEFT's ---- */

static leco_status turn(folding *f, const safetensors_entry *e)
{
    const int64_t shape[] = {e->shape[1], 1, 1, 1};
    const bool of_outputs = e->rank == 4 && e->shape[0] == 1 && e->shape[2] == 1 && e->shape[3] == 1;
    float *copy;
    if (!strstr(e->name, ".lora_magnitude_vector") || !of_outputs || !dtype_is_float(e->type)) return LECO_OK;
    LECO_TRY(fold_make_room(f, e, shape, 4, &copy));
    dtype_convert(copy, DTYPE_F32, e->data, e->type, e->count);
    return fold_add(f, e->name, strlen(e->name), "", 4, shape, copy);
}

leco_status adapter_turn_magnitudes(safetensors *file, leco_error *err)
{
    folding f = {.file = file, .err = err};
    leco_status status = LECO_OK;
    for (size_t i = 0; i < safetensors_count(file) && status == LECO_OK; i++)
        status = turn(&f, safetensors_at(file, i));
    return fold_finish(&f, status);
}
