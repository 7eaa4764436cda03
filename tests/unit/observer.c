/* Who watches a training changes nothing of it, tells the truth, and writes what it is to write. */
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/file.h"
#include "leco/leco.h"
#include "model_support.h"
#include "picture/png.h"
#include "train/effect_internal.h"
#include "train/trainer_internal.h"

#define MODEL FIXTURE("sd1-like")
#define RESULT "out/small.safetensors"

static leco_error err;

static const char config[] =
    "pretrained_model: {name_or_path: \"" MODEL "\"}\n"
    "network: {rank: 2}\n"
    "train: {precision: float32, iterations: 6, max_denoising_steps: 5, lr: 1e-2, samples_per_trajectory: 2}\n"
    "save: {name: small, path: out, per_steps: 0}\n"
    "prompts:\n"
    "- {target: a red circle, positive: red, neutral: a circle}\n";

enum { MOST = 12 };

static leco_status train(const char *const *overrides, leco_train_report *report)
{
    leco_train_options o = {.overrides = overrides};
    while (overrides[o.override_count]) o.override_count++;
    *report = (leco_train_report){0};
    return leco_train(test_path("train.yaml"), &o, report, &err);
}

/* ---- nothing changes ---- */

static void a_watched_training_is_the_same_to_the_byte(void **state)
{
    (void)state;
#define WATCHED                                                                                                        \
    "logging.effect_every=1", "logging.prompts=[a star, 'a {red|blue} ring']", "logging.interval=2",                   \
        "logging.steps=2", "logging.log=true", "logging.tensorboard=tb", "logging.weights=[-1, 0, 0.5]"
    static const char *const trainings[][2][MOST] = {
        {{"logging.effect=false"}, {WATCHED}},
        {{"logging.effect=false", "network.text_encoder=true"}, {WATCHED, "network.text_encoder=true"}},
        {{"logging.effect=false", "train.noise_scheduler=euler_a", "train.timestep_jitter=true", "preserve=[a moon]"},
         {WATCHED, "train.noise_scheduler=euler_a", "train.timestep_jitter=true", "preserve=[a moon]"}},
        {{"logging.effect=false", "prompts.0.action=slider"}, {WATCHED, "prompts.0.action=slider"}},
    };
    for (size_t i = 0; i < sizeof trainings / sizeof *trainings; i++) {
        leco_train_report report;
        unsigned char *file[2];
        size_t size[2];
        for (int k = 0; k < 2; k++) {
            assert_works(train(trainings[i][k], &report), &err);
            assert_int_equal(report.planned_bytes, report.measured_bytes);
            assert_true(isnan(report.effect.moved) == (k == 0));
            leco_train_report_free(&report);
            file[k] = test_read(test_path(RESULT), &size[k]);
        }
        assert_int_equal(size[0], size[1]);
        assert_memory_equal(file[0], file[1], size[0]);
        free(file[0]);
        free(file[1]);
    }
    test_remove_files("out");
}

/* ---- the effect ---- */

/* What a model says at one latent, asked by itself. */
static void ask(const trainer *t, const conditioning *text, trainable *with, double multiplier, const float *x,
                double timestep, float *out)
{
    denoiser *n;
    adapter_use use = {with, (float)multiplier};
    const adapter_set set = {.use = &use, .count = with ? 1 : 0};
    const denoiser_options o = {
        .size = t->observer.meter->size, .tokens = conditioner_tokens(t->frozen[0].conditioner), .adapters = &set};
    assert_works(denoiser_create(&t->device, t->frozen[0].model, &o, &n, &err), &err);
    denoiser_set_context(n, 0, text);
    assert_works(denoiser_run(n, x, timestep, out, &err), &err);
    denoiser_destroy(n);
}

