/* Training configs: the config, the file of prompts beside it, and the assignments of --set. */
#include "fuzz_optimizer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "diffusion/sampler.h"
#include "train/config.h"
#include "train/config_keys.h"
#include "train/modes.h"

const char *const fuzz_words[] = {"=== prompts.yaml\n",
                                  "=== @set\n",
                                  "prompts_file: prompts.yaml\n",
                                  "prompts:\n",
                                  "- target: red\n",
                                  "  positive: ",
                                  "  unconditional: ",
                                  "  neutral: ",
                                  "  action: ",
                                  "  guidance_scale: ",
                                  "  multiplier: ",
                                  "  weight: ",
                                  "  resolution: [64, 96]\n",
                                  "  batch_size: ",
                                  "pretrained_model: {name_or_path: m, v_pred: yes, clip_skip: 1}\n",
                                  "network: {type: lierla, rank: 4, alpha: 1.0, training_method: noxattn}\n",
                                  "train:\n",
                                  "  precision: bfloat16\n",
                                  "  optimizer: sgd\n",
                                  "  optimizer_args: momentum=0.9 nesterov=True\n",
                                  "  lr_scheduler: cosine\n",
                                  "  lr_scheduler: polynomial\n  lr_warmup_steps: 0.1\n  lr_scheduler_power: 2\n",
                                  "  optimizer: Prodigy8bit\n  optimizer_args: [d_coef=2, 'beta3=None']\n",
                                  "  gradient_accumulation_steps: 4\n  ema_decay: 0.9\n",
                                  "  loss: huber\n  huber_c: 0.2\n  huber_schedule: exponential\n",
                                  "  max_denoising_steps: 30\n",
                                  "  samples_per_trajectory: 4\n",
                                  "  timestep_jitter: true\n",
                                  "  timestep_compat: p1atdev\n",
                                  "  trajectory_guidance_scale: 3\n",
                                  "save: {name: x, path: out, per_steps: 0, precision: float16}\n",
                                  "logging: {use_wandb: false, verbose: yes, prompts: [a]}\n",
                                  "images: {path: ., prompt: red, repeats: 2, resolution: 64, buckets: no}\n",
                                  "regularisation: {path: ., prompt: a thing, weight: 2, share: 0.3}",
                                  "erase",
                                  "enhance",
                                  "train.seed=7\n",
                                  "prompts=[]\n",
                                  "prompts.0.weight=-0.5\n",
                                  "network.rank=0\n",
                                  "train.samples_per_trajectory=51\n",
                                  "save.name=a/b\n",
                                  "[]",
                                  "{}",
                                  "-1",
                                  NULL};

static const char *const names[] = {"config.yaml", "prompts.yaml", "@set", NULL};

#define MAX_SETS 8

/* ---- the ranges that docs/config.md gives ---- */

static void check_between(double value, double low, double high)
{
    FUZZ_CHECK(value >= low && value <= high); /* NaN is in no range */
}

static void check_prompt(const train_prompt *p)
{
    FUZZ_CHECK(p->place && p->target && p->positive && p->unconditional && p->neutral);
    FUZZ_CHECK(p->action && p->action->make);
    check_between(p->guidance_scale, -1000, 1000);
    check_between(p->multiplier, -1000, 1000);
    check_between(p->weight, 0, 1e6);
    FUZZ_CHECK((p->width == 0) == (p->height == 0));
    if (p->width) check_between((double)p->width, 8, 8192);
    if (p->width) check_between((double)p->height, 8, 8192);
    check_between((double)p->batch_size, 1, 64);
}

static void check_images(const images_config *p)
{
    if (!p->path) return;
    FUZZ_CHECK(p->place && *p->path && (p->width == 0) == (p->height == 0));
    check_between((double)p->repeats, 1, 100000);
    check_between((double)p->batch_size, 1, 64);
    check_between(p->weight, 1e-6, 1e6);
    check_between(p->regularisation.weight, 1e-6, 1e6);
    check_between(p->regularisation.share, 0.01, 0.99);
}

