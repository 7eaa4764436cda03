#include "train/metadata.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/mem.h"
#include "base/number.h"
#include "model/family.h"
#include "train/config_keys.h"

static leco_status add_whole(setting_list *out, const char *key, int64_t value, leco_error *err)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return settings_add(out, key, text, err);
}

static leco_status add_number(setting_list *out, const char *key, double value, leco_error *err)
{
    char text[32];
    number_exact(value, text, sizeof text);
    return settings_add(out, key, text, err);
}

/* Of "models/sd15/" "sd15": who shares a LoRA need not tell where its model lies. */
static leco_status add_model_name(setting_list *out, const char *written, leco_error *err)
{
    size_t end = strlen(written), start;
    while (end > 1 && written[end - 1] == '/') end--;
    for (start = end; start > 0 && written[start - 1] != '/';) start--;
    char *name = mem_strndup(written + start, end - start);
    leco_status status =
        name ? settings_add(out, "ss_sd_model_name", name, err) : error_memory(err, end, "the metadata");
    mem_free(name);
    return status;
}

static leco_status add_optimizer(setting_list *out, const train_config *c, leco_error *err)
{
    char *text = optimizer_text(&c->optimizer);
    leco_status status = text ? settings_add(out, "ss_optimizer", text, err) : error_memory(err, 0, "the metadata");
    mem_free(text);
    return status;
}

static leco_status add_loss(setting_list *out, const train_config *c, leco_error *err)
{
    const bool huber = c->loss != LOSS_MSE;
    LECO_TRY(settings_add(out, "ss_loss_type", huber ? config_losses.name(&c->loss) : "l2", err));
    if (c->min_snr_gamma > 0) LECO_TRY(add_number(out, "ss_min_snr_gamma", c->min_snr_gamma, err));
    if (!huber) return LECO_OK;
    LECO_TRY(settings_add(out, "ss_huber_schedule", config_huber_schedules.name(&c->huber_schedule), err));
    return add_number(out, "ss_huber_c", c->huber_c, err);
}

static leco_status add_json(setting_list *out, const setting_list *settings, leco_error *err)
{
    json_t *object = json_object();
    bool good = object != NULL;
    for (size_t i = 0; i < settings->count && good; i++)
        good = json_object_set_new(object, settings->pair[i][0], json_string(settings->pair[i][1])) == 0;
    char *text = good ? json_dumps(object, JSON_COMPACT) : NULL;
    leco_status status = text ? settings_add(out, "leco_config", text, err) : error_memory(err, 0, "the metadata");
    free(text); /* jansson's */
    json_decref(object);
    return status;
}

static leco_status add_config(setting_list *out, const train_config *c, leco_error *err)
{
    setting_list settings;
    leco_status status = settings_create(&settings, err);
    if (status == LECO_OK) status = train_config_describe(c, &settings, err);
    if (status == LECO_OK) status = add_json(out, &settings, err);
    settings_free(&settings);
    return status;
}

/* As sd-scripts has them: what its users give as --network_args, LyCORIS's `algo` among them. */
static bool network_args(const train_config *c, json_t *args)
{
    const trainable_options *n = &c->network;
    const bool dora = n->kind == &kind_dora, lora = n->kind == &kind_lora;
    bool good = true;
#define ARG(key, ...) good = good && json_object_set_new(args, key, json_sprintf(__VA_ARGS__)) == 0
    if (!lora) ARG("algo", "%s", dora ? "locon" : n->kind->name);
    if (dora) {
        ARG("dora_wd", "True");
        ARG("wd_on_output", "True");
    }
    if (n->kind == &kind_lokr) ARG("factor", "%lld", (long long)n->factor);
    if (n->layers.scope == SCOPE_C3LIER) {
        ARG("conv_dim", "%lld", (long long)(n->conv_rank ? n->conv_rank : n->rank));
        ARG("conv_alpha", "%.7g", (double)(n->conv_alpha > 0 ? n->conv_alpha : n->alpha));
    }
    if (n->dropout.rank > 0) ARG("rank_dropout", "%.7g", (double)n->dropout.rank);
    if (n->dropout.module > 0) ARG("module_dropout", "%.7g", (double)n->dropout.module);
#undef ARG
    return good;
}

static leco_status add_network(setting_list *out, const train_config *c, leco_error *err)
{
    const trainable_options *n = &c->network;
    if (n->kind->alone) return LECO_OK;
    char dropout[32];
    snprintf(dropout, sizeof dropout, "%.7g", (double)n->dropout.element);
    if (n->dropout.element > 0) LECO_TRY(settings_add(out, "ss_network_dropout", dropout, err));
    json_t *args = json_object();
    char *text = args && network_args(c, args) ? json_dumps(args, 0) : NULL;
    leco_status status = !text                    ? error_memory(err, 0, "the metadata")
                         : json_object_size(args) ? settings_add(out, "ss_network_args", text, err)
                                                  : LECO_OK;
    free(text); /* jansson's */
    json_decref(args);
    if (!n->start_from || status != LECO_OK) return status;
    const char *slash = strrchr(n->start_from, '/');
    return settings_add(out, "leco_start_from", slash ? slash + 1 : n->start_from, err);
}

static leco_status add_all(setting_list *out, const train_config *c, const model *m, dtype computed, int64_t steps,
                           leco_error *err)
{
    LECO_TRY(add_model_name(out, c->model_written, err));
    LECO_TRY(settings_add(out, "ss_v2", m->family->v2 ? "True" : "False", err));
    LECO_TRY(settings_add(out, "ss_mixed_precision",
                          computed == DTYPE_BF16  ? "bf16"
                          : computed == DTYPE_F16 ? "fp16"
                                                  : "no",
                          err));
    if (c->clip_skip > 1) LECO_TRY(add_whole(out, "ss_clip_skip", c->clip_skip, err));
    LECO_TRY(add_whole(out, "ss_steps", steps, err));
    LECO_TRY(add_whole(out, "ss_max_train_steps", c->iterations, err));
    LECO_TRY(add_number(out, "ss_learning_rate", c->lr, err));
    if (c->network.layers.scope != SCOPE_EMBEDDING) LECO_TRY(add_number(out, "ss_unet_lr", c->lr, err));
    if (c->network.layers.text_encoder) LECO_TRY(add_number(out, "ss_text_encoder_lr", c->lr, err));
    LECO_TRY(add_network(out, c, err));
    LECO_TRY(settings_add(out, "ss_lr_scheduler", lr_schedule_rows[c->rates.schedule].name, err));
    LECO_TRY(add_whole(out, "ss_lr_warmup_steps", lr_warmup_steps(&c->rates, c->iterations), err));
    LECO_TRY(add_whole(out, "ss_gradient_accumulation_steps", c->accumulation, err));
    LECO_TRY(add_loss(out, c, err));
    LECO_TRY(add_optimizer(out, c, err));
    LECO_TRY(add_number(out, "ss_max_grad_norm", c->max_grad_norm, err));
    LECO_TRY(add_whole(out, "ss_batch_size_per_device", c->batch_size, err));
    char seed[24];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)c->seed);
    LECO_TRY(settings_add(out, "ss_seed", seed, err));
    return add_config(out, c, err);
}

leco_status metadata_of_run(const train_config *c, const model *m, dtype computed, int64_t steps, setting_list *out,
                            leco_error *err)
{
    LECO_TRY(settings_create(out, err));
    leco_status status = add_all(out, c, m, computed, steps, err);
    if (status != LECO_OK) settings_free(out);
    return status;
}
