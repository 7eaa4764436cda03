#include "train/stage.h"

#include <string.h>

#include "base/mem.h"

typedef enum role { ROLE_TEACHER, ROLE_GENERATE, ROLE_STUDENT } role;

typedef struct pooled_denoiser {
    role role;
    float multiplier; /* of the adapter; 0 for the teacher, which has none */
    latent_size size;
    denoiser *denoiser;
} pooled_denoiser;

void denoiser_pool_free(denoiser_pool *pool)
{
    for (size_t i = 0; i < pool->count; i++) denoiser_destroy(pool->entry[i].denoiser);
    mem_free(pool->entry);
    pool->entry = NULL;
    pool->count = 0;
}

size_t denoiser_pool_arena_bytes(const denoiser_pool *pool)
{
    size_t largest = 0;
    for (size_t i = 0; i < pool->count; i++) {
        size_t bytes = denoiser_arena_bytes(pool->entry[i].denoiser);
        if (bytes > largest) largest = bytes;
    }
    return largest;
}

size_t denoiser_pool_bytes(const denoiser_pool *pool)
{
    size_t bytes = pool->count * sizeof *pool->entry;
    for (size_t i = 0; i < pool->count; i++) bytes += denoiser_bytes(pool->entry[i].denoiser);
    return bytes;
}

static leco_status pool_get(denoiser_pool *pool, role kind, float multiplier, latent_size size, denoiser **out,
                            leco_error *err)
{
    for (size_t i = 0; i < pool->count; i++) {
        const pooled_denoiser *e = &pool->entry[i];
        if (e->role == kind && e->multiplier == multiplier && memcmp(&e->size, &size, sizeof size) == 0) {
            *out = e->denoiser;
            return LECO_OK;
        }
    }
    pooled_denoiser *grown = mem_realloc(pool->entry, pool->count + 1, sizeof *grown);
    if (!grown) return error_memory(err, (pool->count + 1) * sizeof *grown, "the trainer's sessions");
    pool->entry = grown;
    const adapter_use use = {pool->trainable, multiplier};
    const adapter_set adapters = {&use, 1};
    denoiser_options options = {.size = size, .tokens = pool->tokens, .trainable = kind == ROLE_STUDENT};
    if (kind != ROLE_TEACHER) options.adapters = &adapters;
    pooled_denoiser e = {kind, multiplier, size, NULL};
    LECO_TRY(denoiser_create(pool->device, pool->model, &options, &e.denoiser, err));
    pool->entry[pool->count++] = e;
    *out = e.denoiser;
    return LECO_OK;
}

static leco_status get_texts(stage *s, text_bank *bank, const train_prompt *p, leco_error *err)
{
    LECO_TRY(text_bank_get(bank, p->target, &s->target, err));
    LECO_TRY(text_bank_get(bank, p->unconditional, &s->unconditional, err));
    for (size_t i = 0; i < s->terms.count; i++)
        LECO_TRY(text_bank_get(bank, s->terms.item[i].prompt, &s->term_text[i], err));
    return LECO_OK;
}

static leco_status fill(stage *s, denoiser_pool *pool, text_bank *bank, const train_prompt *p, float scale,
                        leco_error *err)
{
    LECO_TRY(get_texts(s, bank, p, err));
    latent_size generating = s->size, teaching = s->size;
    generating.batch = guided_batch(s->size.batch, scale);
    teaching.batch *= (int64_t)s->terms.count;
    const float multiplier = (float)p->multiplier;
    denoiser *generate;
    LECO_TRY(pool_get(pool, ROLE_GENERATE, multiplier, generating, &generate, err));
    LECO_TRY(pool_get(pool, ROLE_TEACHER, 0, teaching, &s->teacher, err));
    LECO_TRY(pool_get(pool, ROLE_STUDENT, multiplier, s->size, &s->student, err));
    LECO_TRY(guided_create(generate, scale, &s->generate, err));
    size_t count = latent_count(s->size), all = latent_count(teaching);
    s->input = mem_calloc(all, sizeof *s->input);
    s->predictions = mem_calloc(all, sizeof *s->predictions);
    s->wanted = mem_calloc(count, sizeof *s->wanted);
    if (!s->input || !s->predictions || !s->wanted)
        return error_memory(err, (2 * all + count) * sizeof(float), "a pair's latents");
    return LECO_OK;
}

leco_status stage_create(denoiser_pool *pool, text_bank *bank, const train_config *config, size_t prompt,
                         latent_size size, const noise_schedule *schedule, stage *out, leco_error *err)
{
    const train_prompt *p = &config->prompt[prompt];
    stage s = {.size = size, .terms = terms_of_prompt(p)};
    leco_status status = fill(&s, pool, bank, p, (float)config->trajectory_guidance_scale, err);
    if (status == LECO_OK)
        status = denoising_create(config->sampler, schedule, config->denoising_steps, size, &s.run, err);
    if (status != LECO_OK) {
        stage_free(&s);
        return error_prefix(err, status, "%s", p->place);
    }
    *out = s;
    return LECO_OK;
}

void stage_free(stage *s)
{
    guided_free(&s->generate);
    denoising_destroy(s->run);
    mem_free(s->input);
    mem_free(s->predictions);
    mem_free(s->wanted);
    *s = (stage){0};
}

size_t stage_bytes(const stage *s)
{
    size_t guiding = 2 * latent_count(denoiser_size(s->generate.denoiser));
    return sizeof *s + denoising_bytes(s->run) +
           (guiding + (2 * s->terms.count + 1) * latent_count(s->size)) * sizeof(float);
}

void stage_begin(stage *s)
{
    const int64_t batch = s->size.batch;
    for (int64_t i = 0; i < batch; i++) {
        guided_set_context(&s->generate, i, s->unconditional, s->target);
        denoiser_set_context(s->student, i, s->target);
        for (size_t k = 0; k < s->terms.count; k++)
            denoiser_set_context(s->teacher, (int64_t)k * batch + i, s->term_text[k]);
    }
}

double stage_learn(stage *s, const float *x, double timestep)
{
    const size_t count = latent_count(s->size);
    for (size_t k = 0; k < s->terms.count; k++) memcpy(s->input + k * count, x, count * sizeof *x);
    denoiser_run(s->teacher, s->input, timestep, s->predictions);
    terms_sum(&s->terms, s->predictions, s->wanted, count);
    return denoiser_run_training(s->student, x, timestep, s->wanted, NULL);
}
