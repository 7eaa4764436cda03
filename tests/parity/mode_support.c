#include "mode_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "curve_support.h"
#include "format/json.h"
#include "picture/png.h"
#include "train/trainer_internal.h"

static leco_error err;

/* ---- what the config names ---- */

/* "sd1-like" becomes its folder. */
static void find_model(json_t *named)
{
    const char *fixture = json_string_value(json_object_get(named, "name_or_path"));
    assert_non_null(fixture);
    assert_int_equal(json_object_set_new(named, "name_or_path", json_string(curve_model(fixture))), 0);
}

static void put_config(const char *path, const safetensors *file)
{
    json_t *config = json_loads(safetensors_metadata(file, "config"), 0, NULL), *teacher;
    const char *name;
    assert_non_null(config);
    find_model(json_object_get(config, "pretrained_model"));
    json_object_foreach(json_object_get(config, "teachers"), name, teacher) find_model(teacher);
    assert_int_equal(json_dump_file(config, path, JSON_REAL_PRECISION(9)), 0); /* JSON is YAML, too */
    json_decref(config);
}

/* Pictures [n,3,H,W] of 0 to 255 in a folder, and beside them their captions, where they have one. */
static void put_pictures(const char *folder, const safetensors_entry *pictures, const json_t *captions)
{
    const float *value = pictures->data;
    const int64_t height = pictures->shape[2], width = pictures->shape[3], area = height * width;
    char path[1024];
    assert_int_equal(mkdir(folder, 0777), 0);
    assert_int_equal(json_array_size(captions), pictures->shape[0]);
    for (int64_t n = 0; n < pictures->shape[0]; n++) {
        image img;
        assert_works(image_create((int)width, (int)height, &img, &err), &err);
        for (int64_t i = 0; i < area; i++)
            for (int64_t c = 0; c < 3; c++) img.rgb[3 * i + c] = (uint8_t)value[(3 * n + c) * area + i];
        snprintf(path, sizeof path, "%s/%d.png", folder, (int)n);
        assert_works(png_write(path, &img, NULL, &err), &err);
        image_free(&img);
        const char *caption = json_string_value(json_array_get(captions, (size_t)n));
        snprintf(path, sizeof path, "%s/%d.txt", folder, (int)n);
        if (caption) test_write(path, caption, strlen(caption));
    }
}

/* A folder of that name with config.yaml, and all folders of pictures beside it. Returns the config's path. */
static const char *put_all(const char *name, const safetensors *file)
{
    char path[1024];
    const char *written = safetensors_metadata(file, "captions");
    json_t *folders = written ? json_loads(written, 0, NULL) : NULL, *captions;
    const char *folder;
    assert_int_equal(mkdir(test_path(name), 0777), 0);
    json_object_foreach(folders, folder, captions) {
        char pictures[128];
        snprintf(pictures, sizeof pictures, "pictures.%s", folder);
        snprintf(path, sizeof path, "%s/%s", name, folder);
        put_pictures(test_path(path), curve_need(file, pictures), captions);
    }
    json_decref(folders);
    snprintf(path, sizeof path, "%s/config.yaml", name);
    const char *config = test_path(path);
    put_config(config, file);
    return config;
}

/* ---- passes ---- */

static int64_t number_at(const safetensors *file, const char *name, size_t index)
{
    const safetensors_entry *e = curve_need(file, name);
    assert_true(e->type == DTYPE_I64 && index < e->count);
    return ((const int64_t *)e->data)[index];
}

static source_pass pass_at(const safetensors *file, size_t index, int64_t *kept)
{
    const safetensors_entry *pictures = safetensors_find(file, "passes.pictures");
    *kept = number_at(file, "passes.kept", index);
    return (source_pass){.objective = (size_t)number_at(file, "passes.objective", index),
                         .source = (size_t)number_at(file, "passes.source", index),
                         .jitter = number_at(file, "passes.offset", index),
                         .kept_count = 1,
                         .kept = kept,
                         .pictures =
                             pictures ? (const int64_t *)pictures->data + index * (size_t)pictures->shape[1] : NULL};
}

/* Where an entry has attributes, the only choice that there is falls as the fixture says. */
static void choose(const lesson *l, const safetensors *file, size_t index)
{
    enum { ATTRIBUTES = 3 };
    if (!safetensors_find(file, "passes.choice")) return;
    const int64_t wanted = number_at(file, "passes.choice", index);
    rng r, ahead;
    uint64_t seed = 0;
    assert_true(wanted >= 0 && wanted < ATTRIBUTES);
    do {
        rng_seed(&r, RNG_CPU, seed++);
        ahead = r;
    } while (rng_randint(&ahead, 0, ATTRIBUTES) != wanted);
    phrases_draw(l->phrases, &r);
}

/* The latents that a pass begins with. */
static float *noise_of(const lesson *l, const safetensors *file, size_t index)
{
    char name[64];
    snprintf(name, sizeof name, "pass%zu.noise", index);
    const safetensors_entry *start = curve_need(file, name);
    assert_int_equal(start->count, latent_count(l->size));
    float *noise = malloc(start->count * sizeof *noise);
    assert_non_null(noise);
    latents_from_nchw(start->data, noise, l->size);
    return noise;
}

