/* Drawing through the public library, on a small random model. */
#include "test_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "leco/leco.h"
#include "picture/font.h"
#include "picture/sheet.h"

#define FIXTURE LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like"
#define LORA FIXTURE "/lora.safetensors"

static leco_error err;
static leco_model *model;
static const leco_model_options float32 = {.precision = "float32"};

static const char *const prompts[] = {"a red circle", "a blue star", "a ring"};

static leco_generate_options quick(size_t count)
{
    leco_generate_options o = leco_generate_defaults();
    o.prompts = prompts;
    o.prompt_count = count;
    o.steps = 2;
    o.guidance_scale = 4;
    o.seed = 11;
    return o;
}

static void assert_same(const leco_image *a, const leco_image *b, int tolerance)
{
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    for (int i = 0; i < 3 * a->width * a->height; i++)
        if (abs(a->rgb[i] - b->rgb[i]) > tolerance) fail_msg("pixel %d: %d and %d", i / 3, a->rgb[i], b->rgb[i]);
}

/* A picture belongs to its seed, whatever it is drawn together with. */
static void batches_do_not_change_pictures(void **state)
{
    (void)state;
    leco_generate_options o = quick(3);
    leco_images together, alone;
    o.batch = 2;
    assert_works(leco_generate(model, &o, &together, &err), &err);
    assert_int_equal(together.count, 3);
    o.batch = 1;
    o.prompts = &prompts[2];
    o.prompt_count = 1;
    o.seed += 2;
    assert_works(leco_generate(model, &o, &alone, &err), &err);
    assert_same(&together.image[2], &alone.image[0], 1);
    leco_images_free(&together);
    leco_images_free(&alone);
}

static void several_pictures_of_a_prompt_differ(void **state)
{
    (void)state;
    leco_generate_options o = quick(1);
    leco_images images;
    o.images_per_prompt = 2;
    o.width = 48;
    assert_works(leco_generate(model, &o, &images, &err), &err);
    assert_int_equal(images.count, 2);
    assert_int_equal(images.image[0].width, 48);
    assert_int_equal(images.image[0].height, 32);
    assert_memory_not_equal(images.image[0].rgb, images.image[1].rgb, 48 * 32 * 3);
    leco_images_free(&images);
}

static void rng_and_guidance_matter(void **state)
{
    (void)state;
    leco_generate_options o = quick(1);
    leco_images cpu, cuda, plain;
    assert_works(leco_generate(model, &o, &cpu, &err), &err);
    o.rng = "cuda";
    assert_works(leco_generate(model, &o, &cuda, &err), &err);
    o.rng = "cpu";
    o.guidance_scale = 1;
    assert_works(leco_generate(model, &o, &plain, &err), &err);
    assert_memory_not_equal(cpu.image[0].rgb, cuda.image[0].rgb, 32 * 32 * 3);
    assert_memory_not_equal(cpu.image[0].rgb, plain.image[0].rgb, 32 * 32 * 3);
    leco_images_free(&cpu);
    leco_images_free(&cuda);
    leco_images_free(&plain);
}

static void parameters_are_a1111_s(void **state)
{
    (void)state;
    leco_model *own;
    assert_works(leco_model_open(FIXTURE, &float32, &own, &err), &err);
    assert_works(leco_model_add_lora(own, LORA, -0.5f, &err), &err);
    leco_generate_options o = quick(1);
    o.negative = "blue, bad";
    leco_images images;
    assert_works(leco_generate(own, &o, &images, &err), &err);
    const char *expected = "a red circle <lora:lora:-0.5>\nNegative prompt: blue, bad\n"
                           "Steps: 2, Sampler: DDIM, CFG scale: 4, Seed: 11, Size: 32x32, Model: sd1-like";
    assert_memory_equal(images.parameters[0], expected, strlen(expected));
    leco_images_free(&images);
    leco_model_close(own);
}

