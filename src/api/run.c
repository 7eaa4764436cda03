/* One module on tensors, with diffusers' names and shapes at the edge: a check against other programs. */
#include <string.h>

#include "api/internal.h"
#include "api/locale.h"
#include "base/arena.h"
#include "base/mem.h"
#include "diffusion/conditioning.h"
#include "diffusion/encoder.h"
#include "format/safetensors.h"
#include "model/wildcards.h"

enum { MAX_BATCH = 256 };

/* A module at work: everything in here is freed by close_run. */
typedef struct module_run {
    leco_model *handle;
    safetensors *in; /* NULL where a prompt stands for it */
    const char *prompt, *out_path;
    model_part part;
    runner runner;
    encoder *encoder;
    arena *memory; /* of the arrays that go in and out */
} module_run;

static void close_run(module_run *r)
{
    runner_free(&r->runner);
    encoder_destroy(r->encoder);
    safetensors_close(r->in);
    arena_destroy(r->memory);
}

/* ---- tensors ---- */

static leco_status new_floats(module_run *r, size_t count, float **out, leco_error *err)
{
    *out = arena_alloc(r->memory, count, sizeof **out);
    return *out ? LECO_OK : error_memory(err, count * sizeof **out, "tensors");
}

static leco_status check_sizes(const module_run *r, const safetensors_entry *e, leco_error *err)
{
    for (int i = 0; i < e->rank; i++)
        if (e->shape[i] < 1 || e->shape[i] > (i == 0 ? MAX_BATCH : LARGEST_SIDE))
            return error_set(err, LECO_INVALID, "%s: tensor \"%s\": dimension %d is %lld, expected 1 to %d",
                             safetensors_path(r->in), e->name, i, (long long)e->shape[i],
                             i == 0 ? MAX_BATCH : LARGEST_SIDE);
    return LECO_OK;
}

/* A tensor of any floating type as f32. -1 in `expected` matches any size. */
static leco_status get_floats(module_run *r, const char *name, int rank, const int64_t *expected,
                              const safetensors_entry **entry, float **out, leco_error *err)
{
    const safetensors_entry *e;
    LECO_TRY(safetensors_require(r->in, name, rank, expected, &e, err));
    LECO_TRY(check_sizes(r, e, err));
    if (e->type == DTYPE_I32 || e->type == DTYPE_I64)
        return error_set(err, LECO_INVALID, "%s: tensor \"%s\" is %s, expected a floating type",
                         safetensors_path(r->in), name, dtype_name(e->type));
    LECO_TRY(new_floats(r, e->count, out, err));
    dtype_convert(*out, DTYPE_F32, e->data, e->type, e->count);
    if (entry) *entry = e;
    return LECO_OK;
}

/* [B,C,H,W] from the file as [B,H,W,C]. */
static leco_status get_picture(module_run *r, const char *name, int64_t channels, latent_size *size, float **out,
                               leco_error *err)
{
    const safetensors_entry *e;
    float *nchw;
    LECO_TRY(get_floats(r, name, 4, (const int64_t[]){-1, channels, -1, -1}, &e, &nchw, err));
    *size = (latent_size){e->shape[0], e->shape[2], e->shape[3], channels};
    LECO_TRY(new_floats(r, e->count, out, err));
    latents_from_nchw(nchw, *out, *size);
    return LECO_OK;
}

/* What a module is built for, and what building gave. */
typedef struct building {
    const model *model;
    latent_size size; /* of the pictures or latents that go in */
    int64_t tokens;
    const text_config *config; /* of a text encoder */
    text_encoder text;
    unet unet;
    vae_decoder decoder;
} building;

