/* What of a trainer must be the same for going on with a training, and what of it changes while it trains. */
#include <string.h>

#include "base/cpu.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "train/trainer_internal.h"

/* Names of settings that say what is in files. */
#define CONTENTS "contents of "
#define PICTURES CONTENTS "the folders of pictures"
#define ADAPTER "the adapter"

/* ---- describing ---- */

/* Frees the digest, NULL where there was no memory for it. */
static leco_status finish(digest *d, char text[DIGEST_TEXT], leco_error *err)
{
    const bool good = d && digest_text(d, text);
    digest_destroy(d);
    if (!d) return error_memory(err, 0, "a digest");
    return good ? LECO_OK : error_set(err, LECO_INTERNAL, "libcrypto could not compute a SHA-256");
}

/* Which params there are, and of what shapes: so they lie in the flat buffers. */
static leco_status describe_adapter(const trainer *t, setting_list *out, leco_error *err)
{
    char text[DIGEST_TEXT];
    digest *d = digest_create();
    size_t count;
    const param *params = trainable_params(t->trainable, &count);
    for (size_t i = 0; i < count && d; i++) {
        digest_add_text(d, params[i].name);
        for (int k = 0; k < params[i].shape.rank; k++)
            digest_add(d, &params[i].shape.dim[k], sizeof params[i].shape.dim[k]);
    }
    for (size_t i = 0; i < trainable_module_count(t->trainable) && d; i++) {
        const float alpha = trainable_module_at(t->trainable, i)->alpha;
        digest_add(d, &alpha, sizeof alpha);
    }
    LECO_TRY(finish(d, text, err));
    return settings_add(out, ADAPTER, text, err);
}

static leco_status describe_file(const char *name, const char *path, setting_list *out, leco_error *err)
{
    char text[DIGEST_TEXT];
    file_map map;
    LECO_TRY(file_map_open(path, &map, err));
    digest *d = digest_create();
    if (d) digest_add(d, map.data, map.size);
    file_map_close(&map);
    LECO_TRY(finish(d, text, err));
    return settings_add(out, name, text, err);
}

static leco_status describe_contents(const trainer *t, setting_list *out, leco_error *err)
{
    for (size_t i = 0; i <= t->frozen_count; i++) {
        if (!t->contents[i][0]) continue;
        char *name = i < t->frozen_count ? mem_printf(CONTENTS "%s", t->frozen[i].name) : mem_strdup(PICTURES);
        leco_status status =
            name ? settings_add(out, name, t->contents[i], err) : error_memory(err, 0, "a model's name");
        mem_free(name);
        LECO_TRY(status);
    }
    return LECO_OK;
}

static leco_status describe(const trainer *t, setting_list *out, leco_error *err)
{
    const train_config *c = t->config;
    LECO_TRY(train_config_describe(c, out, err));
    LECO_TRY(settings_add(out, "train.precision", dtype_name(t->device.compute), err));
    LECO_TRY(settings_add(out, "--device", t->device.backend->name, err));
    if (c->network.start_from)
        LECO_TRY(describe_file("the file of network.start_from", c->network.start_from, out, err));
    LECO_TRY(describe_adapter(t, out, err));
    for (size_t i = 0; i < c->embedding_count; i++)
        LECO_TRY(describe_file("the file of --embedding", c->embeddings[i], out, err));
    return describe_contents(t, out, err);
}

leco_status trainer_describe(const trainer *t, setting_list *out, leco_error *err)
{
    LECO_TRY(settings_create(out, err));
    leco_status status = describe(t, out, err);
    if (status != LECO_OK) settings_free(out);
    return status;
}

/* ---- comparing ---- */

/* More steps, or less, are fine where those that were done would have had the same learning rates. */
static bool can_take_steps(const trainer *t)
{
    const train_config *c = t->config;
    const train_state *s = &t->resumed;
    bool same = true;
    for (int64_t i = 0; i < s->done && same; i++)
        same = lr_at(&c->rates, c->lr, i, s->iterations) == lr_at(&c->rates, c->lr, i, c->iterations);
    return same;
}