/* What the optimizer is given in the pass, without its step. Returns the error of the worst tensor. */
static double compare_gradients(trainer *t, const safetensors *file, size_t index)
{
    const train_watch nobody = {0};
    int64_t kept;
    const source_pass pass = pass_at(file, index, &kept);
    lesson *l = &t->lessons[pass.objective];
    float *noise = noise_of(l, file, index);
    gradients_of_step g;
    double loss;
    choose(l, file, index);
    assert_works(trainer_make_latents(t, &pass, noise, &nobody, &err), &err);
    assert_works(lesson_learn(l, &pass, 0, t->kept, t->trainable, t->sum, &loss, &g, &err), &err);
    free(noise);
    return curve_measure_gradients(file, t->trainable, g.values, (double)g.scale);
}

/* One pass. Returns the loss's relative error. */
static double follow(trainer *t, const safetensors *file, size_t index)
{
    int64_t kept;
    const source_pass pass = pass_at(file, index, &kept);
    const double wanted = (double)((const float *)curve_need(file, "losses")->data)[index];
    double loss;
    const lesson *l = &t->lessons[pass.objective];
    const source *from = l->source[pass.source];
    assert_non_null(from);
    float *noise = noise_of(l, file, index);
    choose(l, file, index);
    assert_works(trainer_follow(t, &pass, noise, 1, &loss, NULL, &err), &err);
    free(noise);
    printf("    loss %.7f, PyTorch %.7f\n", loss, wanted);
    curve_compare(file, index, "x_t", t->kept, l->size, from->views);
    curve_compare(file, index, "target", l->wanted, l->size, l->objective->branch_count);
    return fabs(loss - wanted) / wanted;
}

/* ---- cases ---- */

static void replay(const char *fixture, const char *kind, const char *device_name)
{
    char path[512];
    safetensors *file;
    curve_run run;
    curve_deviation d = {0};
    if (!test_on(device_name)) skip();
    snprintf(path, sizeof path, "%s%s/%s.safetensors", FIXTURES, fixture, kind);
    assert_works(safetensors_open(path, &file, &err), &err);
    snprintf(path, sizeof path, "%s-%s-%s", fixture, kind, device_name);
    curve_begin(&run, file, put_all(path, file), device_name);
    const size_t passes = curve_need(file, "losses")->count;
    double gradient = 0;
    for (size_t i = 0; i < passes; i++) {
        assert_true(number_at(file, "passes.objective", i) < (int64_t)run.trainer->objectives.count);
        if (i + 1 == passes) gradient = compare_gradients(run.trainer, file, i);
        const double error = follow(run.trainer, file, i);
        if (!(error <= d.loss)) d.loss = isnan(error) ? INFINITY : error;
    }
    curve_measure_change(file, trainer_trainable(run.trainer), &d);
    printf(
        "  %s %s on %s: losses within %.1e, the last gradient's worst tensor within %.1e, the change within %.1e, of "
        "the worst tensor within %.1e\n",
        fixture, kind, device_name, d.loss, gradient, d.whole, d.change);
    assert_true(passes >= 5);
    assert_true(d.loss < 1e-4);
    assert_true(gradient < 1e-3);
    assert_true(d.change < 2e-3);
    curve_end(&run);
    safetensors_close(file);
}

static void replay_on_ref(void **state)
{
    const mode_case *c = *state;
    replay(c->fixture, c->kind, "ref");
}

static void replay_on_cpu(void **state)
{
    const mode_case *c = *state;
    replay(c->fixture, c->kind, "cpu");
}

static void replay_on_cuda(void **state)
{
    const mode_case *c = *state;
    const backend *cuda = backend_find("cuda");
    if (!cuda || backend_open(cuda, NULL) != LECO_OK || (c->large && !getenv("LECO_TEST_LARGE"))) skip();
    replay(c->fixture, c->kind, "cuda");
}

int mode_run_all(const char *group, const mode_case *cases, size_t count, int argc, char **argv)
{
    static const struct {
        const char *name;
        CMUnitTestFunction run;
    } devices[] = {{"ref", replay_on_ref}, {"cpu", replay_on_cpu}, {"cuda", replay_on_cuda}};
    struct CMUnitTest tests[3 * MODE_CASES_MAX] = {0};
    char names[3 * MODE_CASES_MAX][128];
    size_t made = 0;
    if (count > MODE_CASES_MAX) return 1;
    for (size_t d = 0; d < 3; d++)
        for (size_t i = 0; i < count; i++, made++) {
            snprintf(names[made], sizeof names[made], "%s %s on %s", cases[i].fixture, cases[i].kind, devices[d].name);
            tests[made] = (struct CMUnitTest){
                .name = names[made], .test_func = devices[d].run, .initial_state = (void *)(uintptr_t)&cases[i]};
        }
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return _cmocka_run_group_tests(group, tests, made, NULL, NULL);
}
