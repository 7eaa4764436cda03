#include "train/config.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "train/rules.h"

#define LATER "is not supported yet"

/* ---- what the file may hold ---- */

/* What a file says before it is resolved; enums are ints for RULE_CHOICE. */
typedef struct raw_config {
    const doc_node *pretrained_model, *network, *train, *save, *logging, *other, *prompts;
    const char *prompts_file;
    const char *model;
    int v2, v_prediction;
    int64_t clip_skip;
    int network_type, layers;
    int64_t rank;
    double alpha;
    int precision, noise_scheduler, optimizer, lr_schedule, compat, save_precision;
    int64_t iterations, denoising_steps, samples, seed, batch_size, save_every;
    double lr, trajectory_guidance_scale;
    const char *optimizer_args;
    bool jitter, verbose;
    const char *save_name, *save_path;
} raw_config;

#define AT(member) offsetof(raw_config, member)

static const rule top_rules[] = {
    {"prompts_file", RULE_TEXT, AT(prompts_file), 0, 0, NULL, NULL},
    {"prompts", RULE_NODE, AT(prompts), 0, 0, NULL, NULL},
    {"pretrained_model", RULE_NODE, AT(pretrained_model), 0, 0, NULL, NULL},
    {"network", RULE_NODE, AT(network), 0, 0, NULL, NULL},
    {"train", RULE_NODE, AT(train), 0, 0, NULL, NULL},
    {"save", RULE_NODE, AT(save), 0, 0, NULL, NULL},
    {"logging", RULE_NODE, AT(logging), 0, 0, NULL, NULL},
    {"other", RULE_NODE, AT(other), 0, 0, NULL, NULL},
    {NULL, RULE_IGNORED, 0, 0, 0, NULL, NULL},
};

static const rule model_rules[] = {
    {"name_or_path", RULE_TEXT, AT(model), 0, 0, NULL, NULL},
    {"v2", RULE_FLAG, AT(v2), 0, 0, NULL, NULL},
    {"v_pred", RULE_FLAG, AT(v_prediction), 0, 0, NULL, NULL},
    {"clip_skip", RULE_INT, AT(clip_skip), 0, 24, NULL, NULL},
    {NULL, RULE_IGNORED, 0, 0, 0, NULL, NULL},
};

static const choice network_types[] = {
    {"lierla", SCOPE_LIERLA, NULL},
    {"c3lier", 0, LATER "; lierla is"},
    {NULL, 0, NULL},
};

static const choice training_methods[] = {
    {"full", METHOD_FULL, NULL},
    {"selfattn", METHOD_SELFATTN, NULL},
    {"xattn", METHOD_XATTN, NULL},
    {"xattn-strict", METHOD_XATTN_STRICT, NULL},
    {"noxattn", METHOD_NOXATTN, NULL},
    {"innoxattn", METHOD_INNOXATTN, NULL},
    {NULL, 0, NULL},
};

static const rule network_rules[] = {
    {"type", RULE_CHOICE, AT(network_type), 0, 0, network_types, NULL},
    {"rank", RULE_INT, AT(rank), 1, 1024, NULL, NULL},
    {"alpha", RULE_NUMBER, AT(alpha), 1e-6, 1e6, NULL, NULL},
    {"training_method", RULE_CHOICE, AT(layers), 0, 0, training_methods, NULL},
    {NULL, RULE_IGNORED, 0, 0, 0, NULL, NULL},
};

static const choice train_precisions[] = {
    {"bfloat16", DTYPE_BF16, NULL},
    {"bf16", DTYPE_BF16, NULL},
    {"float32", DTYPE_F32, NULL},
    {"fp32", DTYPE_F32, NULL},
    {"float16", 0, "is not supported for training; bfloat16 and float32 are"},
    {"fp16", 0, "is not supported for training; bfloat16 and float32 are"},
    {NULL, 0, NULL},
};

static const choice save_precisions[] = {
    {"float32", DTYPE_F32, NULL},
    {"fp32", DTYPE_F32, NULL},
    {"float16", DTYPE_F16, NULL},
    {"fp16", DTYPE_F16, NULL},
    {"bfloat16", DTYPE_BF16, NULL},
    {"bf16", DTYPE_BF16, NULL},
    {NULL, 0, NULL},
};

