/* Every mode trained from a config, against fixtures (mode_*.safetensors): the latents, what each branch is pulled to,
 * losses, gradients and AdamW, as PyTorch has them over several updates. */
#include "curve_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "format/json.h"
#include "train/trainer_internal.h"

static leco_error err;

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
    /* PyTorch's optimizer had no schedule, which fixtures that were made before there was another default don't say. */
    assert_int_equal(json_object_set_new(json_object_get(config, "train"), "lr_scheduler", json_string("constant")), 0);
    json_object_foreach(json_object_get(config, "teachers"), name, teacher) find_model(teacher);
    assert_int_equal(json_dump_file(config, path, JSON_REAL_PRECISION(9)), 0); /* JSON is YAML, too */
    json_decref(config);
}

static int64_t number_at(const safetensors *file, const char *name, size_t index)
{
    const safetensors_entry *e = curve_need(file, name);
    assert_true(e->type == DTYPE_I64 && index < e->count);
    return ((const int64_t *)e->data)[index];
}

static source_pass pass_at(const safetensors *file, size_t index, int64_t *kept)
{
    *kept = number_at(file, "passes.kept", index);
    return (source_pass){.objective = (size_t)number_at(file, "passes.objective", index),
                         .source = (size_t)number_at(file, "passes.source", index),
                         .jitter = number_at(file, "passes.offset", index),
                         .kept_count = 1,
                         .kept = kept};
}

/* One pass. Returns the loss's relative error. */
static double follow(trainer *t, const safetensors *file, size_t index)
{
    char name[64];
    int64_t kept;
    const source_pass pass = pass_at(file, index, &kept);
    const double wanted = (double)((const float *)curve_need(file, "losses")->data)[index];
    double loss;
    assert_true(pass.objective < t->objectives.count);
    const lesson *l = &t->lessons[pass.objective];
    assert_non_null(l->source[pass.source]);
    snprintf(name, sizeof name, "pass%zu.noise", index);
    const safetensors_entry *start = curve_need(file, name);
    assert_int_equal(start->count, latent_count(l->size));
    float *noise = malloc(start->count * sizeof *noise);
    latents_from_nchw(start->data, noise, l->size);
    assert_works(trainer_follow(t, &pass, noise, 1, &loss, NULL, &err), &err);
    free(noise);
    printf("    loss %.7f, PyTorch %.7f\n", loss, wanted);
    curve_compare(file, index, "x_t", t->kept, l->size, 1);
    curve_compare(file, index, "target", l->wanted, l->size, l->objective->branch_count);
    return fabs(loss - wanted) / wanted;
}

/* Those of the last pass, whose latent has the weight 1 itself. */
static double compare_gradients(trainer *t, const safetensors *file, size_t last)
{
    const objective *o = t->lessons[number_at(file, "passes.objective", last)].objective;
    trainable *on = t->trainable;
    if (o->branch_count > 1) return curve_measure_gradients(file, on, t->sum, 1);
    return curve_measure_gradients(file, on, trainable_grads(on), o->branches[0].weight);
}

static void replay(const char *fixture, const char *kind, const char *device_name)
{
    char path[512];
    safetensors *file;
    curve_run run;
    curve_deviation d = {0};
    if (!test_on(device_name)) skip();
    snprintf(path, sizeof path, "%s%s/%s.safetensors", FIXTURES, fixture, kind);
    assert_works(safetensors_open(path, &file, &err), &err);
    put_config(test_path("modes.yaml"), file);
    curve_begin(&run, file, test_path("modes.yaml"), device_name);
    const size_t passes = curve_need(file, "losses")->count;
    for (size_t i = 0; i < passes; i++) {
        const double error = follow(run.trainer, file, i);
        if (!(error <= d.loss)) d.loss = isnan(error) ? INFINITY : error;
    }
    const double gradient = compare_gradients(run.trainer, file, passes - 1);
    curve_measure_change(file, trainer_trainable(run.trainer), &d);
    printf(
        "  %s %s on %s: losses within %.1e, the last gradient's worst tensor within %.1e, the change within %.1e, of "
        "the worst tensor within %.1e\n",
        fixture, kind, device_name, d.loss, gradient, d.whole, d.change);
    assert_true(d.loss < 1e-4);
    assert_true(gradient < 1e-3);
    assert_true(d.change < 2e-3);
    curve_end(&run);
    safetensors_close(file);
}

typedef struct mode_case {
    const char *fixture, *kind;
    bool large; /* on a card only with LECO_TEST_LARGE: an emulated one is slow */
} mode_case;

static const mode_case cases[] = {
    {"sd1-like", "mode_transplant", false}, /* a teacher that predicts v; its own trajectory */
    {"sd1-like", "mode_transplant_guided", true},
    {"sd2-like", "mode_transplant_guided", true}, /* the other way round */
    {"sd1-like", "mode_distill", true},
    {"sd1-like", "mode_slider", false},
    {"sd1-like", "mode_preserve", true},
    {"sd1-like", "mode_preserve_both", true}, /* at two multipliers, beside a slider */
    {"sd1-like", "mode_embedding", true},
    {"sd1-like", "mode_negative", true},
    {"sd1-like", "mode_text", true}, /* a LoRA of the text encoder, too */
    /* erase_from; terms, of a frozen trajectory; enhance, of noise alone */
    {"sd1-like", "mode_entries", true},
};

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

int main(int argc, char **argv)
{
    enum { CASES = sizeof cases / sizeof *cases };
    static const struct {
        const char *name;
        CMUnitTestFunction run;
    } devices[] = {{"ref", replay_on_ref}, {"cpu", replay_on_cpu}, {"cuda", replay_on_cuda}};
    struct CMUnitTest tests[3 * CASES];
    char names[3 * CASES][128];
    size_t count = 0;
    for (size_t d = 0; d < 3; d++)
        for (size_t i = 0; i < CASES; i++, count++) {
            snprintf(names[count], sizeof names[count], "%s %s on %s", cases[i].fixture, cases[i].kind,
                     devices[d].name);
            tests[count] = (struct CMUnitTest){
                .name = names[count], .test_func = devices[d].run, .initial_state = (void *)(uintptr_t)&cases[i]};
        }
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("parity/modes", tests, NULL, NULL);
}
