#include "train/config.h"

#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/number.h"
#include "model/family.h"
#include "train/config_keys.h"

/* A relative path from the config's folder: "out", not "./out", beside a config that was named without a folder. */
static leco_status beside(const train_config *c, const char *path, const char **out, leco_error *err)
{
    char *folder = file_folder_of(c->path);
    while (path[0] == '.' && path[1] == '/') path += 2 + strspn(path + 2, "/");
    char *joined = folder ? file_join(strcmp(folder, ".") == 0 ? "" : folder, path) : NULL;
    *out = joined ? arena_strdup(c->memory, joined) : NULL;
    mem_free(folder);
    mem_free(joined);
    return *out ? LECO_OK : error_memory(err, strlen(path), "a path");
}

/* What is read is looked for beside the config, then in the working directory, where P1atdev's trainer looks. Found in
 * neither, it stays beside the config. */
static leco_status find(train_config *c, const char *path, const char **out, leco_error *err)
{
    LECO_TRY(beside(c, path, out, err));
    if (file_exists(*out) || !file_exists(path)) return LECO_OK;
    c->in_working_directory = true;
    *out = path;
    return LECO_OK;
}

leco_status train_config_missing(const train_config *c, const char *key, const char *path, const char *written,
                                 leco_error *err)
{
    const bool other_place = written[0] != '/' && strcmp(path, written) != 0;
    return error_set(err, LECO_IO, "%s: %s: there is no %s%s%s%s", c->path, key, path,
                     other_place ? ", and in the working directory no " : "", other_place ? written : "",
                     other_place ? " either" : "");
}

/* What a computation in float32 would take for zero: then the pair would train nothing. */
static leco_status check_not_zero(const doc_node *entry, const char *key, double value, const char *why,
                                  leco_error *err)
{
    if (!number_is_lost(value)) return LECO_OK;
    return error_set(err, LECO_INVALID, "%s: prompts.%s: expected another number than 0%s: %s",
                     doc_find(entry, key)->place, key, value == 0 ? "" : ", which this one is in float32", why);
}

static leco_status read_prompt(const doc_node *n, const train_config *c, train_prompt *p, leco_error *err)
{
    const key_section *section = &config_sections[SECTION_PROMPTS];
    if (n->kind != DOC_MAP) return doc_wrong(n, "prompts", "a list of entries with at least \"target: ...\"", err);
    keys_defaults(section, p);
    LECO_TRY(keys_read(n, section, config_sections, p, err));
    p->place = n->place;
    if (!p->target) return error_set(err, LECO_INVALID, "%s: prompts: an entry needs a target", n->place);
    if (!p->positive) p->positive = p->target;
    if (!p->neutral) p->neutral = p->unconditional;
    if (!p->batch_size) p->batch_size = c->batch_size;
    const double strength = p->multiplier * (double)c->network.alpha / (double)c->network.rank;
    LECO_TRY(check_not_zero(n, "multiplier", strength, "the adapter would be off while it is trained", err));
    return check_not_zero(n, "weight", p->weight, "the entry would train nothing; leave it out instead", err);
}

