#include "train/previews.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/number.h"
#include "diffusion/decoder.h"
#include "diffusion/guidance.h"
#include "picture/sheet.h"
#include "train/previews_texts.h"

/* Rows have room for so many steps at least, so that a sheet goes on when a training is made longer. */
enum { WIDEST = 9999999 };

/* A prompt, and what it is asked as. */
typedef struct preview_prompt {
    const char *text, *shown; /* as the config has it, and with its wildcards drawn */
    phrases *phrases;
    conditioning positive, negative;
} preview_prompt;

struct previews {
    const train_config *config;
    arena *memory; /* of texts */
    model *model;  /* another instance: its VAE is its own */
    latent_size size;
    int width, height; /* of a picture */
    preview_prompt *prompt;
    size_t prompts;
    denoiser *at[PREVIEW_MOST_WEIGHTS]; /* one a weight */
    decoder *decoder;
    denoising *run;
    guided guided;
    int64_t *step; /* [rows] at which each is drawn, unless the training ends before */
    size_t rows, drawn;
    sheet *sheet;
    sheet_spec spec;
    size_t sheet_bytes;
    float *x;
    image picture;
    char *file;
    bool warned;
};

/* ---- planning ---- */

/* Rows: before the first step, at whole trajectories from each multiple of the interval on, and at the end. */
static leco_status plan_rows(previews *p, leco_error *err)
{
    const train_config *c = p->config;
    const int64_t k = c->samples_per_trajectory, latents = c->accumulation, every = c->logging.interval;
    const int64_t between = every > 0 ? (c->iterations - 1) / every : 0;
    if (between > 10000)
        return error_set(err, LECO_INVALID,
                         "%s: logging.interval: every %lld of %lld steps are too many rows for a sheet",
                         train_config_place(c, "logging.interval"), (long long)every, (long long)c->iterations);
    p->step = mem_calloc((size_t)between + 2, sizeof *p->step);
    if (!p->step) return error_memory(err, (size_t)between * sizeof *p->step, "the previews");
    p->rows = 1;
    for (int64_t i = 1; i <= between; i++) {
        const int64_t step = (i * every * latents + k - 1) / k * k / latents;
        if (step > p->step[p->rows - 1] && step < c->iterations) p->step[p->rows++] = step;
    }
    p->step[p->rows++] = c->iterations;
    return LECO_OK;
}

static leco_status plan_size(previews *p, leco_error *err)
{
    const train_config *c = p->config;
    const model *m = p->model;
    const int64_t factor = vae_factor(&m->vae);
    const int64_t width = c->logging.width ? c->logging.width : m->unet.sample_width * factor;
    const int64_t height = c->logging.height ? c->logging.height : m->unet.sample_height * factor;
    if (width % factor || height % factor)
        return error_set(err, LECO_INVALID, "%s: logging.resolution: %lldx%lld is not a multiple of %lld pixels",
                         train_config_place(c, "logging.resolution"), (long long)width, (long long)height,
                         (long long)factor);
    p->width = (int)width;
    p->height = (int)height;
    p->size = (latent_size){1, height / factor, width / factor, m->unet.in_channels};
    return LECO_OK;
}

static leco_status plan_texts(previews *p, leco_error *err)
{
    const char **text;
    LECO_TRY(previews_split(p->config->logging.prompts, p->memory, &text, &p->prompts, err));
    p->prompt = mem_calloc(p->prompts, sizeof *p->prompt);
    if (!p->prompt) return error_memory(err, p->prompts * sizeof *p->prompt, "the previews");
    for (size_t i = 0; i < p->prompts; i++) {
        p->prompt[i].text = text[i];
        LECO_TRY(previews_draw_text(text[i], p->config->logging.seed + i, p->memory, &p->prompt[i].shown, err));
    }
    return LECO_OK;
}

/* What is above the sheet, and above its columns. */
static leco_status plan_sheet(previews *p, leco_error *err)
{
    const train_config *c = p->config;
    const logging_config *l = &c->logging;
    const size_t columns = p->prompts * l->weight_count;
    const char **column = arena_alloc(p->memory, columns, sizeof *column);
    for (size_t i = 0; column && i < columns; i++)
        column[i] =
            arena_printf(p->memory, "%s at %g", p->prompt[i / l->weight_count].shown, l->weight[i % l->weight_count]);
    p->spec = (sheet_spec){
        .title = arena_printf(p->memory, "%s while it is trained: ddim, %lld steps, guidance scale %g, seed %llu",
                              c->save_name, (long long)l->steps, l->guidance_scale, (unsigned long long)l->seed),
        .widest = arena_printf(p->memory, "step %lld", (long long)(c->iterations > WIDEST ? c->iterations : WIDEST)),
        .column = column,
        .rows = p->rows,
        .columns = columns,
        .width = p->width,
        .height = p->height};
    bool made = column && p->spec.title && p->spec.widest;
    for (size_t i = 0; made && i < columns; i++) made = column[i] != NULL;
    if (!made) return error_memory(err, 0, "the previews");
    leco_status status = sheet_measure(&p->spec, &p->sheet_bytes, err);
    if (status == LECO_OK) return LECO_OK;
    return error_prefix(err, status, "%s: logging.interval: a row every %lld steps",
                        train_config_place(c, "logging.interval"), (long long)l->interval);
}