static const choice noise_schedulers[] = {
    {"ddim", 0, NULL}, {"ddpm", 0, LATER "; ddim is"}, {"lms", 0, LATER "; ddim is"}, {"euler_a", 0, LATER "; ddim is"},
    {NULL, 0, NULL},
};

static const choice optimizers[] = {
    {"adamw", OPTIMIZER_ADAMW, NULL},
    {"adam", OPTIMIZER_ADAM, NULL},
    {"sgd", OPTIMIZER_SGD, NULL},
    {"lion", 0, LATER "; adamw, adam and sgd are"},
    {"prodigy", 0, LATER "; adamw, adam and sgd are"},
    {"dadaptadam", 0, LATER "; adamw, adam and sgd are"},
    {"dadaptlion", 0, LATER "; adamw, adam and sgd are"},
    {"adam8bit", 0, LATER "; adamw, adam and sgd are"},
    {"adamw8bit", 0, LATER "; adamw, adam and sgd are"},
    {"lion8bit", 0, LATER "; adamw, adam and sgd are"},
    {NULL, 0, NULL},
};

static const choice lr_schedules[] = {
    {"constant", LR_CONSTANT, NULL},
    {"cosine", LR_COSINE, NULL},
    {"linear", 0, LATER "; constant and cosine are"},
    {"cosine_with_restarts", 0, LATER "; constant and cosine are"},
    {"step", 0, LATER "; constant and cosine are"},
    {NULL, 0, NULL},
};

static const choice compat_modes[] = {
    {"none", TIMESTEPS_RIGHT, NULL},
    {"p1atdev", TIMESTEPS_P1ATDEV, NULL},
    {NULL, 0, NULL},
};

static const rule train_rules[] = {
    {"precision", RULE_CHOICE, AT(precision), 0, 0, train_precisions, NULL},
    {"noise_scheduler", RULE_CHOICE, AT(noise_scheduler), 0, 0, noise_schedulers, NULL},
    {"iterations", RULE_INT, AT(iterations), 1, 1e9, NULL, NULL},
    {"lr", RULE_NUMBER, AT(lr), 1e-12, 1000, NULL, NULL},
    {"optimizer", RULE_CHOICE, AT(optimizer), 0, 0, optimizers, NULL},
    {"optimizer_args", RULE_TEXT, AT(optimizer_args), 0, 0, NULL, NULL},
    {"lr_scheduler", RULE_CHOICE, AT(lr_schedule), 0, 0, lr_schedules, NULL},
    {"max_denoising_steps", RULE_INT, AT(denoising_steps), 2, 1000, NULL, NULL},
    {"samples_per_trajectory", RULE_INT, AT(samples), 1, 1000, NULL, NULL},
    {"timestep_jitter", RULE_BOOL, AT(jitter), 0, 0, NULL, NULL},
    {"timestep_compat", RULE_CHOICE, AT(compat), 0, 0, compat_modes, NULL},
    {"seed", RULE_INT, AT(seed), 0, 9.2e18, NULL, NULL},
    {"batch_size", RULE_INT, AT(batch_size), 1, 64, NULL, NULL},
    {"trajectory_guidance_scale", RULE_NUMBER, AT(trajectory_guidance_scale), 0, 100, NULL, NULL},
    {NULL, RULE_IGNORED, 0, 0, 0, NULL, NULL},
};

static const rule save_rules[] = {
    {"name", RULE_TEXT, AT(save_name), 0, 0, NULL, NULL},
    {"path", RULE_TEXT, AT(save_path), 0, 0, NULL, NULL},
    {"per_steps", RULE_INT, AT(save_every), 0, 1e9, NULL, NULL},
    {"precision", RULE_CHOICE, AT(save_precision), 0, 0, save_precisions, NULL},
    {NULL, RULE_IGNORED, 0, 0, 0, NULL, NULL},
};

