/* Checkpoints in one file against diffusers' from_single_file (tools/fixtures_checkpoint.py): each module, and a
 * picture. */
#include "checkpoint_support.h"
#include "parity_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "base/mem.h"
#include "format/safetensors.h"
#include "leco/leco.h"

static leco_error err;

/* ---- what it gives ---- */

static double worst_of(const safetensors_entry *ours, const safetensors_entry *theirs)
{
    double worst = 0, largest = 0;
    assert_int_equal(ours->count, theirs->count);
    for (size_t i = 0; i < ours->count; i++) {
        const double a = (double)((const float *)ours->data)[i], b = (double)((const float *)theirs->data)[i];
        if (!(fabs(a - b) <= worst)) worst = fabs(a - b);
        if (fabs(b) > largest) largest = fabs(b);
    }
    return worst / largest;
}

/* Runs a module on tensors of the fixture, and compares what comes out under that name. */
static void same_module(leco_model *m, const char *module, const safetensors_entry *in, size_t in_count,
                        const char *name, const safetensors_entry *theirs)
{
    safetensors *out;
    assert_works(safetensors_write(test_path("in.safetensors"), in, in_count, NULL, 0, &err), &err);
    assert_works(leco_run(m, module, test_path("in.safetensors"), NULL, test_path("out.safetensors"), &err), &err);
    assert_works(safetensors_open(test_path("out.safetensors"), &out, &err), &err);
    const safetensors_entry *ours = safetensors_find(out, name);
    assert_non_null(ours);
    const double worst = worst_of(ours, theirs);
    printf("    %s within %.1e\n", name, worst);
    assert_true(worst < 1e-4);
    safetensors_close(out);
}

static safetensors_entry called(const safetensors_entry *e, const char *name)
{
    safetensors_entry copy = *e;
    copy.name = name;
    return copy;
}

static void same_modules(leco_model *m, const safetensors *out)
{
    const float timestep = 301;
    const safetensors_entry *latents = safetensors_find(out, "latents");
    const bool two = safetensors_find(out, "input_ids_2") != NULL;
    safetensors_entry in[5] = {called(safetensors_find(out, "input_ids"), "input_ids")};
    same_module(m, "text-encoder", in, 1, "last_hidden_state", safetensors_find(out, "hidden"));
    if (two) {
        in[0] = called(safetensors_find(out, "input_ids_2"), "input_ids");
        same_module(m, "text-encoder-2", in, 1, "last_hidden_state", safetensors_find(out, "hidden_2"));
        in[3] = *safetensors_find(out, "text_embeds");
        in[4] = *safetensors_find(out, "time_ids");
    }
    in[0] = called(latents, "sample");
    in[1] = called(safetensors_find(out, two ? "context" : "hidden"), "encoder_hidden_states");
    in[2] = (safetensors_entry){
        .name = "timestep", .type = DTYPE_F32, .rank = 1, .shape = {1}, .count = 1, .data = &timestep};
    same_module(m, "unet", in, two ? 5 : 3, "noise_pred", safetensors_find(out, "noise_pred"));
    in[0] = called(latents, "latents");
    same_module(m, "vae-decoder", in, 1, "sample", safetensors_find(out, "decoded"));
    in[0] = called(safetensors_find(out, "picture_in"), "sample");
    same_module(m, "vae-encoder", in, 1, "latent_mean", safetensors_find(out, "encoded"));
}

/* Draws with that negative prompt (NULL: none), and compares with the picture of that name. */
static void same_picture_as(leco_model *m, const safetensors *out, const char *name, const char *negative)
{
    const safetensors_entry in = called(safetensors_find(out, "latents"), "latents"),
                            *theirs = safetensors_find(out, name);
    leco_images images = {0};
    leco_generate_options o = leco_generate_defaults();
    const char *prompt = safetensors_metadata(out, "prompt");
    assert_works(safetensors_write(test_path("latents.safetensors"), &in, 1, NULL, 0, &err), &err);
    o.prompts = &prompt;
    o.prompt_count = 1;
    o.negative = negative;
    o.latents = test_path("latents.safetensors");
    o.width = o.height = 16;
    o.steps = 4;
    o.guidance_scale = 4;
    assert_works(leco_generate(m, &o, &images, &err), &err);
    int worst = 0;
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 256; i++) {
            const int ours = images.image[0].rgb[3 * i + c];
            const int wanted = (int)lrintf(((const float *)theirs->data)[256 * c + i] * 255);
            if (abs(ours - wanted) > worst) worst = abs(ours - wanted);
        }
    printf("    %s within %d of 255\n", name, worst);
    assert_true(worst <= 2);
    leco_images_free(&images);
}