static leco_status plan_sessions(previews *p, const training_setting *in, leco_error *err)
{
    const train_config *c = p->config;
    const logging_config *l = &c->logging;
    const sampling how = {&sampler_ddim, l->steps, c->spacing, false};
    latent_size asked = p->size;
    asked.batch = guided_batch(1, (float)l->guidance_scale);
    for (size_t i = 0; i < l->weight_count; i++)
        LECO_TRY(setting_denoiser(in, 0, asked, l->weight[i], false, &p->at[i], err));
    leco_status status = denoising_plan(&how, in->frozen[0].schedule, p->size, &p->run, err);
    if (status != LECO_OK)
        return error_prefix(err, status, "%s: logging.steps", train_config_place(c, "logging.steps"));
    return decoder_plan(in->pool->device, p->model, p->size, 0, &p->decoder, err);
}

static leco_status plan(previews *p, const training_setting *in, leco_error *err)
{
    p->memory = arena_create();
    if (!p->memory || !(p->file = previews_file(p->config))) return error_memory(err, 0, "the previews");
    LECO_TRY(model_open(p->config->model, &p->model, err));
    if (p->config->vae) LECO_TRY(model_take_vae(p->model, p->config->vae, err));
    LECO_TRY(model_map(p->model, MODEL_VAE, err));
    LECO_TRY(plan_size(p, err));
    LECO_TRY(plan_rows(p, err));
    LECO_TRY(plan_texts(p, err));
    LECO_TRY(plan_sheet(p, err));
    return plan_sessions(p, in, err);
}

leco_status previews_plan(const training_setting *in, previews **out, leco_error *err)
{
    *out = NULL;
    if (!in->config->logging.prompts) return LECO_OK;
    previews *p = mem_calloc(1, sizeof *p);
    if (!p) return error_memory(err, sizeof *p, "the previews");
    p->config = in->config;
    leco_status status = plan(p, in, err);
    if (status == LECO_OK)
        *out = p;
    else
        previews_destroy(p);
    return status;
}

void previews_destroy(previews *p)
{
    if (!p) return;
    for (size_t i = 0; i < p->prompts && p->prompt; i++) phrases_destroy(p->prompt[i].phrases);
    guided_free(&p->guided);
    decoder_destroy(p->decoder);
    denoising_destroy(p->run);
    sheet_destroy(p->sheet);
    image_free(&p->picture);
    model_close(p->model);
    arena_destroy(p->memory);
    mem_free(p->prompt);
    mem_free(p->step);
    mem_free(p->x);
    mem_free(p->file);
    mem_free(p);
}

static previews_memory memory_of(const previews *p, size_t weight_bytes)
{
    const size_t asked = latent_count(p->size) * (size_t)guided_batch(1, (float)p->config->logging.guidance_scale);
    return (previews_memory){.arena = decoder_arena_bytes(p->decoder),
                             .weights = weight_bytes,
                             .mapped = weights_mapped_bytes(p->model->weights[PART_VAE]),
                             .graphs = decoder_bytes(p->decoder),
                             .pictures = p->sheet_bytes + 3 * (size_t)p->width * (size_t)p->height +
                                         denoising_bytes(p->run) + (latent_count(p->size) + 2 * asked) * sizeof(float)};
}

previews_memory previews_planned(const previews *p)
{
    return memory_of(p, weights_planned_bytes(p->model->weights[PART_VAE]));
}

previews_memory previews_allocated(const previews *p)
{
    return memory_of(p, weights_packed_bytes(p->model->weights[PART_VAE]));
}

size_t previews_cost(const previews *p)
{
    const logging_config *l = &p->config->logging;
    return p->prompts * l->weight_count * (size_t)(l->steps * guided_batch(1, (float)l->guidance_scale));
}

size_t previews_left(const previews *p)
{
    return p->rows - p->drawn;
}