/* The figures, by the header's formulas, from predictions that are made one by one. */
static effect_figures by_hand(trainer *t)
{
    const effect_meter *m = t->observer.meter;
    const size_t count = m->stride;
    float *base = malloc(count * sizeof *base), *now = malloc(count * sizeof *now), *one = malloc(count * sizeof *one);
    double along = 0, asked = 0, moved[GROUP_COUNT] = {0};
    size_t seen[GROUP_COUNT] = {0};
    for (size_t k = 0; k < m->kept_count; k++)
        for (size_t i = 0; i < m->slots; i++) {
            const effect_slot *s = &m->slot[i];
            const effect_group group = m->run[s->run].group;
            const float *x = m->latents + (k * m->runs + s->run) * count;
            const double timestep = denoising_level(m->denoising, m->kept[k]);
            ask(t, &s->text, NULL, 0, x, timestep, base);
            ask(t, &s->text, t->trainable, s->branch ? s->branch->multiplier : m->slot[0].branch->multiplier, x,
                timestep, now);
            double *wanted = calloc(count, sizeof *wanted);
            for (size_t n = 0; n < m->terms && s->branch; n++)
                if (m->term[n].slot == i) {
                    ask(t, &m->term[n].text, NULL, 0, x, timestep, one);
                    for (size_t e = 0; e < count; e++) wanted[e] += m->term[n].of->weight * (double)one[e];
                }
            double product = 0, way = 0, gone = 0;
            for (size_t e = 0; e < count; e++) {
                const double d = (double)now[e] - (double)base[e], a = wanted[e] - (double)base[e];
                gone += d * d;
                product += d * a;
                way += a * a;
            }
            moved[group] += sqrt(gone);
            along += s->branch ? product / sqrt(way) : 0;
            asked += s->branch ? sqrt(way) : 0;
            seen[group]++;
            free(wanted);
        }
    free(base);
    free(now);
    free(one);
    const double unit = asked / (double)seen[GROUP_TARGET];
    double distance[GROUP_COUNT];
    for (int g = 0; g < GROUP_COUNT; g++) distance[g] = seen[g] ? moved[g] / (double)seen[g] / unit : (double)NAN;
    return (effect_figures){along / asked, distance[0], distance[1], distance[2], distance[3]};
}

/* An adapter of which both matrices have values. */
static void fill(trainable *t)
{
    size_t count;
    const param *params = trainable_params(t, &count);
    for (size_t i = 0; i < count; i++)
        for (int64_t k = 0; k < shape_count(&params[i].shape); k++)
            ((float *)params[i].value)[k] = (float)(0.4 * sin((double)k * 1.7 + (double)i));
}

static void assert_near(double found, double expected)
{
    if (isnan(expected) && isnan(found)) return;
    if (!(fabs(found - expected) <= 1e-4 * (fabs(expected) + 1e-2))) fail_msg("%.9g instead of %.9g", found, expected);
}

static void check_effect(const char *const *overrides)
{
    logging_others others = {
        .neighbour = {"a blue circle", "a green circle"}, .neighbours = 2, .unrelated = {"a star"}, .unrelateds = 1};
    size_t count = 0;
    train_config c;
    trainer *t;
    while (overrides[count]) count++;
    assert_works(train_config_read(test_path("train.yaml"), overrides, count, &c, &err), &err);
    c.logging.others = &others;
    assert_works(trainer_plan(&c, "cpu", 0, &t, &err), &err);
    assert_works(trainer_prepare(t, &err), &err);
    effect_figures found;
    const effect_watch nobody = {0};
    effect_meter *m = t->observer.meter;
    assert_non_null(m);
    assert_works(effect_begin(m, &nobody, &err), &err);
    assert_works(effect_measure(m, &nobody, &found, &err), &err);
    assert_true(found.effect == 0 && found.moved == 0);
    const bool found_elsewhere = !isnan(found.neighbours); /* distilling moves all there is */
    if (found_elsewhere) assert_true(found.neighbours == 0 && found.unrelated == 0);
    fill(t->trainable);
    const effect_figures expected = by_hand(t);
    assert_works(effect_measure(m, &nobody, &found, &err), &err);
    printf("    effect %.4f, moved %.4f, kept %.4f, neighbours %.4f, unrelated %.4f\n", found.effect, found.moved,
           found.kept, found.neighbours, found.unrelated);
    assert_true(fabs(found.effect) > 1e-3 && found.moved >= fabs(found.effect) &&
                (found.neighbours > 0) == found_elsewhere);
    assert_near(found.effect, expected.effect);
    assert_near(found.moved, expected.moved);
    assert_near(found.kept, expected.kept);
    assert_near(found.neighbours, expected.neighbours);
    assert_near(found.unrelated, expected.unrelated);
    const effect_figures before = found;
    assert_works(effect_measure(m, &nobody, &found, &err), &err); /* again, the same */
    assert_true(found.effect == before.effect && found.moved == before.moved);
    trainer_destroy(t);
    train_config_free(&c);
}

