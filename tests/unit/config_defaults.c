/* Each key that diffusers' and transformers' classes have in their configs: leco reads it, or it doesn't matter, or it
 * is refused by file, key and value. The keys and their defaults are those of the packages (tools/dump_configs.py), so
 * that a key that a newer version adds fails here until it was thought about. */
#include "test_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "model/model.h"

static json_t *packages; /* {"schedulers": {class: {key: default}}, "models": the same} */

/* A kind of config: how it is read, told in one line (all that was read), and the keys that change nothing. */
typedef struct kind {
    const char *file;
    leco_status (*read)(const char *folder, char *told, size_t capacity, leco_error *err);
    const char *const *harmless;
} kind;

static leco_status read_schedule(const char *folder, char *told, size_t capacity, leco_error *err)
{
    schedule_config c;
    leco_status status = schedule_config_read(folder, &c, err);
    snprintf(told, capacity, "%lld %.9g %.9g %d %d %lld %d %d %d %d", (long long)c.train_timesteps, c.beta_start,
             c.beta_end, (int)c.beta, (int)c.prediction, (long long)c.steps_offset, c.set_alpha_to_one, (int)c.spacing,
             c.clip_sample, c.zero_terminal_snr);
    return status;
}

static leco_status read_unet(const char *folder, char *told, size_t capacity, leco_error *err)
{
    unet_config c;
    leco_status status = unet_config_read(folder, &c, err);
    int used = snprintf(told, capacity, "%lldx%lld %lld %lld %d %.9g %d %.9g %d %lld %lld", (long long)c.sample_height,
                        (long long)c.sample_width, (long long)c.in_channels, (long long)c.out_channels, c.norm_groups,
                        (double)c.norm_eps, c.flip_sin_to_cos, (double)c.freq_shift, c.use_linear_projection,
                        (long long)c.addition_time_embed_dim, (long long)c.addition_embed_input_dim);
    for (int64_t i = 0; i < c.level_count; i++) {
        const unet_level *l = &c.level[i];
        used +=
            snprintf(told + used, capacity - (size_t)used, "; %lld %lld %lld %lld %lld %d %d", (long long)l->channels,
                     (long long)l->heads, (long long)l->layers, (long long)l->transformer_layers,
                     (long long)l->cross_attention_dim, l->down_attention, l->up_attention);
    }
    return status;
}

static leco_status read_vae(const char *folder, char *told, size_t capacity, leco_error *err)
{
    vae_config c;
    leco_status status = vae_config_read(folder, &c, err);
    snprintf(told, capacity, "%lld %lld %lld %lld %lld %lld %d %d %d %d %.9g", (long long)c.in_channels,
             (long long)c.out_channels, (long long)c.latent_channels, (long long)c.level_count,
             (long long)c.channels[0], (long long)c.layers, c.norm_groups, c.quant_conv, c.post_quant_conv,
             c.mid_attention, (double)c.scaling_factor);
    return status;
}

static leco_status read_text(const char *folder, char *told, size_t capacity, leco_error *err)
{
    text_config c;
    leco_status status = text_config_read(folder, &c, err);
    snprintf(told, capacity, "%lld %lld %lld %lld %lld %lld %d %.9g %lld %lld", (long long)c.vocab_size,
             (long long)c.hidden_size, (long long)c.intermediate_size, (long long)c.max_positions, (long long)c.layers,
             (long long)c.heads, (int)c.act, (double)c.norm_eps, (long long)c.eos_token_id,
             (long long)c.projection_dim);
    return status;
}

#define EMA "decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step", "use_ema_warmup"

static const char *const of_samplers[] = {"algorithm_type",
                                          "clip_sample_range",
                                          "corrector_order",
                                          "disable_corrector",
                                          "dynamic_thresholding_ratio",
                                          "eta",
                                          "euler_at_final",
                                          "final_sigmas_type",
                                          "flow_shift",
                                          "interpolation_type",
                                          "lambda_min_clipped",
                                          "lower_order_final",
                                          "noise_sampler_seed",
                                          "original_inference_steps",
                                          "predict_x0",
                                          "predictor_order",
                                          "sample_max_value",
                                          "sigma_max",
                                          "sigma_min",
                                          "skip_prk_steps",
                                          "solver_order",
                                          "solver_p",
                                          "solver_type",
                                          "tau_func",
                                          "time_shift_type",
                                          "timestep_scaling",
                                          "use_beta_sigmas",
                                          "use_exponential_sigmas",
                                          "use_karras_sigmas",
                                          "use_lu_lambdas",
                                          NULL};