static void same_picture(leco_model *m, const safetensors *out)
{
    same_picture_as(m, out, "picture", "");
}

/* Stable Diffusion XL's: without a negative prompt, and as the marks of v-prediction and zero terminal SNR say. */
static void other_pictures_are_diffusers(void **state)
{
    (void)state;
    static const struct {
        const char *picture, *negative, *marks[2], *prediction;
    } cases[] = {{"picture_none", NULL, {NULL}, NULL},   {"picture", "", {NULL}, NULL},
                 {"picture_v", "", {"v_pred"}, NULL},    {"picture_v", "", {NULL}, "v_prediction"},
                 {"picture", "", {"v_pred"}, "epsilon"}, {"picture_ztsnr", "", {"v_pred", "ztsnr"}, NULL}};
    safetensors *out;
    assert_works(safetensors_open(FIXTURES "checkpoint/sdxl_out.safetensors", &out, &err), &err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const leco_model_options options = {.device = "cpu", .precision = "float32", .prediction = cases[i].prediction};
        const size_t marks = !cases[i].marks[0] ? 0 : cases[i].marks[1] ? 2 : 1;
        leco_model *m;
        assert_works(leco_model_open(checkpoint_put_marked(2, cases[i].marks, marks), &options, &m, &err), &err);
        same_picture_as(m, out, cases[i].picture, cases[i].negative);
        leco_model_close(m);
    }
    safetensors_close(out);
}

static void checkpoints_are_diffusers(void **state)
{
    (void)state;
    const leco_model_options options = {.device = "cpu", .precision = "float32"};
    for (size_t i = 0; i < CHECKPOINTS; i++) {
        char path[512];
        safetensors *out;
        leco_model *m;
        snprintf(path, sizeof path, FIXTURES "checkpoint/%s_out.safetensors", checkpoint_name(i));
        assert_works(safetensors_open(path, &out, &err), &err);
        printf("  %s\n", checkpoint_name(i));
        assert_works(leco_model_open(checkpoint_put(i, NULL, NULL), &options, &m, &err), &err);
        same_modules(m, out);
        same_picture(m, out);
        leco_model_close(m);
        safetensors_close(out);
    }
}

/* As newer programs write Stable Diffusion 2. */
static leco_status sgm_name(const char *name, char **out, leco_error *e)
{
    static const char before[] = "cond_stage_model.model.";
    *out = NULL;
    if (strncmp(name, before, sizeof before - 1) != 0) return LECO_OK;
    *out = mem_printf("conditioner.embedders.0.model.%s", name + sizeof before - 1);
    return *out ? LECO_OK : error_memory(e, 0, "a name");
}

static void sgms_names_are_read(void **state)
{
    (void)state;
    const leco_model_options options = {.device = "cpu", .precision = "float32", .prediction = "v_prediction"};
    safetensors *file, *out;
    leco_model *m;
    size_t renamed = 0;
    assert_works(safetensors_open(checkpoint_put(1, NULL, NULL), &file, &err), &err);
    assert_works(safetensors_rename(file, sgm_name, &renamed, &err), &err);
    assert_true(renamed > 30);
    const size_t count = safetensors_count(file);
    safetensors_entry *all = calloc(count, sizeof *all);
    assert_non_null(all);
    for (size_t i = 0; i < count; i++) all[i] = *safetensors_at(file, i);
    assert_works(safetensors_write(test_path("sgm.safetensors"), all, count, NULL, 0, &err), &err);
    free(all);
    safetensors_close(file);
    assert_works(safetensors_open(FIXTURES "checkpoint/sd2_out.safetensors", &out, &err), &err);
    assert_works(leco_model_open(test_path("sgm.safetensors"), &options, &m, &err), &err);
    same_modules(m, out);
    same_picture(m, out);
    leco_model_close(m);
    safetensors_close(out);
}

