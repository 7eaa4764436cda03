/* Objectives of several branches, made by hand: gradients add up, one optimizer step is taken, equal terms are
 * predicted once, and the order of what is drawn. */
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/lesson.h"
#include "train/trainer.h"

#define MODEL LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like"

static leco_error err;

static const char text[] = "pretrained_model: {name_or_path: \"" MODEL "\"}\n"
                           "network: {rank: 2}\n"
                           "train: {precision: float32, iterations: 9, max_denoising_steps: 6, lr: 1, optimizer: sgd,"
                           " samples_per_trajectory: 2, timestep_jitter: true}\n"
                           "prompts:\n"
                           "- {target: a red circle, positive: red}\n"
                           "- {target: a star}\n"
                           "- {target: a moon}\n";

static train_config config;

static branch branch_of(double factor, double multiplier, const char *prompt, const char *positive)
{
    branch b = {.weight = factor, .multiplier = multiplier, .prompt = prompt};
    terms_add(&b.terms, 1, 0, "");
    terms_add(&b.terms, -2, 0, positive);
    terms_add(&b.terms, 1, 0, "a circle");
    return b;
}

static objective objective_of(const branch *branches, size_t count)
{
    return (objective){.place = "by hand",
                       .branches = branches,
                       .branch_count = count,
                       .source = {.row = &source_trajectory,
                                  .multiplier = 1,
                                  .prompt = "a red circle",
                                  .unconditional = "",
                                  .guidance_scale = 3},
                       .size = {.batch = 2}};
}

/* ---- one run at a given latent ---- */

typedef struct outcome {
    float *start, *change; /* [count] of all values */
    size_t count;
    double loss;
    int64_t steps; /* of the optimizer */
} outcome;

static void outcome_free(outcome *o)
{
    free(o->start);
    free(o->change);
}

/* A LoRA of which both matrices have values, so that both get gradients. */
static void fill(trainable *t)
{
    size_t count;
    const param *params = trainable_params(t, &count);
    for (size_t i = 0; i < count; i++)
        for (int64_t k = 0; k < shape_count(&params[i].shape); k++)
            ((float *)params[i].value)[k] = (float)(0.02 * sin((double)k * 1.7 + (double)i));
}

/* The step that SGD with a rate of 1 takes is minus the gradient. Learns from the first `limit` of the latents kept
 * after 0 and 1 steps, or after `first` alone. */
static outcome learn(const branch *branches, size_t count, int64_t first, size_t limit)
{
    const objective o = objective_of(branches, count);
    const objective_list list = {.item = &o, .count = 1};
    trainer *t;
    assert_works(trainer_create_for(&config, &list, "cpu", &t, &err), &err);
    trainable *all = trainer_trainable(t);
    fill(all);
    outcome out = {.count = trainable_count(all)};
    const size_t bytes = out.count * sizeof(float);
    out.start = malloc(bytes);
    out.change = malloc(bytes);
    memcpy(out.start, trainable_values(all), bytes);
    const latent_size size = trainer_latents(t, 0);
    float *noise = malloc(latent_count(size) * sizeof *noise);
    rng r;
    rng_seed(&r, RNG_CPU, 11);
    rng_normal(&r, noise, latent_count(size));
    const int64_t kept[] = {first, 1};
    const source_pass pass = {.kept_count = first == 0 ? 2 : 1, .kept = kept};
    double losses[2] = {0, 0};
    assert_works(trainer_follow(t, &pass, noise, limit, losses, NULL, &err), &err);
    out.loss = losses[0] + losses[1];
    const float *now = trainable_values(all);
    for (size_t i = 0; i < out.count; i++) out.change[i] = now[i] - out.start[i];
    out.steps = trainer_steps(t);
    const memory_use planned = trainer_planned(t), taken = trainer_allocated(t);
    assert_memory_equal(&planned, &taken, sizeof planned);
    free(noise);
    trainer_destroy(t);
    return out;
}

static outcome learn_once(const branch *branches, size_t count)
{
    return learn(branches, count, 0, 1);
}