static const char *const of_unets[] = {
    /* without addition_embed_type there is no such embedding */
    "addition_embed_type_num_heads",
    "addition_time_embed_dim",
    "projection_class_embeddings_input_dim",
    "dropout",
    "upcast_attention",
    EMA,
    NULL};

static const char *const of_vaes[] = {"sample_size", "force_upcast", EMA, NULL};

static const char *const of_texts[] = {"attention_dropout",
                                       "bos_token_id",
                                       "initializer_factor",
                                       "initializer_range",
                                       "pad_token_id",
                                       "projection_dim", /* of a CLIPTextModelWithProjection */
                                       "add_cross_attention",
                                       "bad_words_ids",
                                       "begin_suppress_tokens",
                                       "chunk_size_feed_forward",
                                       "cross_attention_hidden_size",
                                       "decoder_start_token_id",
                                       "diversity_penalty",
                                       "do_sample",
                                       "dtype",
                                       "early_stopping",
                                       "encoder_no_repeat_ngram_size",
                                       "exponential_decay_length_penalty",
                                       "finetuning_task",
                                       "forced_bos_token_id",
                                       "forced_eos_token_id",
                                       "id2label",
                                       "is_decoder",
                                       "is_encoder_decoder",
                                       "label2id",
                                       "length_penalty",
                                       "max_length",
                                       "min_length",
                                       "no_repeat_ngram_size",
                                       "num_beam_groups",
                                       "num_beams",
                                       "num_labels",
                                       "num_return_sequences",
                                       "output_attentions",
                                       "output_hidden_states",
                                       "output_scores",
                                       "prefix",
                                       "problem_type",
                                       "remove_invalid_values",
                                       "repetition_penalty",
                                       "return_dict",
                                       "return_dict_in_generate",
                                       "sep_token_id",
                                       "suppress_tokens",
                                       "task_specific_params",
                                       "temperature",
                                       "tie_encoder_decoder",
                                       "tie_word_embeddings",
                                       "tokenizer_class",
                                       "top_k",
                                       "top_p",
                                       "torchscript",
                                       "transformers_version",
                                       "typical_p",
                                       EMA,
                                       NULL};

static const kind schedules = {"scheduler_config.json", read_schedule, of_samplers};
static const kind unets = {"config.json", read_unet, of_unets};
static const kind vaes = {"config.json", read_vae, of_vaes};
static const kind texts = {"config.json", read_text, of_texts};

/* Keys whose null is as good as their default: in other classes it is the default, or leco has one of its own. */
static const char *const nullable[] = {"variance_type", "timestep_type", "sample_size", NULL};

static bool is_among(const char *const *list, const char *key)
{
    while (*list && strcmp(*list, key) != 0) list++;
    return *list != NULL;
}

static bool is_harmless(const kind *k, const char *key)
{
    return is_among(k->harmless, key);
}

/* ---- reading a config that is made here ---- */

static leco_status read_made(const kind *k, const json_t *config, char *told, size_t capacity, leco_error *err)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", test_folder(), k->file);
    assert_int_equal(json_dump_file(config, path, 0), 0);
    *err = (leco_error){0};
    told[0] = '\0';
    return k->read(test_folder(), told, capacity, err);
}

/* The class's own config as it is saved; what is owed is the caller's to release. */
static json_t *saved(const char *group, const char *name)
{
    json_t *config = json_deep_copy(json_object_get(json_object_get(packages, group), name));
    assert_non_null(config);
    json_object_set_new(config, "_class_name", json_string(name));
    json_object_set_new(config, "_diffusers_version", json_string("0.42.1"));
    return config;
}

/* Another value of the same type, or of none where the default is null. */
static json_t *altered(const json_t *value, int way)
{
    if (json_is_boolean(value)) return json_boolean(!json_is_true(value));
    if (json_is_integer(value)) return json_integer(json_integer_value(value) ? 2 * json_integer_value(value) : 1);
    if (json_is_real(value)) return json_real(0.5 * json_real_value(value) + (json_real_value(value) == 0 ? 0.25 : 0));
    if (json_is_null(value) && way == 0) return json_integer(7);
    if (json_is_null(value) && way == 1) return json_true();
    if (json_is_array(value) && json_array_size(value) > 0) {
        json_t *copy = json_deep_copy(value);
        json_array_set_new(copy, 0, altered(json_array_get(value, 0), 0));
        return copy;
    }
    if (json_is_array(value)) return json_pack("[i]", 1);
    if (json_is_object(value)) return json_pack("{s:[i]}", "0", 1);
    return json_string("other");
}

