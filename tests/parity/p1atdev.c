/* p1atdev's own trainer in float32 (tools/export_p1atdev.py): from the same seed our losses are its losses, iteration
 * by iteration, for what is drawn, what the U-Net is told and how the adapter moves are the same. */
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

#include "base/mem.h"
#include "curve_support.h"
#include "format/safetensors.h"
#include "train/trainer.h"

static leco_error err;

/* How far a loss may be off, relatively. */
#define MOST 1e-3

/* The entries as p1atdev's prompts file has them: JSON is YAML. */
static void write_config(const char *path, const json_t *c)
{
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fprintf(out, "pretrained_model: {name_or_path: %s/models/shapes}\n", LECO_SOURCE_DIR);
    fprintf(out, "network: {type: %s, rank: %lld, alpha: %g}\n", json_string_value(json_object_get(c, "type")),
            json_integer_value(json_object_get(c, "rank")), json_number_value(json_object_get(c, "alpha")));
    fprintf(out, "train: {precision: float32, timestep_compat: p1atdev, seed: %lld, iterations: %lld, lr: %.9g, ",
            json_integer_value(json_object_get(c, "seed")), json_integer_value(json_object_get(c, "iterations")),
            json_number_value(json_object_get(c, "lr")));
    fprintf(out, "optimizer: %s, lr_scheduler: %s, noise_scheduler: %s, max_denoising_steps: %lld}\n",
            json_string_value(json_object_get(c, "optimizer")), json_string_value(json_object_get(c, "lr_scheduler")),
            json_string_value(json_object_get(c, "scheduler")), json_integer_value(json_object_get(c, "steps")));
    char *prompts = json_dumps(json_object_get(c, "prompts"), 0);
    assert_non_null(prompts);
    fprintf(out, "prompts_file: prompts.yaml\n");
    assert_int_equal(fclose(out), 0);
    test_write(test_path("prompts.yaml"), prompts, strlen(prompts));
    free(prompts);
}

typedef struct losses {
    double ours[64];
    int64_t count;
} losses;

static bool note(void *user, const train_progress *p)
{
    losses *l = user;
    if (p->done > l->count && p->done <= 64) l->ours[l->count++] = p->loss;
    return true;
}

static void same_losses(const char *name)
{
    char path[512];
    safetensors *file;
    snprintf(path, sizeof path, "%sp1atdev/%s.safetensors", FIXTURES, name);
    assert_works(safetensors_open(path, &file, &err), &err);
    json_t *c = json_loads(safetensors_metadata(file, "case"), 0, NULL);
    assert_non_null(c);
    write_config(test_path("p1atdev.yaml"), c);
    const char *const overrides[] = {"save.per_steps=0", "save.state=false"};
    train_config config;
    trainer *t;
    losses l = {.count = 0};
    train_result result;
    assert_works(train_config_read(test_path("p1atdev.yaml"), overrides, 2, &config, &err), &err);
    assert_works(trainer_create_for(&config, NULL, "cpu", &t, &err), &err);
    assert_works(trainer_run(t, note, &l, &result, &err), &err);
    const safetensors_entry *theirs = curve_need(file, "losses");
    double worst = 0;
    assert_int_equal(l.count, theirs->count);
    for (int64_t i = 0; i < l.count; i++) {
        const double wanted = ((const double *)theirs->data)[i], off = fabs(l.ours[i] - wanted) / wanted;
        if (!(off <= MOST))
            printf("    %s, iteration %lld: %.7g, p1atdev's %.7g\n", name, (long long)i, l.ours[i], wanted);
        if (!(off <= worst)) worst = off;
    }
    printf("  %s: %lld losses within %.1e\n", name, (long long)l.count, worst);
    assert_true(worst <= MOST);
    mem_free(result.path);
    mem_free(result.state);
    trainer_destroy(t);
    train_config_free(&config);
    json_decref(c);
    safetensors_close(file);
}

static void one_pair(void **state)
{
    (void)state;
    same_losses("one");
}

static void several_pairs(void **state)
{
    (void)state;
    same_losses("several");
}

static void convolutions(void **state)
{
    (void)state;
    same_losses("one_c3lier");
    same_losses("several_c3lier");
}

static void sizes_that_change(void **state)
{
    (void)state;
    same_losses("changing");
}

static void other_schedulers(void **state)
{
    (void)state;
    same_losses("ddpm");
    same_losses("lms");
    same_losses("euler_a");
}

static void lion_and_cosine(void **state)
{
    (void)state;
    same_losses("lion");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_pair),     cmocka_unit_test(several_pairs),    cmocka_unit_test(sizes_that_change),
        cmocka_unit_test(convolutions), cmocka_unit_test(other_schedulers), cmocka_unit_test(lion_and_cosine),
    };
    return cmocka_run_group_tests_name("parity/p1atdev", tests, NULL, NULL);
}