static leco_status start(module_run *r, void (*build)(nn *c, void *user), building *b, leco_error *err)
{
    leco_model *handle = r->handle;
    const size_t count = handle->lora_count + handle->embedding_count;
    adapter_use *use = arena_alloc(r->memory, count + 1, sizeof *use);
    if (!use) return error_memory(err, count * sizeof *use, "the LoRAs");
    const adapter_set adapters = model_adapters(handle, use);
    b->model = handle->model;
    const runner_spec spec = {.device = &handle->device,
                              .weights = handle->model->weights[r->part],
                              .part = r->part,
                              .adapters = &adapters,
                              .what = "a module",
                              .build = build,
                              .user = b};
    return runner_create(&spec, &r->runner, err);
}

/* Values [B,H,W,C] as a file's entry [B,C,H,W]. */
static leco_status to_entry(module_run *r, const char *name, const float *nhwc, latent_size size,
                            safetensors_entry *entry, leco_error *err)
{
    const size_t count = latent_count(size);
    float *nchw;
    LECO_TRY(new_floats(r, count, &nchw, err));
    latents_to_nchw(nhwc, nchw, size);
    *entry = (safetensors_entry){.name = name,
                                 .type = DTYPE_F32,
                                 .rank = 4,
                                 .shape = {size.batch, size.channels, size.height, size.width},
                                 .count = count,
                                 .data = nchw};
    return LECO_OK;
}

/* The same of a result. */
static leco_status take_picture(module_run *r, const char *name, const tensor *t, safetensors_entry *entry,
                                leco_error *err)
{
    const latent_size size = {t->shape.dim[0], t->shape.dim[1], t->shape.dim[2], t->shape.dim[3]};
    float *nhwc;
    LECO_TRY(new_floats(r, latent_count(size), &nhwc, err));
    LECO_TRY(session_read(r->runner.session, t, nhwc, latent_count(size), err));
    return to_entry(r, name, nhwc, size, entry, err);
}

static leco_status write_out(const module_run *r, const safetensors_entry *entries, size_t count, leco_error *err)
{
    const char *const metadata[][2] = {{"made_by", "leco " LECO_VERSION}, {"model", r->handle->model->folder}};
    LECO_TRY(model_unchanged(r->handle->model, err));
    return safetensors_write(r->out_path, entries, count, metadata, 2, err);
}

/* ---- modules ---- */

/* The text that the prompt means; one that means several is for drawing. */
static leco_status only_text(module_run *r, const char **out, leco_error *err)
{
    wildcards w = {.memory = r->memory};
    wildcard_text read;
    LECO_TRY(wildcards_read(&w, r->prompt, &read, err));
    if (wildcards_ways(&w, &read) > 1)
        return error_set(err, LECO_INVALID, "\"%.80s\" means several texts; give one, or \\{ for a brace", r->prompt);
    char *text = arena_alloc(r->memory, strlen(r->prompt) + 1, 1);
    if (!text) return error_memory(err, strlen(r->prompt), "a prompt");
    wildcards_expand(&w, &read, text);
    *out = text;
    return LECO_OK;
}

/* The text encoder that is run. */
static text_part text_of(const module_run *r)
{
    text_part parts[MODEL_MOST_TEXTS];
    model_texts(r->handle->model, parts);
    return parts[r->part == PART_TEXT_ENCODER_2];
}

