/* Every key of a training config: a row each. A new one is a row here and a field in config.h; docs/config.md follows
 * by scripts/make-config-tables. */
#include "train/config_keys.h"

#include "base/mem.h"
#include "diffusion/sampler.h"
#include "train/config.h"
#include "train/modes.h"

/* ---- names that values may have ---- */

/* All by leco's names, then as A1111 calls them: "DPM++ 2M". */
static choice sampler_choice(size_t index)
{
    size_t count = 0;
    while (sampler_at(count)) count++;
    if (index < count) return (choice){.name = sampler_at(index)->name, .row = sampler_at(index)};
    const sampler *s = sampler_at(index - count);
    return (choice){.name = s ? s->label : NULL, .row = s, .alias = true};
}

static void sampler_store(void *field, const choice *chosen)
{
    *(const sampler **)field = chosen->row;
}
NAME_OF(sampler, sampler *, (*stored)->name)

static const choice_list samplers = {sampler_choice, sampler_store, sampler_name, NULL, NULL};

static const choice timestep_spacing_names[] = {
    {"leading", .value = SPACING_LEADING},
    {"linspace", .value = SPACING_LINSPACE},
    {"trailing", .value = SPACING_TRAILING},
    {0},
};
ENUM_CHOICES(timestep_spacing, NULL, NULL)

static const choice timestep_compat_names[] = {
    {"none", .value = TIMESTEPS_RIGHT}, {"p1atdev", .value = TIMESTEPS_P1ATDEV}, {0}};
ENUM_CHOICES(timestep_compat, NULL, NULL)

static const choice trajectory_choice_names[] = {
    {"student", .value = TRAJECTORY_STUDENT}, {"frozen", .value = TRAJECTORY_FROZEN},
    {"teacher", .value = TRAJECTORY_TEACHER}, {"both", .value = TRAJECTORY_BOTH},
    {"none", .value = TRAJECTORY_NONE},       {0},
};
ENUM_CHOICES(trajectory_choice, NULL, NULL)

static choice mode_choice(size_t index)
{
    const train_mode *mode = train_modes[index];
    return (choice){.name = mode ? mode->name : NULL, .row = mode};
}

static void mode_store(void *field, const choice *chosen)
{
    *(const train_mode **)field = chosen->row;
}
NAME_OF(mode, train_mode *, (*stored)->name)

static const choice_list modes = {mode_choice, mode_store, mode_name, NULL, NULL};

static void tell_modes(FILE *out)
{
    for (const train_mode *const *mode = train_modes; *mode; mode++)
        fprintf(out, "%s`%s` %s", mode == train_modes ? "" : ". ", (*mode)->name, (*mode)->help);
}

/* Types by their names and, unlisted, their short ones ("bf16"); of those from `listed` on both are unlisted. */
static choice type_choice(const dtype *types, size_t listed, size_t count, size_t index)
{
    if (index >= 2 * count) return (choice){0};
    const dtype type = types[index / 2];
    const bool alias = index % 2 != 0 || index / 2 >= listed;
    return (choice){.name = index % 2 ? dtype_short_name(type) : dtype_name(type), .alias = alias, .value = (int)type};
}

static choice computing_choice(size_t index)
{
    static const dtype types[] = {DTYPE_BF16, DTYPE_F32, DTYPE_F16};
    return type_choice(types, 3, sizeof types / sizeof *types, index);
}

static void computing_store(void *field, const choice *chosen)
{
    *(const char **)field = dtype_name((dtype)chosen->value);
}
NAME_OF(computing, char *, *stored)

static const choice_list computing_types = {computing_choice, computing_store, computing_name, NULL, NULL};

static choice saving_choice(size_t index)
{
    static const dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    return type_choice(types, sizeof types / sizeof *types, sizeof types / sizeof *types, index);
}

static void saving_store(void *field, const choice *chosen)
{
    *(dtype *)field = (dtype)chosen->value;
}
NAME_OF(saving, dtype, dtype_name(*stored))

static const choice_list saving_types = {saving_choice, saving_store, saving_name, NULL, NULL};

/* ---- keys ---- */

#define KEYS_OF train_config