/* The key with this value must be read, be harmless as listed, or be refused by its name. */
static void check_value(const kind *k, const char *name, const json_t *config, const char *plain, const char *key,
                        json_t *value)
{
    char told[2000], shown[200];
    leco_error err;
    json_t *changed = json_copy((json_t *)(uintptr_t)config);
    json_object_set(changed, key, value);
    leco_status status = read_made(k, changed, told, sizeof told, &err);
    const char *text = json_describe(value, shown, sizeof shown);
    bool same = status == LECO_OK && strcmp(told, plain) == 0;
    if (is_harmless(k, key) && !same)
        fail_msg("%s, %s: %s is not harmless: %s", name, key, text, status ? err.message : told);
    if (!is_harmless(k, key) && same) fail_msg("%s, %s: %s is passed over", name, key, text);
    if (status != LECO_OK && (!strstr(err.message, key) || !strstr(err.message, k->file)))
        fail_msg("%s, %s: %s is refused by \"%s\"", name, key, text, err.message);
    json_decref(changed);
    json_decref(value);
}

/* null isn't absence to Python: it is as good as false, and otherwise another model, or none. */
static void check_null(const kind *k, const char *name, const json_t *config, const char *plain, const char *key)
{
    char told[2000], told_false[2000];
    leco_error err, ignored;
    const json_t *value = json_object_get(config, key);
    json_t *changed = json_copy((json_t *)(uintptr_t)config);
    json_object_set_new(changed, key, json_false());
    bool can_be_false = read_made(k, changed, told_false, sizeof told_false, &ignored) == LECO_OK;
    json_object_set_new(changed, key, json_null());
    leco_status status = read_made(k, changed, told, sizeof told, &err);
    bool is_default = is_harmless(k, key) || is_among(nullable, key) || json_is_null(value);
    const char *expected = is_default ? plain : can_be_false ? told_false : "";
    if (status == LECO_OK && strcmp(told, expected) != 0)
        fail_msg("%s, %s: null is taken for the default: %s", name, key, told);
    if (status != LECO_OK && (is_default || !strstr(err.message, key)))
        fail_msg("%s, %s: null is refused by \"%s\"", name, key, err.message);
    json_decref(changed);
}

/* The class's default config is read, and each of its keys with other values is as it must be. */
static void check_class(const kind *k, const char *name, json_t *config)
{
    char plain[2000];
    leco_error err;
    const char *key;
    json_t *value;
    assert_works(read_made(k, config, plain, sizeof plain, &err), &err);
    json_object_foreach(config, key, value) {
        if (key[0] == '_') continue;
        for (int way = 0; way < (json_is_null(value) ? 3 : 1); way++)
            check_value(k, name, config, plain, key, altered(value, way));
        check_null(k, name, config, plain, key);
    }
    json_decref(config);
}

/* ---- the tests ---- */

static double number(const json_t *config, const char *key, double fallback)
{
    const json_t *value = json_object_get(config, key);
    return value ? json_number_value(value) : fallback;
}

/* Classes whose noise is told by betas can be read, and are read as they say; the others are refused by their names. */
static void schedulers(void **state)
{
    (void)state;
    const char *name;
    json_t *defaults;
    int accepted = 0, refused = 0;
    json_object_foreach(json_object_get(packages, "schedulers"), name, defaults) {
        json_t *config = saved("schedulers", name);
        leco_error err;
        char told[2000];
        bool has_betas = json_object_get(defaults, "beta_start") && !json_object_get(defaults, "snr_shift_scale");
        if (!has_betas) {
            refused++;
            leco_status status = read_made(&schedules, config, told, sizeof told, &err);
            assert_fails(status, LECO_UNSUPPORTED, &err, "_class_name", name, schedules.file);
            json_decref(config);
            continue;
        }
        accepted++;
        schedule_config c;
        assert_works(read_made(&schedules, config, told, sizeof told, &err), &err);
        assert_works(schedule_config_read(test_folder(), &c, &err), &err);
        assert_true(c.beta_start == number(defaults, "beta_start", 0) && c.beta_end == number(defaults, "beta_end", 0));
        assert_true((double)c.steps_offset == number(defaults, "steps_offset", 0));
        check_class(&schedules, name, config);
    }
    assert_in_range(accepted, 20, 100);
    assert_in_range(refused, 10, 100);
}