/* ---- a VAE from elsewhere ---- */

#define VAE "first_stage_model."

/* The VAE's tensors alone, without the first `cut` characters of their names. */
static const char *put_vae(const char *name, size_t cut)
{
    safetensors *file;
    size_t count = 0;
    assert_works(safetensors_open(FIXTURES "checkpoint/sd1.safetensors", &file, &err), &err);
    safetensors_entry *all = calloc(safetensors_count(file), sizeof *all);
    assert_non_null(all);
    for (size_t i = 0; i < safetensors_count(file); i++) {
        all[count] = *safetensors_at(file, i);
        if (strncmp(all[count].name, VAE, sizeof VAE - 1) == 0) all[count++].name += cut;
    }
    const char *path = test_path(name);
    assert_works(safetensors_write(path, all, count, NULL, 0, &err), &err);
    free(all);
    safetensors_close(file);
    return path;
}

static void a_vae_may_come_from_elsewhere(void **state)
{
    (void)state;
    leco_model_options options = {.device = "cpu", .precision = "float32"};
    leco_model *m;
    safetensors *out;
    leco_images images = {0};
    assert_works(safetensors_open(FIXTURES "checkpoint/sd1_out.safetensors", &out, &err), &err);
    for (size_t i = 0; i < 3; i++) { /* the last model has its own */
        options.vae = put_vae("vae.safetensors", i == 1 ? 0 : sizeof VAE - 1);
        const char *without = checkpoint_put(0, i == 2 ? NULL : VAE, NULL);
        assert_works(leco_model_open(without, &options, &m, &err), &err);
        same_modules(m, out);
        same_picture(m, out);
        leco_model_close(m);
    }

    /* Under diffusers' names: a VAE's folder, a model's, and a file beside its config. */
    static const char *const folders[] = {LECO_SOURCE_DIR "/models/shapes/vae", LECO_SOURCE_DIR "/models/shapes",
                                          LECO_SOURCE_DIR "/models/shapes/vae/diffusion_pytorch_model.safetensors"};
    leco_generate_options o = leco_generate_defaults();
    const char *prompt = "x";
    unsigned char *first = NULL;
    size_t bytes = 0;
    o.prompts = &prompt;
    o.prompt_count = 1;
    o.steps = 1;
    o.width = o.height = 64;
    for (size_t i = 0; i < 3; i++) {
        options.vae = folders[i];
        assert_works(leco_model_open(FIXTURES "sd1-like", &options, &m, &err), &err);
        assert_works(leco_generate(m, &o, &images, &err), &err);
        if (i == 0) {
            bytes = (size_t)images.image[0].width * (size_t)images.image[0].height * 3;
            first = malloc(bytes);
            assert_non_null(first);
            memcpy(first, images.image[0].rgb, bytes);
        }
        assert_memory_equal(images.image[0].rgb, first, bytes);
        leco_images_free(&images);
        leco_model_close(m);
    }
    options.vae = NULL;
    assert_works(leco_model_open(FIXTURES "sd1-like", &options, &m, &err), &err);
    assert_works(leco_generate(m, &o, &images, &err), &err);
    assert_true(memcmp(images.image[0].rgb, first, bytes) != 0);
    leco_images_free(&images);
    leco_model_close(m);
    free(first);
    safetensors_close(out);
}