static const rule logging_rules[] = {
    {"use_wandb", RULE_BOOL, 0, 0, 0, NULL, LATER},
    {"verbose", RULE_BOOL, AT(verbose), 0, 0, NULL, NULL},
    {"interval", RULE_IGNORED, 0, 0, 0, NULL, NULL},
    {"run_name", RULE_IGNORED, 0, 0, 0, NULL, NULL},
    {"prompts", RULE_IGNORED, 0, 0, 0, NULL, LATER ": no previews are drawn while training"},
    {NULL, RULE_IGNORED, 0, 0, 0, NULL, NULL},
};

/* Attention never builds the score matrix here, so the key has nothing left to switch. */
static const rule other_rules[] = {
    {"use_xformers", RULE_IGNORED, 0, 0, 0, NULL, NULL},
    {NULL, RULE_IGNORED, 0, 0, 0, NULL, NULL},
};

typedef struct raw_prompt {
    const char *target, *positive, *unconditional, *neutral;
    int action;
    double guidance_scale, multiplier, weight;
    const doc_node *resolution;
    int64_t batch_size;
} raw_prompt;

#define IN(member) offsetof(raw_prompt, member)

static const choice actions[] = {{"erase", ACTION_ERASE, NULL}, {"enhance", ACTION_ENHANCE, NULL}, {NULL, 0, NULL}};

static const rule prompt_rules[] = {
    {"target", RULE_TEXT, IN(target), 0, 0, NULL, NULL},
    {"positive", RULE_TEXT, IN(positive), 0, 0, NULL, NULL},
    {"unconditional", RULE_TEXT, IN(unconditional), 0, 0, NULL, NULL},
    {"neutral", RULE_TEXT, IN(neutral), 0, 0, NULL, NULL},
    {"action", RULE_CHOICE, IN(action), 0, 0, actions, NULL},
    {"guidance_scale", RULE_NUMBER, IN(guidance_scale), -1000, 1000, NULL, NULL},
    {"multiplier", RULE_NUMBER, IN(multiplier), -1000, 1000, NULL, NULL},
    {"weight", RULE_NUMBER, IN(weight), 0, 1e6, NULL, NULL},
    {"resolution", RULE_NODE, IN(resolution), 0, 0, NULL, NULL},
    {"batch_size", RULE_INT, IN(batch_size), 1, 64, NULL, NULL},
    {"dynamic_resolution", RULE_BOOL, 0, 0, 0, NULL, LATER},
    {"dynamic_crops", RULE_BOOL, 0, 0, 0, NULL, LATER},
    {NULL, RULE_IGNORED, 0, 0, 0, NULL, NULL},
};

static const rule_section sections[] = {
    {"", top_rules},      {"pretrained_model", model_rules}, {"network", network_rules}, {"train", train_rules},
    {"save", save_rules}, {"logging", logging_rules},        {"other", other_rules},     {"prompts", prompt_rules},
    {NULL, NULL},
};
enum { TOP, MODEL, NETWORK, TRAIN, SAVE, LOGGING, OTHER, PROMPTS };

static leco_status read_section(const doc_node *map, int section, void *values, leco_error *err)
{
    return rules_read(map, &sections[section], sections, values, err);
}

/* ---- reading ---- */

static leco_status resolve(const train_config *c, const char *path, const char **out, leco_error *err)
{
    char *folder = file_folder_of(c->path);
    /* "out", not "./out", beside a config that was named without a folder */
    char *joined = folder ? file_join(strcmp(folder, ".") == 0 ? "" : folder, path) : NULL;
    *out = joined ? arena_strdup(c->memory, joined) : NULL;
    mem_free(folder);
    mem_free(joined);
    return *out ? LECO_OK : error_memory(err, strlen(path), "a path");
}

static leco_status read_resolution(const doc_node *n, train_prompt *p, leco_error *err)
{
    const double largest = 8192;
    if (doc_is_null(n)) return LECO_OK;
    if (n->kind == DOC_LIST) {
        if (n->count != 2)
            return error_set(err, LECO_INVALID,
                             "%s: prompts.resolution: expected a size or [height, width], found a list of %zu",
                             n->place, n->count);
        LECO_TRY(doc_int(n->item[0].value, "prompts.resolution", 8, (int64_t)largest, &p->height, err));
        return doc_int(n->item[1].value, "prompts.resolution", 8, (int64_t)largest, &p->width, err);
    }
    if (n->kind == DOC_MAP) return doc_wrong(n, "prompts.resolution", "a size or [height, width]", err);
    LECO_TRY(doc_int(n, "prompts.resolution", 8, (int64_t)largest, &p->height, err));
    p->width = p->height;
    return LECO_OK;
}