/* leco draws with DDIM: what is absent has DDIM's default, whatever the folder's class. */
static void what_is_absent_is_ddims(void **state)
{
    (void)state;
    static const char *const names[] = {"DDIMScheduler",         "PNDMScheduler", "EulerDiscreteScheduler",
                                        "HeunDiscreteScheduler", "LCMScheduler",  "DPMSolverMultistepScheduler"};
    const json_t *ddim = json_object_get(json_object_get(packages, "schedulers"), "DDIMScheduler");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        json_t *config = json_pack("{s:s}", "_class_name", names[i]);
        schedule_config c;
        leco_error err;
        char told[2000];
        assert_works(read_made(&schedules, config, told, sizeof told, &err), &err);
        assert_works(schedule_config_read(test_folder(), &c, &err), &err);
        assert_true((double)c.train_timesteps == number(ddim, "num_train_timesteps", 0));
        assert_true(c.beta_start == number(ddim, "beta_start", 0) && c.beta_end == number(ddim, "beta_end", 0));
        assert_true((double)c.steps_offset == number(ddim, "steps_offset", -1));
        assert_string_equal(c.beta == BETA_LINEAR ? "linear" : "scaled_linear",
                            json_string_value(json_object_get(ddim, "beta_schedule")));
        assert_int_equal(c.set_alpha_to_one, json_is_true(json_object_get(ddim, "set_alpha_to_one")));
        assert_int_equal(c.prediction, PREDICT_EPSILON);
        assert_int_equal(c.spacing, SPACING_UNSAID); /* each of diffusers' classes has its own */
        json_decref(config);
    }
}

/* What training leaves in a model's config. */
static json_t *with_ema(json_t *config)
{
    json_object_update_new(config, json_deep_copy(json_object_get(json_object_get(packages, "models"), "EMAModel")));
    return config;
}

static void unet_keys(void **state)
{
    (void)state;
    json_t *config = with_ema(saved("models", "UNet2DConditionModel"));
    json_object_set_new(config, "sample_size", json_integer(64)); /* null, the default, is a size of none */
    json_object_del(config, "num_attention_heads");               /* not null: diffusers itself refuses it */
    check_class(&unets, "UNet2DConditionModel", config);
}

static void vae_keys(void **state)
{
    (void)state;
    check_class(&vaes, "AutoencoderKL", with_ema(saved("models", "AutoencoderKL")));
}

static void text_keys(void **state)
{
    (void)state;
    json_t *config = saved("models", "PretrainedConfig"), *own = saved("models", "CLIPTextConfig");
    json_object_update_new(config, own);
    json_object_set_new(config, "model_type", json_string("clip_text_model"));
    json_object_set_new(config, "architectures", json_pack("[s]", "CLIPTextModel"));
    json_object_set_new(config, "use_attention_mask", json_false()); /* diffusers looks for it */
    char plain[2000];
    leco_error err;
    assert_works(read_made(&texts, config, plain, sizeof plain, &err), &err);
    const char *key;
    json_t *value;
    json_object_foreach(config, key, value) {
        if (key[0] == '_' || (json_is_null(value) && strcmp(key, "quantization_config") != 0 &&
                              !is_harmless(&texts, key) && strcmp(key, "pruned_heads") != 0))
            continue;
        check_value(&texts, "CLIPTextConfig", config, plain, key, altered(value, 0));
    }
    static const char *const needed[] = {"vocab_size", "hidden_size", "hidden_act", "layer_norm_eps"};
    for (size_t i = 0; i < 4; i++) check_null(&texts, "CLIPTextConfig", config, plain, needed[i]);
    json_decref(config);
}

static int load(void **state)
{
    (void)state;
    leco_error err = {0};
    return json_read_file(LECO_SOURCE_DIR "/tests/parity/fixtures/configs/defaults.json", &packages, &err);
}

static int unload(void **state)
{
    (void)state;
    json_decref(packages);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schedulers), cmocka_unit_test(what_is_absent_is_ddims),
        cmocka_unit_test(unet_keys),  cmocka_unit_test(vae_keys),
        cmocka_unit_test(text_keys),
    };
    return cmocka_run_group_tests_name("unit/config_defaults", tests, load, unload);
}
