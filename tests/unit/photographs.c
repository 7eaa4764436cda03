/* Training from photographs: what becomes of a picture, x_t and the target by hand, whose caption goes with whom,
 * pairs. */
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "picture/png.h"
#include "picture/resample.h"
#include "train/trainer_internal.h"

#define SMALL LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like" /* epsilon */
#define SHAPES LECO_SOURCE_DIR "/models/shapes-v"               /* v */

static leco_error err;

static void read_config(train_config *c, const char *folder)
{
    char text[1000];
    const char *path = test_path("photographs.yaml");
    snprintf(text, sizeof text,
             "pretrained_model: {name_or_path: \"%s\"}\nnetwork: {rank: 2}\n"
             "train: {precision: float32, iterations: 4, max_denoising_steps: 6, lr: 1, optimizer: sgd,"
             " samples_per_trajectory: 3}\nprompts: [{target: a}]\n",
             folder);
    test_write(path, text, strlen(text));
    assert_works(train_config_read(path, NULL, 0, c, &err), &err);
}

/* A picture of smooth colours, different for each index. */
static const char *put_picture(int index, int width, int height)
{
    char name[32];
    image img;
    snprintf(name, sizeof name, "picture%d.png", index);
    assert_works(image_create(width, height, &img, &err), &err);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++)
                img.rgb[3 * (y * width + x) + c] = (uint8_t)(127 + 120 * sin(0.1 * x * (index + 1) + 0.2 * y + c));
    assert_works(png_write(test_path(name), &img, NULL, &err), &err);
    image_free(&img);
    return test_path(name);
}

/* The latent of a picture, from the VAE itself. */
static float *clean_latent(trainer *t, const char *path, latent_size size)
{
    model *m;
    device d;
    encoder *e;
    image read, fitted;
    const int64_t factor = vae_factor(&t->frozen[0].model->vae);
    const latent_size pixels = {1, size.height * factor, size.width * factor, 3};
    assert_works(model_open(t->config->model, &m, &err), &err);
    assert_works(model_load(m, MODEL_VAE, &err), &err);
    assert_works(device_open("cpu", "float32", &d, &err), &err);
    assert_works(encoder_plan(&d, m, pixels, &e, &err), &err);
    assert_works(encoder_prepare(e, &err), &err);
    assert_works(png_read(path, &read, NULL, &err), &err);
    assert_works(image_fit(&read, (int)pixels.width, (int)pixels.height, &fitted, &err), &err);
    float *picture = malloc(latent_count(pixels) * sizeof *picture), *out = malloc(latent_stride(size) * sizeof *out);
    for (size_t i = 0; i < latent_count(pixels); i++) picture[i] = 2 * ((float)fitted.rgb[i] / 255 - 0.5f);
    assert_works(encoder_run(e, picture, out, NULL, &err), &err);
    for (size_t i = 0; i < latent_stride(size); i++) out[i] *= m->vae.scaling_factor;
    free(picture);
    image_free(&read);
    image_free(&fitted);
    encoder_destroy(e);
    device_close(&d);
    model_close(m);
    return out;
}

static void assert_close(const float *a, const float *b, size_t count, double tolerance)
{
    double most = 0, largest = 0;
    for (size_t i = 0; i < count; i++) {
        if (fabs((double)(a[i] - b[i])) > most) most = fabs((double)(a[i] - b[i]));
        if (fabs((double)b[i]) > largest) largest = fabs((double)b[i]);
    }
    if (!(most <= tolerance * largest)) fail_msg("off by %g of %g", most, largest);
}

static objective of_photos(const branch *branches, size_t count, const photo *photos, size_t photo_count, int64_t batch)
{
    return (objective){.place = "by hand",
                       .branches = branches,
                       .branch_count = count,
                       .source = {.row = &source_photographs, .photos = photos, .photo_count = photo_count},
                       .size = {batch, 0, 0}};
}

static trainer *trainer_of(const train_config *c, const objective *o)
{
    trainer *t;
    const objective_list list = {.item = o, .count = 1};
    assert_works(trainer_create_for(c, &list, "cpu", &t, &err), &err);
    return t;
}

/* ---- one picture ---- */