static leco_status read_ids(module_run *r, int64_t *batch, int64_t *tokens, int32_t **ids, leco_error *err)
{
    const text_part of = text_of(r);
    if (r->prompt) {
        *batch = 1;
        *tokens = (int64_t)tokenizer_length(of.tokenizer);
        *ids = arena_alloc(r->memory, (size_t)*tokens, sizeof **ids);
        if (!*ids) return error_memory(err, (size_t)*tokens * sizeof **ids, "token ids");
        const char *text = NULL;
        prompts_told told = {0};
        LECO_TRY(only_text(r, &text, err));
        return conditioning_ids(of.tokenizer, text, &told, *ids, err);
    }
    const safetensors_entry *e;
    LECO_TRY(safetensors_require(r->in, "input_ids", 2, (const int64_t[]){-1, -1}, &e, err));
    LECO_TRY(check_sizes(r, e, err));
    const char *path = safetensors_path(r->in);
    if (e->type != DTYPE_I32 && e->type != DTYPE_I64)
        return error_set(err, LECO_INVALID, "%s: tensor \"input_ids\" is %s, expected int64 or int32", path,
                         dtype_name(e->type));
    if (e->shape[1] > of.config->max_positions)
        return error_set(err, LECO_INVALID, "%s: tensor \"input_ids\" has %lld tokens, the text encoder takes %lld",
                         path, (long long)e->shape[1], (long long)of.config->max_positions);
    int64_t *wide = arena_alloc(r->memory, e->count, sizeof *wide);
    *ids = arena_alloc(r->memory, e->count, sizeof **ids);
    if (!wide || !*ids) return error_memory(err, e->count * sizeof *wide, "token ids");
    dtype_convert(wide, DTYPE_I64, e->data, e->type, e->count);
    for (size_t i = 0; i < e->count; i++) {
        if (wide[i] < 0 || wide[i] >= of.config->vocab_size)
            return error_set(err, LECO_INVALID, "%s: tensor \"input_ids\": element %zu is %lld, expected 0 to %lld",
                             path, i, (long long)wide[i], (long long)of.config->vocab_size - 1);
        (*ids)[i] = (int32_t)wide[i];
    }
    *batch = e->shape[0];
    *tokens = e->shape[1];
    return LECO_OK;
}

static void build_text(nn *c, void *user)
{
    building *b = user;
    text_options options = b->model->clip_skip > 1 ? b->model->states : (text_options){0};
    options.pooled = false;
    b->text = text_encoder_build(c, b->config, b->size.batch, b->tokens, options);
}

static leco_status run_text_encoder(module_run *r, leco_error *err)
{
    int64_t batch = 0, tokens = 0;
    int32_t *ids = NULL;
    const text_config *config = text_of(r).config;
    LECO_TRY(read_ids(r, &batch, &tokens, &ids, err));
    building b = {.size.batch = batch, .tokens = tokens, .config = config};
    LECO_TRY(start(r, build_text, &b, err));
    LECO_TRY(session_write_i32(r->runner.session, b.text.ids, ids, (size_t)(batch * tokens), err));
    LECO_TRY(session_run(r->runner.session, err));
    const size_t count = (size_t)(batch * tokens * config->hidden_size);
    float *states;
    LECO_TRY(new_floats(r, count, &states, err));
    LECO_TRY(session_read(r->runner.session, b.text.hidden_states, states, count, err));
    const safetensors_entry entry = {.name = "last_hidden_state",
                                     .type = DTYPE_F32,
                                     .rank = 3,
                                     .shape = {batch, tokens, config->hidden_size},
                                     .count = count,
                                     .data = states};
    return write_out(r, &entry, 1, err);
}

/* "timestep": one for all (a scalar or [1]) or one a sample; whole numbers or not. */
static leco_status read_timesteps(module_run *r, int64_t batch, float **out, leco_error *err)
{
    const char *path = safetensors_path(r->in);
    const safetensors_entry *e = safetensors_find(r->in, "timestep");
    if (!e) return safetensors_require(r->in, "timestep", 0, NULL, &e, err); /* says why */
    if (e->rank > 1 || (e->count != 1 && e->count != (size_t)batch))
        return error_set(err, LECO_INVALID, "%s: tensor \"timestep\" has %zu elements, expected one or %lld", path,
                         e->count, (long long)batch);
    const bool whole = e->type == DTYPE_I32 || e->type == DTYPE_I64;
    int64_t *numbers = arena_alloc(r->memory, e->count, sizeof *numbers);
    if (!numbers) return error_memory(err, e->count * sizeof *numbers, "timesteps");
    LECO_TRY(new_floats(r, (size_t)batch, out, err));
    if (whole) {
        dtype_convert(numbers, DTYPE_I64, e->data, e->type, e->count);
        for (size_t i = 0; i < e->count; i++) (*out)[i] = (float)numbers[i];
    } else {
        dtype_convert(*out, DTYPE_F32, e->data, e->type, e->count);
    }
    for (int64_t i = (int64_t)e->count; i < batch; i++) (*out)[i] = (*out)[0];
    return LECO_OK;
}