static const key_row file_keys[] = {
    TEXT("prompts_file", prompts_file, UNSET("none"),
         "a YAML or TOML file that holds the list of prompts, instead of `prompts`: p1atdev's, Concept Sliders', "
         "laksjdjf's or sd-scripts'"),
    NODE("prompts", "the list of prompts; each training step draws one entry at random"),
    TEXT("attributes", attributes, UNSET("none"),
         "of all entries that have no `attributes` themselves, as Concept Sliders' `--attributes`"),
    NODE("preserve", NULL),
    NODE("images", NULL),
    NODE("teachers", NULL),
    NODE("pretrained_model", NULL),
    NODE("network", NULL),
    NODE("train", NULL),
    NODE("save", NULL),
    NODE("logging", NULL),
    NODE("other", NULL),
    KEYS_END,
};

static const key_row model_keys[] = {
    TEXT("name_or_path", model, UNSET("required"),
         "a model: a folder in diffusers' layout, a checkpoint in one file (`.safetensors`, `.ckpt`), or the name of "
         "one that "
         "Hugging Face's programs have in their cache (`runwayml/stable-diffusion-v1-5`); nothing is downloaded"),
    CLAIM("v_pred", v_prediction, "as the model says",
          "if given, it must be what the model's files say; of a checkpoint that doesn't say it, it decides"),
    CLAIM("v2", v2, "as the model says", "the model's own files decide; a wrong claim gives a warning"),
    INT("clip_skip", clip_skip, 0, 24, "1", "as A1111 counts: 2 leaves out the text encoder's last layer"),
    TEXT("vae", vae, UNSET("the model's own"),
         "for photographs and previews: a VAE's file, its folder, or a model's. Needed where a checkpoint has none"),
    KEYS_END,
};

static char *show_guidance_interval(const void *values)
{
    const train_config *c = values;
    return mem_printf("[%lld, %lld]", (long long)c->guidance_from, (long long)c->guidance_end);
}

static leco_status read_guidance_interval(const doc_node *n, const char *name, void *values, leco_error *err)
{
    train_config *c = values;
    if (n->kind != DOC_LIST || n->count != 2) return doc_wrong(n, name, "two timesteps, [low, high]", err);
    LECO_TRY(doc_int(n->item[0].value, name, 0, 99999, &c->guidance_from, err));
    LECO_TRY(doc_int(n->item[1].value, name, 1, 100000, &c->guidance_end, err));
    if (c->guidance_from < c->guidance_end) return LECO_OK;
    return error_set(err, LECO_INVALID, "%s: %s: expected the lower timestep first, found [%lld, %lld]", n->place, name,
                     (long long)c->guidance_from, (long long)c->guidance_end);
}

