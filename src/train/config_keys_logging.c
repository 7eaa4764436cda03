/* The keys of watching a training; rows as in config_keys.c. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/number.h"
#include "train/config.h"
#include "train/config_keys.h"

#define KEYS_OF train_config

/* `true` is a file of the usual name, which is not known here. */
static leco_status read_log(const doc_node *n, const char *name, void *values, leco_error *err)
{
    train_config *c = values;
    const char *text;
    bool said;
    leco_error no_answer;
    if (n->kind != DOC_SCALAR) return doc_wrong(n, name, "true, or the name of a file", err);
    if (!n->quoted && doc_bool(n, name, &said, &no_answer) == LECO_OK) {
        c->logging.log = said ? "" : NULL;
        return LECO_OK;
    }
    LECO_TRY(doc_text(n, name, &text, err));
    if (!*text) return doc_wrong(n, name, "true, or the name of a file", err);
    c->logging.log = text;
    return LECO_OK;
}

static char *show_log(const void *values)
{
    const train_config *c = values;
    return mem_strdup(c->logging.log ? c->logging.log : "none");
}

static leco_status read_weights(const doc_node *n, const char *name, void *values, leco_error *err)
{
    logging_config *l = &((train_config *)values)->logging;
    const size_t count = n->kind == DOC_LIST ? n->count : 1;
    if (n->kind == DOC_MAP || count < 1 || count > PREVIEW_MOST_WEIGHTS)
        return doc_wrong(n, name, "a list of 1 to 16 numbers", err);
    for (size_t i = 0; i < count; i++)
        LECO_TRY(doc_number(n->kind == DOC_LIST ? n->item[i].value : n, name, -1000, 1000, &l->weight[i], err));
    l->weight_count = count;
    return LECO_OK;
}

static char *show_weights(const void *values)
{
    const logging_config *l = &((const train_config *)values)->logging;
    char text[PREVIEW_MOST_WEIGHTS * 34] = "", number[32];
    for (size_t i = 0; i < l->weight_count; i++) {
        number_exact(l->weight[i], number, sizeof number);
        const size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s%s", i ? ", " : "", number);
    }
    return mem_strdup(text);
}

static leco_status read_resolution(const doc_node *n, const char *name, void *values, leco_error *err)
{
    logging_config *l = &((train_config *)values)->logging;
    return config_read_size(n, name, &l->height, &l->width, err);
}

static char *show_resolution(const void *values)
{
    const logging_config *l = &((const train_config *)values)->logging;
    return config_show_size(l->height, l->width);
}

const key_row config_logging_keys[] = {
    BOOL("verbose", verbose, "false", "also say what is done inside, as `--verbose` does"),
    TEXT("prompts", logging.prompts, UNSET("none"),
         "previews: what to draw of while training, one text or a list, into NAME.previews.png beside the output"),
    INT("interval", logging.interval, 0, 1e9, "100",
        "of previews: every so many steps, as `save.per_steps`; 0: at the beginning and at the end alone"),
    OWN("weights", read_weights, show_weights, "half and whole, `[0.5, 1]`; of sliders `[-1, 1]`",
        "of previews: the LoRA weights to draw with, 16 at most"),
    INT("steps", logging.steps, 1, 1000, "20", "of previews: denoising steps of each, by `ddim`"),
    NUMBER("guidance_scale", logging.guidance_scale, 0, 100, "7.5", "of previews: 1 is no guidance"),
    TEXT("negative_prompt", logging.negative_prompt, "", "of previews"),
    UINT("seed", logging.seed, 0, 9.2e18, "0",
         "of previews: each prompt is drawn from the same noise every time; the second from `seed` + 1 and so on"),
    OWN("resolution", read_resolution, show_resolution, "the model's own", "of previews: pixels, or `[height, width]`"),
    OWN("log", read_log, show_log, "none",
        "a file to write all figures to, one JSON object a line; `true`: NAME.log.jsonl beside the output"),
    INT("log_every", logging.log_every, 1, 1e9, "1",
        "a line of the log, and an event of TensorBoard's, every so many steps"),
    TEXT("tensorboard", logging.tensorboard, UNSET("none"),
         "a folder in which TensorBoard finds the same figures, and the previews, as a run of its own"),
    TEXT("run_name", logging.run_name, UNSET("`save.name`"), "what that run is called"),
    BOOL("effect", logging.effect, "true", "measure how far the training has come, where that costs little"),
    INT("effect_every", logging.effect_every, 0, 1e9,
        UNSET("as often as takes 5% of the time at most; of a short training at its end, where that takes 15% at most"),
        "every so many steps, as `save.per_steps`, however long it takes"),
    TEXT("effect_prompts", logging.effect_prompts, UNSET("near words in the place of the concept"),
         "what is measured as its neighbours: texts that the training should leave as they are, as in `prompts`"),
    BOOL("use_wandb", logging.use_wandb, "false",
         "accepted; nothing is sent anywhere. `log` and `tensorboard` hold what would be"),
    KEYS_END,
};

const key_row config_other_keys[] = {
    BOOL("use_xformers", logging.use_xformers, "false",
         "accepted; attention never builds its score matrix here, so there is nothing to switch"),
    KEYS_END,
};