static void build_unet(nn *c, void *user)
{
    building *b = user;
    b->unet =
        unet_build(c, &b->model->unet, (unet_size){b->size.batch, b->size.height, b->size.width, b->tokens}, NULL);
    if (graph_ok(c->g)) graph_result(c->g, b->unet.noise);
}

/* "text_embeds" [B,P] and "time_ids" [B,6], where the U-Net takes them. */
static leco_status read_added(module_run *r, int64_t batch, float **pooled, float **sizes, leco_error *err)
{
    const int64_t width = unet_pooled_width(&r->handle->model->unet);
    if (width == 0) return LECO_OK;
    LECO_TRY(get_floats(r, "text_embeds", 2, (const int64_t[]){batch, width}, NULL, pooled, err));
    return get_floats(r, "time_ids", 2, (const int64_t[]){batch, UNET_TIME_IDS}, NULL, sizes, err);
}

static leco_status write_added(module_run *r, const unet *net, int64_t batch, const float *pooled, const float *sizes,
                               leco_error *err)
{
    session *s = r->runner.session;
    float column[MAX_BATCH];
    if (!net->pooled) return LECO_OK;
    LECO_TRY(session_write(s, net->pooled, pooled, (size_t)shape_count(&net->pooled->shape), err));
    for (int k = 0; k < UNET_TIME_IDS; k++) {
        for (int64_t i = 0; i < batch; i++) column[i] = sizes[i * UNET_TIME_IDS + k];
        LECO_TRY(session_write(s, net->time_ids[k], column, (size_t)batch, err));
    }
    return LECO_OK;
}

static leco_status run_unet(module_run *r, leco_error *err)
{
    const model *m = r->handle->model;
    latent_size size;
    float *sample = NULL, *timesteps = NULL, *states = NULL, *pooled = NULL, *sizes = NULL;
    const safetensors_entry *context;
    LECO_TRY(get_picture(r, "sample", m->unet.in_channels, &size, &sample, err));
    LECO_TRY(read_timesteps(r, size.batch, &timesteps, err));
    LECO_TRY(get_floats(r, "encoder_hidden_states", 3, (const int64_t[]){size.batch, -1, unet_context_width(&m->unet)},
                        &context, &states, err));
    LECO_TRY(read_added(r, size.batch, &pooled, &sizes, err));
    building b = {.size = size, .tokens = context->shape[1]};
    LECO_TRY(start(r, build_unet, &b, err));
    LECO_TRY(session_write(r->runner.session, b.unet.sample, sample, latent_count(size), err));
    LECO_TRY(session_write(r->runner.session, b.unet.timestep, timesteps, (size_t)size.batch, err));
    LECO_TRY(session_write(r->runner.session, b.unet.context, states, context->count, err));
    LECO_TRY(write_added(r, &b.unet, size.batch, pooled, sizes, err));
    LECO_TRY(session_run(r->runner.session, err));
    safetensors_entry entry;
    LECO_TRY(take_picture(r, "noise_pred", b.unet.noise, &entry, err));
    return write_out(r, &entry, 1, err);
}

static leco_status run_vae_encoder(module_run *r, leco_error *err)
{
    const model *m = r->handle->model;
    const int64_t factor = vae_factor(&m->vae);
    latent_size size;
    float *sample;
    LECO_TRY(get_picture(r, "sample", m->vae.in_channels, &size, &sample, err));
    if (size.height % factor || size.width % factor)
        return error_set(err, LECO_INVALID, "%s: tensor \"sample\" is %lldx%lld pixels, expected multiples of %lld",
                         safetensors_path(r->in), (long long)size.width, (long long)size.height, (long long)factor);
    float *mean, *logvar;
    safetensors_entry entries[2];
    LECO_TRY(encoder_plan(&r->handle->device, m, size, &r->encoder, err));
    const planned_memory planned = {weights_planned_bytes(m->weights[PART_VAE]), encoder_arena_bytes(r->encoder),
                                    encoder_bytes(r->encoder)};
    LECO_TRY(planned_explain(&planned, "a module", encoder_prepare(r->encoder, err), err));
    const latent_size latents = encoder_latents(r->encoder);
    LECO_TRY(new_floats(r, latent_count(latents), &mean, err));
    LECO_TRY(new_floats(r, latent_count(latents), &logvar, err));
    LECO_TRY(encoder_run(r->encoder, sample, mean, logvar, err));
    LECO_TRY(to_entry(r, "latent_mean", mean, latents, &entries[0], err));
    LECO_TRY(to_entry(r, "latent_logvar", logvar, latents, &entries[1], err));
    return write_out(r, entries, 2, err);
}

