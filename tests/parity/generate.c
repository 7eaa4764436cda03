/* A whole picture against diffusers' StableDiffusionPipeline (fixtures/sd1-like/generate): text, 10 DDIM steps with
 * guidance, decoder. And one with what people load into it on the text side (generate_text): load_textual_inversion and
 * load_lora_weights. And both by StableDiffusionXLPipeline (sdxl-like), also without a negative prompt, where
 * model_index.json's force_zeros_for_empty_prompt is true (generate_zeros) and false (generate_encoded). */
#include "curve_support.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cpu.h"
#include "format/safetensors.h"
#include "leco/leco.h"

#define FOLDER FIXTURES "sd1-like"

typedef struct drawing {
    const char *model, *fixture, *prompt;
    int steps;
    const char *lora, *embedding; /* NULL: none */
    const char *negative;         /* likewise */
} drawing;
static const drawing plain = {"sd1-like", FOLDER "/generate.safetensors", "a red circle", 10, NULL, NULL, "blue"},
                     adapted = {"sd1-like", FOLDER "/generate_text.safetensors", "a embedding:Embedding circle",
                                10,         FOLDER "/lora_text.safetensors",     FOLDER "/embedding.safetensors",
                                "blue"},
                     of_two = {"sdxl-like", FIXTURES "sdxl-like/generate.safetensors", "a red circle", 3, NULL, NULL,
                               "blue"},
                     adapted_two = {"sdxl-like",
                                    FIXTURES "sdxl-like/generate_text.safetensors",
                                    "a <thing> circle",
                                    3,
                                    FIXTURES "sdxl-like/lora_text.safetensors",
                                    FIXTURES "sdxl-like/embedding.safetensors",
                                    "blue"};

static leco_error err;

typedef struct difference {
    double mean, most; /* of 255 */
} difference;

static difference compare(const leco_image *picture, const safetensors_entry *expected)
{
    difference d = {0};
    const float *wanted = expected->data; /* [1,3,H,W] in [0,1] */
    const int area = picture->width * picture->height;
    for (int i = 0; i < area; i++) {
        for (int c = 0; c < 3; c++) {
            double e = fabs((double)picture->rgb[3 * i + c] - 255.0 * (double)wanted[c * area + i]);
            d.mean += e / (3.0 * area);
            if (e > d.most) d.most = e;
        }
    }
    return d;
}

static difference draw(const drawing *of, const char *device_name, const char *precision)
{
    safetensors *file;
    assert_works(safetensors_open(of->fixture, &file, &err), &err);
    const safetensors_entry *expected = safetensors_find(file, "image");
    assert_non_null(expected);

    leco_model *m;
    leco_images images = {0};
    const leco_model_options options = {.device = device_name, .precision = precision};
    assert_works(leco_model_open(*of->model == '/' ? of->model : curve_model(of->model), &options, &m, &err), &err);
    leco_generate_options o = leco_generate_defaults();
    if (of->lora) assert_works(leco_model_add_lora(m, of->lora, 1, &err), &err);
    if (of->embedding) assert_works(leco_model_add_embedding(m, of->embedding, &err), &err);
    o.prompts = (const char *const[]){of->prompt};
    o.prompt_count = 1;
    o.negative = of->negative;
    o.steps = of->steps;
    o.height = (int)expected->shape[2];
    o.width = (int)expected->shape[3];
    o.guidance_scale = 4;
    o.latents = of->fixture;
    assert_works(leco_generate(m, &o, &images, &err), &err);
    assert_int_equal(images.count, 1);
    assert_int_equal(images.image[0].height, expected->shape[2]);
    assert_int_equal(images.image[0].width, expected->shape[3]);
    difference d = compare(&images.image[0], expected);
    printf("  %s, %s: mean difference %.3f of 255, at most %.3f\n", device_name, precision, d.mean, d.most);
    leco_images_free(&images);
    leco_model_close(m);
    safetensors_close(file);
    return d;
}

/* Rounding to 8 bits alone gives a mean of 0.25 and at most 0.5. */
static void float32_draws_diffusers_picture(void **state)
{
    (void)state;
    difference d = draw(&plain, "ref", "float32");
    assert_true(d.mean < 0.3 && d.most < 0.6);
    d = draw(&plain, "cpu", "float32");
    assert_true(d.mean < 0.3 && d.most < 0.6);
}