static void the_effect_is_what_the_formulas_say(void **state)
{
    (void)state;
#define OFTEN "logging.effect_every=1"
    static const char *const configs[][MOST] = {
        {OFTEN},
        {OFTEN, "train.batch_size=3", "preserve=[a star, 'a {blue|green} ring']"},
        {OFTEN, "prompts=[{target: a red circle, action: slider, positive: red, unconditional: blue}]"},
        {OFTEN,
         "prompts=[{target: a red circle, guidance_scale: 0, neutral: a circle, norm_match: false},"
         " {target: 'a {red|blue} star', action: distill, guidance_scale: 4}]",
         "logging.effect_prompts=[a moon]"},
        {OFTEN, "prompts.0.trajectory=none", "prompts.0.multiplier=2", "train.min_timestep=100",
         "train.max_timestep=300"},
    };
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) check_effect(configs[i]);
}

/* A student that is asked for what it says is at 1: of an adapter that is what the targets want, here at twice the
 * multiplier that it has, half of the way is gone. */
static void the_effect_of_nothing_asked_is_not_known(void **state)
{
    (void)state;
    const char *const overrides[] = {OFTEN,
                                     "prompts=[{target: a star, positive: a star, neutral: a star, guidance_scale: 1}, "
                                     "{target: a moon, weight: 1}]",
                                     NULL};
    leco_train_report report;
    assert_works(train(overrides, &report), &err);
    assert_true(isfinite(report.effect.effect));
    leco_train_report_free(&report);
    test_remove_files("out");
}

/* ---- ending ---- */

static void an_effect_ends_a_training(void **state)
{
    (void)state;
    const char *const overrides[] = {"train.stop_at_effect=0.00002", "train.iterations=60", "logging.effect_every=3",
                                     "save.per_steps=50", NULL};
    const char *const never[] = {"train.stop_at_effect=9", "logging.effect_every=3", NULL};
    leco_train_report report;
    assert_works(train(overrides, &report), &err);
    assert_true(report.iterations > 0 && report.iterations < 60 && report.iterations % 2 == 0);
    assert_true(report.effect.effect >= 0.00002);
    assert_int_equal(report.effect_step, report.iterations);
    assert_true(isfinite(report.last_loss));
    assert_true(strstr(report.path, RESULT) != NULL);
    assert_false(file_exists(test_path("out/small.state.safetensors")));
    leco_train_report_free(&report);
    assert_works(train(never, &report), &err);
    assert_int_equal(report.iterations, 6);
    leco_train_report_free(&report);
    test_remove_files("out");
}

/* ---- what is written ---- */

static void the_sheet_grows_by_rows(void **state)
{
    (void)state;
    const char *const overrides[] = {"logging.prompts=[a star, a moon]",
                                     "logging.interval=3",
                                     "logging.steps=1",
                                     "logging.weights=[1]",
                                     "logging.effect=false",
                                     NULL};
    leco_train_report report;
    image sheet;
    char *text;
    assert_works(train(overrides, &report), &err);
    leco_train_report_free(&report);
    assert_works(png_read(test_path("out/small.previews.png"), &sheet, &text, &err), &err);
    assert_non_null(strstr(text, "steps: 0 4 6")); /* at the ends of passes of two */
    image_free(&sheet);
    leco_free(text);
    test_remove_files("out");
}