static void loras_change_pictures_by_their_weight(void **state)
{
    (void)state;
    leco_model *own;
    leco_images base, zero, one, again;
    leco_generate_options o = quick(1);
    assert_works(leco_generate(model, &o, &base, &err), &err);
    assert_works(leco_model_open(FIXTURE, &float32, &own, &err), &err);
    assert_works(leco_model_add_lora(own, LORA, 0, &err), &err);
    assert_works(leco_generate(own, &o, &zero, &err), &err);
    assert_works(leco_model_set_lora_weight(own, 0, 1, &err), &err);
    assert_works(leco_generate(own, &o, &one, &err), &err);
    assert_works(leco_model_set_lora_weight(own, 0, 0, &err), &err);
    assert_works(leco_generate(own, &o, &again, &err), &err);
    assert_same(&base.image[0], &zero.image[0], 1);
    assert_same(&base.image[0], &again.image[0], 1);
    assert_memory_not_equal(base.image[0].rgb, one.image[0].rgb, 32 * 32 * 3);
    assert_fails(leco_model_set_lora_weight(own, 1, 1, &err), LECO_INVALID, &err, "number 1");
    assert_fails(leco_model_set_lora_weight(own, 0, INFINITY, &err), LECO_INVALID, &err, "finite");
    leco_images_free(&base);
    leco_images_free(&zero);
    leco_images_free(&one);
    leco_images_free(&again);
    leco_model_close(own);
}

static void mistakes_are_named(void **state)
{
    (void)state;
    leco_images images = {0};
    leco_generate_options o = quick(0);
    assert_fails(leco_generate(model, &o, &images, &err), LECO_INVALID, &err, "no prompts");
    o = quick(1);
    o.steps = 0;
    assert_fails(leco_generate(model, &o, &images, &err), LECO_INVALID, &err, "0 denoising steps");
    o = quick(1);
    o.width = 30;
    assert_fails(leco_generate(model, &o, &images, &err), LECO_INVALID, &err, "width", "30", "multiple of 4");
    o.width = -8;
    assert_fails(leco_generate(model, &o, &images, &err), LECO_INVALID, &err, "width", "-8");
    o.width = 1 << 20;
    assert_fails(leco_generate(model, &o, &images, &err), LECO_INVALID, &err, "width", "8192");
    o = quick(1);
    o.scheduler = "oiler";
    assert_fails(leco_generate(model, &o, &images, &err), LECO_INVALID, &err, "oiler", "ddim");
    o = quick(1);
    o.spacing = "even";
    assert_fails(leco_generate(model, &o, &images, &err), LECO_INVALID, &err, "even", "trailing");
    o = quick(1);
    o.karras = true;
    assert_fails(leco_generate(model, &o, &images, &err), LECO_INVALID, &err, "\"ddim\"", "Karras");
    o = quick(1);
    o.rng = "dice";
    assert_fails(leco_generate(model, &o, &images, &err), LECO_INVALID, &err, "dice");
    o = quick(1);
    o.guidance_scale = (double)NAN;
    assert_fails(leco_generate(model, &o, &images, &err), LECO_INVALID, &err, "guidance");
    o = quick(1);
    o.batch = 0;
    assert_fails(leco_generate(model, &o, &images, &err), LECO_INVALID, &err, "batch");
    o = quick(2); /* the file holds latents for one */
    o.latents = FIXTURE "/generate.safetensors";
    assert_fails(leco_generate(model, &o, &images, &err), LECO_FORMAT, &err, "generate.safetensors", "latents");
    const leco_model_options wrong = {.precision = "float7"};
    leco_model *none = NULL;
    assert_fails(leco_model_open(FIXTURE, &wrong, &none, &err), LECO_INVALID, &err, "float7");
    assert_fails(leco_model_open("/nowhere", NULL, &none, &err), LECO_IO, &err, "/nowhere");
    assert_fails(leco_model_open("", NULL, &none, &err), LECO_INVALID, &err, "model");
    assert_null(none);
    assert_fails(
        leco_model_add_lora(model, LECO_SOURCE_DIR "/tests/parity/fixtures/sd2-like/lora.safetensors", 1, &err),
        LECO_INVALID, &err, "another model");
}

static bool stop_in_second_batch(void *user, const leco_progress *p)
{
    (void)user;
    return p->done < 2;
}

static void interruption_keeps_finished_pictures(void **state)
{
    (void)state;
    leco_generate_options o = quick(3);
    o.batch = 2;
    o.progress = stop_in_second_batch;
    leco_images images;
    assert_fails(leco_generate(model, &o, &images, &err), LECO_INTERRUPTED, &err, "stopped");
    assert_int_equal(images.count, 2);
    assert_non_null(images.image[1].rgb);
    leco_images_free(&images);
}

