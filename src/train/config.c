#include "train/config.h"

#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "diffusion/sampler.h"
#include "model/family.h"
#include "train/config_internal.h"
#include "train/config_keys.h"
#include "train/modes.h"

enum { TIMESTEPS = 1000 }; /* of the noise schedules that there are */

/* "section: value" becomes "section: {key: value}". */
static leco_status spell_out(train_config *c, doc_node *n, const char *key, leco_error *err)
{
    doc_item *item = arena_alloc(c->memory, 1, sizeof *item);
    doc_node *value = arena_alloc(c->memory, 1, sizeof *value);
    if (!item || !value) return error_memory(err, sizeof *value, "the config");
    *value = *n;
    *item = (doc_item){key, value};
    *n = (doc_node){.kind = DOC_MAP, .place = n->place, .text = "", .count = 1, .item = item};
    return LECO_OK;
}

/* "pretrained_model: models/shapes" stands for "pretrained_model: {name_or_path: models/shapes}", and "preserve:
 * [...]", or a text or a file of them, for "preserve: {prompts: [...]}". */
static leco_status spell_out_all(train_config *c, const doc_node *root, leco_error *err)
{
    doc_node *base = doc_find(root, "pretrained_model"), *kept = doc_find(root, "preserve");
    if (!doc_is_null(base) && base->kind == DOC_SCALAR) LECO_TRY(spell_out(c, base, "name_or_path", err));
    if (doc_is_null(kept)) return LECO_OK;
    const bool is_file = kept->kind == DOC_MAP && kept->count == 1 && strcmp(kept->item[0].key, "file") == 0;
    return kept->kind != DOC_MAP || is_file ? spell_out(c, kept, "prompts", err) : LECO_OK;
}

/* 0 is the rank, as p1atdev's and kohya's trainers have it. */
static void spell_out_alpha(trainable_options *n)
{
    if (n->alpha == 0) n->alpha = (float)n->rank;
}

static leco_status settle_alpha(train_config *c, leco_error *err)
{
    trainable_options *n = &c->network;
    spell_out_alpha(n);
    if (n->alpha >= 1e-6f) return LECO_OK;
    return config_wrong(c, "network.alpha", err, "expected 0 or a number from 1e-06 on, found %g", (double)n->alpha);
}

/* Defaults that don't go with what the config says give way to it. */
static void give_way(train_config *c, const doc_node *train)
{
    const bool no_room = c->karras || c->spacing == SPACING_LINSPACE || c->compat == TIMESTEPS_P1ATDEV;
    if (!train || train->kind != DOC_MAP) return;
    if (no_room && !doc_find(train, "timestep_jitter")) c->timestep_jitter = false;
    if (doc_find(train, "samples_per_trajectory")) return;
    const int64_t high = c->max_timestep ? c->max_timestep : TIMESTEPS;
    const int64_t left = (high - c->min_timestep) * c->denoising_steps / TIMESTEPS; /* steps, at least */
    const int64_t most = c->compat == TIMESTEPS_P1ATDEV || left < 1 ? 1 : left;
    if (c->samples_per_trajectory > most) c->samples_per_trajectory = most;
}

static leco_status read_sections(train_config *c, const doc_node *root, leco_error *err)
{
    c->as_p1atdev = !doc_is_null(doc_find(root, "prompts_file"));
    for (int i = SECTION_FILE; i <= SECTION_REGULARISATION; i++) keys_defaults(&config_sections[i], c->as_p1atdev, c);
    LECO_TRY(config_join_texts(c, root, "", "attributes", err));
    LECO_TRY(config_join_logging(c, doc_find(root, "logging"), err));
    LECO_TRY(keys_read(root, &config_sections[SECTION_FILE], config_sections, c, err));
    for (int i = SECTION_FILE + 1; i < SECTION_PRESERVE; i++) {
        const key_section *section = &config_sections[i];
        LECO_TRY(keys_read(doc_find(root, section->name), section, config_sections, c, err));
    }
    give_way(c, doc_find(root, "train"));
    LECO_TRY(settle_alpha(c, err));
    LECO_TRY(config_read_preserved(c, root, err));
    LECO_TRY(config_read_images(c, root, err));
    LECO_TRY(config_read_teachers(c, doc_find(root, "teachers"), err));
    LECO_TRY(config_read_prompts(c, doc_find(root, "prompts"), err));
    return config_check_preserved(c, err);
}

