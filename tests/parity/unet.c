/* Noise predictions against diffusers' UNet2DConditionModel. */
#include "model/unet.h"

#include <stdio.h>

#include "parity_support.h"

/* bfloat16: measured up to 3.1e-2, PyTorch itself up to 5.9e-2; float16: up to 4.8e-3 */
static const double bounds[] = {1e-4, 5e-2, 8e-3};

static const char *const folders[] = {"sd1-like", "sd2-like", "sdxl-like", "odd", "shapes", "shapes-v"};

static void write_time_ids(running *r, const unet *u, const values *ids)
{
    for (int i = 0; i < UNET_TIME_IDS; i++) {
        float column[16];
        for (int64_t n = 0; n < ids->dim[0]; n++) column[n] = ids->at[n * UNET_TIME_IDS + i];
        assert_int_equal(session_write(r->session, u->time_ids[i], column, (size_t)ids->dim[0], NULL), LECO_OK);
    }
}

static void check_case(const char *folder, const safetensors *file, int number, const unet_config *config, weights *w,
                       const way *how)
{
    values sample = fixture_read_nhwc(file, "case%d.sample", number);
    values timestep = fixture_read(file, "case%d.timestep", number);
    values context = fixture_read(file, "case%d.encoder_hidden_states", number);
    values want = fixture_read_nhwc(file, "case%d.noise_pred", number);
    graph *g = graph_create(how->type);
    nn c;
    nn_init(&c, g, w, NULL, PART_UNET);
    unet_size size = {sample.dim[0], sample.dim[1], sample.dim[2], context.dim[1]};
    unet u = unet_build(&c, config, size, NULL);
    graph_result(g, u.noise);
    running r = run_start(g, how);
    run_write(&r, u.sample, &sample);
    run_write(&r, u.timestep, &timestep);
    run_write(&r, u.context, &context);
    if (u.pooled) {
        values pooled = fixture_read(file, "case%d.text_embeds", number);
        values ids = fixture_read(file, "case%d.time_ids", number);
        run_write(&r, u.pooled, &pooled);
        write_time_ids(&r, &u, &ids);
        values_free(&pooled);
        values_free(&ids);
    }
    run_all(&r);
    char what[128];
    snprintf(what, sizeof what, "%s case %d", folder, number);
    check_error(what, how, run_compare(&r, u.noise, &want), bounds[way_grade(how)]);
    run_end(&r);
    graph_destroy(g);
    values_free(&sample);
    values_free(&timestep);
    values_free(&context);
    values_free(&want);
}

static void unet_is_diffusers(void **state)
{
    (void)state;
    leco_error err = {0};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char path[256];
        unet_config config;
        weights *w;
        snprintf(path, sizeof path, "%s/unet.safetensors", folders[i]);
        const char *folder = fixture_model(folders[i], "unet");
        safetensors *file = fixture_open(path);
        assert_works(unet_config_read(folder, &config, &err), &err);
        assert_works(weights_open(folder, &w, &err), &err);
        for (int number = 0; fixture_has(file, "case%d.sample", number); number++)
            for (int k = 0; k < WAY_COUNT; k++)
                if (way_available(&ways[k])) check_case(folders[i], file, number, &config, w, &ways[k]);
        assert_works(weights_check(w, &err), &err);
        weights_close(w);
        safetensors_close(file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(unet_is_diffusers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
