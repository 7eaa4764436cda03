#include "model/checkpoint.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define UNET "model.diffusion_model."
#define VAE "first_stage_model."
#define CLIP "cond_stage_model.transformer."
#define OPEN_CLIP "cond_stage_model.model."
#define XL "conditioner.embedders."
#define XL_CLIP XL "0.transformer."
#define XL_OPEN_CLIP XL "1.model."
#define SGM_OPEN_CLIP XL "0.model." /* of Stable Diffusion 2, or XL's refiner */

/* What Kolors adds to its time embedding: a wider pooled state than SDXL's, and six sizes. */
enum { KOLORS_ADDED = 4096 + 6 * 256 };

/* What the names tell. */
typedef enum checkpoint_family { FAMILY_SD1, FAMILY_SD2, FAMILY_SDXL } checkpoint_family;

/* ---- looking for tensors ---- */

static const safetensors_entry *find(const safetensors *file, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static const safetensors_entry *find(const safetensors *file, const char *format, ...)
{
    char name[256];
    va_list list;
    va_start(list, format);
    vsnprintf(name, sizeof name, format, list);
    va_end(list);
    return safetensors_find_any(file, name);
}

/* A dimension of a tensor, or 0 where it isn't there. */
static int64_t dim(const safetensors_entry *e, int index)
{
    return e && index < e->rank ? e->shape[index] : 0;
}

bool checkpoint_is(const safetensors *file)
{
    return find(file, UNET "input_blocks.0.0.weight") != NULL;
}

static leco_status refuse(const safetensors *file, const char *what, leco_error *err)
{
    return error_set(err, LECO_UNSUPPORTED, "%s: is a checkpoint of %s, which leco doesn't support",
                     safetensors_path(file), what);
}

/* ---- the U-Net ---- */

/* Residual blocks of the first level: up to the downsampling, or to the end where there is none. */
static int64_t count_layers(const safetensors *file)
{
    int64_t n = 1;
    while (find(file, UNET "input_blocks.%lld.0.in_layers.2.weight", (long long)n)) n++;
    return n - 1;
}

static int64_t count_levels(const safetensors *file, int64_t layers)
{
    int64_t n = 1;
    while (n < UNET_MAX_LEVELS && find(file, UNET "input_blocks.%lld.0.op.weight", (long long)(n * (layers + 1)))) n++;
    return n;
}

static int64_t count_transformers(const safetensors *file, const char *block, int64_t number)
{
    int64_t n = 0;
    while (n < 100 &&
           find(file, UNET "%s.%lld.1.transformer_blocks.%lld.norm1.weight", block, (long long)number, (long long)n))
        n++;
    return n;
}

static int64_t mid_transformers(const safetensors *file)
{
    int64_t n = 0;
    while (n < 100 && find(file, UNET "middle_block.1.transformer_blocks.%lld.norm1.weight", (long long)n)) n++;
    return n;
}

/* Stable Diffusion 1 has eight heads everywhere; its successors heads of 64 channels. */
static leco_status read_level(const safetensors *file, unet_config *u, int64_t index, int64_t layers, int64_t context,
                              bool eight_heads, leco_error *err)
{
    unet_level *l = &u->level[index];
    const int64_t first = 1 + index * (layers + 1), last = (u->level_count - 1 - index) * (layers + 1);
    l->channels = dim(find(file, UNET "input_blocks.%lld.0.out_layers.3.weight", (long long)first), 0);
    l->layers = layers;
    const int64_t down = count_transformers(file, "input_blocks", first);
    const int64_t up = count_transformers(file, "output_blocks", last);
    l->down_attention = down > 0;
    l->up_attention = up > 0;
    l->transformer_layers = down ? down : up ? up : mid_transformers(file);
    l->cross_attention_dim = context;
    if (l->channels < 1 || l->transformer_layers < 1)
        return error_set(err, LECO_FORMAT, "%s: level %lld of its U-Net is incomplete", safetensors_path(file),
                         (long long)index);
    if (l->channels % (eight_heads ? 8 : 64))
        return refuse(file, "an unknown kind (the width of its U-Net's heads)", err);
    l->heads = eight_heads ? 8 : l->channels / 64;
    return LECO_OK;
}

static leco_status read_unet(const safetensors *file, model *m, bool eight_heads, leco_error *err)
{
    unet_config *u = &m->unet;
    const int64_t layers = count_layers(file);
    const safetensors_entry *in = find(file, UNET "input_blocks.0.0.weight");
    const safetensors_entry *to_k = find(file, UNET "middle_block.1.transformer_blocks.0.attn2.to_k.weight");
    const safetensors_entry *label = find(file, UNET "label_emb.0.0.weight");
    const int64_t context = dim(to_k, 1);
    *u = (unet_config){.in_channels = dim(in, 1),
                       .out_channels = dim(find(file, UNET "out.2.weight"), 0),
                       .norm_groups = 32,
                       .norm_eps = 1e-5f,
                       .flip_sin_to_cos = true,
                       .addition_time_embed_dim = label ? 256 : 0,
                       .addition_embed_input_dim = dim(label, 1)};
    if (find(file, UNET "encoder_hid_proj.weight") || u->addition_embed_input_dim == KOLORS_ADDED)
        return refuse(file, "Kolors", err);
    if (u->in_channels == 9) return refuse(file, "a model for inpainting", err);
    if (u->in_channels != 4)
        return error_set(err, LECO_UNSUPPORTED,
                         "%s: is a checkpoint whose U-Net takes %lld channels, where leco's models take 4",
                         safetensors_path(file), (long long)u->in_channels);
    if (layers < 1 || context < 1) return refuse(file, "an unknown kind (the blocks of its U-Net)", err);
    u->level_count = count_levels(file, layers);
    const safetensors_entry *projection = find(file, UNET "middle_block.1.proj_in.weight");
    u->use_linear_projection = projection && projection->rank == 2;
    for (int64_t i = 0; i < u->level_count; i++) LECO_TRY(read_level(file, u, i, layers, context, eight_heads, err));
    return LECO_OK;
}

/* ---- the VAE ---- */

static float released_scaling(const model *m)
{
    return m->unet.addition_time_embed_dim ? 0.13025f : 0.18215f;
}

/* prefix: of the names, VAE or nothing. */
static leco_status read_vae(const safetensors *file, const char *prefix, model *m, leco_error *err)
{
    vae_config *v = &m->vae;
    *v = (vae_config){.in_channels = dim(find(file, "%sencoder.conv_in.weight", prefix), 1),
                      .out_channels = dim(find(file, "%sdecoder.conv_out.weight", prefix), 0),
                      .latent_channels = dim(find(file, "%sdecoder.conv_in.weight", prefix), 1),
                      .norm_groups = 32,
                      .quant_conv = find(file, "%squant_conv.weight", prefix) != NULL,
                      .post_quant_conv = find(file, "%spost_quant_conv.weight", prefix) != NULL,
                      .mid_attention = find(file, "%sdecoder.mid.attn_1.q.weight", prefix) != NULL,
                      .scaling_factor = released_scaling(m)};
    while (v->level_count < VAE_MAX_LEVELS &&
           (v->channels[v->level_count] =
                dim(find(file, "%sencoder.down.%lld.block.0.conv1.weight", prefix, (long long)v->level_count), 0)) > 0)
        v->level_count++;
    while (find(file, "%sencoder.down.0.block.%lld.conv1.weight", prefix, (long long)v->layers)) v->layers++;
    if (v->level_count < 1 || v->layers < 1) return refuse(file, "an unknown kind (the blocks of its VAE)", err);
    return LECO_OK;
}

static bool has_vae(const safetensors *file, const char *prefix)
{
    const safetensors_entry *in = find(file, "%sencoder.conv_in.weight", prefix);
    const safetensors_entry *latents = find(file, "%sdecoder.conv_in.weight", prefix);
    return dim(in, 1) > 0 && dim(latents, 1) > 0 && find(file, "%sencoder.down.0.block.0.conv1.weight", prefix);
}

bool checkpoint_is_vae(const safetensors *file)
{
    const bool diffusers =
        find(file, "encoder.down_blocks.0.resnets.0.conv1.weight") && find(file, "decoder.conv_in.weight");
    return !checkpoint_is(file) && (diffusers || has_vae(file, "") || has_vae(file, VAE));
}

void checkpoint_lack_vae(model *m)
{
    m->lacks_vae = true;
    m->vae = (vae_config)VAE_RELEASED(released_scaling(m));
    m->vae.latent_channels = m->unet.in_channels;
}

static leco_status read_own_vae(const safetensors *file, model *m, leco_error *err)
{
    if (has_vae(file, VAE)) return read_vae(file, VAE, m, err);
    checkpoint_lack_vae(m);
    return LECO_OK;
}

leco_status checkpoint_read_vae(const safetensors *file, model *m, leco_error *err)
{
    const bool bare = has_vae(file, "");
    if (bare || has_vae(file, VAE)) return read_vae(file, bare ? "" : VAE, m, err);
    return error_set(err, LECO_UNSUPPORTED, "%s: is no VAE that leco knows: expected one of original names%s",
                     safetensors_path(file),
                     find(file, "encoder.down_blocks.0.resnets.0.conv1.weight")
                         ? "; this one has diffusers', and goes with a config.json: give the folder"
                         : " (\"first_stage_model.encoder.conv_in.weight\", or without its first word)");
}

/* ---- the text encoders ---- */

static int64_t count_text_layers(const safetensors *file, const char *prefix, bool open_clip)
{
    int64_t n = 0;
    while (n < 256 && (open_clip ? find(file, "%stransformer.resblocks.%lld.ln_1.weight", prefix, (long long)n)
                                 : find(file, "%sencoder.layers.%lld.layer_norm1.weight", prefix, (long long)n)))
        n++;
    return n;
}

/* open_clip: under OpenCLIP's names, or else transformers'. */
static leco_status read_text(const safetensors *file, const char *prefix, bool open_clip, text_config *t,
                             leco_error *err)
{
    const safetensors_entry *tokens = find(file, "%s%stoken_embedding.weight", prefix, open_clip ? "" : "embeddings.");
    const safetensors_entry *places = open_clip ? find(file, "%spositional_embedding", prefix)
                                                : find(file, "%sembeddings.position_embedding.weight", prefix);
    const safetensors_entry *inner = open_clip ? find(file, "%stransformer.resblocks.0.mlp.c_fc.weight", prefix)
                                               : find(file, "%sencoder.layers.0.mlp.fc1.weight", prefix);
    *t = (text_config){.vocab_size = dim(tokens, 0),
                       .hidden_size = dim(tokens, 1),
                       .intermediate_size = dim(inner, 0),
                       .max_positions = dim(places, 0),
                       .layers = count_text_layers(file, prefix, open_clip),
                       .heads = dim(tokens, 1) / 64,
                       .act = open_clip ? ACT_GELU : ACT_QUICK_GELU,
                       .norm_eps = 1e-5f,
                       .eos_token_id = 2};
    if (t->layers < 1 || t->heads < 1 || t->hidden_size % 64 || t->max_positions < 1 || t->intermediate_size < 1)
        return error_set(err, LECO_UNSUPPORTED, "%s: is a checkpoint without a text encoder that leco knows",
                         safetensors_path(file));
    return LECO_OK;
}

/* transformers', the oldest of which lack a word of their names. */
static leco_status read_clip(const safetensors *file, const char *prefix, text_config *t, leco_error *err)
{
    char inner[64];
    const bool has_word = find(file, "%stext_model.final_layer_norm.weight", prefix) != NULL;
    snprintf(inner, sizeof inner, "%s%s", prefix, has_word ? "text_model." : "");
    return read_text(file, inner, false, t, err);
}

/* Is the last layer of Stable Diffusion 2's text encoder one that the U-Net wasn't trained on? Not where a folder's was
 * written as it is: OpenCLIP's H has 24 layers, folders have 23 of them. */
static bool has_spare(const text_config *t)
{
    return !(t->hidden_size == OPEN_CLIP_H_WIDTH && t->layers == OPEN_CLIP_H_LAYERS - 1);
}

/* The beginning of the names of Stable Diffusion 2's text encoder; NULL: there is none. */
static const char *open_clip_of(const safetensors *file)
{
    const int64_t context = dim(find(file, UNET "middle_block.1.transformer_blocks.0.attn2.to_k.weight"), 1);
    if (find(file, OPEN_CLIP "token_embedding.weight")) return OPEN_CLIP;
    return context > 0 && dim(find(file, SGM_OPEN_CLIP "token_embedding.weight"), 1) == context ? SGM_OPEN_CLIP : NULL;
}

static leco_status read_texts(const safetensors *file, model *m, checkpoint_family family, leco_error *err)
{
    switch (family) {
    case FAMILY_SD1:
        return read_clip(file, CLIP, &m->text, err);
    case FAMILY_SD2:
        LECO_TRY(read_text(file, open_clip_of(file), true, &m->text, err));
        m->text.layers -= has_spare(&m->text);
        return m->text.layers > 0 ? LECO_OK : refuse(file, "an unknown kind (its text encoder)", err);
    case FAMILY_SDXL:
        LECO_TRY(read_clip(file, XL_CLIP, &m->text, err));
        LECO_TRY(read_text(file, XL_OPEN_CLIP, true, &m->text_2, err));
        m->text_2.projection_dim = dim(find(file, XL_OPEN_CLIP "text_projection"), 1);
        if (m->text_2.projection_dim < 1) /* as transformers has it */
            m->text_2.projection_dim = dim(find(file, XL_OPEN_CLIP "text_projection.weight"), 0);
        return LECO_OK;
    }
    return LECO_OK;
}

/* ---- the schedule ---- */

/* Models of this family whose noise isn't that of a schedule of betas: what they predict is scaled by sigma. */
static leco_status refuse_edm(const safetensors *file, leco_error *err)
{
    static const struct {
        const char *mark, *is;
    } rows[] = {{"edm_mean", "Playground 2.5 (it has edm_mean and edm_std: EDM's noise)"},
                {"edm_vpred.sigma_max", "CosXL (it has edm_vpred.sigma_max: EDM's noise)"},
                {"edm_vpred.sigma_min", "CosXL (it has edm_vpred.sigma_min: EDM's noise)"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (find(file, "%s", rows[i].mark)) return refuse(file, rows[i].is, err);
    return LECO_OK;
}

static bool begins(const char *text, const char *with)
{
    return text && strncmp(text, with, strlen(with)) == 0;
}

/* What the metadata say that it predicts: by the key for that, or of Stable Diffusion 2 by the kind of model (as
 * sd-scripts writes it, -512 is what predicts epsilon). *told is false where they don't. */
static leco_status read_metadata(const safetensors *file, checkpoint_family family, prediction *out, bool *told,
                                 leco_error *err)
{
    const char *said = safetensors_metadata(file, "modelspec.prediction_type");
    const char *kind = safetensors_metadata(file, "modelspec.architecture");
    *told = true;
    *out = PREDICT_EPSILON;
    if (said && *said) {
        *out = *said == 'v' || *said == 'V' ? PREDICT_V : PREDICT_EPSILON;
        if (*out == PREDICT_V || begins(said, "eps")) return LECO_OK;
        return error_set(err, LECO_UNSUPPORTED,
                         "%s: metadata \"modelspec.prediction_type\": \"%.60s\" is not supported (leco can do epsilon "
                         "and v)",
                         safetensors_path(file), said);
    }
    if (family != FAMILY_SD2) kind = NULL;
    if (begins(kind, "stable-diffusion-v2-768-v")) *out = PREDICT_V;
    *told = begins(kind, "stable-diffusion-v2-512") || *out == PREDICT_V;
    return LECO_OK;
}

/* What it predicts: by the empty tensor that trainers leave, or by the metadata; else it is the family's. Zero terminal
 * SNR by another empty tensor, which goes with v: where nothing says v, nobody has said what it predicts. */
static leco_status read_schedule(const safetensors *file, model *m, checkpoint_family family, leco_error *err)
{
    prediction predicts = PREDICT_EPSILON;
    const bool zero = find(file, "ztsnr") != NULL;
    m->prediction_told = find(file, "v_pred") != NULL;
    if (m->prediction_told)
        predicts = PREDICT_V;
    else
        LECO_TRY(read_metadata(file, family, &predicts, &m->prediction_told, err));
    if (!m->prediction_told && family == FAMILY_SD2) predicts = PREDICT_V;
    if (zero && predicts == PREDICT_EPSILON) m->prediction_told = false;
    m->schedule = (schedule_config){.train_timesteps = 1000,
                                    .beta_start = 0.00085,
                                    .beta_end = 0.012,
                                    .beta = BETA_SCALED_LINEAR,
                                    .prediction = predicts,
                                    .steps_offset = 1,
                                    .zero_terminal_snr = zero,
                                    .spacing = zero ? SPACING_TRAILING : SPACING_LEADING};
    return LECO_OK;
}

/* ---- all ---- */

leco_status checkpoint_read(const safetensors *file, model *m, leco_error *err)
{
    const bool added = find(file, UNET "label_emb.0.0.weight") != NULL;
    const char *second = open_clip_of(file);
    if (added && find(file, OPEN_CLIP "token_embedding.weight")) return refuse(file, "Stable Diffusion 2 unCLIP", err);
    if (!(second && !added) && find(file, SGM_OPEN_CLIP "token_embedding.weight") &&
        !find(file, XL_OPEN_CLIP "token_embedding.weight"))
        return refuse(file, "Stable Diffusion XL's refiner", err);
    LECO_TRY(refuse_edm(file, err));
    const checkpoint_family family = added ? FAMILY_SDXL : second ? FAMILY_SD2 : FAMILY_SD1;
    LECO_TRY(read_unet(file, m, family == FAMILY_SD1, err));
    LECO_TRY(read_own_vae(file, m, err));
    LECO_TRY(read_texts(file, m, family, err));
    LECO_TRY(read_schedule(file, m, family, err));
    const int64_t side = family == FAMILY_SDXL                                               ? 128
                         : family == FAMILY_SD1 || m->schedule.prediction == PREDICT_EPSILON ? 64
                                                                                             : 96;
    m->unet.sample_height = m->unet.sample_width = side;
    return LECO_OK;
}

leco_status checkpoint_tokenizer(const model *m, tokenizer **out, leco_error *err)
{
    return tokenizer_open_clip(m->text.act == ACT_GELU ? "!" : NULL, out, err); /* OpenCLIP's pads with it */
}

checkpoint_depths checkpoint_depths_of(const model *m)
{
    checkpoint_depths d = {.unet_layers = m->unet.level[0].layers,
                           .vae_levels = m->vae.level_count,
                           .two_texts = model_has(m, PART_TEXT_ENCODER_2),
                           .open_clip = !model_has(m, PART_TEXT_ENCODER_2) && m->text.act == ACT_GELU,
                           .bare_vae = m->vae_file && has_vae(m->vae_file, "")};
    for (int64_t i = 0; i < m->unet.level_count; i++)
        d.up_attention[i] = m->unet.level[m->unet.level_count - 1 - i].up_attention;
    return d;
}

/* Layers of the text encoder behind the last that is used, and what is made of its end. */
static bool is_spare(const model *m, const char *name)
{
    static const char layer[] = "text_model.encoder.layers.";
    if (strncmp(name, layer, sizeof layer - 1) == 0)
        return strtoll(name + sizeof layer - 1, NULL, 10) >= m->text.layers;
    return strcmp(name, "text_projection.weight") == 0 && m->text.projection_dim == 0;
}

static leco_status add_views(weights *w, const safetensors_entry *e, const model *m, model_part part, leco_error *err)
{
    checkpoint_view view[CHECKPOINT_MOST_VIEWS];
    const checkpoint_depths d = checkpoint_depths_of(m);
    const int count = checkpoint_views(&d, part, e->name, view);
    if (count > 0 && part == PART_TEXT_ENCODER && is_spare(m, view[0].name)) return LECO_OK;
    for (int i = 0; i < count; i++) LECO_TRY(weights_add(w, e, view[i].name, view[i].third, view[i].transposed, err));
    return LECO_OK;
}

leco_status checkpoint_weights(const safetensors *file, const model *m, model_part part, weights **out, leco_error *err)
{
    const char *name, *type;
    leco_status status = weights_of(file, out, err);
    for (size_t i = 0; status == LECO_OK && i < safetensors_count(file); i++)
        status = add_views(*out, safetensors_at(file, i), m, part, err);
    for (size_t i = 0; status == LECO_OK && i < safetensors_skipped_count(file); i++)
        status = add_views(*out, safetensors_skipped_at(file, i, &name, &type), m, part, err);
    if (status == LECO_OK) return LECO_OK;
    weights_close(*out);
    *out = NULL;
    return status;
}