static leco_status differs(const trainer *t, const char *name, const char *now, const char *then, leco_error *err)
{
    const char *path = t->resumed_from;
    if (strncmp(name, CONTENTS, strlen(CONTENTS)) == 0)
        return error_set(err, LECO_INVALID,
                         "%s: can't go on from it: the contents of %s are not what they were when it was written", path,
                         name + strlen(CONTENTS));
    if (strcmp(name, ADAPTER) == 0) /* two digests say nothing to anybody */
        return error_set(
            err, LECO_INVALID,
            "%s: can't go on from it: its adapter has other layers, or layers of other sizes, than it would "
            "have on %s now: it is of another model; change it back, or begin anew, without --resume",
            path, t->config->model);
    const char *quote_now = now ? "\"" : "", *quote_then = then ? "\"" : "";
    return error_set(err, LECO_INVALID,
                     "%s: can't go on from it: %s is %s%.100s%s now, and was %s%.100s%s when it was written; change it "
                     "back, or begin anew, without --resume",
                     path, name, quote_now, now ? now : "not given", quote_now, quote_then, then ? then : "not given",
                     quote_then);
}

/* What is known of ours is as the state has it, and it has none besides, except of what isn't known yet. */
static leco_status compare_settings(const trainer *t, const setting_list *ours, leco_error *err)
{
    const setting_list *theirs = &t->resumed.settings;
    for (size_t i = 0; i < ours->count; i++) {
        const char *name = ours->pair[i][0], *now = ours->pair[i][1], *then = settings_find(theirs, name);
        if (then && strcmp(now, then) == 0) continue;
        if (strcmp(name, "train.iterations") != 0 || !can_take_steps(t)) return differs(t, name, now, then, err);
    }
    for (size_t i = 0; i < theirs->count; i++) {
        const char *name = theirs->pair[i][0];
        if (strncmp(name, CONTENTS, strlen(CONTENTS)) != 0 && !settings_find(ours, name))
            return differs(t, name, NULL, theirs->pair[i][1], err);
    }
    return LECO_OK;
}

static leco_status compare(const trainer *t, leco_error *err)
{
    setting_list ours;
    if (!t->resumed_from) return LECO_OK;
    LECO_TRY(trainer_describe(t, &ours, err));
    leco_status status = compare_settings(t, &ours, err);
    settings_free(&ours);
    return status;
}

leco_status trainer_know_models(trainer *t, leco_error *err)
{
    for (size_t i = 0; i < t->frozen_count; i++) {
        const frozen_model *f = &t->frozen[i];
        const noise_schedule *s = f->schedule;
        digest *d = digest_create();
        if (d) {
            weights_digest(f->model->weights[PART_TEXT_ENCODER], d);
            if (model_has(f->model, PART_TEXT_ENCODER_2)) weights_digest(f->model->weights[PART_TEXT_ENCODER_2], d);
            weights_digest(f->model->weights[PART_UNET], d);
            digest_add(d, &s->prediction, sizeof s->prediction);
            digest_add(d, s->alpha_bar, (size_t)s->train_timesteps * sizeof *s->alpha_bar);
        }
        LECO_TRY(finish(d, t->contents[i], err));
    }
    return compare(t, err);
}

leco_status trainer_know_photos(trainer *t, leco_error *err)
{
    digest *d = digest_create();
    for (size_t i = 0; i < t->objectives.count && d; i++) {
        const source *s = t->lessons[i].source[0];
        const source_spec *spec = &t->objectives.item[i].source;
        if (s->row->tell_apart) s->row->tell_apart(s, d);
        for (size_t k = 0; k < spec->photo_count; k++)
            if (spec->photos[k].prompt) digest_add_text(d, spec->photos[k].prompt);
    }
    LECO_TRY(finish(d, t->contents[t->frozen_count], err));
    return compare(t, err);
}

/* ---- going on ---- */