char *previews_text(const previews *p)
{
    const logging_config *l = &p->config->logging;
    return mem_printf("%zu prompt%s at %zu weight%s, %zu times, into %s", p->prompts, p->prompts == 1 ? "" : "s",
                      l->weight_count, l->weight_count == 1 ? "" : "s", p->rows, p->file);
}

/* ---- taking ---- */

static leco_status condition(preview_prompt *one, uint64_t seed, latent_size size, const training_setting *shared,
                             const char *negative, leco_error *err)
{
    training_setting in = *shared;
    rng words;
    if (!(one->phrases = phrases_create())) return error_memory(err, 0, "the previews' prompts");
    in.phrases = one->phrases;
    LECO_TRY(setting_condition(&in, 0, one->text, size, &one->positive, err));
    LECO_TRY(setting_condition(&in, 0, negative, size, &one->negative, err));
    rng_seed(&words, RNG_CPU, seed);
    phrases_draw(one->phrases, &words);
    return phrases_resolve(one->phrases, err);
}

static leco_status tell(const previews *p, leco_error *err)
{
    char *text = previews_text(p);
    if (!text) return error_memory(err, 0, "the previews");
    log_message(LOG_INFO, "%s: logging.prompts: %s", train_config_place(p->config, "logging.prompts"), text);
    mem_free(text);
    return LECO_OK;
}

leco_status previews_prepare(previews *p, const training_setting *in, leco_error *err)
{
    const logging_config *l = &p->config->logging;
    LECO_TRY(tell(p, err));
    LECO_TRY(model_load(p->model, MODEL_VAE, err));
    LECO_TRY(decoder_prepare(p->decoder, err));
    LECO_TRY(denoising_prepare(p->run, err));
    LECO_TRY(sheet_create(&p->spec, &p->sheet, err));
    LECO_TRY(image_create(p->width, p->height, &p->picture, err));
    LECO_TRY(guided_create(p->at[0], (float)l->guidance_scale, &p->guided, err));
    p->x = mem_calloc(latent_count(p->size), sizeof *p->x);
    if (!p->x) return error_memory(err, latent_count(p->size) * sizeof *p->x, "the previews");
    for (size_t i = 0; i < p->prompts; i++)
        LECO_TRY(condition(&p->prompt[i], l->seed + i, p->size, in, l->negative_prompt, err));
    return LECO_OK;
}

/* ---- the sheet's file ---- */

static const char steps_said[] = "\nsteps:";

/* "title\nsteps: 0 100 200": what the sheet's file says of itself. mem_free it; NULL: out of memory. */
static char *told(const previews *p)
{
    char *text = mem_printf("%s%s", p->spec.title, steps_said);
    for (size_t i = 0; text && i < p->drawn; i++) {
        char *longer = mem_printf("%s %lld", text, (long long)p->step[i]);
        mem_free(text);
        text = longer;
    }
    return text;
}

static leco_status write_sheet(const previews *p, leco_error *err)
{
    const image top = sheet_top(p->sheet, p->drawn);
    char *text = told(p);
    if (!text) return error_memory(err, 0, "the previews");
    leco_status status = png_write(p->file, &top, text, err);
    mem_free(text);
    return status;
}

/* The steps that a sheet's file tells of, as long as they are done; how many there are. */
static size_t told_steps(const previews *p, const char *text, int64_t done, int64_t *out, size_t most)
{
    const size_t length = strlen(p->spec.title);
    size_t rows = 0;
    if (!text || strncmp(text, p->spec.title, length) != 0) return 0;
    if (strncmp(text + length, steps_said, strlen(steps_said)) != 0) return 0;
    char *at = (char *)(uintptr_t)text + length + strlen(steps_said), *end;
    for (; rows < most; rows++, at = end) {
        const long long step = strtoll(at, &end, 10);
        if (end == at || step > done || step < 0 || (rows > 0 && step <= out[rows - 1])) break;
        out[rows] = step;
    }
    return rows;
}

/* The rows become those of a sheet that was begun, and behind them ours that are still to come: there may have been
 * others, where the training has another interval or number of steps now. */
static leco_status continue_rows(previews *p, const int64_t *begun, size_t count, leco_error *err)
{
    const int64_t last = begun[count - 1];
    size_t rows = count;
    int64_t *step = mem_calloc(count + p->rows, sizeof *step);
    if (!step) return error_memory(err, (count + p->rows) * sizeof *step, "the previews");
    memcpy(step, begun, count * sizeof *step);
    for (size_t i = 0; i < p->rows; i++)
        if (p->step[i] > last) step[rows++] = p->step[i];
    mem_free(p->step);
    p->step = step;
    p->rows = p->spec.rows = rows;
    sheet_destroy(p->sheet);
    return sheet_create(&p->spec, &p->sheet, err);
}