static void what_cant_be_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *override, *also;
        leco_status status;
        const char *parts[3];
    } bad[] = {
        {"logging.effect=false", "train.stop_at_effect=0.5", LECO_INVALID, {"logging.effect", "stop_at_effect is 0.5"}},
        {"train.stop_at_effect=-1", NULL, LECO_INVALID, {"train.stop_at_effect"}},
        {"logging.weights=[]", NULL, LECO_INVALID, {"logging.weights", "1 to 16 numbers"}},
        {"logging.weights=[a]", NULL, LECO_INVALID, {"logging.weights", "found \"a\""}},
        {"logging.resolution=33", "logging.prompts=a star", LECO_INVALID, {"logging.resolution", "not a multiple"}},
        {"logging.interval=1", "train.iterations=900", LECO_OK, {NULL}},
        {"logging.prompts=['a {star']", NULL, LECO_INVALID, {"logging.prompts", "{"}},
        {"logging.prompts={text: a}", NULL, LECO_INVALID, {"logging.prompts"}},
        {"logging.steps=0", NULL, LECO_INVALID, {"logging.steps"}},
        {"logging.log=''", NULL, LECO_INVALID, {"logging.log"}},
        {"logging.log=/dev/null/log", NULL, LECO_IO, {"/dev/null/log", "cannot write"}},
        {"logging.log=train.yaml/log", NULL, LECO_IO, {"train.yaml/log", "is no folder"}},
        {"logging.log=out", NULL, LECO_IO, {"it is a folder"}},
        {"logging.tensorboard=train.yaml", NULL, LECO_IO, {"train.yaml", "is no folder"}},
        {"logging.run_name=a/b", NULL, LECO_INVALID, {"logging.run_name", "a/b"}},
        {"logging.promts=a", NULL, LECO_INVALID, {"logging", "promts", "prompts"}},
    };
    mkdir(test_path("out"), 0777);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *const overrides[] = {bad[i].override, bad[i].also, NULL};
        leco_train_report report;
        leco_train_options o = {.overrides = overrides, .override_count = bad[i].also ? 2 : 1, .dry_run = true};
        leco_status status = leco_train(test_path("train.yaml"), &o, &report, &err);
        if (bad[i].status == LECO_OK) {
            assert_works(status, &err);
            leco_train_report_free(&report);
            continue;
        }
        test_check_failure(status, bad[i].status, &err, bad[i].override, 0,
                           (const char *const[]){bad[i].parts[0], bad[i].parts[1], bad[i].parts[2], NULL});
    }
    const char *const tall[] = {"logging.prompts=a star", "logging.interval=1", "train.iterations=900"};
    leco_train_options o = {.overrides = tall, .override_count = 3, .dry_run = true};
    leco_train_report report;
    assert_fails(leco_train(test_path("train.yaml"), &o, &report, &err), LECO_INVALID, &err, "logging.interval",
                 "pixels");
    test_remove_files("out");
}

static void pictures_have_no_effect_but_a_distance(void **state)
{
    (void)state;
    const char *const overrides[] = {OFTEN, "prompts=null", "images={path: photos, prompt: a thing}", NULL};
    const char *const ending[] = {"train.stop_at_effect=0.5", "prompts=null", "images={path: photos, prompt: a thing}",
                                  NULL};
    leco_train_report report;
    image img;
    assert_int_equal(mkdir(test_path("photos"), 0777), 0);
    assert_works(image_create(32, 32, &img, &err), &err);
    assert_works(png_write(test_path("photos/1.png"), &img, NULL, &err), &err);
    image_free(&img);
    assert_works(train(overrides, &report), &err);
    assert_true(isnan(report.effect.effect) && report.effect.moved > 0);
    leco_train_report_free(&report);
    assert_fails(train(ending, &report), LECO_INVALID, &err, "train.stop_at_effect", "pictures");
    test_remove_files("out");
}

static int set_up(void **state)
{
    (void)state;
    test_write(test_path("train.yaml"), config, strlen(config));
    setenv("SOURCE_DATE_EPOCH", "1700000000", 1);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_watched_training_is_the_same_to_the_byte),
        cmocka_unit_test(the_effect_is_what_the_formulas_say),
        cmocka_unit_test(the_effect_of_nothing_asked_is_not_known),
        cmocka_unit_test(an_effect_ends_a_training),
        cmocka_unit_test(the_sheet_grows_by_rows),
        cmocka_unit_test(what_cant_be_is_refused),
        cmocka_unit_test(pictures_have_no_effect_but_a_distance),
    };
    return cmocka_run_group_tests_name("unit/observer", tests, set_up, NULL);
}