static void check_config(const train_config *c)
{
    FUZZ_CHECK(c->memory && c->path && c->model && c->model[0] && c->save_name && c->save_path);
    FUZZ_CHECK(c->v_prediction >= -1 && c->v_prediction <= 1);
    check_between((double)c->clip_skip, 0, 24);
    check_between((double)c->network.rank, 1, 1024);
    check_between((double)c->network.alpha, 0.99e-6, 1e6);
    const trainable_options *n = &c->network;
    for (size_t i = 0; i < n->layers.include.count; i++) FUZZ_CHECK(n->layers.include.at[i][0]);
    for (size_t i = 0; i < n->layers.exclude.count; i++) FUZZ_CHECK(n->layers.exclude.at[i][0]);
    for (size_t i = 0; i < n->rule_count; i++) {
        FUZZ_CHECK(n->rules[i].match[0] && (n->rules[i].rank || n->rules[i].alpha > 0));
        check_between((double)n->rules[i].rank, 0, 1024);
    }
    check_between((double)n->dropout.element, 0, 0.99 + 1e-6);
    check_between((double)n->dropout.rank, 0, 0.99 + 1e-6);
    check_between((double)n->dropout.module, 0, 0.99 + 1e-6);
    check_between((double)c->iterations, 1, 1e9);
    check_between(c->lr, 1e-12, 1000);
    check_between((double)c->denoising_steps, 2, 1000);
    check_between((double)c->samples_per_trajectory, 1, (double)c->denoising_steps);
    FUZZ_CHECK(c->min_timestep >= 0 && (!c->max_timestep || c->min_timestep < c->max_timestep));
    check_between(c->trajectory_guidance_scale, 0, 100);
    check_between((double)c->save_every, 0, 1e9);
    fuzz_check_arguments(&c->optimizer);
    check_between(c->rates.warmup, 0, 1e9);
    check_between(c->rates.power, 1e-3, 100);
    check_between((double)c->accumulation, 1, 10000);
    check_between(c->ema_decay, 0, optimizer_averages(&c->optimizer) ? 0 : 1);
    check_between(c->huber_c, 1e-6, c->huber_schedule == HUBER_CONSTANT ? 1e3 : 1);
    FUZZ_CHECK(c->rates.schedule != LR_CONSTANT_WITH_WARMUP || c->rates.warmup > 0);
    FUZZ_CHECK(!strchr(c->save_name, '/') && c->save_name[0]);
    FUZZ_CHECK(!c->precision || strcmp(c->precision, "bfloat16") == 0 || strcmp(c->precision, "float32") == 0);
    FUZZ_CHECK(c->compat == TIMESTEPS_RIGHT || (!c->timestep_jitter && c->samples_per_trajectory == 1));
    FUZZ_CHECK(c->spacing != SPACING_UNSAID && (!c->karras || c->sampler->grid != GRID_WHOLE));
    FUZZ_CHECK(c->prompt_count > 0 || c->images.path);
    check_images(&c->images);
    for (size_t i = 0; i < c->prompt_count; i++) check_prompt(&c->prompt[i]);
}

/* ---- what was read, written and read again is the same ----
 *
 * The least alpha that may be read is less than itself once it is a float: hence fmax. */

static void put_text(FILE *out, const char *key, const char *text)
{
    if (key) fprintf(out, "%s: ", key);
    fputc('"', out);
    for (const char *p = text; *p; p++) { /* YAML takes UTF-8 as it is, but for control characters and line breaks */
        const char *other = strncmp(p, "\xe2\x80\xa8", 3) == 0   ? "\\L"
                            : strncmp(p, "\xe2\x80\xa9", 3) == 0 ? "\\P"
                            : strncmp(p, "\xc2\x85", 2) == 0     ? "\\N"
                                                                 : NULL;
        if (other) {
            fputs(other, out);
            p += *p == '\xc2' ? 1 : 2;
        } else if ((unsigned char)*p < 0x20 || *p == '"' || *p == '\\' || *p == 0x7f)
            fprintf(out, "\\x%02x", (unsigned)*p);
        else
            fputc(*p, out);
    }
    fputs("\"\n", out);
}

static void put_prompt(FILE *out, const train_prompt *p)
{
    put_text(out, "- target", p->target);
    put_text(out, "  positive", p->positive);
    put_text(out, "  unconditional", p->unconditional);
    put_text(out, "  neutral", p->neutral);
    fprintf(out, "  action: %s\n  guidance_scale: %.17g\n  multiplier: %.17g\n  weight: %.17g\n  batch_size: %lld\n",
            p->action->help ? p->action->name : "erase", p->guidance_scale, p->multiplier, p->weight,
            (long long)p->batch_size);
    if (p->width) fprintf(out, "  resolution: [%lld, %lld]\n", (long long)p->height, (long long)p->width);
}

