/* What is trained on the text side, a LoRA of the text encoders and an embedding, both at once: states, predictions and
 * the gradients of every tensor, through the U-Net, against PyTorch's autograd; with one text encoder and with two. */
#include "parity_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "diffusion/prompt_encoder.h"
#include "model/adapter_keys.h"
#include "model/kinds.h"
#include "op/op.h"

static const double bound = 1e-4, gradient_bound = 1e-3;

static leco_error err;

typedef struct trial {
    const char *folder;
    model *model;
    trainable *lora, *embedding; /* with the fixture's values */
    safetensors *cases;
    values ids[MODEL_MOST_TEXTS], sample, timestep, target;
} trial;

static const char *path_in(const trial *t, const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, FIXTURES "%s%s", t->folder, name);
    return path;
}

/* One of text encoders and U-Net, whose latter part does nothing, as up is 0. */
static trainable *lora_of(const trial *in)
{
    trainable *loaded, *t;
    rng r;
    adapter_layers layers;
    const trainable_options options = {
        .kind = &kind_lora, .layers = {.text_encoder = true}, .rank = 2, .alpha = 1, .exact = DTYPE_F32};
    rng_seed(&r, RNG_CPU, 1);
    assert_works(trainable_create(in->model, &options, &r, &t, &err), &err);
    assert_works(model_adapter_layers(in->model, &layers, &err), &err);
    assert_works(trainable_load(path_in(in, "/lora_text.safetensors"), &layers, DTYPE_F32, &loaded, &err), &err);
    const size_t modules = trainable_module_count(t) - trainable_module_count(loaded);
    assert_int_equal(trainable_module_at(t, modules - 1)->layer.part, PART_UNET);
    assert_works(trainable_copy_values(t, loaded, &err), &err);
    trainable_destroy(loaded);
    return t;
}

static trainable *embedding_of(const trial *in, const char *token)
{
    trainable *t;
    rng r;
    const trainable_options options = {.kind = &kind_embedding,
                                       .layers = {.scope = SCOPE_EMBEDDING},
                                       .token = token,
                                       .start = "red",
                                       .vectors = 3,
                                       .exact = DTYPE_F32};
    rng_seed(&r, RNG_CPU, 1);
    assert_works(trainable_create(in->model, &options, &r, &t, &err), &err);
    assert_works(trainable_load_values(t, path_in(in, "/embedding.safetensors"), &err), &err);
    return t;
}

static size_t encoders(const trial *t)
{
    text_part parts[MODEL_MOST_TEXTS];
    return model_texts(t->model, parts);
}

static trial begin(const char *folder, const char *token)
{
    char cases[128];
    snprintf(cases, sizeof cases, "%s/text_training.safetensors", folder);
    trial t = {.folder = folder, .cases = fixture_open(cases)};
    assert_works(model_open(path_in(&t, ""), &t.model, &err), &err);
    assert_works(model_load(t.model, MODEL_UNET | MODEL_TEXT_ENCODER, &err), &err);
    t.lora = lora_of(&t);
    t.embedding = embedding_of(&t, token);
    const size_t count = encoders(&t);
    for (size_t i = 0; i < count; i++)
        t.ids[i] = count == 1 ? fixture_read(t.cases, "input_ids") : fixture_read(t.cases, "input_ids.%zu", i);
    t.sample = fixture_read_nhwc(t.cases, "sample");
    t.timestep = fixture_read(t.cases, "timestep");
    t.target = fixture_read_nhwc(t.cases, "target");
    return t;
}

static void end(trial *t)
{
    values *all[] = {&t->ids[0], &t->ids[1], &t->sample, &t->timestep, &t->target};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) values_free(all[i]);
    trainable_destroy(t->lora);
    trainable_destroy(t->embedding);
    model_close(t->model);
    safetensors_close(t->cases);
}

static void check(const trial *t, const char *name, running *r, const tensor *got)
{
    values want = got->shape.rank == 4 ? fixture_read_nhwc(t->cases, "%s", name) : fixture_read(t->cases, "%s", name);
    check_error(name, r->way, run_compare(r, got, &want), bound);
    values_free(&want);
}

/* Of one tensor on the text side. Those of the first of two encoders' last layer aren't in the fixture: nothing reads
 * what it makes. Returns whether it was there. */