static leco_status take_sheet(previews *p, int64_t done, leco_error *err)
{
    enum { MOST = 4096 }; /* more rows don't fit into a sheet */
    image old = {0};
    char *text = NULL;
    int64_t *begun = arena_alloc(p->memory, MOST, sizeof *begun);
    if (!begun) return error_memory(err, MOST * sizeof *begun, "the previews");
    LECO_TRY(png_read(p->file, &old, &text, err));
    const size_t count = told_steps(p, text, done, begun, MOST);
    leco_status status = count ? continue_rows(p, begun, count, err) : LECO_OK;
    if (status == LECO_OK && count && sheet_take_top(p->sheet, &old, count)) p->drawn = count;
    image_free(&old);
    mem_free(text);
    if (status == LECO_OK && p->drawn == 0)
        log_message(LOG_WARNING, "%s: is no sheet of this training; another one replaces it", p->file);
    return status;
}

leco_status previews_resume(previews *p, int64_t done, leco_error *err)
{
    if (file_exists(p->file)) LECO_TRY(take_sheet(p, done, err));
    /* Rows that were lost aren't drawn later, as something else. */
    while (p->drawn < p->rows && p->step[p->drawn] < done) {
        memmove(p->step + p->drawn, p->step + p->drawn + 1, (p->rows - p->drawn - 1) * sizeof *p->step);
        p->rows--;
    }
    return LECO_OK;
}

/* ---- drawing ---- */

static leco_status denoise(previews *p, size_t prompt, size_t column, const previews_watch *w, leco_error *err)
{
    const preview_prompt *of = &p->prompt[prompt];
    const logging_config *l = &p->config->logging;
    const size_t samples = (size_t)guided_batch(1, (float)l->guidance_scale);
    rng random;
    rng_seed(&random, RNG_CPU, l->seed + prompt);
    p->guided.denoiser = p->at[column];
    guided_set_context(&p->guided, 0, &of->negative, &of->positive);
    denoising_begin(p->run, 0, &random, 1);
    denoising_noise(p->run, p->x);
    for (size_t i = 0; i < p->run->count; i++) p->x[i] *= p->run->noise_scale;
    for (int64_t step = 0; step < p->run->steps; step++) {
        LECO_TRY(guided_step(&p->guided, p->run, step, p->x, err));
        if (w->went && !w->went(w->user, samples)) return error_set(err, LECO_INTERRUPTED, "stopped");
    }
    return LECO_OK;
}

/* One cell. Where the adapter has become too large for numbers, that shows as black, and the training says why. */
static leco_status draw_cell(previews *p, size_t prompt, size_t column, const previews_watch *w, leco_error *err)
{
    const logging_config *l = &p->config->logging;
    LECO_TRY(denoise(p, prompt, column, w, err));
    if (!p->warned && number_first_bad(p->x, p->run->count) < p->run->count) {
        log_message(LOG_WARNING, "previews: \"%.60s\" at %g is not finite, and drawn black", p->prompt[prompt].shown,
                    l->weight[column]);
        p->warned = true;
    }
    LECO_TRY(decoder_run(p->decoder, p->x, p->picture.rgb, err));
    sheet_put(p->sheet, p->drawn, prompt * l->weight_count + column, &p->picture);
    return w->drawn ? w->drawn(w->user, p->prompt[prompt].shown, l->weight[column], &p->picture, err) : LECO_OK;
}

bool previews_due(const previews *p, int64_t done)
{
    return p->drawn < p->rows && done >= p->step[p->drawn];
}

bool previews_done(const previews *p, int64_t done)
{
    return p->drawn > 0 && p->step[p->drawn - 1] == done;
}

void previews_close_for_good(previews *p)
{
    p->rows = p->drawn;
}

leco_status previews_draw(previews *p, int64_t done, const previews_watch *w, leco_error *err)
{
    char label[40];
    if (p->drawn == p->rows) return LECO_OK;
    for (size_t i = 0; i < p->prompts; i++) LECO_TRY(phrases_resolve(p->prompt[i].phrases, err));
    for (size_t i = 0; i < p->prompts; i++)
        for (size_t k = 0; k < p->config->logging.weight_count; k++) LECO_TRY(draw_cell(p, i, k, w, err));
    snprintf(label, sizeof label, "step %lld", (long long)done);
    sheet_label(p->sheet, p->drawn, label);
    p->step[p->drawn++] = done;
    return write_sheet(p, err);
}