static void a_wrong_vae_is_told(void **state)
{
    (void)state;
    static const float ones[4];
    const safetensors_entry other = {.name = "x", .type = DTYPE_F32, .rank = 1, .shape = {4}, .count = 4, .data = ones};
    const safetensors_entry diffusers = {.name = "encoder.down_blocks.0.resnets.0.conv1.weight",
                                         .type = DTYPE_F32,
                                         .rank = 1,
                                         .shape = {4},
                                         .count = 4,
                                         .data = ones};
    assert_works(safetensors_write(test_path("other.safetensors"), &other, 1, NULL, 0, &err), &err);
    assert_works(safetensors_write(test_path("diffusers.safetensors"), &diffusers, 1, NULL, 0, &err), &err);
    const struct {
        const char *vae, *says;
    } cases[] = {{test_path("nowhere.safetensors"), "there is no such file: expected a VAE"},
                 {test_path("other.safetensors"), "is no VAE that leco knows"},
                 {test_path("diffusers.safetensors"), "wants its config.json beside it"},
                 {FIXTURES "checkpoint", "is no VAE's folder, nor a model's"},
                 {FIXTURES "sd1-like/unet", "AutoencoderKL"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const leco_model_options options = {.vae = cases[i].vae};
        leco_model *m = NULL;
        leco_status status = leco_model_open(FIXTURES "sd1-like", &options, &m, &err);
        assert_true(status != LECO_OK && !m);
        if (!strstr(err.message, cases[i].says)) fail_msg("\"%s\" doesn't say \"%s\"", err.message, cases[i].says);
    }
}

/* ---- LoRAs in it ---- */

static safetensors_entry matrix(const char *name, int64_t rows, int64_t columns, float *to)
{
    for (int64_t i = 0; i < rows * columns; i++) to[i] = (float)((i * 7919) % 101 - 50) / 200;
    return (safetensors_entry){.name = name,
                               .type = DTYPE_F32,
                               .rank = 2,
                               .shape = {rows, columns},
                               .count = (size_t)(rows * columns),
                               .data = to};
}

/* The U-Net's answer to the fixture's input, on its own text states or on the prompt's. */
static values answer(const char *model_path, const char *lora, const safetensors *out)
{
    const leco_model_options options = {.device = "cpu", .precision = "float32"};
    const float timestep = 301;
    leco_model *m;
    safetensors *file, *text;
    assert_works(leco_model_open(model_path, &options, &m, &err), &err);
    if (lora) assert_works(leco_model_add_lora(m, lora, 1, &err), &err);
    assert_works(leco_run(m, "text-encoder", NULL, "a large red star", test_path("text.safetensors"), &err), &err);
    assert_works(safetensors_open(test_path("text.safetensors"), &text, &err), &err);
    const safetensors_entry in[] = {
        called(safetensors_find(out, "latents"), "sample"),
        called(safetensors_find(text, "last_hidden_state"), "encoder_hidden_states"),
        {.name = "timestep", .type = DTYPE_F32, .rank = 1, .shape = {1}, .count = 1, .data = &timestep}};
    assert_works(safetensors_write(test_path("in.safetensors"), in, 3, NULL, 0, &err), &err);
    assert_works(leco_run(m, "unet", test_path("in.safetensors"), NULL, test_path("answer.safetensors"), &err), &err);
    assert_works(safetensors_open(test_path("answer.safetensors"), &file, &err), &err);
    const values v = fixture_read(file, "noise_pred");
    safetensors_close(file);
    safetensors_close(text);
    leco_model_close(m);
    return v;
}

/* Query, key and value lie in one tensor there: only the query changes. */
static void loras_are_baked_in(void **state)
{
    (void)state;
    static float values_of[4][4096];
    const safetensors_entry lora[] = {
        matrix("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight", 2, 128,
               values_of[0]),
        matrix("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k.lora_up.weight", 64, 2, values_of[1]),
        matrix("lora_te_text_model_encoder_layers_1_self_attn_q_proj.lora_down.weight", 4, 128, values_of[2]),
        matrix("lora_te_text_model_encoder_layers_1_self_attn_q_proj.lora_up.weight", 128, 4, values_of[3])};
    safetensors *out;
    assert_works(safetensors_open(FIXTURES "checkpoint/sd2_out.safetensors", &out, &err), &err);
    assert_works(safetensors_write(test_path("lora.safetensors"), lora, 4, NULL, 0, &err), &err);
    const char *from = checkpoint_put(1, NULL, NULL), *to = test_path("baked.safetensors");
    const leco_lora loras[] = {{test_path("lora.safetensors"), 1}};
    assert_works(leco_merge_into(from, loras, 1, to, NULL, NULL, &err), &err);
    values base = answer(from, NULL, out), with = answer(from, loras[0].path, out), baked = answer(to, NULL, out);
    const double changed = worst_error(base.at, &with), off = worst_error(baked.at, &with);
    printf("    the LoRA changes %.1e, baked it is off by %.1e\n", changed, off);
    assert_true(changed > 0.02 && off < 2e-3); /* the checkpoint is in float16 */
    values_free(&base);
    values_free(&with);
    values_free(&baked);
    assert_fails(leco_merge_into(from, loras, 1, from, NULL, NULL, &err), LECO_INVALID, &err, "the model itself");
    assert_fails(leco_merge_into(from, loras, 1, test_path("folder"), NULL, NULL, &err), LECO_INVALID, &err,
                 ".safetensors");
    safetensors_close(out);
}

/* ---- what is none, or not ours ---- */

static void assert_refused(const char *path, const char *says)
{
    leco_model *m = NULL;
    leco_status status = leco_model_open(path, NULL, &m, &err);
    if (status == LECO_OK) { /* weights are looked at when they are needed */
        leco_generate_options o = leco_generate_defaults();
        leco_images images = {0};
        const char *prompt = "x";
        o.prompts = &prompt;
        o.prompt_count = 1;
        o.steps = 1;
        status = leco_generate(m, &o, &images, &err);
        leco_images_free(&images);
        leco_model_close(m);
    }
    assert_true(status == LECO_UNSUPPORTED || status == LECO_FORMAT || status == LECO_INVALID);
    if (!strstr(err.message, "checkpoint.safetensors") || !strstr(err.message, says))
        fail_msg("\"%s\" doesn't say \"%s\"", err.message, says);
}

static void others_are_refused_by_name(void **state)
{
    (void)state;
    static const float zeros[9 * 9 * 32];
    const safetensors_entry nine = {.name = "model.diffusion_model.input_blocks.0.0.weight",
                                    .type = DTYPE_F32,
                                    .rank = 4,
                                    .shape = {32, 9, 3, 3},
                                    .count = 32 * 81,
                                    .data = zeros};
    const safetensors_entry label = {.name = "model.diffusion_model.label_emb.0.0.weight",
                                     .type = DTYPE_F32,
                                     .rank = 2,
                                     .shape = {2, 2},
                                     .count = 4,
                                     .data = zeros};
    const safetensors_entry refiner = {.name = "conditioner.embedders.0.model.token_embedding.weight",
                                       .type = DTYPE_F32,
                                       .rank = 2,
                                       .shape = {2, 2},
                                       .count = 4,
                                       .data = zeros};
    assert_refused(checkpoint_put(0, nine.name, &nine), "inpainting");
    assert_refused(checkpoint_put(0, NULL, &label), "unknown kind"); /* Stable Diffusion XL's heads are wider */
    assert_refused(checkpoint_put(2, "conditioner.embedders.1.model.positional_embedding", NULL),
                   "without a text encoder");
    assert_refused(checkpoint_put(2, "conditioner.embedders.1.model.text_projection", NULL), "pooled state");
    assert_refused(checkpoint_put(0, NULL, &refiner), "refiner");
    assert_refused(checkpoint_put(0, "first_stage_model.encoder.conv_in.weight", NULL), "without a VAE");
    assert_refused(checkpoint_put(0, "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight", NULL),
                   "without a text encoder");
    assert_refused(
        checkpoint_put(0, "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight", NULL),
        "unknown kind");
    assert_refused(checkpoint_put(0, "model.diffusion_model.out.0.bias", NULL), "conv_norm_out.bias");
}

/* ---- what it predicts ---- */

static const char *told_prediction(const char *said, leco_status *status)
{
    static char found[32];
    leco_model *m = NULL;
    const leco_model_options o = {.prediction = said};
    found[0] = '\0';
    *status = leco_model_open(test_path("checkpoint.safetensors"), &o, &m, &err);
    if (*status == LECO_OK)
        snprintf(found, sizeof found, "%s%s", m->model->schedule.prediction == PREDICT_V ? "v" : "epsilon",
                 m->model->schedule.zero_terminal_snr ? " zero" : "");
    leco_model_close(m);
    return found;
}

/* By markers, metadata, the family, or the caller; and what contradicts itself is asked for. */
static void predictions_are_found(void **state)
{
    (void)state;
    static const float zero[1];
    static const safetensors_entry v = {.name = "v_pred", .type = DTYPE_F32, .rank = 1, .shape = {0}, .data = zero},
                                   snr = {.name = "ztsnr", .type = DTYPE_F32, .rank = 1, .shape = {0}, .data = zero},
                                   edm = {.name = "edm_vpred.sigma_max",
                                          .type = DTYPE_F32,
                                          .rank = 0,
                                          .count = 1,
                                          .data = zero};
    static const struct {
        size_t model;
        const char *key, *value;
        const safetensors_entry *marker;
        const char *said, *is; /* is: NULL: refused, with... */
        const char *says;
    } cases[] = {
        {0, "modelspec.prediction_type", "epsilon", NULL, NULL, "epsilon", NULL},
        {0, "modelspec.prediction_type", "v", NULL, NULL, "v", NULL},
        {0, "modelspec.prediction_type", "v", &snr, NULL, "v zero", NULL},
        {0, "modelspec.prediction_type", "sample", NULL, NULL, NULL, "\"sample\" is not supported"},
        {0, "modelspec.prediction_type", "sample", &v, NULL, "v", NULL},
        {0, "x", "y", &v, NULL, "v", NULL},
        {0, "x", "y", &snr, NULL, NULL, "--prediction"},
        {0, "modelspec.prediction_type", "epsilon", &snr, NULL, NULL, "--prediction"},
        {0, "x", "y", &snr, "epsilon", "epsilon", NULL},
        {0, "x", "y", &snr, "v_prediction", "v zero", NULL},
        {0, "x", "y", &edm, NULL, NULL, "EDM"},
        {0, "modelspec.architecture", "stable-diffusion-v2-768-v", NULL, NULL, "epsilon", NULL}, /* it isn't that */
        {1, "x", "y", NULL, NULL, "v", NULL},
        {1, "modelspec.architecture", "stable-diffusion-v2-512", NULL, NULL, "epsilon", NULL},
        {1, "modelspec.architecture", "stable-diffusion-v2-768-v", NULL, NULL, "v", NULL},
        {1, "modelspec.architecture", "stable-diffusion-v2-512", &v, NULL, "v", NULL},
        {1, "modelspec.architecture", "stable-diffusion-v2-512", NULL, "v_prediction", "v", NULL},
        {1, "x", "y", &snr, NULL, "v zero", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        leco_status status;
        checkpoint_tell(cases[i].key, cases[i].value);
        const char *path = checkpoint_put(cases[i].model, NULL, cases[i].marker);
        const char *is = told_prediction(cases[i].said, &status);
        if (cases[i].is && (status != LECO_OK || strcmp(is, cases[i].is) != 0))
            fail_msg("case %zu: %s, not %s: %s", i, is, cases[i].is, err.message);
        if (!cases[i].is && (status == LECO_OK || !strstr(err.message, path) || !strstr(err.message, cases[i].says)))
            fail_msg("case %zu: \"%s\" doesn't say \"%s\"", i, err.message, cases[i].says);
    }
    checkpoint_tell(NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checkpoints_are_diffusers),     cmocka_unit_test(other_pictures_are_diffusers),
        cmocka_unit_test(a_vae_may_come_from_elsewhere), cmocka_unit_test(sgms_names_are_read),
        cmocka_unit_test(a_wrong_vae_is_told),           cmocka_unit_test(loras_are_baked_in),
        cmocka_unit_test(others_are_refused_by_name),    cmocka_unit_test(predictions_are_found),
    };
    return cmocka_run_group_tests_name("parity/checkpoint", tests, NULL, NULL);
}