/* x_t = sqrt(a) clean + sqrt(1 - a) noise; the target is the noise, or sqrt(a) noise - sqrt(1 - a) clean. */
static void check_latents_and_targets(const char *folder, prediction expected)
{
    train_config c;
    read_config(&c, folder);
    const photo photos[] = {{{put_picture(0, 80, 50)}, "a thing", 80, 50},
                            {{put_picture(1, 31, 64)}, "a thing", 31, 64}};
    const branch b = {.weight = 1, .multiplier = 1, .added_noise = true};
    const objective o = of_photos(&b, 1, photos, 2, 2);
    trainer *t = trainer_of(&c, &o);
    const noise_schedule *s = t->frozen[0].schedule;
    assert_int_equal(s->prediction, expected);
    const latent_size size = trainer_latents(t, 0);
    const size_t count = latent_count(size), stride = latent_stride(size);
    float *noise = malloc(count * sizeof *noise), *x = malloc(count * sizeof *x), *wanted = malloc(count * sizeof *x);
    float *latents[] = {clean_latent(t, photos[0].path[0], size), clean_latent(t, photos[1].path[0], size)};
    rng r;
    rng_seed(&r, RNG_CPU, 3);
    rng_normal(&r, noise, count);
    const int64_t kept[] = {700, 20, 999}, pictures[] = {1, 0};
    const source_pass pass = {.kept_count = 3, .kept = kept, .pictures = pictures};
    for (size_t k = 1; k <= 3; k++) { /* as many steps, so that the last one's target is there to be seen */
        double losses[3];
        assert_works(trainer_follow(t, &pass, noise, k, losses, NULL, &err), &err);
        const double a = (double)s->alpha_bar[kept[k - 1]];
        for (size_t i = 0; i < count; i++) {
            const double clean = (double)latents[pictures[i / stride]][i % stride], n = (double)noise[i];
            x[i] = (float)(sqrt(a) * clean + sqrt(1 - a) * n);
            wanted[i] = (float)(expected == PREDICT_V ? sqrt(a) * n - sqrt(1 - a) * clean : n);
        }
        assert_close(t->kept + (k - 1) * count, x, count, 1e-5);
        assert_close(t->lessons[0].wanted, wanted, count, 1e-5);
        assert_true(isfinite(losses[k - 1]) && losses[k - 1] > 0);
    }
    const memory_use planned = trainer_planned(t), taken = trainer_allocated(t);
    assert_memory_equal(&planned, &taken, sizeof planned);
    free(noise);
    free(x);
    free(wanted);
    free(latents[0]);
    free(latents[1]);
    trainer_destroy(t);
    train_config_free(&c);
}

static void the_target_is_the_noise(void **state)
{
    (void)state;
    check_latents_and_targets(SMALL, PREDICT_EPSILON);
}

static void or_what_v_makes_of_it(void **state)
{
    (void)state;
    check_latents_and_targets(SHAPES, PREDICT_V);
}

/* ---- captions ---- */

/* The loss of one pass over pictures [batch] with their noise. */
static double loss_of(const train_config *c, const photo *photos, size_t count, int64_t batch, const int64_t *pictures,
                      const float *noise)
{
    const branch b = {.weight = 1, .multiplier = 1, .added_noise = true};
    const objective o = of_photos(&b, 1, photos, count, batch);
    trainer *t = trainer_of(c, &o);
    const int64_t kept[] = {400};
    const source_pass pass = {.kept_count = 1, .kept = kept, .pictures = pictures};
    double loss;
    assert_works(trainer_follow(t, &pass, noise, 1, &loss, NULL, &err), &err);
    trainer_destroy(t);
    return loss;
}

static void each_picture_has_its_caption(void **state)
{
    (void)state;
    train_config c;
    read_config(&c, SMALL);
    const char *first = put_picture(0, 32, 32), *second = put_picture(1, 32, 32);
    const photo photos[] = {{{first}, "a red circle", 32, 32}, {{second}, "something else altogether", 32, 32}};
    const photo mixed_up[] = {{{first}, photos[1].prompt, 32, 32}, {{second}, photos[0].prompt, 32, 32}};
    const int64_t both[] = {0, 1}, zero = 0, one = 1;
    const size_t stride = 8 * 8 * 4;
    float noise[2 * 8 * 8 * 4];
    rng r;
    rng_seed(&r, RNG_CPU, 5);
    rng_normal(&r, noise, 2 * stride);
    const double a = loss_of(&c, photos, 2, 1, &zero, noise), b = loss_of(&c, photos, 2, 1, &one, noise + stride);
    const double together = loss_of(&c, photos, 2, 2, both, noise), wrong = loss_of(&c, mixed_up, 2, 2, both, noise);
    printf("    %.8f, %.8f; both %.8f; with the other's caption %.8f\n", a, b, together, wrong);
    assert_true(fabs(together - (a + b) / 2) < 1e-6 * together);
    assert_true(fabs(wrong - together) > 1e-5 * together);
    train_config_free(&c);
}

