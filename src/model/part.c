#include "model/part.h"

static leco_status read_unet(const char *folder, model *m, leco_error *err)
{
    return unet_config_read(folder, &m->unet, err);
}

static void build_unet(nn *c, const model *m)
{
    int64_t side = INT64_C(1) << (m->unet.level_count - 1);
    unet_build(c, &m->unet, (unet_size){.batch = 1, .height = side, .width = side, .tokens = 1}, NULL);
}

static leco_status read_text(const char *folder, model *m, leco_error *err)
{
    return text_config_read(folder, &m->text, err);
}

static void build_text(nn *c, const model *m)
{
    text_encoder_build(c, &m->text, 1, 1, (text_options){.pooled = true});
}

static leco_status read_text_2(const char *folder, model *m, leco_error *err)
{
    return text_config_read(folder, &m->text_2, err);
}

static void build_text_2(nn *c, const model *m)
{
    text_encoder_build(c, &m->text_2, 1, 1, (text_options){.pooled = true});
}

static leco_status read_vae(const char *folder, model *m, leco_error *err)
{
    return vae_config_read(folder, &m->vae, err);
}

static void build_vae(nn *c, const model *m)
{
    vae_encoder_build(c, &m->vae, 1, vae_factor(&m->vae), vae_factor(&m->vae));
    vae_decoder_build(c, &m->vae, 1, 1, 1);
}

const part_row part_rows[PART_COUNT] = {
    [PART_UNET] = {"unet", "lora_unet_", NULL, NULL, NULL, read_unet, build_unet},
    [PART_TEXT_ENCODER] = {"text_encoder", "lora_te_", "lora_te1_", "emb_params", "clip_l", read_text, build_text},
    [PART_TEXT_ENCODER_2] = {"text_encoder_2", "lora_te2_", NULL, "clip_g", NULL, read_text_2, build_text_2},
    [PART_VAE] = {"vae", NULL, NULL, NULL, NULL, read_vae, build_vae},
};
