/* Drawing trajectories, and which timestep their latents are told. */
#include "test_support.h"

#include "base/mem.h"
#include "train/trajectory.h"

static leco_error err;
static noise_schedule *schedule;
static const int64_t no_jitter = 1, most_jitter = 20;

static step_range all_of(const train_config *c)
{
    return (step_range){c->compat == TIMESTEPS_P1ATDEV ? 1 : 0, c->denoising_steps};
}

static train_config config_with(int64_t steps, int64_t samples)
{
    return (train_config){.denoising_steps = steps, .samples_per_trajectory = samples};
}

static void kept_steps_are_distinct_ascending_and_cover_all(void **state)
{
    (void)state;
    const train_config c = config_with(10, 4);
    rng r;
    rng_seed(&r, RNG_CPU, 1);
    int seen[10] = {0};
    for (int i = 0; i < 2000; i++) {
        int64_t kept[4];
        source_pass t = trajectory_draw(&r, &c, all_of(&c), no_jitter, kept);
        assert_true(t.kept_count == 4 && t.kept == kept && t.jitter == 0);
        for (int k = 0; k < 4; k++) {
            assert_in_range(kept[k], 0, 9);
            assert_true(k == 0 || kept[k] > kept[k - 1]);
            seen[kept[k]]++;
        }
    }
    for (int i = 0; i < 10; i++) assert_in_range(seen[i], 700, 900); /* 800 expected, sigma 22 */
}

static void all_steps_can_be_kept(void **state)
{
    (void)state;
    const train_config c = config_with(5, 5);
    rng r;
    rng_seed(&r, RNG_CPU, 3);
    int64_t kept[5];
    trajectory_draw(&r, &c, all_of(&c), no_jitter, kept);
    for (int k = 0; k < 5; k++) assert_int_equal(kept[k], k);
}

/* p1atdev's trainer draws randint(1, steps) after the pair and before the noise. */
static void compatibility_draws_what_p1atdev_draws(void **state)
{
    (void)state;
    train_config c = config_with(50, 1);
    c.compat = TIMESTEPS_P1ATDEV;
    rng ours, torch;
    rng_seed(&ours, RNG_CPU, 42);
    rng_seed(&torch, RNG_CPU, 42);
    for (int i = 0; i < 100; i++) {
        int64_t kept;
        source_pass t = trajectory_draw(&ours, &c, all_of(&c), no_jitter, &kept);
        assert_ptr_equal(t.kept, &kept);
        assert_int_equal(kept, rng_randint(&torch, 1, 50));
    }
    assert_int_equal(rng_word(&ours), rng_word(&torch));
}

static void jitter_covers_its_range(void **state)
{
    (void)state;
    train_config c = config_with(50, 1);
    c.timestep_jitter = true;
    rng r;
    rng_seed(&r, RNG_CPU, 5);
    int seen[20] = {0};
    for (int i = 0; i < 1000; i++) {
        int64_t kept;
        source_pass t = trajectory_draw(&r, &c, all_of(&c), most_jitter, &kept);
        assert_in_range(t.jitter, 0, 19);
        seen[t.jitter]++;
    }
    for (int i = 0; i < 20; i++) assert_true(seen[i] > 0);
}

static void timesteps_are_right_or_p1atdev_s(void **state)
{
    (void)state;
    const struct {
        int64_t steps, done;
        double right, p;
    } cases[] = {
        {50, 1, 960, 979}, {50, 30, 380, 399}, {40, 1, 950, 974}, {30, 1, 924, 966}, {30, 29, 0, 33},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        denoising *run;
        const sampling asked = {&sampler_ddim, .steps = cases[i].steps};
        assert_works(denoising_create(&asked, schedule, (latent_size){0}, &run, &err), &err);
        assert_true(trajectory_timestep(run, TIMESTEPS_RIGHT, cases[i].done) == cases[i].right);
        assert_true(trajectory_timestep(run, TIMESTEPS_P1ATDEV, cases[i].done) == cases[i].p);
        denoising_destroy(run);
    }
}

static int make_schedule(void **state)
{
    (void)state;
    const schedule_config c = {.train_timesteps = 1000,
                               .beta_start = 0.00085,
                               .beta_end = 0.012,
                               .set_alpha_to_one = true,
                               .spacing = SPACING_LEADING};
    return noise_schedule_create(&c, &schedule, &err) == LECO_OK ? 0 : -1;
}

static int free_schedule(void **state)
{
    (void)state;
    mem_free(schedule);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_steps_are_distinct_ascending_and_cover_all),
        cmocka_unit_test(all_steps_can_be_kept),
        cmocka_unit_test(compatibility_draws_what_p1atdev_draws),
        cmocka_unit_test(jitter_covers_its_range),
        cmocka_unit_test(timesteps_are_right_or_p1atdev_s),
    };
    return cmocka_run_group_tests_name("unit/trajectory", tests, make_schedule, free_schedule);
}