static const key_row train_keys[] = {
    CHOICE(
        "precision", precision, const char *, computing_types, UNSET("what the machine likes best"),
        "$names, of the frozen weights and activations; another one where the device lacks it. float16, with a scaled "
        "loss, only NVIDIA cards have. The adapter and the optimizer are float32 always"),
    BOOL("int8", int8, "false",
         "keep the frozen matrices of U-Net and text encoders as int8, with a scale a row: half of bfloat16's memory, "
         "about as exact (CPU only)"),
    INT("iterations", iterations, 1, 1e9, "500", "optimizer steps"),
    NUMBER("lr", lr, 1e-12, 1000, EITHER("3e-4", "1e-4"), "learning rate"),
    CHOICE("lr_scheduler", rates.schedule, lr_schedule, config_lr_schedules, EITHER("cosine", "constant"),
           "$names. `cosine` goes from `lr` down to a hundredth of it at the end, which lets the adapter settle; "
           "`cosine_with_restarts` does over a tenth of the steps, then over twice as many, and so on; `linear` goes "
           "down to 0, `polynomial` nearly (to 1e-7); `step` takes 0.1% away a hundred times"),
    NUMBER("lr_warmup_steps", rates.warmup, 0, 1e9, "0",
           "the rate first rises from 0 for so many steps, or for this share of all where it is below 1; the schedule "
           "has the steps that are left"),
    NUMBER("lr_scheduler_power", rates.power, 1e-3, 100, "1.0", "of `polynomial`: (1 - step / steps)^power"),
    CHOICE("optimizer", optimizer, optimizer_options, config_optimizers, "adamw",
           "$names, as torch.optim has them or, where it doesn't, their authors. Names of 8-bit ones (`AdamW8bit`) are "
           "understood, and keep their states in 32"),
    {.name = "optimizer_args",
     .kind = KEY_OWN,
     .read = config_read_arguments,
     .show = config_show_arguments,
     .unset = "none",
     .tell = config_tell_arguments,
     .help =
         "what is to differ from the optimizer's defaults, as `\"betas=(0.9,0.99) weight_decay=0.1\"`, a list of such "
         "texts, or a map of keys and values. The defaults: $more"},
    NUMBER("max_grad_norm", max_grad_norm, 0, 1e9, "0",
           "a gradient longer than this, over all that is trained, is shortened to it before the optimizer's step, as "
           "torch's clip_grad_norm_ does; 0: never"),
    INT("gradient_accumulation_steps", accumulation, 1, 10000, "1",
        "so many latents, each with an entry of `prompts` drawn anew (but for those of one denoising run), make one "
        "optimizer step, by the mean of their gradients"),
    NUMBER("ema_decay", ema_decay, 0, 1, "0",
           "above 0, what is saved is not what is trained but its moving average over the steps, with at most this "
           "decay: 0.99 looks back some hundred steps"),
    CHOICE("loss", loss, train_loss, config_losses, "mse",
           "$names. The latter two, as sd-scripts has them, heed large differences less"),
    NUMBER("huber_c", huber_c, 1e-6, 1e3, "0.1", "where `huber` and `smooth_l1` turn from squares to straight lines"),
    CHOICE(
        "huber_schedule", huber_schedule, huber_schedule, config_huber_schedules, "snr",
        "$names: how that depends on the timestep. With `snr` and `exponential` it goes from 1 without noise down to "
        "`huber_c`"),
    NUMBER(
        "stop_at_effect", stop_at_effect, 0, 10, "0",
        "ends the training when its effect is this far, 0.95 for instance, of what is asked for (docs/config.md, \"The "
        "effect\"), and saves as at its end; 0: it takes all `iterations`"),
    CHOICE("noise_scheduler", sampler, const sampler *, samplers, "ddim",
           "how trajectories are denoised: $names. `heun` runs the model twice a step; `ddpm`, `euler_a` and "
           "`dpmpp_2m_sde` add noise on the way"),
    CHOICE("timestep_spacing", spacing, timestep_spacing, timestep_spacing_choices,
           UNSET("as `timestep_compat` asks: leading, or what p1atdev's trainer has"),
           "how their steps lie on the timesteps: $names, as in diffusers. A model with zero terminal SNR wants "
           "`trailing`: only then is its last timestep visited"),
    BOOL("karras_sigmas", karras, "false",
         "space their noise levels as Karras et al. (2022) do; not of `ddim` and `ddpm`"),
    INT("max_denoising_steps", denoising_steps, 2, 1000, EITHER("12", "50"),
        "denoising steps of a whole picture, 2 to 1000: a trajectory needn't be as fine as a picture"),
    INT("samples_per_trajectory", samples_per_trajectory, 1, 1000, EITHER("4", "1"),
        "how many latents of one denoising run are trained on. Each makes an optimizer step, but for "
        "`gradient_accumulation_steps`; more of them make training cheaper, since the run is made once"),
    BOOL("timestep_jitter", timestep_jitter, EITHER("true", "false"),
         "shifts the timesteps of a run by a random offset, so that all 1000 are trained; not with Karras' sigmas, "
         "`linspace` spacing and `timestep_compat`, which leave no room for it"),
    CHOICE("timestep_compat", compat, timestep_compat, timestep_compat_choices, "none",
           "`p1atdev` tells the U-Net the timestep that p1atdev's trainer does (up to 42 too high), for comparing with "
           "it"),
    INT("min_timestep", min_timestep, 0, 99999, "0",
        "latents are trained on from this timestep on. Where there is most noise, at the last ones, is decided what a "
        "picture shows; at the first ones how its surfaces look"),
    INT("max_timestep", max_timestep, 1, 100000, UNSET("all there are"), "and below this one"),
    NUMBER(
        "min_snr_gamma", min_snr_gamma, 0, 1000, "0",
        "weighs a latent's loss by min(SNR, gamma) / SNR (of a model that predicts v by min(SNR, gamma) / (SNR + 1)), "
        "so that latents with little noise count less; 5 is usual, 0: all count the same"),
    NUMBER("trajectory_guidance_scale", trajectory_guidance_scale, 0, 100, "3.0",
           "classifier-free guidance while generating"),
    OWN("trajectory_guidance_interval", read_guidance_interval, show_guidance_interval, "all timesteps",
        "`[low, high]`: only at timesteps from the one to below the other"),
    INT("batch_size", batch_size, 1, 64, "1", "default of the prompts' `batch_size`"),
    UINT("seed", seed, 0, 9.2e18, "0",
         "of everything that is random: on one machine the same config gives the same adapter, to the bit, with the "
         "same number of threads (and mostly with another: docs/kernels.md, \"Threads\")"),
    KEYS_END,
};