/* ---- what is drawn ---- */

static void what_is_drawn_of_photographs_has_an_order(void **state)
{
    (void)state;
    train_config c;
    read_config(&c, SMALL);
    photo photos[5];
    for (int i = 0; i < 5; i++) photos[i] = (photo){{put_picture(0, 32, 32)}, "a {red|blue} thing", 32, 32};
    const branch b = {.weight = 1, .multiplier = 1, .added_noise = true};
    const objective o = of_photos(&b, 1, photos, 5, 2);
    trainer *t = trainer_of(&c, &o);
    rng *ours = trainer_rng(t), theirs = *ours;
    const size_t count = latent_count(trainer_latents(t, 0));
    float *noise = malloc(count * sizeof *noise), *scratch = malloc(count * sizeof *noise);
    for (int i = 0; i < 50; i++) {
        const source_pass pass = trainer_draw(t);
        rng_randint(&theirs, 0, 1); /* the objective */
        rng_randint(&theirs, 0, 2); /* red or blue */
        for (int k = 0; k < 2; k++) assert_int_equal(pass.pictures[k], rng_randint(&theirs, 0, 5));
        assert_int_equal(pass.kept_count, 3);
        for (int k = 0; k < 3; k++) assert_int_equal(pass.kept[k], rng_randint(&theirs, 0, 1000));
        latents_draw(&theirs, scratch, noise, trainer_latents(t, 0));
        assert_memory_equal(noise, t->noise, count * sizeof *noise);
        const source *s = t->lessons[0].source[0];
        assert_true(s->row->steps(s, &pass) == 0 && s->row->steps(s, NULL) == 0);
    }
    free(noise);
    free(scratch);
    trainer_destroy(t);
    train_config_free(&c);
}

static void timesteps_are_those_that_the_config_says(void **state)
{
    (void)state;
    train_config c;
    read_config(&c, SMALL);
    const photo p = {{put_picture(0, 32, 32)}, "a thing", 32, 32};
    const branch b = {.weight = 1, .multiplier = 1, .added_noise = true};
    const objective o = of_photos(&b, 1, &p, 1, 1);
    int64_t least = 1000, most = 0;
    c.min_timestep = 700;
    c.max_timestep = 710;
    trainer *t = trainer_of(&c, &o);
    for (int i = 0; i < 50; i++) {
        const source_pass pass = trainer_draw(t);
        for (size_t k = 0; k < pass.kept_count; k++) {
            if (pass.kept[k] < least) least = pass.kept[k];
            if (pass.kept[k] > most) most = pass.kept[k];
        }
    }
    assert_int_equal(least, 700);
    assert_int_equal(most, 709);
    trainer_destroy(t);
    const objective_list list = {.item = &o, .count = 1};
    c.min_timestep = 1000;
    c.max_timestep = 2000; /* the model has 1000 */
    assert_fails(trainer_create_for(&c, &list, "cpu", &t, &err), LECO_INVALID, &err, "train.min_timestep", "1000");
    train_config_free(&c);
}

/* ---- pairs ---- */

/* What the frozen model says of x at a timestep. */
static void predict(trainer *t, const float *x, double timestep, const char *prompt, float *out)
{
    model *m = t->frozen[0].model;
    conditioner *texts;
    conditioning of_prompt;
    denoiser *n;
    const denoiser_options options = {.size = trainer_latents(t, 0), .tokens = 77};
    model *again;
    assert_works(model_open(m->folder, &again, &err), &err);
    assert_works(model_load(again, MODEL_TEXT_ENCODER | MODEL_UNET, &err), &err);
    assert_works(conditioner_create(&t->device, again, NULL, (text_options){0}, &texts, &err), &err);
    assert_works(conditioner_get(texts, prompt, &of_prompt, &err), &err);
    assert_works(denoiser_create(&t->device, again, &options, &n, &err), &err);
    for (int64_t i = 0; i < options.size.batch; i++) denoiser_set_context(n, i, &of_prompt);
    assert_works(denoiser_run(n, x, timestep, out, &err), &err);
    denoiser_destroy(n);
    conditioner_destroy(texts);
    model_close(again);
}