/* The title, drawn anew, is what stands above the columns. */
static void assert_title(const leco_image *got, const char *title, size_t rows)
{
    const char *const row[] = {"a red circle", "a blue star"}, *const column[] = {"without LoRA", "LoRA 1"};
    const sheet_spec spec = {
        .title = title, .row = row, .column = column, .rows = rows, .columns = 2, .width = 32, .height = 32};
    sheet *expected;
    assert_works(sheet_create(&spec, &expected, &err), &err);
    const image *e = sheet_image(expected);
    assert_int_equal(got->width, e->width);
    assert_int_equal(got->height, e->height);
    const size_t above = (size_t)e->height - 16 - rows * (128 + 6) + 6; /* of the first picture */
    assert_memory_equal(got->rgb, e->rgb, 3 * (size_t)e->width * above);
    sheet_destroy(expected);
}

static void sheets_show_rows_and_columns(void **state)
{
    (void)state;
    leco_model *own;
    leco_images drawn, base;
    leco_generate_options o = quick(2);
    const float weights[] = {0, 1};
    assert_works(leco_model_open(FIXTURE, &float32, &own, &err), &err);
    assert_fails(leco_grid(own, &o, weights, 2, &drawn, &err), LECO_INVALID, &err, "LoRA");
    assert_works(leco_model_add_lora(own, LORA, 0.25f, &err), &err);
    assert_fails(leco_grid(own, &o, weights, 0, &drawn, &err), LECO_INVALID, &err, "0 weights");
    assert_works(leco_grid(own, &o, weights, 2, &drawn, &err), &err);
    assert_int_equal(drawn.count, 1);
    assert_true(drawn.image[0].width > 2 * 128 && drawn.image[0].height > 2 * 128);
    assert_title(&drawn.image[0], "lora on sd1-like. DDIM, 2 steps, guidance scale 4, seeds 11 to 12, one a row", 2);
    assert_works(leco_generate(model, &o, &base, &err), &err);
    /* The bottom row's first picture, four times as large, right of the prompts; found from the right bottom corner. */
    const leco_image *s = &drawn.image[0], *picture = &base.image[1];
    const int left = s->width - 16 - 128 - 6 - 128, top = s->height - 16 - 128;
    for (int y = 0; y < 128; y++)
        for (int x = 0; x < 128; x++)
            for (int c = 0; c < 3; c++)
                assert_true(abs(s->rgb[3 * ((top + y) * s->width + left + x) + c] -
                                picture->rgb[3 * ((y / 4) * 32 + x / 4) + c]) <= 1);
    leco_images_free(&drawn);
    leco_images_free(&base);
    o = quick(1);
    assert_works(leco_grid(own, &o, weights, 2, &drawn, &err), &err);
    assert_title(&drawn.image[0], "lora on sd1-like. DDIM, 2 steps, guidance scale 4, seed 11", 1);
    leco_images_free(&drawn);
    leco_model_close(own);
}

static void text_is_wrapped_at_spaces(void **state)
{
    (void)state;
    const char *next, *text = "a small red star";
    const int width = font_width("a small red", 11);
    assert_int_equal(font_line(text, width, &next), 11);
    assert_string_equal(next, "star");
    assert_int_equal(font_line("starstarstar", font_width("stars", 5), &next), 5);
    assert_int_equal(font_line("x", 1, &next), 1); /* at least one character */
    assert_string_equal(next, "");
    assert_int_equal(font_width("\xc3\xa9", 2), font_width("?", 1));
    assert_int_equal(font_width("\xff\xff\xc3", 3), 2 * font_width("?", 1) + font_width("?", 1));
}

static int open_model(void **state)
{
    (void)state;
    return leco_model_open(FIXTURE, &float32, &model, &err) == LECO_OK ? 0 : -1;
}

static int close_model(void **state)
{
    (void)state;
    leco_model_close(model);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_do_not_change_pictures),
        cmocka_unit_test(several_pictures_of_a_prompt_differ),
        cmocka_unit_test(rng_and_guidance_matter),
        cmocka_unit_test(parameters_are_a1111_s),
        cmocka_unit_test(loras_change_pictures_by_their_weight),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(interruption_keeps_finished_pictures),
        cmocka_unit_test(sheets_show_rows_and_columns),
        cmocka_unit_test(text_is_wrapped_at_spaces),
    };
    return cmocka_run_group_tests_name("unit/api_generate", tests, open_model, close_model);
}