static const key_row save_keys[] = {
    TEXT("name", save_name, "untitled", "the files' name, without folder; `.safetensors` is added where it is missing"),
    TEXT("path", save_path, "output", "folder; made if it isn't there"),
    INT("per_steps", save_every, 0, 1e9, "200",
        "how often to save on the way; 0: never. It waits for the end of a denoising run: with 4 latents of each, 10 "
        "saves after 12, 20, 32 steps"),
    CHOICE("precision", save_precision, dtype, saving_types, "float32", "$names"),
    INT("keep_last", keep_last, 0, 1e6, "0",
        "of the files that are saved on the way only so many are kept, the last ones; 0: all of them"),
    BOOL("state", save_state, "true",
         "whenever something is saved on the way, also write what `--resume` goes on from, NAME.state.safetensors"),
    BOOL("keep_state", keep_state, "false",
         "leave that file where it is when the training is through: with more `iterations` it can then be resumed"),
    KEYS_END,
};

#undef KEYS_OF
#define KEYS_OF teacher_config

static const key_row teacher_keys[] = {
    TEXT("name_or_path", written, UNSET("required"),
         "a model: a folder in diffusers' layout, or a checkpoint in one file"),
    CLAIM("v_pred", v_prediction, "as the model says",
          "does it predict v? What its own files say must agree; of a checkpoint that doesn't say, this decides"),
    INT("clip_skip", clip_skip, 1, 24, "1", "as `pretrained_model.clip_skip`, for this one's text encoder"),
    BOOL("same_latents", same_latents, "false",
         "its latents are taken to mean the same pictures, though its VAE is another"),
    KEYS_END,
};

#undef KEYS_OF
#define KEYS_OF train_term

static const key_row term_keys[] = {
    NUMBER("weight", weight, -1000, 1000, "1.0", "what its prediction counts"),
    TEXT("prompt", prompt, UNSET("required"), "what it is asked with"),
    TEXT("teacher", teacher_name, UNSET("the model itself"), "who predicts it: a name of `teachers`"),
    KEYS_END,
};

#undef KEYS_OF
#define KEYS_OF train_prompt

static leco_status read_resolution(const doc_node *n, const char *name, void *values, leco_error *err)
{
    train_prompt *p = values;
    return config_read_size(n, name, &p->height, &p->width, err);
}

static char *show_resolution(const void *values)
{
    const train_prompt *p = values;
    return config_show_size(p->height, p->width);
}