/* What a computation in float32 would take for zero: then the pair would train nothing. */
static leco_status check_not_zero(const doc_node *entry, const char *key, double value, const char *why,
                                  leco_error *err)
{
    if ((float)value != 0.0f) return LECO_OK;
    return error_set(err, LECO_INVALID, "%s: prompts.%s: expected another number than 0: %s",
                     doc_find(entry, key)->place, key, why);
}

static leco_status read_prompt(const doc_node *n, const raw_config *raw, train_prompt *p, leco_error *err)
{
    raw_prompt r = {.guidance_scale = 1.0, .multiplier = 1.0, .weight = 1.0, .batch_size = raw->batch_size};
    if (n->kind != DOC_MAP) return doc_wrong(n, "prompts", "a list of entries with at least \"target: ...\"", err);
    LECO_TRY(read_section(n, PROMPTS, &r, err));
    if (!r.target) return error_set(err, LECO_INVALID, "%s: prompts: an entry needs a target", n->place);
    LECO_TRY(check_not_zero(n, "multiplier", r.multiplier, "the adapter would be off while it is trained", err));
    LECO_TRY(check_not_zero(n, "weight", r.weight, "the entry would train nothing; leave it out instead", err));
    *p = (train_prompt){.place = n->place,
                        .target = r.target,
                        .positive = r.positive ? r.positive : r.target,
                        .unconditional = r.unconditional ? r.unconditional : "",
                        .action = (prompt_action)r.action,
                        .guidance_scale = r.guidance_scale,
                        .batch_size = r.batch_size,
                        .multiplier = r.multiplier,
                        .weight = r.weight};
    p->neutral = r.neutral ? r.neutral : p->unconditional;
    return read_resolution(r.resolution, p, err);
}

static leco_status read_prompts(train_config *c, const raw_config *raw, leco_error *err)
{
    const doc_node *list = raw->prompts;
    const char *where = c->path;
    if (raw->prompts_file && list)
        return error_set(err, LECO_INVALID, "%s: prompts and prompts_file are both given; keep one", list->place);
    if (raw->prompts_file) {
        doc_node *file;
        LECO_TRY(resolve(c, raw->prompts_file, &where, err));
        LECO_TRY(document_read(c->memory, where, &file, err));
        list = file;
    }
    if (!list)
        return error_set(err, LECO_INVALID, "%s: no prompts: give a list under \"prompts\", or a \"prompts_file\"",
                         where);
    if (list->kind != DOC_SCALAR && list->count == 0)
        return error_set(err, LECO_INVALID, "%s: the list of prompts is empty", list->place);
    if (list->kind != DOC_LIST) return doc_wrong(list, "prompts", "a list (\"- target: ...\")", err);
    c->prompt = arena_alloc(c->memory, list->count, sizeof *c->prompt);
    if (!c->prompt) return error_memory(err, list->count * sizeof *c->prompt, "the prompts");
    c->prompt_count = list->count;
    for (size_t i = 0; i < list->count; i++) LECO_TRY(read_prompt(list->item[i].value, raw, &c->prompt[i], err));
    return LECO_OK;
}

static leco_status read_sections(const doc_node *root, raw_config *raw, leco_error *err)
{
    LECO_TRY(read_section(root, TOP, raw, err));
    LECO_TRY(read_section(raw->pretrained_model, MODEL, raw, err));
    LECO_TRY(read_section(raw->network, NETWORK, raw, err));
    LECO_TRY(read_section(raw->train, TRAIN, raw, err));
    LECO_TRY(read_section(raw->save, SAVE, raw, err));
    LECO_TRY(read_section(raw->logging, LOGGING, raw, err));
    return read_section(raw->other, OTHER, raw, err);
}