static double norm(const float *x, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

/* Both together are as both by themselves. The differences of values are rounded as the values are. */
static void check_sum(const branch *first, const branch *second)
{
    const branch both[] = {*first, *second};
    outcome a = learn_once(first, 1), b = learn_once(second, 1), sum = learn_once(both, 2);
    assert_true(a.steps == 1 && b.steps == 1 && sum.steps == 1);
    assert_true(fabs(sum.loss - (a.loss + b.loss)) <= 1e-6 * sum.loss);
    double wrong = 0;
    for (size_t i = 0; i < sum.count; i++)
        wrong += pow((double)sum.change[i] - (double)a.change[i] - (double)b.change[i], 2);
    const double size = norm(sum.change, sum.count);
    printf("    |a| %.3g, |b| %.3g, |a + b| %.3g, off by %.1e of it\n", norm(a.change, a.count),
           norm(b.change, b.count), size, sqrt(wrong) / size);
    assert_true(norm(a.change, a.count) > 0.05 * size && norm(b.change, b.count) > 0.05 * size);
    assert_true(sqrt(wrong) < 1e-4 * size);
    outcome_free(&a);
    outcome_free(&b);
    outcome_free(&sum);
}

static void gradients_of_branches_add_up(void **state)
{
    (void)state;
    const branch first = branch_of(2, 1, "a red circle", "red"), second = branch_of(0.5, 1, "a star", "star");
    check_sum(&first, &second);
}

/* A slider's halves are two graphs over one trainable. */
static void a_branch_may_have_the_opposite_multiplier(void **state)
{
    (void)state;
    const branch first = branch_of(1, 1, "a red circle", "red"), second = branch_of(1, -1, "a red circle", "blue");
    check_sum(&first, &second);
    const branch mirror = branch_of(1, -1, "a red circle", "red");
    outcome a = learn_once(&first, 1), b = learn_once(&mirror, 1);
    assert_true(memcmp(a.change, b.change, a.count * sizeof(float)) != 0);
    outcome_free(&a);
    outcome_free(&b);
}

/* One branch twice is one of twice the weight. */
static void a_branch_twice_weighs_double(void **state)
{
    (void)state;
    const branch once = branch_of(1, 1, "a red circle", "red"), twice[] = {once, once};
    branch heavy = once;
    heavy.weight = 2;
    outcome a = learn_once(twice, 2), b = learn_once(&heavy, 1);
    assert_true(a.loss == b.loss);
    assert_memory_equal(a.change, b.change, a.count * sizeof(float));
    outcome_free(&a);
    outcome_free(&b);
}

/* As torch's clip_grad_norm_: the same direction, and max_grad_norm / (norm + 1e-6) of the length. */
static void long_gradients_are_shortened(void **state)
{
    (void)state;
    const branch one = branch_of(2, 1, "a red circle", "red"), two[] = {one, branch_of(1, 1, "a star", "star")};
    for (size_t branches = 1; branches <= 2; branches++) { /* the trainable's own gradients, and sums of them */
        const branch *all = branches == 1 ? &one : two;
        outcome whole = learn_once(all, branches);
        const double length = norm(whole.change, whole.count);
        config.max_grad_norm = length / 4;
        outcome clipped = learn_once(all, branches);
        config.max_grad_norm = length * 1.1;
        outcome same = learn_once(all, branches);
        config.max_grad_norm = 0;
        double wrong = 0; /* a gradient is known as the difference of two rounded values */
        const double part = length / 4 / (length + 1e-6);
        for (size_t i = 0; i < whole.count; i++)
            wrong += pow((double)clipped.change[i] - part * (double)whole.change[i], 2);
        printf("    |g| %.4g, clipped %.4g, off by %.1e of it\n", length, norm(clipped.change, clipped.count),
               4 * sqrt(wrong) / length);
        assert_true(length > 0 && 4 * sqrt(wrong) / length < 1e-4);
        assert_true(clipped.loss == whole.loss);
        assert_memory_equal(same.change, whole.change, whole.count * sizeof(float));
        outcome_free(&whole);
        outcome_free(&clipped);
        outcome_free(&same);
    }
}

/* Two latents make one step, by the mean of their gradients; only that is as long as it may be. */
static void gradients_of_latents_are_averaged(void **state)
{
    (void)state;
    const branch two[] = {branch_of(2, 1, "a red circle", "red"), branch_of(1, 1, "a star", "star")};
    outcome a = learn(two, 2, 0, 1), b = learn(two, 2, 1, 1);
    config.accumulation = 2;
    outcome half = learn(two, 2, 0, 1), whole = learn(two, 2, 0, 2);
    const double length = norm(whole.change, whole.count);
    config.max_grad_norm = length / 4;
    outcome clipped = learn(two, 2, 0, 2);
    config.max_grad_norm = 0;
    config.accumulation = 1;
    assert_true(half.steps == 0 && whole.steps == 1 && clipped.steps == 1);
    assert_true(norm(half.change, half.count) == 0 && half.loss == a.loss && whole.loss == a.loss + b.loss);
    double wrong = 0;
    for (size_t i = 0; i < whole.count; i++)
        wrong += pow((double)whole.change[i] - ((double)a.change[i] + (double)b.change[i]) / 2, 2);
    printf("    |a| %.3g, |b| %.3g, mean %.3g, off by %.1e of it\n", norm(a.change, a.count), norm(b.change, b.count),
           length, sqrt(wrong) / length);
    assert_true(sqrt(wrong) < 1e-4 * length && fabs(norm(clipped.change, clipped.count) / length - 0.25) < 1e-4);
    outcome_free(&a);
    outcome_free(&b);
    outcome_free(&half);
    outcome_free(&whole);
    outcome_free(&clipped);
}

/* ---- plans ---- */

/* Part by part, the plan of a trainer that has taken nothing is what it then takes. */
static void a_plan_is_what_is_taken(void **state)
{
    (void)state;
    static const char *const on[][2] = {{"cpu", "float32"}, {"cpu", "bfloat16"}, {"ref", "float32"}};
    for (size_t i = 0; i < sizeof on / sizeof *on; i++) {
        train_config c = config;
        c.precision = on[i][1];
        trainer *t;
        assert_works(trainer_plan(&c, on[i][0], 0, &t, &err), &err);
        const memory_use planned = trainer_planned(t);
        assert_works(trainer_prepare(t, &err), &err);
        const memory_use again = trainer_planned(t), taken = trainer_allocated(t);
        assert_memory_equal(&planned, &again, sizeof planned);
        assert_memory_equal(&planned, &taken, sizeof planned);
        assert_true(taken.activations > 0 && taken.optimizer == 0 && taken.encoding > 0);
        trainer_destroy(t);
    }
}

/* ---- what a lesson makes ---- */

static void equal_terms_of_all_branches_are_predicted_once(void **state)
{
    (void)state;
    const branch branches[] = {branch_of(1, 1, "a red circle", "red"), branch_of(1, 1, "a star", "red"),
                               branch_of(1, -1, "a star", "blue")};
    const objective o = objective_of(branches, 3);
    device d;
    frozen_model frozen = {0};
    trainable *t;
    rng r;
    assert_works(device_open("cpu", "float32", &d, &err), &err);
    assert_works(model_open(MODEL, &frozen.model, &err), &err);
    assert_works(model_load(frozen.model, MODEL_TEXT_ENCODER | MODEL_UNET, &err), &err);
    assert_works(conditioner_create(&d, frozen.model, NULL, (text_options){0}, &frozen.conditioner, &err), &err);
    assert_works(noise_schedule_create(&frozen.model->schedule, &frozen.schedule, &err), &err);
    rng_seed(&r, RNG_CPU, 1);
    assert_works(trainable_create(frozen.model, &config.network, &r, &t, &err), &err);
    denoiser_pool pool = {.device = &d, .trainable = t};
    frozen_model other = frozen;
    frozen_model models[] = {frozen, other};
    const training_setting setting = {&config, models, 2, &pool, NULL, NULL};
    lesson l;
    assert_works(lesson_create(&setting, &o, &l, &err), &err);
    assert_int_equal(l.prediction_count, 4); /* "", red, a circle, blue */
    assert_int_equal(l.teacher_count, 1);
    assert_int_equal(pool.count, 4); /* the trajectory, the teacher, students at +1 and -1 */
    lesson_free(&l);

    branch foreign = branches[0];
    terms_add(&foreign.terms, 1, 1, "red");
    const objective mixed = objective_of(&foreign, 1);
    assert_works(lesson_create(&setting, &mixed, &l, &err), &err);
    assert_int_equal(l.teacher_count, 2); /* one batch a model */
    assert_int_equal(l.prediction_count, 4);
    lesson_free(&l);

    denoiser_pool_free(&pool);
    trainable_destroy(t);
    free(frozen.schedule);
    conditioner_destroy(frozen.conditioner);
    model_close(frozen.model);
    device_close(&d);
}

/* The objective, then what its source draws, then the noise: p1atdev's order. */
static void what_is_drawn_has_an_order(void **state)
{
    (void)state;
    trainer *t;
    assert_works(trainer_create_for(&config, NULL, "cpu", &t, &err), &err);
    rng *ours = trainer_rng(t), theirs = *ours;
    const size_t count = latent_count(trainer_latents(t, 0));
    float *noise = malloc(count * sizeof *noise), *scratch = malloc(count * sizeof *noise);
    int seen[3] = {0};
    for (int i = 0; i < 200; i++) {
        const source_pass pass = trainer_draw(t);
        assert_int_equal(pass.objective, rng_randint(&theirs, 0, 3));
        const int64_t first = rng_randint(&theirs, 0, 6);
        assert_true(pass.kept_count == 2 && (pass.kept[0] == first || pass.kept[1] == first));
        rng_randint(&theirs, 0, 5);
        rng_randint(&theirs, 0, 1000 / 6 - 1);
        latents_draw(&theirs, scratch, noise, trainer_latents(t, 0));
        rng a = *ours, b = theirs;
        assert_int_equal(rng_word(&a), rng_word(&b));
        seen[pass.objective]++;
    }
    assert_true(seen[0] > 40 && seen[1] > 40 && seen[2] > 40); /* 67 expected, sigma 7 */
    free(noise);
    free(scratch);
    trainer_destroy(t);
}

static int read_config(void **state)
{
    (void)state;
    test_write(test_path("objective.yaml"), text, strlen(text));
    return train_config_read(test_path("objective.yaml"), NULL, 0, &config, &err) == LECO_OK ? 0 : -1;
}

static int free_config(void **state)
{
    (void)state;
    train_config_free(&config);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_of_branches_add_up),
        cmocka_unit_test(a_branch_may_have_the_opposite_multiplier),
        cmocka_unit_test(a_branch_twice_weighs_double),
        cmocka_unit_test(long_gradients_are_shortened),
        cmocka_unit_test(gradients_of_latents_are_averaged),
        cmocka_unit_test(a_plan_is_what_is_taken),
        cmocka_unit_test(equal_terms_of_all_branches_are_predicted_once),
        cmocka_unit_test(what_is_drawn_has_an_order),
    };
    return cmocka_run_group_tests_name("unit/objective", tests, read_config, free_config);
}
