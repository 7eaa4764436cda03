/* Gradient checkpointing: activations that are computed again instead of kept change no bit of loss and gradients, and
 * take less memory; nothing is computed again that nobody reads. */
#include "test_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "diffusion/denoiser.h"
#include "model/kinds.h"

#define MODEL LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like"

static leco_error err;

/* What one training step gives. */
typedef struct outcome {
    double loss;
    float *grads; /* [count] */
    size_t count, arena, again;
} outcome;

static size_t count_copies(const graph *g)
{
    size_t copies = 0;
    bool *read = calloc(graph_tensor_count(g), sizeof *read);
    assert_non_null(read);
    for (size_t i = 0; i < graph_node_count(g); i++) {
        const node *n = graph_node_at(g, i);
        assert_int_equal(n->id, i);
        for (int k = 0; k < NODE_MAX_INPUTS; k++)
            if (n->input[k]) read[n->input[k]->id] = true;
    }
    for (size_t i = 0; i < graph_node_count(g); i++) {
        const node *n = graph_node_at(g, i);
        bool of_use = false;
        for (int k = 0; k < NODE_MAX_OUTPUTS; k++) of_use |= n->output[k] && read[n->output[k]->id];
        assert_true(of_use || !n->again);
        copies += n->again;
    }
    for (size_t i = 0; i < graph_tensor_count(g); i++) assert_int_equal(graph_tensor_at(g, i)->id, i);
    free(read);
    return copies;
}

/* Values of which none is 0, so that all gradients are something. */
static void fill(trainable *t, rng *r)
{
    float *values = trainable_values(t);
    rng_normal(r, values, trainable_count(t));
    for (size_t i = 0; i < trainable_count(t); i++) values[i] *= 0.05f;
}

static outcome step(const device *d, const model *m, trainable *t, double recompute)
{
    const adapter_use use = {t, 1};
    const adapter_set adapters = {&use, 1, NULL};
    const denoiser_options options = {
        .size = {2, 11, 14, 0}, .tokens = 5, .adapters = &adapters, .trainable = true, .recompute = recompute};
    denoiser *n;
    assert_works(denoiser_create(d, m, &options, &n, &err), &err);
    const size_t latents = latent_count(denoiser_size(n)), states = 5 * (size_t)unet_context_width(&m->unet);
    float *x = malloc(latents * sizeof *x), *target = malloc(latents * sizeof *x), *text = malloc(states * sizeof *x);
    rng r;
    rng_seed(&r, RNG_CPU, 3);
    rng_normal(&r, x, latents);
    rng_normal(&r, target, latents);
    rng_normal(&r, text, states);
    const conditioning c = {.states = text};
    for (int64_t i = 0; i < 2; i++) denoiser_set_context(n, i, &c);
    outcome out = {.count = trainable_count(t), .arena = denoiser_arena_bytes(n)};
    out.again = count_copies(denoiser_graph(n));
    memset(trainable_grads(t), 0xff, out.count * sizeof(float));
    for (int run = 0; run < (recompute == 0 ? 3 : 1); run++) { /* a recorded one, too */
        double loss;
        assert_works(denoiser_run_training(n, x, 500, target, &loss, &err), &err);
        if (run > 0 && loss != out.loss) fail_msg("a loss of %.9g, then %.9g", out.loss, loss);
        out.loss = loss;
    }
    out.grads = malloc(out.count * sizeof(float));
    memcpy(out.grads, trainable_grads(t), out.count * sizeof(float));
    denoiser_destroy(n);
    free(x);
    free(target);
    free(text);
    return out;
}

static void nothing_changes(const char *device_name, const char *precision)
{
    device d;
    model *m;
    trainable *t;
    rng r;
    const trainable_options options = {.kind = &kind_lora, .rank = 3, .alpha = 2, .exact = DTYPE_F32};
    if (!test_on(device_name) || device_open(device_name, precision, &d, &err) != LECO_OK) return;
    assert_works(model_open(MODEL, &m, &err), &err);
    assert_works(model_load(m, MODEL_UNET, &err), &err);
    rng_seed(&r, RNG_CPU, 1);
    assert_works(trainable_create(m, &options, &r, &t, &err), &err);
    fill(t, &r);
    const outcome kept = step(&d, m, t, 0), half = step(&d, m, t, 0.5), all = step(&d, m, t, 1);
    printf("    %s %s: arena %zu, %zu with half, %zu with all blocks computed again (%zu nodes)\n", device_name,
           precision, kept.arena, half.arena, all.arena, all.again);
    assert_true(kept.again == 0 && half.again > 0 && all.again > half.again);
    assert_true(half.arena < kept.arena && all.arena < half.arena);
    printf("    losses %.9g, %.9g with half, %.9g with all\n", kept.loss, half.loss, all.loss);
    assert_true(kept.loss > 0 && half.loss == kept.loss && all.loss == kept.loss);
    assert_memory_equal(half.grads, kept.grads, kept.count * sizeof(float));
    assert_memory_equal(all.grads, kept.grads, kept.count * sizeof(float));
    free(kept.grads);
    free(half.grads);
    free(all.grads);
    trainable_destroy(t);
    model_close(m);
    device_close(&d);
}

static void computing_again_changes_no_bit(void **state)
{
    (void)state;
    nothing_changes("ref", "float32");
    nothing_changes("cpu", "float32");
    nothing_changes("cpu", "bfloat16");
    nothing_changes("cuda", "float32");
    nothing_changes("cuda", "bfloat16");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(computing_again_changes_no_bit)};
    return cmocka_run_group_tests_name("unit/recompute", tests, NULL, NULL);
}