/* The buffers are as large as ours, and nothing lies between the params. */
static leco_status check_sizes(const trainer *t, leco_error *err)
{
    const train_state *s = &t->resumed;
    const flat_params on = flat_params_of(t->trainable);
    const size_t bytes = optimizer_planned_bytes(&t->config->optimizer, &on);
    if (s->value_count != on.count || s->optimizer_count * sizeof(float) != bytes)
        return error_set(err, LECO_FORMAT,
                         "%s: is for another adapter: it has %zu values and %zu numbers of the optimizer, not %zu and "
                         "%zu",
                         t->resumed_from, s->value_count, s->optimizer_count, on.count, bytes / sizeof(float));
    const size_t average = t->config->ema_decay > 0 ? on.count : 0, gathered = s->gathered > 0 ? on.count : 0;
    if (s->average_count != average || s->gradient_count != gathered || s->gathered >= t->config->accumulation)
        return error_set(err, LECO_FORMAT, "%s: is no state that leco wrote: its average or its gradients can't be",
                         t->resumed_from);
    if (s->scaled != (t->device.compute == DTYPE_F16))
        return error_set(err, LECO_FORMAT, "%s: is no state that leco wrote: its loss scale can't be", t->resumed_from);
    if (s->done > t->config->iterations)
        return error_set(err, LECO_INVALID, "%s: %lld steps were done already, and train.iterations is %lld",
                         t->resumed_from, (long long)s->done, (long long)t->config->iterations);
    return LECO_OK;
}

leco_status trainer_resume(trainer *t, const char *path, leco_error *err)
{
    if (!file_exists(path))
        return error_set(err, LECO_INVALID,
                         "--resume: there is no %s: no training of this name was stopped on its way (or save.state was "
                         "false); without --resume it begins anew",
                         path);
    LECO_TRY(state_read(path, &t->resumed, err));
    t->resumed_from = mem_strdup(path);
    if (!t->resumed_from) return error_memory(err, strlen(path), "a path");
    LECO_TRY(compare(t, err));
    LECO_TRY(check_sizes(t, err));
    const int threads = cpu_threads();
    if (t->resumed.threads != threads)
        log_message(LOG_WARNING,
                    "%s was computed by %lld threads, and now there are %d: the last digits may become others", path,
                    (long long)t->resumed.threads, threads);
    return LECO_OK;
}

leco_status trainer_write_state(trainer *t, const source_pass *pass, train_state *s, const char *path, leco_error *err)
{
    s->threads = cpu_threads();
    s->iterations = t->config->iterations;
    s->done = optimizer_steps(t->optimizer);
    s->rng = s->learnt > 0 ? t->rng : s->drawn;
    s->values = trainable_values(t->trainable);
    s->value_count = trainable_count(t->trainable);
    s->optimizer = optimizer_state(t->optimizer, &s->optimizer_count);
    s->average = t->average;
    s->average_count = t->average ? s->value_count : 0;
    s->scaled = t->device.compute == DTYPE_F16;
    s->scale = t->scale;
    s->gathered = t->gathered_count;
    s->gathered_loss = t->gathered_loss;
    s->gradients = t->gathered;
    s->gradient_count = t->gathered_count > 0 ? s->value_count : 0;
    if (s->learnt > 0) {
        s->kept = t->kept;
        s->kept_count = (int64_t)pass->kept_count;
        s->kept_floats = pass->kept_count * lesson_latents(&t->lessons[pass->objective], pass);
    }
    LECO_TRY(trainer_describe(t, &s->settings, err));
    leco_status status = state_write(s, path, err);
    settings_free(&s->settings);
    return status;
}

/* Values that belong to no param must be 0: take them from the params alone. */
static void restore_values(trainer *t)
{
    size_t count;
    const param *params = trainable_params(t->trainable, &count);
    const char *values = trainable_values(t->trainable), *from = t->resumed.values;
    for (size_t i = 0; i < count; i++)
        memcpy(params[i].value, from + ((const char *)params[i].value - values),
               (size_t)shape_count(&params[i].shape) * sizeof(float));
    trainable_changed(t->trainable);
}

void trainer_restore(trainer *t)
{
    const train_state *s = &t->resumed;
    size_t count;
    float *state = optimizer_state(t->optimizer, &count);
    restore_values(t);
    if (count > 0) memcpy(state, s->optimizer, count * sizeof *state);
    if (t->average) memcpy(t->average, s->average, s->average_count * sizeof(float));
    if (s->gathered > 0) memcpy(t->gathered, s->gradients, s->gradient_count * sizeof(float));
    if (s->scaled) t->scale = s->scale;
    t->gathered_count = s->gathered;
    t->gathered_loss = s->gathered_loss;
    optimizer_set_steps(t->optimizer, s->done);
}