/* What goes with the sampler, and what with p1atdev's timesteps. */
static leco_status check_sampling(const train_config *c, leco_error *err)
{
    static const char *const theirs[] = {"ddim", "ddpm", "lms", "euler_a"};
    bool known = false;
    for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++)
        known = known || strcmp(c->sampler->name, theirs[i]) == 0;
    if (c->karras && c->sampler->grid == GRID_WHOLE)
        return config_wrong(c, "train.karras_sigmas", err,
                            "%s steps on timesteps, not on sigmas; another noise_scheduler does", c->sampler->name);
    if (c->timestep_jitter && (c->karras || c->spacing == SPACING_LINSPACE))
        return config_wrong(c, "train.timestep_jitter", err,
                            "%s leave no room for it; it goes with timestep_spacing leading and "
                            "trailing",
                            c->karras ? "Karras' sigmas" : "timesteps of linspace spacing");
    if (c->compat == TIMESTEPS_P1ATDEV && (!known || c->karras))
        return config_wrong(c, "train.timestep_compat", err,
                            "p1atdev's trainer has the noise_scheduler ddim, ddpm, lms or euler_a, "
                            "without karras_sigmas");
    return LECO_OK;
}

static leco_status check(const train_config *c, leco_error *err)
{
    const bool as_p1atdev = c->compat == TIMESTEPS_P1ATDEV;
    LECO_TRY(check_sampling(c, err));
    if (c->samples_per_trajectory > c->denoising_steps - as_p1atdev)
        return config_wrong(c, "train.samples_per_trajectory", err,
                            "%lld samples can't be taken from %lld denoising steps",
                            (long long)c->samples_per_trajectory, (long long)c->denoising_steps);
    if (as_p1atdev && (c->timestep_jitter || c->samples_per_trajectory > 1))
        return config_wrong(c, "train.timestep_compat", err,
                            "p1atdev goes with neither timestep_jitter nor "
                            "samples_per_trajectory above 1, which p1atdev's trainer doesn't have");
    if (c->max_timestep && c->min_timestep >= c->max_timestep)
        return config_wrong(c, "train.min_timestep", err, "%lld leaves no timestep below a max_timestep of %lld",
                            (long long)c->min_timestep, (long long)c->max_timestep);
    if (!c->model || !*c->model)
        return error_set(err, LECO_INVALID,
                         "%s: pretrained_model.name_or_path is missing: the folder of the model to train", c->path);
    if (strchr(c->save_name, '/') || !*c->save_name)
        return config_wrong(c, "save.name", err, "expected a file name, found \"%s\"; folders go into save.path",
                            c->save_name);
    return LECO_OK;
}

/* Does an entry ask for an adapter at another multiplier than 1? */
static bool is_scaled(const train_prompt *p)
{
    return p->action->mirrored || p->multiplier != 1;
}

const char *train_config_closed_start(const trainable_options *n)
{
    if (n->rule_count || n->start_from) return "goes with neither ranks nor start_from";
    if (n->layers.method == METHOD_SELFATTN || n->layers.method == METHOD_NOXATTN)
        return "is for attn2's to_k and to_v, which this training_method leaves out";
    return NULL;
}

/* What a LoRA starts as. */
static leco_status settle_start(const train_config *c, leco_error *err)
{
    const trainable_options *n = &c->network;
    if (!n->start) return LECO_OK;
    if (strcmp(n->start, "zero") == 0) return LECO_OK;
    if (strcmp(n->start, "erase") != 0)
        return config_wrong(c, "network.init", err,
                            "\"%.60s\": a %s starts from zero, or from a closed form (erase); only an "
                            "embedding starts as words",
                            n->start, n->kind->name);
    const char *why = train_config_closed_start(n);
    return why ? config_wrong(c, "network.init", err, "erase %s", why) : LECO_OK;
}