static void put_train(FILE *out, const train_config *c)
{
    fprintf(out, "train:\n  iterations: %lld\n  lr: %.17g\n  lr_scheduler: %s\n", (long long)c->iterations, c->lr,
            lr_schedule_rows[c->rates.schedule].name);
    fprintf(out, "  max_denoising_steps: %lld\n  samples_per_trajectory: %lld\n  timestep_jitter: %s\n",
            (long long)c->denoising_steps, (long long)c->samples_per_trajectory, c->timestep_jitter ? "true" : "false");
    fprintf(out, "  seed: %llu\n  trajectory_guidance_scale: %.17g\n  timestep_compat: %s\n",
            (unsigned long long)c->seed, c->trajectory_guidance_scale,
            c->compat == TIMESTEPS_P1ATDEV ? "p1atdev" : "none");
    fprintf(out, "  noise_scheduler: %s\n  timestep_spacing: %s\n  karras_sigmas: %s\n", c->sampler->name,
            spacing_name(c->spacing), c->karras ? "true" : "false");
    fprintf(out, "  lr_warmup_steps: %.17g\n  lr_scheduler_power: %.17g\n  gradient_accumulation_steps: %lld\n",
            c->rates.warmup, c->rates.power, (long long)c->accumulation);
    fprintf(out, "  ema_decay: %.17g\n  loss: %s\n  huber_c: %.17g\n  huber_schedule: %s\n", c->ema_decay,
            config_losses.name(&c->loss), c->huber_c, config_huber_schedules.name(&c->huber_schedule));
    if (c->precision) fprintf(out, "  precision: %s\n", c->precision);
    fprintf(out, "  optimizer: %s\n  optimizer_args: \"", optimizer_rows[c->optimizer.kind]->name);
    fuzz_put_arguments(out, &c->optimizer);
    fputs("\"\n", out);
}

static void put_images(FILE *out, const images_config *p)
{
    if (!p->path) return;
    fprintf(out, "images:\n  repeats: %lld\n  batch_size: %lld\n  weight: %.17g\n  buckets: %s\n",
            (long long)p->repeats, (long long)p->batch_size, p->weight, p->buckets ? "true" : "false");
    put_text(out, "  path", p->path);
    if (p->prompt) put_text(out, "  prompt", p->prompt);
    if (p->width) fprintf(out, "  resolution: [%lld, %lld]\n", (long long)p->height, (long long)p->width);
    if (!p->regularisation.path) return;
    fprintf(out, "  regularisation:\n    weight: %.17g\n    share: %.17g\n", p->regularisation.weight,
            p->regularisation.share);
    put_text(out, "    path", p->regularisation.path);
    if (p->regularisation.prompt) put_text(out, "    prompt", p->regularisation.prompt);
}

static void put_patterns(FILE *out, const char *key, const layer_patterns *p)
{
    if (p->count) fprintf(out, "  %s:\n", key);
    for (size_t i = 0; i < p->count; i++) {
        fputs("  - ", out);
        put_text(out, NULL, p->at[i]);
    }
}

static void put_network(FILE *out, const trainable_options *n)
{
    if (n->layers.scope == SCOPE_EMBEDDING) return;
    put_patterns(out, "include", &n->layers.include);
    put_patterns(out, "exclude", &n->layers.exclude);
    if (n->rule_count) fputs("  ranks:\n", out);
    for (size_t i = 0; i < n->rule_count; i++) {
        put_text(out, "  - match", n->rules[i].match);
        if (n->rules[i].rank) fprintf(out, "    rank: %lld\n", (long long)n->rules[i].rank);
        if (n->rules[i].alpha > 0) fprintf(out, "    alpha: %.9g\n", fmax((double)n->rules[i].alpha, 1e-6));
    }
    if (n->conv_rank) fprintf(out, "  conv_dim: %lld\n", (long long)n->conv_rank);
    if (n->conv_alpha > 0) fprintf(out, "  conv_alpha: %.9g\n", fmax((double)n->conv_alpha, 1e-6));
    fprintf(out, "  dropout: %.9g\n  rank_dropout: %.9g\n  module_dropout: %.9g\n", (double)n->dropout.element,
            (double)n->dropout.rank, (double)n->dropout.module);
}

static char *written(const train_config *c)
{
    static const char *const methods[] = {"full", "selfattn", "xattn", "xattn-strict", "noxattn", "innoxattn"};
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    FUZZ_CHECK(out);
    fprintf(out, "pretrained_model:\n  clip_skip: %lld\n", (long long)c->clip_skip);
    if (c->v_prediction >= 0) fprintf(out, "  v_pred: %s\n", c->v_prediction ? "true" : "false");
    put_text(out, "  name_or_path", c->model);
    fprintf(out, "network:\n  type: %s\n  rank: %lld\n  alpha: %.9g\n  training_method: %s\n",
            c->network.layers.scope == SCOPE_C3LIER ? "c3lier" : "lierla", (long long)c->network.rank,
            fmax((double)c->network.alpha, 1e-6), methods[c->network.layers.method]);
    put_network(out, &c->network);
    put_train(out, c);
    fprintf(out, "save:\n  per_steps: %lld\n  precision: %s\n", (long long)c->save_every,
            dtype_name(c->save_precision));
    put_text(out, "  name", c->save_name);
    put_text(out, "  path", c->save_path);
    put_images(out, &c->images);
    fprintf(out, "logging:\n  verbose: %s\nprompts:\n", c->verbose ? "yes" : "no");
    for (size_t i = 0; i < c->prompt_count; i++) put_prompt(out, &c->prompt[i]);
    FUZZ_CHECK(fclose(out) == 0);
    return text;
}