/* The student sees the one picture and is pulled to what the frozen model says of the other, with the same noise. */
static void pairs_pull_to_each_other(void **state)
{
    (void)state;
    train_config c;
    read_config(&c, SMALL);
    const photo pairs[] = {{{put_picture(0, 32, 32), put_picture(1, 32, 32)}, NULL, 32, 32},
                           {{put_picture(2, 32, 32), put_picture(3, 32, 32)}, NULL, 32, 32}};
    branch branches[] = {{.weight = 1, .multiplier = 0.5, .prompt = "a circle", .view = 1},
                         {.weight = 1, .multiplier = -0.5, .prompt = "a circle"}};
    terms_add_seen(&branches[0].terms, 1, 0, "a circle", 0);
    terms_add_seen(&branches[1].terms, 1, 0, "a circle", 1);
    const objective o = of_photos(branches, 2, pairs, 2, 2);
    assert_false(objective_is_still(&o));
    trainer *t = trainer_of(&c, &o);
    const latent_size size = trainer_latents(t, 0);
    const size_t count = latent_count(size), stride = latent_stride(size);
    float *noise = malloc(count * sizeof *noise), *said = malloc(count * sizeof *said);
    rng r;
    rng_seed(&r, RNG_CPU, 8);
    rng_normal(&r, noise, count);
    const int64_t kept[] = {300}, pictures[] = {1, 0};
    const source_pass pass = {.kept_count = 1, .kept = kept, .pictures = pictures};
    double loss;
    assert_works(trainer_follow(t, &pass, noise, 1, &loss, NULL, &err), &err);
    const double a = (double)t->frozen[0].schedule->alpha_bar[300];
    for (size_t view = 0; view < 2; view++) {
        const float *x = t->kept + view * count;
        for (size_t k = 0; k < 2; k++) {
            float *latent = clean_latent(t, pairs[pictures[k]].path[view], size);
            for (size_t i = 0; i < stride; i++)
                latent[i] = (float)(sqrt(a) * (double)latent[i] + sqrt(1 - a) * (double)noise[k * stride + i]);
            assert_close(x + k * stride, latent, stride, 1e-5);
            free(latent);
        }
    }
    double mean = 0; /* of untrained students against what they are pulled to: their predictions are the frozen ones */
    float *other = malloc(count * sizeof *other), *kept_x = malloc(2 * count * sizeof *kept_x);
    memcpy(kept_x, t->kept, 2 * count * sizeof *kept_x);
    float *wanted = malloc(2 * count * sizeof *wanted);
    memcpy(wanted, t->lessons[0].wanted, 2 * count * sizeof *wanted);
    predict(t, kept_x, 300, "a circle", said);
    predict(t, kept_x + count, 300, "a circle", other);
    assert_close(wanted, said, count, 1e-5);
    assert_close(wanted + count, other, count, 1e-5);
    for (size_t i = 0; i < count; i++) mean += 2 * pow((double)said[i] - (double)other[i], 2) / (double)count;
    assert_true(fabs(loss - mean) < 1e-3 * mean);
    const memory_use planned = trainer_planned(t), taken = trainer_allocated(t);
    assert_memory_equal(&planned, &taken, sizeof planned);
    free(noise);
    free(said);
    free(other);
    free(kept_x);
    free(wanted);
    trainer_destroy(t);
    train_config_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_target_is_the_noise),
        cmocka_unit_test(or_what_v_makes_of_it),
        cmocka_unit_test(each_picture_has_its_caption),
        cmocka_unit_test(what_is_drawn_of_photographs_has_an_order),
        cmocka_unit_test(timesteps_are_those_that_the_config_says),
        cmocka_unit_test(pairs_pull_to_each_other),
    };
    return cmocka_run_group_tests_name("unit/photographs", tests, NULL, NULL);
}
