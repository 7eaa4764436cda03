/* What `logging` and `other` of a config say, settled: names of files, and weights that suit what is trained. */
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "train/config_internal.h"
#include "train/modes.h"

leco_status config_join_logging(train_config *c, const doc_node *map, leco_error *err)
{
    static const char *const texts[] = {"prompts", "effect_prompts"};
    if (doc_is_null(map) || map->kind != DOC_MAP) return LECO_OK; /* which is told where its keys are read */
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        doc_node *n = doc_find(map, texts[i]);
        if (n && n->kind == DOC_LIST && n->count == 0) /* none, as in configs of Concept Sliders */
            *n = (doc_node){.kind = DOC_SCALAR, .place = n->place, .text = ""};
        LECO_TRY(config_join_texts(c, map, "logging", texts[i], err));
    }
    return LECO_OK;
}

static leco_status find(const train_config *c, const char **path, leco_error *err)
{
    return c->in_working_directory ? LECO_OK : config_beside(c, *path, path, err);
}

static leco_status find_files(train_config *c, leco_error *err)
{
    logging_config *l = &c->logging;
    if (l->tensorboard) LECO_TRY(find(c, &l->tensorboard, err));
    if (!l->run_name) l->run_name = c->save_name;
    if (!*l->run_name || strchr(l->run_name, '/') || l->run_name[0] == '.')
        return config_wrong(c, "logging.run_name", err, "expected the name of a folder, found \"%.80s\"", l->run_name);
    if (!l->log) return LECO_OK;
    if (*l->log) return find(c, &l->log, err);
    char *name = mem_printf("%s.log.jsonl", c->save_name), *path = name ? file_join(c->save_path, name) : NULL;
    l->log = path ? arena_strdup(c->memory, path) : NULL;
    mem_free(name);
    mem_free(path);
    return l->log ? LECO_OK : error_memory(err, 0, "a file's name");
}

static void settle_weights(train_config *c)
{
    logging_config *l = &c->logging;
    bool mirrored = false;
    for (size_t i = 0; i < c->prompt_count; i++) mirrored = mirrored || c->prompt[i].action->mirrored;
    if (l->weight_count > 0) return;
    if (c->network.kind != &kind_embedding) l->weight[l->weight_count++] = mirrored ? -1 : 0.5;
    l->weight[l->weight_count++] = 1;
}

static leco_status check(const train_config *c, leco_error *err)
{
    const logging_config *l = &c->logging;
    for (size_t i = 0; i < l->weight_count && c->network.kind == &kind_embedding; i++)
        if (l->weight[i] != 1)
            return config_wrong(c, "logging.weights", err, "an embedding has no weight: expected 1, found %g",
                                l->weight[i]);
    if (c->stop_at_effect > 0 && !l->effect)
        return error_set(err, LECO_INVALID,
                         "%s: logging.effect is false, but train.stop_at_effect is %g: what isn't measured can't end a "
                         "training",
                         train_config_place(c, "logging.effect"), c->stop_at_effect);
    return LECO_OK;
}

leco_status config_settle_logging(train_config *c, leco_error *err)
{
    settle_weights(c);
    LECO_TRY(find_files(c, err));
    LECO_TRY(check(c, err));
    if (c->logging.use_wandb)
        log_message(LOG_INFO,
                    "%s: logging.use_wandb: leco sends nothing to Weights & Biases; logging.log and "
                    "logging.tensorboard hold the same figures, and `wandb sync` takes the latter's folder",
                    train_config_place(c, "logging.use_wandb"));
    if (c->logging.use_xformers)
        log_message(LOG_INFO,
                    "%s: other.use_xformers: attention never builds its score matrix here; there is nothing to "
                    "switch on",
                    train_config_place(c, "other.use_xformers"));
    return LECO_OK;
}
