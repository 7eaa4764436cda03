/* Training on photographs against fixtures (photos, photo_pairs): the VAE, x_t, targets, the student, AdamW, as PyTorch
 * has them over several updates. */
#include "curve_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "format/json.h"
#include "picture/png.h"
#include "train/trainer_internal.h"

static leco_error err;

/* A folder "NAME" with the fixture's pictures [n,3,H,W] of 0 to 255, and their captions where there is one each. */
static void put_pictures(const char *name, const safetensors_entry *pictures, const json_t *captions)
{
    const float *value = pictures->data;
    const int64_t height = pictures->shape[2], width = pictures->shape[3], area = height * width;
    assert_int_equal(mkdir(test_path(name), 0777), 0);
    for (int64_t n = 0; n < pictures->shape[0]; n++) {
        char file[300];
        image img;
        assert_works(image_create((int)width, (int)height, &img, &err), &err);
        for (int64_t i = 0; i < area; i++)
            for (int64_t c = 0; c < 3; c++) img.rgb[3 * i + c] = (uint8_t)value[(3 * n + c) * area + i];
        snprintf(file, sizeof file, "%s/%d.png", test_path(name), (int)n);
        assert_works(png_write(file, &img, NULL, &err), &err);
        image_free(&img);
        const char *caption = json_string_value(json_array_get(captions, (size_t)n));
        snprintf(file, sizeof file, "%s/%d.txt", test_path(name), (int)n);
        if (caption) test_write(file, caption, strlen(caption));
    }
}

static void put_config(const char *path, const char *fixture, const safetensors *file, const char *prefix)
{
    const safetensors_entry *pictures = curve_need(file, "passes.pictures");
    json_t *prompts = json_loads(safetensors_metadata(file, "prompts"), 0, NULL);
    char before[64], after[64];
    FILE *out = fopen(path, "w");
    assert_true(out && json_is_array(prompts));
    fprintf(out, "pretrained_model: {name_or_path: \"%s\"}\n", curve_model(fixture));
    fprintf(out, "network: {rank: %g, alpha: %g}\n", curve_number(file, "rank"), curve_number(file, "alpha"));
    fprintf(out,
            "train: {precision: float32, optimizer_args: weight_decay=%g, lr: %.9g, lr_scheduler: constant, "
            "max_denoising_steps: 50, timestep_jitter: false, samples_per_trajectory: %lld}\n",
            curve_number(file, "weight_decay"), curve_number(file, "lr"),
            (long long)curve_need(file, "passes.timesteps")->shape[1]);
    snprintf(before, sizeof before, "%s_a", prefix);
    snprintf(after, sizeof after, "%s_b", prefix);
    if (safetensors_find(file, "pictures.all")) {
        put_pictures(before, curve_need(file, "pictures.all"), prompts);
        fprintf(out, "images: {path: %s, batch_size: %lld, resolution: %lld}\n", before, (long long)pictures->shape[1],
                (long long)curve_need(file, "pictures.all")->shape[2]);
    } else {
        put_pictures(before, curve_need(file, "pictures.before"), NULL);
        put_pictures(after, curve_need(file, "pictures.after"), NULL);
        fprintf(out,
                "prompts: [{action: slider, target: %s, images: {before: %s, after: %s}, multiplier: %g, "
                "guidance_scale: %g, batch_size: %lld}]\n",
                json_string_value(json_array_get(prompts, 0)), before, after, curve_number(file, "multiplier"),
                curve_number(file, "guidance_scale"), (long long)pictures->shape[1]);
    }
    assert_int_equal(fclose(out), 0);
    json_decref(prompts);
}

