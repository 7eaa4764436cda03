#include "checkpoint_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parity_support.h"

enum { TOKENS = 49408 };

static leco_error err;

static float *token_table(int64_t width)
{
    float *table = malloc((size_t)(TOKENS * width) * sizeof *table);
    assert_non_null(table);
    for (int64_t i = 0; i < TOKENS * width; i++)
        table[i] = (float)((uint32_t)((uint64_t)i * 2654435761u) / 65536) / 65536.0f - 0.5f;
    return table;
}

/* Writes all tensors but those whose names begin with `without` (may be NULL), and `extras` beside them. */
typedef struct table {
    const char *key;
    int64_t width;
} table;

static const char *told[2]; /* metadata of checkpoint_tell */

static const char *put_checkpoint(const char *name, const table tables[2], const char *without,
                                  const safetensors_entry *extras, size_t extra_count)
{
    char path[512];
    safetensors *file;
    snprintf(path, sizeof path, FIXTURES "checkpoint/%s.safetensors", name);
    assert_works(safetensors_open(path, &file, &err), &err);
    const size_t count = safetensors_count(file);
    safetensors_entry *all = calloc(count + 2 + extra_count, sizeof *all);
    float *made[2] = {NULL, NULL};
    size_t kept = 0;
    assert_non_null(all);
    for (size_t i = 0; i < count; i++) {
        all[kept] = *safetensors_at(file, i);
        kept += !without || strncmp(all[kept].name, without, strlen(without)) != 0;
    }
    for (int i = 0; i < 2 && tables[i].key; i++) {
        made[i] = token_table(tables[i].width);
        all[kept++] = (safetensors_entry){.name = tables[i].key,
                                          .type = DTYPE_F32,
                                          .rank = 2,
                                          .shape = {TOKENS, tables[i].width},
                                          .count = (size_t)(TOKENS * tables[i].width),
                                          .data = made[i]};
    }
    for (size_t i = 0; i < extra_count; i++) all[kept++] = extras[i];
    const char *said = safetensors_metadata(file, "modelspec.prediction_type");
    const char *const metadata[][2] = {{"modelspec.prediction_type", said}};
    const char *to = test_path("checkpoint.safetensors");
    if (told[0])
        assert_works(safetensors_write(to, all, kept, &told, 1, &err), &err);
    else
        assert_works(safetensors_write(to, all, kept, metadata, said ? 1 : 0, &err), &err);
    for (int i = 0; i < 2; i++) free(made[i]);
    free(all);
    safetensors_close(file);
    return to;
}

static const struct {
    const char *name;
    table tables[2];
} models[] = {{"sd1", {{"cond_stage_model.transformer.text_model.embeddings.token_embedding.weight", 64}}},
              {"sd2", {{"cond_stage_model.model.token_embedding.weight", 128}}},
              {"sdxl",
               {{"conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight", 128},
                {"conditioner.embedders.1.model.token_embedding.weight", 64}}}};

const char *checkpoint_put(size_t i, const char *without, const safetensors_entry *extra)
{
    return put_checkpoint(models[i].name, models[i].tables, without, extra, extra != NULL);
}

const char *checkpoint_put_marked(size_t i, const char *const *marks, size_t count)
{
    safetensors_entry empty[4];
    assert_true(count <= 4);
    for (size_t k = 0; k < count; k++)
        empty[k] = (safetensors_entry){.name = marks[k], .type = DTYPE_F32, .rank = 1, .data = ""};
    return put_checkpoint(models[i].name, models[i].tables, NULL, empty, count);
}

void checkpoint_tell(const char *key, const char *value)
{
    told[0] = key;
    told[1] = value;
}

const char *checkpoint_name(size_t i)
{
    return models[i].name;
}