static leco_status read_prompts(train_config *c, const doc_node *list, leco_error *err)
{
    const char *where = c->path;
    if (doc_is_null(list)) list = NULL;
    if (c->prompts_file && list)
        return error_set(err, LECO_INVALID, "%s: prompts and prompts_file are both given; keep one", list->place);
    if (c->prompts_file) {
        doc_node *file;
        LECO_TRY(find(c, c->prompts_file, &where, err));
        if (!file_exists(where)) return train_config_missing(c, "prompts_file", where, c->prompts_file, err);
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
    for (size_t i = 0; i < list->count; i++) LECO_TRY(read_prompt(list->item[i].value, c, &c->prompt[i], err));
    return LECO_OK;
}

static leco_status read_sections(train_config *c, const doc_node *root, leco_error *err)
{
    for (int i = SECTION_FILE; i < SECTION_PROMPTS; i++) keys_defaults(&config_sections[i], c);
    LECO_TRY(keys_read(root, &config_sections[SECTION_FILE], config_sections, c, err));
    for (int i = SECTION_FILE + 1; i < SECTION_PROMPTS; i++) {
        const key_section *section = &config_sections[i];
        LECO_TRY(keys_read(doc_find(root, section->name), section, config_sections, c, err));
    }
    return read_prompts(c, doc_find(root, "prompts"), err);
}

/* Where a section stands, for what is wrong with several of its keys together. */
static const char *place_of(const train_config *c, const doc_node *root, const char *section)
{
    const doc_node *n = doc_find(root, section);
    return n ? n->place : c->path;
}

static leco_status check(const train_config *c, const doc_node *root, leco_error *err)
{
    const char *train = place_of(c, root, "train");
    const bool as_p1atdev = c->compat == TIMESTEPS_P1ATDEV;
    if (c->samples_per_trajectory > c->denoising_steps - as_p1atdev)
        return error_set(err, LECO_INVALID,
                         "%s: train.samples_per_trajectory: %lld samples can't be taken from %lld denoising steps",
                         train, (long long)c->samples_per_trajectory, (long long)c->denoising_steps);
    if (as_p1atdev && (c->timestep_jitter || c->samples_per_trajectory > 1))
        return error_set(err, LECO_INVALID,
                         "%s: train.timestep_compat: p1atdev goes with neither timestep_jitter nor "
                         "samples_per_trajectory above 1, which P1atdev's trainer doesn't have",
                         train);
    if (!c->model || !*c->model)
        return error_set(err, LECO_INVALID,
                         "%s: pretrained_model.name_or_path is missing: the folder of the model to train", c->path);
    if (strchr(c->save_name, '/') || !*c->save_name)
        return error_set(err, LECO_INVALID,
                         "%s: save.name: expected a file name, found \"%s\"; folders go into save.path",
                         place_of(c, root, "save"), c->save_name);
    return LECO_OK;
}

static leco_status read_tree(train_config *c, const doc_node *root, leco_error *err)
{
    LECO_TRY(read_sections(c, root, err));
    LECO_TRY(check(c, root, err));
    c->model_written = c->model;
    LECO_TRY(find(c, c->model, &c->model, err));
    /* A config whose files were found in the working directory was written for being there. */
    if (!c->in_working_directory) LECO_TRY(beside(c, c->save_path, &c->save_path, err));
    if (!c->optimizer_args) return LECO_OK;
    leco_status status = optimizer_parse(&c->optimizer, c->optimizer_args, err);
    if (status == LECO_OK) return LECO_OK;
    return error_prefix(err, status, "%s: train.optimizer_args", place_of(c, root, "train"));
}

leco_status train_config_read(const char *path, const char *const *overrides, size_t override_count, train_config *out,
                              leco_error *err)
{
    train_config c = {.memory = arena_create(), .network.exact = DTYPE_F32};
    if (!c.memory) return error_memory(err, 0, "the config");
    c.path = arena_strdup(c.memory, path);
    doc_node *root = NULL;
    leco_status status = c.path ? document_read(c.memory, path, &root, err) : error_memory(err, strlen(path), "a path");
    for (size_t i = 0; i < override_count && status == LECO_OK; i++)
        status = document_set(c.memory, root, overrides[i], err);
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
    return keys_text(config_sections, markdown, text, err);
}

leco_status train_config_check_model(const train_config *c, const struct model *m, leco_error *err)
{
    const int is_v = m->schedule.prediction == PREDICT_V, is_v2 = strcmp(m->family->name, "sd2") == 0;
    if (c->v_prediction >= 0 && c->v_prediction != is_v)
        return error_set(err, LECO_INVALID, "%s: pretrained_model.v_pred is %s, but %s says %s", c->path,
                         c->v_prediction ? "true" : "false", c->model, is_v ? "v_prediction" : "epsilon");
    if (c->v2 >= 0 && c->v2 != is_v2)
        log_message(LOG_WARNING,
                    "%s: pretrained_model.v2 is %s, but %s is a model of the family %s, and is taken as that", c->path,
                    c->v2 ? "true" : "false", c->model, m->family->name);
    return LECO_OK;
}
