#include "train/trajectory.h"

#include <assert.h>
#include <string.h>

/* Draws from what is left of [low, high): `taken` [count] holds the steps drawn so far, ascending, and gets another. */
static void draw_step(rng *r, int64_t low, int64_t high, int64_t *taken, size_t count)
{
    int64_t step = rng_randint(r, low, high - (int64_t)count);
    size_t i = 0;
    while (i < count && taken[i] <= step) { /* the step-th of those that are free */
        step++;
        i++;
    }
    memmove(&taken[i + 1], &taken[i], (count - i) * sizeof *taken);
    taken[i] = step;
}

int64_t trajectory_first_step(const train_config *config)
{
    return config->compat == TIMESTEPS_P1ATDEV ? 1 : 0;
}

trajectory trajectory_draw(rng *r, const train_config *config, const noise_schedule *schedule, int64_t *kept)
{
    trajectory t = {.kept_count = (size_t)config->samples_per_trajectory, .kept = kept};
    t.prompt = (size_t)rng_randint(r, 0, (int64_t)config->prompt_count);
    for (size_t i = 0; i < t.kept_count; i++)
        draw_step(r, trajectory_first_step(config), config->denoising_steps, kept, i);
    if (config->timestep_jitter) t.jitter = rng_randint(r, 0, ddim_jitter_range(schedule, config->denoising_steps));
    return t;
}

int64_t trajectory_timestep(const ddim *walk, timestep_compat compat, int64_t done)
{
    if (compat == TIMESTEPS_RIGHT) return ddim_timestep(walk, done);
    /* P looks the step up in the schedule of all timesteps, which starts higher than the walk did. */
    int64_t all = walk->schedule->train_timesteps;
    return all - 1 - done * all / walk->steps;
}

bool trajectory_run(guided *g, const ddim *walk, const trajectory *plan, float *x, float *kept,
                    bool (*denoised)(void *user), void *user)
{
    size_t count = latent_count(denoiser_size(g->denoiser)) / (g->scale == 1.0f ? 1 : 2);
    int64_t done = 0;
    for (size_t i = 0; i < plan->kept_count; i++) {
        for (; done < plan->kept[i]; done++) {
            guided_step(g, walk, done, x);
            if (denoised && !denoised(user)) return false;
        }
        memcpy(kept + i * count, x, count * sizeof *x);
    }
    return true;
}
