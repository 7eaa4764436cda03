/* The text encoder against transformers: hidden states with and without the final norm, clip skip, pooled states. */
#include "model/text_encoder.h"

#include <stdio.h>

#include "base/mem.h"
#include "parity_support.h"

static const double bounds[] = {1e-4, 3e-2, 4e-3}; /* measured: bfloat16 up to 1.8e-2, float16 up to 2.4e-3 */

typedef struct fixture {
    const char *name;
    safetensors *file;
    text_config config;
    weights *weights;
    values ids;
} fixture;

/* The ids in both forms that a run wants. */
static void write_ids(running *r, const text_encoder *t, const fixture *f)
{
    int64_t batch = f->ids.dim[0], tokens = f->ids.dim[1];
    int32_t *ids = mem_calloc(f->ids.count, sizeof *ids), *eos = mem_calloc((size_t)batch, sizeof *eos);
    for (size_t i = 0; i < f->ids.count; i++) ids[i] = (int32_t)f->ids.at[i];
    assert_int_equal(session_write_i32(r->session, t->ids, ids, f->ids.count, NULL), LECO_OK);
    text_eos_positions(&f->config, ids, batch, tokens, eos);
    if (t->eos) assert_int_equal(session_write_i32(r->session, t->eos, eos, (size_t)batch, NULL), LECO_OK);
    mem_free(ids);
    mem_free(eos);
}

static void check(const fixture *f, const way *w, text_options options, const char *hidden, const char *pooled)
{
    graph *g = graph_create(w->type);
    nn c;
    nn_init(&c, g, f->weights, NULL, PART_TEXT_ENCODER);
    text_encoder t = text_encoder_build(&c, &f->config, f->ids.dim[0], f->ids.dim[1], options);
    running r = run_start(g, w);
    write_ids(&r, &t, f);
    run_all(&r);
    const char *names[] = {hidden, pooled};
    const tensor *results[] = {t.hidden_states, t.pooled};
    for (int i = 0; i < 2; i++) {
        if (!names[i] || !fixture_has(f->file, "%s", names[i])) continue;
        char what[128];
        snprintf(what, sizeof what, "%s %s", f->name, names[i]);
        values want = fixture_read(f->file, "%s", names[i]);
        check_error(what, w, run_compare(&r, results[i], &want), bounds[way_grade(w)]);
        values_free(&want);
    }
    run_end(&r);
    graph_destroy(g);
}

static void check_all(const fixture *f, const way *w)
{
    char before_norm[64], last[64];
    long long layers = f->config.layers;
    const char *pooled = f->config.projection_dim ? "text_embeds" : "pooler_output";
    snprintf(before_norm, sizeof before_norm, "hidden_states.%lld", layers - 1);
    snprintf(last, sizeof last, "hidden_states.%lld", layers);
    assert_true(fixture_has(f->file, "last_hidden_state") && fixture_has(f->file, "%s", pooled));
    check(f, w, (text_options){.pooled = true}, "last_hidden_state", pooled);
    if (!fixture_has(f->file, "clip_skip.1")) return;
    check(f, w, (text_options){.skip_layers = 1}, "clip_skip.1", NULL);
    check(f, w, (text_options){.skip_layers = 2}, "clip_skip.2", NULL);
    check(f, w, (text_options){.skip_layers = 1, .no_final_norm = true, .pooled = true}, before_norm, pooled);
    check(f, w, (text_options){.no_final_norm = true}, last, NULL);
}

static void encoder_is_transformers(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"sd1-like", "text", "text_encoder"},  {"sd2-like", "text", "text_encoder"},
        {"sdxl-like", "text", "text_encoder"}, {"sdxl-like", "text_2", "text_encoder_2"},
        {"shapes", "text", "text_encoder"},    {"shapes-v", "text", "text_encoder"},
    };
    leco_error err = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[256], path[512];
        snprintf(name, sizeof name, "%s/%s", cases[i][0], cases[i][1]);
        snprintf(path, sizeof path, "%s.safetensors", name);
        fixture f = {.name = name, .file = fixture_open(path)};
        const char *folder = fixture_model(cases[i][0], cases[i][2]);
        f.ids = fixture_read(f.file, "input_ids");
        assert_works(text_config_read(folder, &f.config, &err), &err);
        assert_works(weights_open(folder, &f.weights, &err), &err);
        for (int k = 0; k < WAY_COUNT; k++)
            if (way_available(&ways[k])) check_all(&f, &ways[k]);
        weights_close(f.weights);
        values_free(&f.ids);
        safetensors_close(f.file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(encoder_is_transformers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