static void build_decoder(nn *c, void *user)
{
    building *b = user;
    b->decoder = vae_decoder_build(c, &b->model->vae, b->size.batch, b->size.height, b->size.width);
}

static leco_status run_vae_decoder(module_run *r, leco_error *err)
{
    const model *m = r->handle->model;
    latent_size size;
    float *latents;
    LECO_TRY(get_picture(r, "latents", m->vae.latent_channels, &size, &latents, err));
    building b = {.size = size};
    LECO_TRY(start(r, build_decoder, &b, err));
    LECO_TRY(session_write(r->runner.session, b.decoder.latents, latents, latent_count(size), err));
    LECO_TRY(session_run(r->runner.session, err));
    safetensors_entry entry;
    LECO_TRY(take_picture(r, "sample", b.decoder.sample, &entry, err));
    return write_out(r, &entry, 1, err);
}

static const struct module_kind {
    const char *name;
    model_part part;
    leco_status (*run)(module_run *r, leco_error *err);
} modules[] = {
    {"text-encoder", PART_TEXT_ENCODER, run_text_encoder},
    {"text-encoder-2", PART_TEXT_ENCODER_2, run_text_encoder},
    {"unet", PART_UNET, run_unet},
    {"vae-encoder", PART_VAE, run_vae_encoder},
    {"vae-decoder", PART_VAE, run_vae_decoder},
};

const char *leco_module_name(size_t index)
{
    return index < sizeof modules / sizeof *modules ? modules[index].name : NULL;
}

static leco_status run_module(module_run *r, const struct module_kind *kind, const char *in, leco_error *err)
{
    leco_model *handle = r->handle;
    if (!model_has(handle->model, kind->part))
        return error_set(err, LECO_INVALID, "%s has no %s", handle->model->folder, kind->name);
    if (in) LECO_TRY(safetensors_open(in, &r->in, err));
    LECO_TRY(model_load(handle->model, 1 << kind->part, err));
    r->memory = arena_create();
    if (!r->memory) return error_memory(err, 0, "tensors");
    r->part = kind->part;
    return kind->run(r, err);
}

leco_status leco_run(leco_model *handle, const char *module, const char *in, const char *prompt, const char *out,
                     leco_error *err)
{
    IN_C_LOCALE;
    const struct module_kind *kind = NULL;
    for (size_t i = 0; i < sizeof modules / sizeof modules[0]; i++)
        if (strcmp(modules[i].name, module) == 0) kind = &modules[i];
    if (!kind)
        return error_set(err, LECO_INVALID,
                         "module \"%s\" is not known; there are text-encoder, text-encoder-2, unet, vae-encoder and "
                         "vae-decoder",
                         module);
    const bool reads_text = kind->run == run_text_encoder;
    if (prompt && !reads_text)
        return error_set(err, LECO_INVALID, "a prompt is for the text-encoder; %s reads a file", module);
    if ((in != NULL) == (prompt != NULL))
        return error_set(err, LECO_INVALID, "%s needs a file of inputs%s", module, reads_text ? " or a prompt" : "");
    module_run r = {.handle = handle, .prompt = prompt, .out_path = out};
    leco_status status = run_module(&r, kind, in, err);
    close_run(&r);
    return status;
}
