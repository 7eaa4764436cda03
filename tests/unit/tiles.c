/* Pictures decoded in tiles: what each tile says by itself, blended; and drawings that are to stay within a budget. */
#include "test_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "diffusion/decoder.h"
#include "leco/leco.h"

#define SHAPES LECO_SOURCE_DIR "/models/shapes"
enum { HEIGHT = 24, WIDTH = 32, TILE = 16, BATCH = 2, FACTOR = 4, CHANNELS = 4 };
enum { HIGH = HEIGHT * FACTOR, WIDE = WIDTH * FACTOR, EDGE = TILE * FACTOR };

static leco_error err;
static model *m;
static device d;
static float latents[BATCH * HEIGHT * WIDTH * CHANNELS];

static int setup(void **state)
{
    (void)state;
    rng r;
    rng_seed(&r, RNG_CPU, 3);
    float drawn[BATCH * HEIGHT * WIDTH * CHANNELS];
    latents_draw(&r, drawn, latents, (latent_size){BATCH, HEIGHT, WIDTH, CHANNELS});
    assert_works(model_open(SHAPES, &m, &err), &err);
    assert_works(model_load(m, MODEL_VAE, &err), &err);
    assert_works(device_open("cpu", "float32", &d, &err), &err);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    device_close(&d);
    model_close(m);
    return 0;
}

static void decode(const float *from, latent_size size, int64_t tile, uint8_t *rgb)
{
    decoder *n;
    assert_works(decoder_plan(&d, m, size, tile, &n, &err), &err);
    assert_works(decoder_prepare(n, &err), &err);
    assert_works(decoder_run(n, from, rgb, &err), &err);
    assert_works(decoder_run(n, from, rgb, &err), &err); /* and once more: nothing is left of the first */
    decoder_destroy(n);
}

/* Adds what the tile at (y, x), in latents, says of picture b. Tiles begin at 0, 8 of 24 and 0, 8, 16 of 32: edges
 * inside of the picture are blended over the fourth of a tile. */
static void add(int b, int y, int x, double *sum, double *counted, bool *clipped)
{
    static float cut[TILE * TILE * CHANNELS];
    static uint8_t rgb[EDGE * EDGE * 3];
    for (int i = 0; i < TILE; i++)
        memcpy(cut + i * TILE * CHANNELS, latents + ((b * HEIGHT + y + i) * WIDTH + x) * CHANNELS,
               TILE * CHANNELS * sizeof *cut);
    decode(cut, (latent_size){1, TILE, TILE, CHANNELS}, 0, rgb);
    for (int i = 0; i < EDGE; i++)
        for (int k = 0; k < EDGE; k++) {
            double part = 1;
            if (y > 0) part = fmin(part, (i + 0.5) / (EDGE / 4));
            if (y + TILE < HEIGHT) part = fmin(part, (EDGE - i - 0.5) / (EDGE / 4));
            double along = 1;
            if (x > 0) along = fmin(along, (k + 0.5) / (EDGE / 4));
            if (x + TILE < WIDTH) along = fmin(along, (EDGE - k - 0.5) / (EDGE / 4));
            const int at = (y * FACTOR + i) * WIDE + x * FACTOR + k;
            for (int c = 0; c < 3; c++) {
                const uint8_t value = rgb[3 * (i * EDGE + k) + c];
                sum[3 * at + c] += part * along * value;
                clipped[3 * at + c] = clipped[3 * at + c] || value == 0 || value == 255; /* blended before that */
            }
            counted[at] += part * along;
        }
}

static void tiles_are_blended(void **state)
{
    (void)state;
    static uint8_t rgb[BATCH * HIGH * WIDE * 3], whole[BATCH * HIGH * WIDE * 3];
    decode(latents, (latent_size){BATCH, HEIGHT, WIDTH, CHANNELS}, TILE, rgb);
    decode(latents, (latent_size){BATCH, HEIGHT, WIDTH, CHANNELS}, 0, whole);
    double apart = 0;
    size_t compared = 0;
    for (int b = 0; b < BATCH; b++) {
        static double sum[HIGH * WIDE * 3], counted[HIGH * WIDE];
        static bool clipped[HIGH * WIDE * 3];
        memset(clipped, 0, sizeof clipped);
        memset(sum, 0, sizeof sum);
        memset(counted, 0, sizeof counted);
        for (int y = 0; y <= HEIGHT - TILE; y += 8)
            for (int x = 0; x <= WIDTH - TILE; x += 8) add(b, y, x, sum, counted, clipped);
        for (int i = 0; i < HIGH * WIDE * 3; i++) {
            const int at = b * HIGH * WIDE * 3 + i;
            compared += !clipped[i];
            if (!clipped[i] && fabs(sum[i] / counted[i / 3] - rgb[at]) > 1.01) /* tiles' own values were rounded, too */
                fail_msg("picture %d, value %d: %.2f expected, %d found", b, i, sum[i] / counted[i / 3], rgb[at]);
            apart += abs((int)whole[at] - (int)rgb[at]);
        }
    }
    assert_true(compared > sizeof whole / 2);
    apart /= sizeof whole;
    print_message("tiles are %.2f of 255 from the whole, in the mean\n", apart);
    assert_true(apart > 0 && apart < 8);
}

static void large_tiles_are_the_whole(void **state)
{
    (void)state;
    static uint8_t one[BATCH * HIGH * WIDE * 3], other[BATCH * HIGH * WIDE * 3];
    const latent_size size = {BATCH, HEIGHT, WIDTH, CHANNELS};
    decode(latents, size, 0, one);
    decode(latents, size, WIDTH, other);
    assert_memory_equal(one, other, sizeof one);
    decoder *parts, *all;
    assert_works(decoder_plan(&d, m, size, TILE, &parts, &err), &err);
    assert_works(decoder_plan(&d, m, size, 0, &all, &err), &err);
    assert_true(decoder_arena_bytes(parts) < decoder_arena_bytes(all) / 2);
    decoder_destroy(parts);
    decoder_destroy(all);
}

static void a_budget_is_kept_or_refused(void **state)
{
    (void)state;
    const char *prompt = "a red star";
    const leco_model_options options = {.device = "cpu", .precision = "float32"};
    leco_model *opened;
    leco_images free_of_it, within;
    leco_generate_options o = leco_generate_defaults();
    o.prompts = &prompt;
    o.prompt_count = 1;
    o.steps = 1;
    assert_works(leco_model_open(SHAPES, &options, &opened, &err), &err);
    assert_works(leco_generate(opened, &o, &free_of_it, &err), &err);
    o.memory = (uint64_t)1 << 32;
    assert_works(leco_generate(opened, &o, &within, &err), &err);
    assert_memory_equal(free_of_it.image->rgb, within.image->rgb,
                        3 * (size_t)within.image->width * (size_t)within.image->height);
    leco_images_free(&free_of_it);
    leco_images_free(&within);
    o.memory = 1 << 20;
    assert_fails(leco_generate(opened, &o, &within, &err), LECO_MEMORY, &err, "the budget of 1.0 MiB is", "too little",
                 "a smaller size or batch");
    o.memory = 0;
    assert_works(leco_generate(opened, &o, &within, &err), &err); /* nothing is broken by that */
    leco_images_free(&within);
    leco_model_close(opened);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiles_are_blended),
        cmocka_unit_test(large_tiles_are_the_whole),
        cmocka_unit_test(a_budget_is_kept_or_refused),
    };
    return cmocka_run_group_tests_name("unit/tiles", tests, setup, teardown);
}