static double follow_all(trainer *t, const safetensors *file)
{
    const safetensors_entry *pictures = curve_need(file, "passes.pictures"),
                            *kept = curve_need(file, "passes.timesteps");
    const size_t samples = (size_t)kept->shape[1], batch = (size_t)pictures->shape[1];
    const float *losses = curve_need(file, "losses")->data;
    const latent_size size = trainer_latents(t, 0);
    const size_t views = t->lessons[0].source[0]->views;
    float *noise = malloc(latent_count(size) * sizeof *noise);
    double worst = 0;
    for (size_t i = 0; i < (size_t)kept->shape[0]; i++) {
        char name[64];
        snprintf(name, sizeof name, "pass%zu.noise", i);
        const safetensors_entry *start = curve_need(file, name);
        assert_int_equal(start->count, latent_count(size));
        latents_from_nchw(start->data, noise, size);
        for (size_t k = 0; k < samples; k++) { /* one at a time, so that what each was pulled to is seen */
            const source_pass pass = {.kept_count = 1,
                                      .kept = (const int64_t *)kept->data + i * samples + k,
                                      .pictures = (const int64_t *)pictures->data + i * batch};
            const double wanted = (double)losses[i * samples + k];
            double loss;
            assert_works(trainer_follow(t, &pass, noise, 1, &loss, NULL, &err), &err);
            printf("    loss %.7f, PyTorch %.7f\n", loss, wanted);
            worst = fmax(worst, fabs(loss - wanted) / wanted);
            curve_compare(file, i * samples + k, "x_t", t->kept, size, views);
            curve_compare(file, i * samples + k, "target", t->lessons[0].wanted, size, views);
        }
    }
    free(noise);
    return worst;
}

static void replay(const char *fixture, const char *kind, const char *device_name, const char *prefix)
{
    char path[512];
    curve_run run;
    safetensors *file;
    const backend *b = backend_find(device_name);
    if (!test_on(device_name) || !b || backend_open(b, NULL) != LECO_OK) skip();
    snprintf(path, sizeof path, "%s%s/%s.safetensors", FIXTURES, fixture, kind);
    assert_works(safetensors_open(path, &file, &err), &err);
    put_config(test_path("photo_curve.yaml"), fixture, file, prefix);
    curve_begin(&run, file, test_path("photo_curve.yaml"), device_name);
    curve_deviation d = {.loss = follow_all(run.trainer, file)};
    curve_measure_change(file, trainer_trainable(run.trainer), &d);
    printf("  %s %s on %s: losses within %.1e, the adapter's change within %.1e, of the worst tensor's within %.1e\n",
           fixture, kind, device_name, d.loss, d.whole, d.change);
    assert_true(d.loss < 1e-4);
    assert_true(d.change < 2e-3);
    curve_end(&run);
    safetensors_close(file);
}

static void photographs_on_ref(void **state)
{
    (void)state;
    replay("sd1-like", "photos", "ref", "ref");
}

static void photographs_on_cpu(void **state)
{
    (void)state;
    replay("sd1-like", "photos", "cpu", "cpu");
}

static void photographs_with_v_prediction(void **state)
{
    (void)state;
    replay("sd2-like", "photos", "cpu", "v");
}

static void pairs_on_cpu(void **state)
{
    (void)state;
    replay("sd1-like", "photo_pairs", "cpu", "pairs");
}

static void photographs_on_cuda(void **state)
{
    (void)state;
    replay("sd1-like", "photos", "cuda", "cuda");
}

static void pairs_on_cuda(void **state)
{
    (void)state;
    if (!getenv("LECO_TEST_LARGE")) skip(); /* an emulated card is slow */
    replay("sd1-like", "photo_pairs", "cuda", "pairs_cuda");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(photographs_on_ref),
        cmocka_unit_test(photographs_on_cpu),
        cmocka_unit_test(photographs_with_v_prediction),
        cmocka_unit_test(pairs_on_cpu),
        cmocka_unit_test(photographs_on_cuda),
        cmocka_unit_test(pairs_on_cuda),
    };
    return cmocka_run_group_tests_name("parity/photo_curve", tests, NULL, NULL);
}