static void adapters_of_the_text_draw_diffusers_picture(void **state)
{
    (void)state;
    difference d = draw(&adapted, "ref", "float32");
    assert_true(d.mean < 0.3 && d.most < 0.6);
    d = draw(&adapted, "cpu", "float32");
    assert_true(d.mean < 0.3 && d.most < 0.6);
    const drawing without = {"sd1-like", adapted.fixture, "a red circle", 10, NULL, NULL, "blue"};
    d = draw(&without, "cpu", "float32");
    assert_true(d.mean > 2);
}

static void two_text_encoders_draw_diffusers_picture(void **state)
{
    (void)state;
    difference d = draw(&of_two, "ref", "float32");
    assert_true(d.mean < 0.3 && d.most < 0.6);
    d = draw(&of_two, "cpu", "float32");
    assert_true(d.mean < 0.3 && d.most < 0.6);
}

static void adapters_of_both_text_encoders_draw_diffusers_picture(void **state)
{
    (void)state;
    difference d = draw(&adapted_two, "ref", "float32");
    assert_true(d.mean < 0.3 && d.most < 0.6);
    d = draw(&adapted_two, "cpu", "float32");
    assert_true(d.mean < 0.3 && d.most < 0.6);
    drawing without = adapted_two;
    without.lora = NULL;
    d = draw(&without, "cpu", "float32");
    assert_true(d.mean > 2);
    without = adapted_two;
    without.embedding = NULL;
    d = draw(&without, "cpu", "float32");
    assert_true(d.mean > 2);
}

/* sdxl-like with another model_index.json. */
static const char *with_index(const char *key)
{
    static const char *const parts[] = {"scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2",
                                        "unet",      "vae"};
    const char *folder = test_path("indexed");
    char from[512], to[512];
    mkdir(folder, 0777);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        snprintf(from, sizeof from, FIXTURES "sdxl-like/%s", parts[i]);
        snprintf(to, sizeof to, "%s/%s", folder, parts[i]);
        assert_true(symlink(from, to) == 0 || errno == EEXIST);
    }
    snprintf(to, sizeof to, "%s/model_index.json", folder);
    FILE *f = fopen(to, "w");
    assert_non_null(f);
    fprintf(f, "{\"_class_name\": \"StableDiffusionXLPipeline\"%s}\n", key);
    assert_int_equal(fclose(f), 0);
    return folder;
}

/* diffusers takes "" for a negative prompt, and nothing for none. */
static void no_negative_prompt_is_what_the_folder_says(void **state)
{
    (void)state;
    static const struct {
        const char *key, *negative;
        bool zeros;
    } cases[] = {{"", NULL, true},
                 {", \"force_zeros_for_empty_prompt\": true", NULL, true},
                 {", \"force_zeros_for_empty_prompt\": true", "", false},
                 {", \"force_zeros_for_empty_prompt\": false", NULL, false},
                 {", \"force_zeros_for_empty_prompt\": false", "", false}};
    static const char *const fixtures[] = {FIXTURES "sdxl-like/generate_encoded.safetensors",
                                           FIXTURES "sdxl-like/generate_zeros.safetensors"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        drawing of = {with_index(cases[i].key), fixtures[cases[i].zeros], "a red circle", 2, NULL, NULL,
                      cases[i].negative};
        difference d = draw(&of, "cpu", "float32");
        assert_true(d.mean < 0.3 && d.most < 0.6);
        of.fixture = fixtures[!cases[i].zeros]; /* the same latents, the other picture */
        d = draw(&of, "cpu", "float32");
        assert_true(d.mean > 1);
    }
}

static void bfloat16_draws_nearly_the_same(void **state)
{
    (void)state;
    if (!cpu_has_bf16()) skip();
    difference d = draw(&plain, "cpu", "bfloat16");
    assert_true(d.mean < 4); /* a random network doubles small differences; real ones stay below 2 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(float32_draws_diffusers_picture),
        cmocka_unit_test(adapters_of_the_text_draw_diffusers_picture),
        cmocka_unit_test(two_text_encoders_draw_diffusers_picture),
        cmocka_unit_test(adapters_of_both_text_encoders_draw_diffusers_picture),
        cmocka_unit_test(no_negative_prompt_is_what_the_folder_says),
        cmocka_unit_test(bfloat16_draws_nearly_the_same),
    };
    return cmocka_run_group_tests_name("parity/generate", tests, NULL, NULL);
}