/* An embedding by type or by kind. */
static leco_status settle_network(train_config *c, leco_error *err)
{
    trainable_options *n = &c->network;
    if (!n->kind) n->kind = n->layers.scope == SCOPE_EMBEDDING ? &kind_embedding : &kind_lora;
    if (n->kind == &kind_embedding) n->layers.scope = SCOPE_EMBEDDING;
    if (n->kind != &kind_embedding && n->layers.scope == SCOPE_EMBEDDING)
        return config_wrong(c, "network.type", err, "embedding is no place for the kind %s", n->kind->name);
    if (n->kind != &kind_embedding && n->token)
        return config_wrong(c, "network.token", err, "a %s has none; type: embedding trains one", n->kind->name);
    for (size_t i = 0; i < c->prompt_count && n->kind != &kind_embedding; i++)
        if (c->prompt[i].action->negative)
            return error_set(
                err, LECO_INVALID,
                "%s: action: negative trains an embedding (network.type: embedding): a %s would be on in the "
                "whole picture",
                c->prompt[i].place, n->kind->name);
    if (n->kind != &kind_embedding) return settle_start(c, err);
    if (!n->start) n->start = "*";
    if (!n->token || !*n->token)
        return error_set(err, LECO_INVALID, "%s: network.token is missing: the word that the embedding is to be",
                         train_config_place(c, "network"));
    if (strpbrk(n->token, " \t\r\n,{}|"))
        return config_wrong(c, "network.token", err,
                            "expected one word without spaces, commas, braces and |, "
                            "found \"%.80s\"",
                            n->token);
    if (n->layers.text_encoder)
        return config_wrong(c, "network.text_encoder", err, "an embedding leaves the text encoder as it is");
    for (size_t i = 0; i < c->prompt_count; i++)
        if (is_scaled(&c->prompt[i]))
            return error_set(err, LECO_INVALID,
                             "%s: an embedding has no multiplier: it can be neither a slider nor at "
                             "another multiplier than 1",
                             c->prompt[i].place);
    return LECO_OK;
}

/* Keys of `network` that say nothing to what is trained: whoever sets them expects something. */
static leco_status check_network_keys(const train_config *c, leco_error *err)
{
    train_config usual = {0};
    keys_defaults(&config_sections[SECTION_NETWORK], c->as_p1atdev, &usual);
    spell_out_alpha(&usual.network);
    const trainable_options *n = &c->network, *u = &usual.network;
    const bool embedding = n->kind == &kind_embedding;
    const char *idle = !embedding && n->vectors != u->vectors                 ? "network.vectors"
                       : embedding && n->rank != u->rank                      ? "network.rank"
                       : embedding && n->alpha != u->alpha                    ? "network.alpha"
                       : embedding && n->layers.method != u->layers.method    ? "network.training_method"
                       : embedding && n->layers.include.count                 ? "network.include"
                       : embedding && n->layers.exclude.count                 ? "network.exclude"
                       : embedding && n->rule_count                           ? "network.ranks"
                       : embedding && n->start_from                           ? "network.start_from"
                       : n->layers.scope != SCOPE_C3LIER && n->conv_rank      ? "network.conv_dim"
                       : n->layers.scope != SCOPE_C3LIER && n->conv_alpha > 0 ? "network.conv_alpha"
                       : n->kind != &kind_lokr && n->factor != u->factor      ? "network.factor"
                       : !n->kind->drops && n->dropout.element > 0            ? "network.dropout"
                       : !n->kind->drops && n->dropout.rank > 0               ? "network.rank_dropout"
                       : !n->kind->drops && n->dropout.module > 0             ? "network.module_dropout"
                                                                              : NULL;
    if (!idle) return LECO_OK;
    if (strstr(idle, ".conv_"))
        return config_wrong(c, idle, err, "is of convolutions larger than 1x1, which only type: c3lier trains");
    return config_wrong(c, idle, err, "a%s %s has none", embedding ? "n" : "", n->kind->name);
}

static void warn_of_idle_teachers(const train_config *c)
{
    for (size_t k = 0; k < c->teacher_count; k++) {
        bool asked = false;
        for (size_t i = 0; i < c->prompt_count; i++) {
            const train_prompt *p = &c->prompt[i];
            asked = asked || p->teacher == k + 1;
            for (size_t t = 0; t < p->term_count; t++) asked = asked || p->term[t].teacher == k + 1;
        }
        if (!asked)
            log_message(LOG_WARNING, "%s: teachers.%s: no entry names it: it is opened for nothing",
                        c->teacher[k].place, c->teacher[k].name);
    }
}

/* People write the file's whole name. */
static leco_status settle_name(train_config *c, leco_error *err)
{
    static const char end[] = ".safetensors";
    const size_t length = strlen(c->save_name), tail = strlen(end);
    if (length <= tail || strcasecmp(c->save_name + length - tail, end) != 0) return LECO_OK;
    c->save_name = arena_printf(c->memory, "%.*s", (int)(length - tail), c->save_name);
    return c->save_name ? LECO_OK : error_memory(err, length, "a file's name");
}