static bool measure(const trial *t, const trainable_module *m, size_t k, double *worst)
{
    const size_t count = (size_t)shape_count(&m->param[k].shape);
    const float *grad = m->param[k].grad;
    char *name = adapter_tensor_name(m, k);
    const bool there = fixture_has(t->cases, "grad.%s", name);
    if (there) {
        values want = fixture_read(t->cases, "grad.%s", name);
        assert_int_equal(want.count, count);
        const double error = norm_error(grad, &want);
        if (!(error <= *worst)) *worst = error;
        values_free(&want);
    } else {
        for (size_t i = 0; i < count; i++) assert_true(grad[i] == 0);
    }
    mem_free(name);
    return there;
}

static void check_gradients(const trial *t, const way *w, trainable *of)
{
    const bool rows = of == t->embedding;
    const int64_t layers = t->model->text.layers, layers_2 = t->model->text_2.layers;
    double worst = 0;
    size_t checked = 0;
    for (size_t i = 0; i < trainable_module_count(of); i++) {
        const trainable_module *m = trainable_module_at(of, i);
        for (size_t k = 0; k < m->params && m->layer.part != PART_UNET; k++) checked += measure(t, m, k, &worst);
    }
    assert_int_equal(checked, rows ? (int64_t)encoders(t) : 2 * 6 * (layers_2 ? layers - 1 + layers_2 : layers));
    check_error(rows ? "embedding's gradient, worst tensor" : "text LoRA's gradient, worst tensor", w, worst,
                gradient_bound);
}

static void write_ids(const trial *t, running *r, const prompt_encoder *e)
{
    int32_t ids[MODEL_MOST_TEXTS * 2 * 77], eos[2];
    size_t next = 0;
    for (size_t k = 0; k < e->count; k++) {
        assert_int_equal(t->ids[k].count, 2 * 77);
        for (size_t i = 0; i < t->ids[k].count; i++) ids[next++] = (int32_t)t->ids[k].at[i];
    }
    assert_works(prompt_encoder_write(e, r->session, ids, eos, &err), &err);
}

static void write_sizes(const trial *t, running *r, const unet *u)
{
    if (!u->time_ids[0]) return;
    values sizes = fixture_read(t->cases, "time_ids");
    for (int k = 0; k < UNET_TIME_IDS; k++) {
        const float column[2] = {sizes.at[k], sizes.at[UNET_TIME_IDS + k]};
        assert_works(session_write(r->session, u->time_ids[k], column, 2, &err), &err);
    }
    values_free(&sizes);
}

static void run(const trial *t, const way *w)
{
    const adapter_use use[] = {{t->lora, 1}, {t->embedding, 1}};
    const adapter_set adapters = {use, 2, NULL};
    const int64_t batch = t->ids[0].dim[0], tokens = t->ids[0].dim[1];
    graph *g = graph_create(w->type);
    nn net;
    nn_init(&net, g, t->model->weights[PART_UNET], &adapters, PART_UNET);
    const prompt_encoder e = prompt_encoder_build(g, t->model, &adapters, batch, tokens, t->model->states);
    const unet u = unet_build(&net, &t->model->unet, (unet_size){batch, t->sample.dim[1], t->sample.dim[2], tokens},
                              &(unet_texts){e.states, e.pooled});
    tensor *target = graph_input(g, "target", graph_exact_dtype(g), u.noise->shape), *loss = op_mse(g, u.noise, target);
    graph_result(g, u.noise);
    graph_result(g, loss);
    graph_backward(g, loss);
    running r = run_start(g, w);
    write_ids(t, &r, &e);
    run_write(&r, u.sample, &t->sample);
    run_write(&r, u.timestep, &t->timestep);
    write_sizes(t, &r, &u);
    run_write(&r, target, &t->target);
    assert_works(session_run(r.session, &err), &err);
    check(t, "states", &r, e.states);
    if (e.pooled) check(t, "pooled", &r, e.pooled);
    check(t, "noise_pred", &r, u.noise);
    check(t, "loss", &r, loss);
    check_gradients(t, w, t->lora);
    check_gradients(t, w, t->embedding);
    run_end(&r);
    graph_destroy(g);
}

static void compare(const char *folder, const char *token)
{
    trial t = begin(folder, token);
    run(&t, &ways[WAY_REF_F32]);
    run(&t, &ways[WAY_CPU_F32]);
    if (way_available(&ways[WAY_CUDA_F32])) run(&t, &ways[WAY_CUDA_F32]);
    end(&t);
}

static void gradients_are_torch(void **state)
{
    (void)state;
    compare("sd1-like", "<dot>");
}

static void gradients_of_two_text_encoders_are_torch(void **state)
{
    (void)state;
    compare("sdxl-like", "<thing>");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_torch),
        cmocka_unit_test(gradients_of_two_text_encoders_are_torch),
    };
    return cmocka_run_group_tests_name("parity/text_training", tests, NULL, NULL);
}
