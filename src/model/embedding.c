/* An embedding (textual inversion): rows that a word of prompts stands for, behind the table of each text encoder.
 * Source: Gal et al., "An image is worth one word" (2022); files as kohya's sd-scripts, A1111 and ComfyUI have them. */
#include <string.h>

#include "base/mem.h"
#include "model/kinds.h"
#include "model/model.h"
#include "op/op.h"

static bool fits(const layer_info *layer)
{
    return layer->class == LAYER_TOKENS;
}

static void settle(trainable_module *m, const trainable_options *o)
{
    m->rank = o->vectors;
}

static void shapes(const trainable_module *m, kind_shape out[KIND_MAX_PARAMS])
{
    const shape rows = SHAPE(m->rank, m->layer.out);
    out[0] = (kind_shape){rows, rows};
}

/* The text encoder that it goes on. */
static text_part encoder_of(const trainable_module *m, const model *from)
{
    text_part parts[MODEL_MOST_TEXTS];
    size_t count = model_texts(from, parts);
    while (count > 1 && parts[count - 1].part != m->layer.part) count--;
    return parts[count - 1];
}

/* The ids of the words that it starts as, to be freed. */
static leco_status start_ids(const trainable_module *m, const model *from, int32_t **out, size_t *count,
                             leco_error *err)
{
    size_t needed;
    const text_part of = encoder_of(m, from);
    int32_t *ids = *out = mem_calloc(tokenizer_length(of.tokenizer), sizeof *ids);
    if (!ids) return error_memory(err, 0, "token ids");
    LECO_TRY(tokenizer_encode(of.tokenizer, m->start, strlen(m->start), ids, &needed, err));
    *count = needed - 2; /* without start and end */
    if (*count > (size_t)m->rank)
        return error_set(err, LECO_INVALID, "the init \"%.80s\" is %zu tokens, but the embedding has vectors for %lld",
                         m->start, *count, (long long)m->rank);
    if (*count == 0) return error_set(err, LECO_INVALID, "the init \"%.80s\" holds no word", m->start);
    for (size_t i = 0; i < *count; i++)
        if (ids[1 + i] >= of.config->vocab_size)
            return error_set(err, LECO_INVALID, "the init \"%.80s\" holds an embedding", m->start);
    return LECO_OK;
}

/* The words' rows, each for as many vectors, as A1111 spreads them: vector i of V starts as word i n / V of n. */
static leco_status copy_rows(trainable_module *m, model *from, const int32_t *ids, size_t count, leco_error *err)
{
    weight *table;
    char *name = mem_printf("%s.weight", m->layer.path);
    if (!name) return error_memory(err, strlen(m->layer.path), "an embedding");
    leco_status status = weights_get(from->weights[m->layer.part], name, SHAPE(m->layer.in, m->layer.out), &table, err);
    mem_free(name);
    if (status != LECO_OK) return status;
    const param *p = &m->param[0];
    const size_t width = (size_t)m->layer.out, vectors = (size_t)m->rank;
    for (size_t i = 0; i < vectors; i++) {
        const size_t row = (size_t)ids[1 + i * count / vectors];
        dtype_convert((char *)p->value + i * width * dtype_size(p->type), p->type,
                      (const char *)table->data + row * width * dtype_size(table->type), table->type, width);
    }
    return LECO_OK;
}

/* Its start is looked up already, so that what is wrong with it is known before anything is made. */
static leco_status name_module(trainable_module *m, const trainable_options *o, const model *from, leco_error *err)
{
    size_t count;
    int32_t *ids = NULL;
    m->token = mem_strdup(o->token);
    m->start = mem_strdup(o->start);
    if (!m->token || !m->start) return error_memory(err, strlen(o->start), "an embedding");
    leco_status status = start_ids(m, from, &ids, &count, err);
    mem_free(ids);
    return status;
}

/* One word, and the same ids for all text encoders. */
static leco_status attach(trainable_module *modules, size_t count, const trainable_options *o, model *from,
                          leco_error *err)
{
    int32_t first;
    if (!from->tokenizer) return error_set(err, LECO_INVALID, "%s has no tokenizer", from->folder);
    for (size_t i = 0; i < count; i++) LECO_TRY(name_module(&modules[i], o, from, err));
    LECO_TRY(model_add_token(from, o->token, o->vectors, &first, err));
    for (size_t i = 0; i < count; i++) modules[i].first = first;
    return LECO_OK;
}

static leco_status initialise(trainable_module *m, const kind_start *s, leco_error *err)
{
    size_t count = 0;
    int32_t *ids = NULL;
    leco_status status = start_ids(m, s->model, &ids, &count, err);
    if (status == LECO_OK) status = copy_rows(m, s->model, ids, count, err);
    mem_free(ids);
    return status;
}

static tensor *apply(const trainable_module *m, const layer_site *at, float multiplier)
{
    (void)multiplier; /* it is there or it isn't */
    return op_add_rows(at->g, at->y, at->x, graph_param(at->g, &m->param[0]), m->first);
}

const trainable_kind kind_embedding = {
    .name = "embedding",
    .architecture = "textual-inversion",
    .param = {{".emb_params", false}},
    .size = {[KIND_RANK] = {0, 0}, [KIND_ROWS] = {0, -1}, [KIND_COLUMNS] = {0, -1}},
    .alone = true,
    .fits = fits,
    .settle = settle,
    .attach = attach,
    .shapes = shapes,
    .initialise = initialise,
    .apply = apply,
};
