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

trajectory trajectory_draw(rng *r, const train_config *config, int64_t jitter_range, int64_t *kept)
{
    trajectory t = {.kept_count = (size_t)config->samples_per_trajectory, .kept = kept};
    t.prompt = (size_t)rng_randint(r, 0, (int64_t)config->prompt_count);
    for (size_t i = 0; i < t.kept_count; i++)
        draw_step(r, trajectory_first_step(config), config->denoising_steps, kept, i);
    if (config->timestep_jitter) t.jitter = rng_randint(r, 0, jitter_range);
    return t;
}

double trajectory_timestep(const denoising *run, timestep_compat compat, int64_t done)
{
    if (compat == TIMESTEPS_RIGHT) return denoising_timestep(run, done);
    /* p1atdev's trainer looks the step up in the schedule of all timesteps, which starts higher than the run did. */
    int64_t all = run->schedule->train_timesteps;
    return (double)(all - 1 - done * all / run->steps);
}

bool trajectory_run(guided *g, denoising *run, const trajectory *plan, float *x, float *kept,
                    bool (*denoised)(void *user), void *user)
{
    int64_t done = 0;
    for (size_t i = 0; i < plan->kept_count; i++) {
        for (; done < plan->kept[i]; done++) {
            guided_step(g, run, done, x);
            if (denoised && !denoised(user)) return false;
        }
        denoising_latent(run, done, x, kept + i * run->count);
    }
    return true;
}
