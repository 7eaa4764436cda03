/* The size that a picture has where none is asked for: the U-Net's sample_size, as StableDiffusionPipeline takes it. */
#include "model_support.h"

#include <stdio.h>
#include <string.h>

#include "leco/leco.h"
#include "model/unet.h"

static leco_error err;

static void set(const char *folder, const char *key, const char *value)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/unet/config.json", folder);
    model_edit(path, key, value);
}

static void latent_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *size, *version;
        int64_t height, width;
    } cases[] = {
        {"[10, 24]", "\"0.35.2\"", 10, 24},
        {"12", "\"0.35.2\"", 12, 12},
        {"null", "\"0.35.2\"", 64, 64},
        {"32", "\"0.8.1\"", 64, 64}, /* which diffusers mends */
        {"32", "\"0.2.3\"", 64, 64},
        {"32", "\"0.9.0.dev0\"", 32, 32},
        {"32", "\"0.10.2\"", 32, 32},
        {"32", "\"1.0.0\"", 32, 32},
        {"32", "7", 32, 32},
        {"96", "\"0.6.0\"", 96, 96},
        {"[32, 48]", "\"0.6.0\"", 32, 48},
    };
    const char *folder = model_copy(FIXTURE("sd1-like"), "sizes");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unet_config c;
        set(folder, "sample_size", cases[i].size);
        set(folder, "_diffusers_version", cases[i].version);
        assert_works(unet_config_read(test_path("sizes/unet"), &c, &err), &err);
        assert_int_equal(c.sample_height, cases[i].height);
        assert_int_equal(c.sample_width, cases[i].width);
    }
    static const char *const wrong[] = {"[10]", "[10, 24, 3]", "[10, 0]", "[10, \"24\"]", "\"64\""};
    for (size_t i = 0; i < 5; i++) {
        unet_config c;
        set(folder, "sample_size", wrong[i]);
        assert_fails(unet_config_read(test_path("sizes/unet"), &c, &err), LECO_INVALID, &err, "unet/config.json",
                     "sample_size");
    }
}

static void pictures_are_drawn_at_it(void **state)
{
    (void)state;
    const leco_model_options options = {.precision = "float32"};
    const char *prompt = "a star";
    leco_model *m;
    leco_images images;
    const char *folder = model_copy(FIXTURE("sd1-like"), "drawn");
    set(folder, "sample_size", "[10, 24]");
    assert_works(leco_model_open(folder, &options, &m, &err), &err);
    leco_generate_options o = leco_generate_defaults();
    o.prompts = &prompt;
    o.prompt_count = 1;
    o.steps = 1;
    o.seed = 1;
    assert_works(leco_generate(m, &o, &images, &err), &err);
    assert_int_equal(images.image[0].height, 40);
    assert_int_equal(images.image[0].width, 96);
    leco_images_free(&images);
    o.width = 48;
    assert_works(leco_generate(m, &o, &images, &err), &err);
    assert_int_equal(images.image[0].height, 40);
    assert_int_equal(images.image[0].width, 48);
    leco_images_free(&images);
    leco_model_close(m);
    char *text;
    assert_works(leco_inspect(folder, false, &text, &err), &err);
    assert_non_null(strstr(text, "96x40"));
    leco_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(latent_sizes),
        cmocka_unit_test(pictures_are_drawn_at_it),
    };
    return cmocka_run_group_tests_name("unit/picture_size", tests, NULL, NULL);
}