/* A config is the same as another where it is written the same. */
static void check_again(const train_config *c)
{
    leco_error err = {0};
    train_config again;
    char path[128], *text = written(c);
    snprintf(path, sizeof path, "%s/config.yaml", fuzz_again("config.yaml", text));
    leco_status status = train_config_read(path, NULL, 0, &again, &err);
    if (status != LECO_OK) fprintf(stderr, "%s\n%s\n", err.message, text);
    FUZZ_CHECK(status == LECO_OK);
    char *text_again = written(&again);
    FUZZ_CHECK(strcmp(text, text_again) == 0);
    free(text_again);
    free(text);
    train_config_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    fuzz_part parts[FUZZ_MAX_PARTS];
    train_config config = {0};
    const char *sets[MAX_SETS];
    size_t count = 0;
    char path[128], *rest = NULL;
    fuzz_split(data, size, names, parts);
    char *lines = fuzz_text(&parts[2]);
    for (char *line = lines ? strtok_r(lines, "\n", &rest) : NULL; line && count < MAX_SETS;
         line = strtok_r(NULL, "\n", &rest))
        sets[count++] = line;
    snprintf(path, sizeof path, "%s/config.yaml", fuzz_folder(names, parts));
    leco_status status = train_config_read(path, sets, count, &config, &err);
    fuzz_accepted = status == LECO_OK;
    if (fuzz_accepted) {
        check_config(&config);
        check_again(&config);
    } else {
        FUZZ_REFUSED(status, &err);
        FUZZ_CHECK(!config.memory && !config.prompt);
    }
    train_config_free(&config);
    free(lines);
    return 0;
}

bool fuzz_seed(unsigned index, const char *path)
{
    static const char *const seeds[] = {
        "pretrained_model:\n  name_or_path: m\nprompts:\n- target: red\n",
        "prompts_file: prompts.yaml\npretrained_model: {name_or_path: m, v2: no, v_pred: true, clip_skip: 2}\n"
        "network: {type: lierla, rank: 8, alpha: 0.5, training_method: noxattn}\n"
        "train:\n  precision: bfloat16\n  noise_scheduler: ddim\n  iterations: 20\n  lr: 1e-4\n  optimizer: AdamW\n"
        "  optimizer_args: betas=(0.9,0.99) weight_decay=0.02\n  lr_scheduler: cosine\n  max_denoising_steps: 30\n"
        "  samples_per_trajectory: 4\n  batch_size: 2\n  trajectory_guidance_scale: 3\n"
        "=== prompts.yaml\n- target: red\n  positive: a red thing\n  unconditional: ''\n  neutral: thing\n"
        "  action: erase\n  guidance_scale: 1.5\n  resolution: 64\n  batch_size: 2\n  multiplier: -1\n  weight: 0.5\n"
        "- target: blue\n  action: enhance\n  resolution: [64, 128]\n  dynamic_resolution: false\n",
        "pretrained_model: {name_or_path: m}\nprompts: [{target: red}]\nnetwork:\n  type: c3lier\n  include: [attn1, "
        "resnets]\n  exclude: 'down_blocks.*'\n  ranks: [{match: to_k, rank: 8}, {match: '*conv?', alpha: 2}]\n"
        "  conv_dim: 2\n  conv_alpha: 0.5\n  dropout: 0.1\n  rank_dropout: 0.2\n  module_dropout: 0.3\n",
        "pretrained_model: {name_or_path: m}\ntrain: {optimizer: sgd, optimizer_args: momentum=0.9 nesterov=True}\n"
        "save: {name: x, path: /tmp, per_steps: 10, precision: bf16}\nlogging: {use_wandb: false, verbose: yes}\n"
        "other: {use_xformers: true}\nprompts: [{target: red}]\n"
        "=== @set\ntrain.seed=7\nprompts.0.action=enhance\ntrain.timestep_jitter=on\n",
        "pretrained_model: {name_or_path: m}\nimages:\n  path: /\n  prompt: red\n  repeats: 3\n  weight: 0.5\n"
        "  buckets: false\n  resolution: [64, 96]\n  regularisation: {path: /, prompt: a, share: 0.25}\n"};
    const unsigned own = sizeof seeds / sizeof *seeds;
    if (index < own) fuzz_put(path, seeds[index]);
    if (index == own) fuzz_put_file(path, "examples/enhance_blue.yaml");
    return index <= own;
}
