#include <string.h>

#include "api/internal.h"
#include "api/locale.h"
#include "base/mem.h"
#include "diffusion/runner.h"
#include "leco/probe.h"
#include "model/probe.h"

void leco_probe_result_free(leco_probe_result *result)
{
    mem_free(result->attribute);
    mem_free(result->label);
    probe_config_free(result->owner);
    *result = (leco_probe_result){0};
}

/* A probe that is ready to run. */
typedef struct probe_session {
    device device;
    weights *weights;
    runner runner;
    const probe_config *config;
    probe net;
    float *sample; /* [batch, side, side, 3] */
    float *logits; /* of the widest head */
    int64_t batch, side;
} probe_session;

static void close_probe(probe_session *p)
{
    runner_free(&p->runner);
    weights_close(p->weights);
    device_close(&p->device);
    mem_free(p->sample);
    mem_free(p->logits);
}

static void build(nn *c, void *user)
{
    probe_session *p = user;
    p->net = probe_build(c, p->config, p->batch);
}

static leco_status open_probe(const char *folder, const probe_config *config, int64_t batch, probe_session *p,
                              leco_error *err)
{
    char *path = mem_printf("%s/model.safetensors", folder);
    if (!path) return error_memory(err, strlen(folder), "a path");
    leco_status status = weights_open_file(path, &p->weights, err);
    mem_free(path);
    if (status != LECO_OK) return status;
    LECO_TRY(device_open("cpu", "float32", &p->device, err)); /* small: its answers should be the same everywhere */
    p->config = config;
    p->batch = batch;
    p->side = probe_picture_size(config);
    const runner_spec spec = {.device = &p->device,
                              .weights = p->weights,
                              .part = PART_OTHER,
                              .what = "the probe",
                              .build = build,
                              .user = p};
    LECO_TRY(runner_create(&spec, &p->runner, err));
    LECO_TRY(weights_check(p->weights, err));
    int64_t widest = 0;
    for (int64_t h = 0; h < probe_head_count(config); h++)
        if (probe_label_count(config, h) > widest) widest = probe_label_count(config, h);
    p->sample = mem_calloc((size_t)(batch * p->side * p->side), 3 * sizeof(float));
    p->logits = mem_calloc((size_t)(batch * widest), sizeof(float));
    if (!p->sample || !p->logits) return error_memory(err, 0, "the probe's pictures");
    return LECO_OK;
}

static int64_t highest(const float *values, int64_t count)
{
    int64_t best = 0;
    for (int64_t i = 1; i < count; i++)
        if (values[i] > values[best]) best = i;
    return best;
}

/* Looks at pictures [first, first + p->batch); past the last one the batch is filled up with it. */
static leco_status look(probe_session *p, const probe_config *config, const leco_image *images, size_t first,
                        size_t count, leco_probe_result *result, leco_error *err)
{
    const size_t values = (size_t)(p->side * p->side) * 3;
    for (int64_t i = 0; i < p->batch; i++) {
        size_t index = first + (size_t)i < count ? first + (size_t)i : count - 1;
        for (size_t k = 0; k < values; k++)
            p->sample[(size_t)i * values + k] = (float)images[index].rgb[k] / 127.5f - 1.0f;
    }
    LECO_TRY(session_write(p->runner.session, p->net.sample, p->sample, (size_t)p->batch * values, err));
    LECO_TRY(session_run(p->runner.session, err));
    for (int64_t h = 0; h < probe_head_count(config); h++) {
        const int64_t labels = probe_label_count(config, h);
        LECO_TRY(session_read(p->runner.session, p->net.logits[h], p->logits, (size_t)(p->batch * labels), err));
        for (int64_t i = 0; i < p->batch && first + (size_t)i < count; i++)
            result->label[(first + (size_t)i) * result->attribute_count + (size_t)h] =
                probe_label(config, h, highest(p->logits + i * labels, labels));
    }
    return LECO_OK;
}

static leco_status fill(const char *folder, const probe_config *config, const leco_image *images, size_t count,
                        leco_probe_result *result, leco_error *err)
{
    result->image_count = count;
    result->attribute_count = (size_t)probe_head_count(config);
    result->attribute = mem_calloc(result->attribute_count, sizeof *result->attribute);
    result->label = mem_calloc(result->attribute_count * count, sizeof *result->label);
    if (!result->attribute || !result->label) return error_memory(err, count * sizeof *result->label, "the labels");
    for (size_t h = 0; h < result->attribute_count; h++) result->attribute[h] = probe_head_name(config, (int64_t)h);
    const int64_t side = probe_picture_size(config);
    for (size_t i = 0; i < count; i++)
        if (images[i].width != side || images[i].height != side)
            return error_set(err, LECO_INVALID, "picture %zu is %dx%d pixels; the probe %s looks at %lldx%lld", i,
                             images[i].width, images[i].height, folder, (long long)side, (long long)side);
    if (count == 0) return LECO_OK;
    enum { BATCH = 32 };
    const size_t batch = count < BATCH ? count : BATCH;
    probe_session p = {0};
    leco_status status = open_probe(folder, config, (int64_t)batch, &p, err);
    for (size_t first = 0; first < count && status == LECO_OK; first += batch)
        status = look(&p, config, images, first, count, result, err);
    close_probe(&p);
    return status;
}

leco_status leco_probe(const char *probe_folder, const leco_image *images, size_t count, leco_probe_result *result,
                       leco_error *err)
{
    IN_C_LOCALE;
    probe_config *config;
    LECO_TRY(probe_config_read(probe_folder, &config, err));
    leco_probe_result made = {.owner = config};
    leco_status status = fill(probe_folder, config, images, count, &made, err);
    if (status == LECO_OK)
        *result = made;
    else
        leco_probe_result_free(&made);
    return status;
}
