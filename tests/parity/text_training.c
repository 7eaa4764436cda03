/* What is trained on the text side, a LoRA of the text encoder and an embedding, both at once: states, predictions and
 * the gradients of every tensor, through the U-Net, against PyTorch's autograd. */
#include "parity_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/adapter_keys.h"
#include "model/kinds.h"
#include "model/model.h"
#include "op/op.h"

#define FOLDER FIXTURES "sd1-like"

static const double bound = 1e-4, gradient_bound = 1e-3;

static leco_error err;

typedef struct trial {
    model *model;
    trainable *lora, *embedding; /* with the fixture's values */
    safetensors *cases;
    values ids, sample, timestep, target;
} trial;

/* One of text encoder and U-Net, whose latter part does nothing, as up is 0. */
static trainable *lora_of(model *m)
{
    trainable *loaded, *t;
    rng r;
    adapter_layers layers;
    const trainable_options options = {
        .kind = &kind_lora, .layers = {.text_encoder = true}, .rank = 2, .alpha = 1, .exact = DTYPE_F32};
    rng_seed(&r, RNG_CPU, 1);
    assert_works(trainable_create(m, &options, &r, &t, &err), &err);
    assert_works(model_adapter_layers(m, &layers, &err), &err);
    assert_works(trainable_load(FOLDER "/lora_text.safetensors", &layers, DTYPE_F32, &loaded, &err), &err);
    size_t next = 0;
    for (size_t i = 0; i < trainable_module_count(t); i++) {
        const trainable_module *to = trainable_module_at(t, i);
        if (to->layer.part != PART_TEXT_ENCODER) continue;
        const trainable_module *from = trainable_module_at(loaded, next++);
        assert_string_equal(to->layer.path, from->layer.path);
        for (size_t k = 0; k < to->params; k++)
            memcpy(to->param[k].value, from->param[k].value, (size_t)shape_count(&to->param[k].shape) * sizeof(float));
    }
    assert_int_equal(next, trainable_module_count(loaded));
    trainable_destroy(loaded);
    return t;
}

static trainable *embedding_of(model *m)
{
    trainable *t;
    rng r;
    const trainable_options options = {.kind = &kind_embedding,
                                       .layers = {.scope = SCOPE_EMBEDDING},
                                       .token = "<dot>",
                                       .start = "red",
                                       .vectors = 3,
                                       .exact = DTYPE_F32};
    rng_seed(&r, RNG_CPU, 1);
    assert_works(trainable_create(m, &options, &r, &t, &err), &err);
    assert_works(trainable_load_values(t, FOLDER "/embedding.safetensors", &err), &err);
    return t;
}

static trial begin(void)
{
    trial t = {.cases = fixture_open("sd1-like/text_training.safetensors")};
    assert_works(model_open(FOLDER, &t.model, &err), &err);
    assert_works(model_load(t.model, MODEL_UNET | MODEL_TEXT_ENCODER, &err), &err);
    t.lora = lora_of(t.model);
    t.embedding = embedding_of(t.model);
    t.ids = fixture_read(t.cases, "input_ids");
    t.sample = fixture_read_nhwc(t.cases, "sample");
    t.timestep = fixture_read(t.cases, "timestep");
    t.target = fixture_read_nhwc(t.cases, "target");
    return t;
}

static void end(trial *t)
{
    values *all[] = {&t->ids, &t->sample, &t->timestep, &t->target};
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

/* Those of one trainable's params that the fixture has: all of the text side. */
static void check_gradients(const trial *t, const way *w, trainable *of)
{
    double worst = 0;
    size_t checked = 0;
    for (size_t i = 0; i < trainable_module_count(of); i++) {
        const trainable_module *m = trainable_module_at(of, i);
        for (size_t k = 0; k < m->params; k++) {
            char *name = adapter_tensor_name(m, k);
            if (fixture_has(t->cases, "grad.%s", name)) {
                values want = fixture_read(t->cases, "grad.%s", name);
                assert_int_equal(want.count, shape_count(&m->param[k].shape));
                const double error = norm_error(m->param[k].grad, &want);
                if (!(error <= worst)) worst = error;
                checked++;
                values_free(&want);
            }
            mem_free(name);
        }
    }
    assert_int_equal(checked, of == t->embedding ? 1 : 2 * 6 * t->model->text.layers);
    check_error(of == t->embedding ? "embedding's gradient" : "text LoRA's gradient, worst tensor", w, worst,
                gradient_bound);
}

static void run(const trial *t, const way *w)
{
    const adapter_use use[] = {{t->lora, 1}, {t->embedding, 1}};
    const adapter_set adapters = {use, 2, NULL};
    const int64_t batch = t->ids.dim[0], tokens = t->ids.dim[1];
    graph *g = graph_create(w->type);
    nn text, net;
    nn_init(&text, g, t->model->weights[PART_TEXT_ENCODER], &adapters, PART_TEXT_ENCODER);
    nn_init(&net, g, t->model->weights[PART_UNET], &adapters, PART_UNET);
    const text_encoder e = text_encoder_build(&text, &t->model->text, batch, tokens, (text_options){0});
    const unet u = unet_build(&net, &t->model->unet, (unet_size){batch, t->sample.dim[1], t->sample.dim[2], tokens},
                              e.hidden_states);
    tensor *target = graph_input(g, "target", graph_exact_dtype(g), u.noise->shape), *loss = op_mse(g, u.noise, target);
    graph_result(g, u.noise);
    graph_result(g, loss);
    graph_backward(g, loss);
    running r = run_start(g, w);
    int32_t ids[2 * 77];
    assert_int_equal(t->ids.count, 2 * 77);
    for (size_t i = 0; i < t->ids.count; i++) ids[i] = (int32_t)t->ids.at[i];
    assert_works(session_write_i32(r.session, e.ids, ids, t->ids.count, &err), &err);
    run_write(&r, u.sample, &t->sample);
    run_write(&r, u.timestep, &t->timestep);
    run_write(&r, target, &t->target);
    assert_works(session_run(r.session, &err), &err);
    check(t, "states", &r, e.hidden_states);
    check(t, "noise_pred", &r, u.noise);
    check(t, "loss", &r, loss);
    check_gradients(t, w, t->lora);
    check_gradients(t, w, t->embedding);
    run_end(&r);
    graph_destroy(g);
}

static void gradients_are_torch(void **state)
{
    (void)state;
    trial t = begin();
    run(&t, &ways[WAY_REF_F32]);
    run(&t, &ways[WAY_CPU_F32]);
    if (way_available(&ways[WAY_CUDA_F32])) run(&t, &ways[WAY_CUDA_F32]);
    end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(gradients_are_torch)};
    return cmocka_run_group_tests_name("parity/text_training", tests, NULL, NULL);
}