static const key_row prompt_keys[] = {
    TEXT("target", target, UNSET("required"),
         "what the adapter changes: the student's prompt; `\"\"` is what is drawn without one. As in all prompts, "
         "`{a|b}` means one of them, drawn anew each time, and the same in all texts of the entry; a list of texts, or "
         "`{file: NAME}` with a line each, means one of these"),
    TEXT("positive", positive, UNSET("`target`"), "the concept to erase or to enhance"),
    TEXT("unconditional", unconditional, "",
         "what `positive` is compared with; also the negative prompt while generating"),
    TEXT("negative", negative, UNSET("none"),
         "laksjdjf's name of `unconditional`; with it, `action` is `enhance` and `neutral` \"\", unless given"),
    TEXT("neutral", neutral, UNSET("`unconditional`"),
         "what `target` should look like, before the concept is taken away or added; of a slider the default is "
         "`target`"),
    TEXT("to", to, UNSET("the nearest word of its kind"),
         "of a concept alone, that is to be erased: the word that comes in its place; of a list one, drawn anew each "
         "time"),
    TEXT("attributes", attributes, UNSET("none"),
         "a list of words of which one is put before all texts of the entry: what a slider is to leave alone"),
    TEXT("erase_from", erase_from, UNSET("none"),
         "takes the concept, `target`, out of this text only, as ESD's erase_from does: short for a `target` and a "
         "`neutral` of this text and a `positive` of the concept"),
    {.name = "action",
     .kind = KEY_CHOICE,
     .offset = FIELD(const struct train_mode *, action),
     .choices = &modes,
     .tell = tell_modes,
     .fallback = "erase",
     .help = "$more"},
    TEXT("teacher", teacher_name, UNSET("the model itself"),
         "who predicts what the student is pulled to: a name of `teachers`; beside `terms` whose trajectory is meant"),
    NODE("terms", "instead of `action` and all that goes with it: what `target` is pulled to, a sum of weighted "
                  "predictions"),
    CHOICE("trajectory", trajectory, trajectory_choice, trajectory_choice_choices, "student",
           "whose denoising the latents come from: `student`, the model with the adapter as it is now; `frozen`, the "
           "model without it, as ESD does; `teacher`, with `positive` as its prompt; `both`, student and teacher by "
           "turns; `none`, nobody: the latent is noise at every timestep, which costs no denoising (iLECO)"),
    NODE("images", "of a slider: folders of pictures before and after"),
    NUMBER(
        "guidance_scale", guidance_scale, -1000, 1000, "1.0",
        "how far (0 of a concept alone, which becomes what comes in its place and goes no further): the student is "
        "pulled to neutral -/+ guidance_scale (positive - unconditional). Of `distill`: the "
        "classifier-free guidance that it learns to do without; of `negative` and "
        "`transplant`: that of the pictures it is for (of the latter, above 1 teaches what they are guided away from, "
        "too)"),
    NUMBER("trajectory_guidance_scale", trajectory_guidance_scale, 0, 100,
           UNSET("`train.trajectory_guidance_scale`; 1 for `distill`"), "classifier-free guidance while generating"),
    OWN("resolution", read_resolution, show_resolution, "the model's own",
        "pixels, or `[height, width]`. The model's own is the U-Net's sample_size times the VAE's factor: 512 for "
        "Stable Diffusion 1, where p1atdev's default is 512 for every model"),
    INT("batch_size", batch_size, 1, 64, UNSET("`train.batch_size`"), "latents a step"),
    NUMBER("multiplier", multiplier, -1000, 1000, "1.0", "of the adapter while it is trained; not 0"),
    NUMBER("weight", weight, 0, 1e6, "1.0", "of this entry's loss; above 0"),
    INT("keep_above", keep_above, 0, 99999, "0",
        "erases late and keeps early: at timesteps from this one on `target` stays what it is, so that a picture's "
        "layout survives (after ANT); 0: nowhere"),
    BOOL("norm_match", norm_match, "false",
         "what `target` is pulled to gets the mean and the standard deviation of the prediction for `neutral`, so that "
         "a large guidance_scale doesn't make pictures harsh"),
    BOOL(
        "dynamic_resolution", dynamic_resolution, "false",
        "height and width are drawn for each step, from half of `resolution` up to it, in steps of 64 pixels (of small "
        "models fewer). Each size takes its own graphs, so that it takes longer to begin"),
    BOOL(
        "dynamic_crops", dynamic_crops, "false",
        "tells Stable Diffusion XL for each denoising run that the picture is cut out of a larger one, of 1 to 3 times "
        "its size; means nothing to other models"),
    KEYS_END,
};

static const key_row pair_keys[] = {
    TEXT("before", before, UNSET("required"), "a folder of pictures: what a negative LoRA weight leads to"),
    TEXT("after", after, UNSET("required"),
         "a folder of the same pictures, by their names and sizes, changed: what a positive one leads to"),
    KEYS_END,
};

const key_section config_sections[] = {
    [SECTION_FILE] = {.name = "", .keys = file_keys},
    {.name = "pretrained_model", .keys = model_keys},
    [SECTION_NETWORK] = {.name = "network", .keys = config_network_keys},
    {.name = "train", .keys = train_keys},
    [SECTION_SAVE] = {.name = "save", .keys = save_keys},
    {.name = "logging", .keys = config_logging_keys, .aside = true},
    {.name = "other", .keys = config_other_keys},
    [SECTION_PRESERVE] = {.name = "preserve", .keys = config_preserve_keys, .aside = true},
    [SECTION_IMAGES] = {.name = "images", .keys = config_images_keys, .aside = true},
    [SECTION_REGULARISATION] = {.name = "images.regularisation", .keys = config_regularisation_keys, .aside = true},
    [SECTION_TEACHERS] = {.name = "teachers", .keys = teacher_keys},
    [SECTION_PROMPTS] = {.name = "prompts", .keys = prompt_keys},
    [SECTION_TERMS] = {.name = "terms", .keys = term_keys},
    [SECTION_PAIRS] = {.name = "prompts.images", .keys = pair_keys},
    [SECTION_RANKS] = {.name = "network.ranks", .keys = config_rank_keys},
    {.name = NULL},
};