/* The file that a key names. */
static leco_status find_named(train_config *c, const char *key, const char **path, leco_error *err)
{
    const char *written = *path;
    LECO_TRY(config_find_model(c, written, path, err)); /* a VAE may be in the hub's cache, too */
    if (file_exists(*path)) return LECO_OK;
    return train_config_missing(train_config_place(c, key), key, *path, written, err);
}

static leco_status read_tree(train_config *c, const doc_node *root, leco_error *err)
{
    LECO_TRY(read_sections(c, root, err));
    LECO_TRY(settle_network(c, err));
    if (c->spacing == SPACING_UNSAID)
        c->spacing = c->compat == TIMESTEPS_P1ATDEV ? c->sampler->spacing : SPACING_LEADING;
    LECO_TRY(check(c, err));
    LECO_TRY(settle_name(c, err));
    LECO_TRY(check_network_keys(c, err));
    warn_of_idle_teachers(c);
    c->model_written = c->model;
    c->model_place = doc_find(doc_find(root, "pretrained_model"), "name_or_path")->place;
    LECO_TRY(config_find_model(c, c->model, &c->model, err));
    if (c->vae) LECO_TRY(find_named(c, "pretrained_model.vae", &c->vae, err));
    if (c->network.start_from) LECO_TRY(find_named(c, "network.start_from", &c->network.start_from, err));
    /* A config whose files were found in the working directory was written for being there. */
    if (!c->in_working_directory) LECO_TRY(config_beside(c, c->save_path, &c->save_path, err));
    LECO_TRY(config_settle_logging(c, err));
    return config_settle_learning(c, err);
}

leco_status train_config_read(const char *path, const char *const *overrides, size_t override_count, train_config *out,
                              leco_error *err)
{
    train_config c = {.memory = arena_create(), .network.exact = DTYPE_F32};
    if (!c.memory) return error_memory(err, 0, "the config");
    c.path = arena_strdup(c.memory, path);
    doc_node *root = NULL;
    leco_status status = c.path ? document_read(c.memory, path, &root, err) : error_memory(err, strlen(path), "a path");
    if (status == LECO_OK) status = spell_out_all(&c, root, err); /* so that what is below can be overridden */
    for (size_t i = 0; i < override_count && status == LECO_OK; i++) {
        status = document_set(c.memory, root, overrides[i], err);
        if (status == LECO_OK) status = spell_out_all(&c, root, err);
    }
    c.root = root;
    if (status == LECO_OK) status = read_tree(&c, root, err);
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

leco_status train_config_keys(bool markdown, char **text, leco_error *err)
{
    return keys_text(config_sections, "with a `prompts_file`", markdown, text, err);
}

leco_status train_config_check_model(const train_config *c, const struct model *m, leco_error *err)
{
    const int is_v = m->schedule.prediction == PREDICT_V, is_v2 = m->family->v2;
    if (c->v_prediction >= 0 && c->v_prediction != is_v)
        return error_set(err, LECO_INVALID, "%s: pretrained_model.v_pred is %s, but %s says %s",
                         train_config_place(c, "pretrained_model.v_pred"), c->v_prediction ? "true" : "false", c->model,
                         is_v ? "v_prediction" : "epsilon");
    if (c->v2 >= 0 && c->v2 != is_v2)
        log_message(LOG_WARNING,
                    "%s: pretrained_model.v2 is %s, but %s is a model of the family %s, and is taken as that",
                    train_config_place(c, "pretrained_model.v2"), c->v2 ? "true" : "false", c->model, m->family->name);
    const long long timesteps = m->schedule.train_timesteps;
    if (c->guidance_from >= timesteps)
        return config_wrong(c, "train.trajectory_guidance_interval", err,
                            "%lld is not one of the model's %lld timesteps: there would be no guidance",
                            (long long)c->guidance_from, timesteps);
    for (size_t i = 0; i < c->prompt_count; i++)
        if (c->prompt[i].keep_above >= timesteps)
            return error_set(
                err, LECO_INVALID,
                "%s: prompts.keep_above: %lld is not one of the model's %lld timesteps: nothing would be kept",
                c->prompt[i].place, (long long)c->prompt[i].keep_above, timesteps);
    bool crops = false;
    for (size_t i = 0; i < c->prompt_count; i++) crops = crops || c->prompt[i].dynamic_crops;
    if (crops && unet_pooled_width(&m->unet) == 0)
        log_message(LOG_INFO, "%s: prompts.dynamic_crops is for Stable Diffusion XL, and changes nothing here",
                    c->path);
    return LECO_OK;
}