static leco_status check(const train_config *c, const raw_config *raw, leco_error *err)
{
    const char *place = raw->train ? raw->train->place : c->path;
    if (raw->samples > raw->denoising_steps - (raw->compat == TIMESTEPS_P1ATDEV))
        return error_set(err, LECO_INVALID,
                         "%s: train.samples_per_trajectory: %lld samples can't be taken from %lld denoising steps",
                         place, (long long)raw->samples, (long long)raw->denoising_steps);
    if (raw->compat == TIMESTEPS_P1ATDEV && (raw->jitter || raw->samples > 1))
        return error_set(err, LECO_INVALID,
                         "%s: train.timestep_compat: p1atdev goes with neither timestep_jitter nor "
                         "samples_per_trajectory above 1, which P1atdev's trainer doesn't have",
                         place);
    if (!raw->model || !*raw->model)
        return error_set(err, LECO_INVALID,
                         "%s: pretrained_model.name_or_path is missing: the folder of the model to train", c->path);
    if (strchr(raw->save_name, '/') || !*raw->save_name)
        return error_set(err, LECO_INVALID,
                         "%s: save.name: expected a file name, found \"%s\"; folders go into save.path",
                         raw->save->place, raw->save_name);
    return LECO_OK;
}

static leco_status fill(train_config *c, const raw_config *raw, leco_error *err)
{
    LECO_TRY(read_prompts(c, raw, err));
    LECO_TRY(check(c, raw, err));
    LECO_TRY(resolve(c, raw->model, &c->model, err));
    LECO_TRY(resolve(c, raw->save_path, &c->save_path, err));
    c->v_prediction = raw->v_prediction;
    c->clip_skip = raw->clip_skip;
    c->network = (trainable_options){.kind = &kind_lora,
                                     .layers = {(layer_scope)raw->network_type, (training_method)raw->layers},
                                     .rank = raw->rank,
                                     .alpha = (float)raw->alpha,
                                     .exact = DTYPE_F32};
    if (raw->precision >= 0) c->precision = dtype_name((dtype)raw->precision);
    c->iterations = raw->iterations;
    c->lr = raw->lr;
    c->lr_schedule = (lr_schedule)raw->lr_schedule;
    c->optimizer = optimizer_defaults((optimizer_kind)raw->optimizer);
    if (raw->optimizer_args) {
        leco_status status = optimizer_parse(&c->optimizer, raw->optimizer_args, err);
        if (status != LECO_OK) return error_prefix(err, status, "%s: train.optimizer_args", raw->train->place);
    }
    c->denoising_steps = raw->denoising_steps;
    c->samples_per_trajectory = raw->samples;
    c->timestep_jitter = raw->jitter;
    c->compat = (timestep_compat)raw->compat;
    c->seed = (uint64_t)raw->seed;
    c->trajectory_guidance_scale = raw->trajectory_guidance_scale;
    c->save_name = raw->save_name;
    c->save_every = raw->save_every;
    c->save_precision = (dtype)raw->save_precision;
    c->verbose = raw->verbose;
    return LECO_OK;
}

leco_status train_config_read(const char *path, const char *const *overrides, size_t override_count, train_config *out,
                              leco_error *err)
{
    raw_config raw = {.v2 = -1,
                      .v_prediction = -1,
                      .rank = 4,
                      .alpha = 1.0,
                      .precision = -1,
                      .iterations = 500,
                      .lr = 1e-4,
                      .denoising_steps = 50,
                      .samples = 1,
                      .batch_size = 1,
                      .trajectory_guidance_scale = 3.0,
                      .save_name = "untitled",
                      .save_path = "output",
                      .save_every = 200};
    train_config c = {.memory = arena_create()};
    if (!c.memory) return error_memory(err, 0, "the config");
    c.path = arena_strdup(c.memory, path);
    doc_node *root = NULL;
    leco_status status = c.path ? document_read(c.memory, path, &root, err) : error_memory(err, strlen(path), "a path");
    for (size_t i = 0; i < override_count && status == LECO_OK; i++)
        status = document_set(c.memory, root, overrides[i], err);
    if (status == LECO_OK) status = read_sections(root, &raw, err);
    if (status == LECO_OK) status = fill(&c, &raw, err);
    if (status != LECO_OK) {
        train_config_free(&c);
        return status;
    }
    *out = c;
    return LECO_OK;
}

void train_config_free(train_config *config)
{
    arena_destroy(config->memory);
    *config = (train_config){0};
}
