#include "model/other_families.h"

#include <string.h>

/* Tensors of other models, as they are called in the original files, in diffusers' and in ComfyUI's. A point in `part`
 * is as good as an underscore, as kohya's LoRAs have it. Families share names: the first row that fits any tensor of a
 * file decides, so that the surer stand first. Sources: diffusers' single_file_utils, ComfyUI's model_detection. */
static const struct {
    const char *part;
    bool anywhere; /* in the name; else at its beginning */
    const char *is;
} rows[] = {
    {"individual_token_refiner.", true, "HunyuanVideo"},
    {"distilled_guidance_layer.", false, "Chroma"},
    {"double_stream_blocks.", false, "HiDream"},
    {"clip_txt_mapper.", false, "Stable Cascade"},
    {"clip_mapper.", false, "Stable Cascade"},
    {".channelwise.", true, "Stable Cascade"},
    {"lora_prior_unet_", false, "Stable Cascade"},
    {"mlp_t5.", false, "HunyuanDiT"},
    {"cond_seq_linear.", false, "AuraFlow"},
    {"double_layers.", false, "AuraFlow"},
    {"joint_blocks.", false, "Stable Diffusion 3"},
    {"double_blocks.0.img_attn.norm.key_norm.", false, "Flux"},
    {"double_blocks.", false, "Flux or its kin"}, /* HunyuanVideo's LoRAs have these, too */
    {"single_blocks.", false, "Flux or its kin"},
    {"single_transformer_blocks.", false, "Flux or its kin"},
    {"txt_norm.", false, "Qwen-Image"},
    {".img_mlp.", true, "Qwen-Image"},
    {"cap_embedder.", false, "Lumina 2 or Z-Image"},
    {"noise_refiner.", false, "Lumina 2 or Z-Image"},
    {"context_refiner.", false, "Lumina 2 or Z-Image"},
    {"diffusion_model.layers.", false, "Lumina 2 or Z-Image"},
    {"lora_unet_layers.", false, "Lumina 2 or Z-Image"},
    {"patchify_proj.", false, "LTX-Video"},
    {".attn.qkv_x.", true, "Mochi"},
    {"head.modulation", false, "Wan"},
    {"t_block.", false, "PixArt"},
    {"adaln_single.", false, "PixArt or its kin"},
    {".cross_attn.kv_linear.", true, "PixArt or its kin"},
    {".cross_attn.", true, "Wan or its kin"},
    {"encoder_hid_proj.", false, "Kolors"},
    {"temporal_transformer.", true, "AnimateDiff (motion modules)"},
    {"ip_adapter.", false, "an IP-Adapter"},
    {"image_proj.", false, "an IP-Adapter"},
    {"lora_controlnet", false, "a ControlLoRA"},
    {"control_model.", false, "a ControlNet"},
    {"controlnet_", false, "a ControlNet"},
    {"transformer_blocks.", false, "a transformer (Stable Diffusion 3, Flux, Qwen-Image and their kin)"},
};
enum { ROWS = sizeof rows / sizeof *rows };

static bool begins(const char *name, const char *part)
{
    while (*part && (*name == *part || (*part == '.' && *name == '_'))) name++, part++;
    return *part == '\0';
}

static bool fits(const char *name, const char *part, bool anywhere)
{
    if (!anywhere) return begins(name, part);
    while (*name && !begins(name, part)) name++;
    return *name != '\0';
}

/* Behind what programs put before a model's own names. */
static const char *own_name(const char *name)
{
    static const char *const beginnings[] = {
        "model.diffusion_model.", "diffusion_model.", "base_model.model.", "transformer.", "unet.", "lora_unet_",
        "lora_transformer_"};
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++)
        if (begins(name, beginnings[i])) return name + strlen(beginnings[i]);
    return name;
}

static size_t row_of(const char *name)
{
    size_t i = 0;
    const char *own = own_name(name);
    while (i < ROWS && !fits(name, rows[i].part, rows[i].anywhere) && !fits(own, rows[i].part, rows[i].anywhere)) i++;
    return i;
}

const char *other_family_of(const char *name)
{
    const size_t row = row_of(name);
    return row < ROWS ? rows[row].is : NULL;
}

const char *other_family_of_file(const safetensors *file)
{
    size_t best = ROWS;
    for (size_t i = 0; i < safetensors_any_count(file); i++) {
        const size_t row = row_of(safetensors_any_at(file, i)->name);
        if (row < best) best = row;
    }
    return best < ROWS ? rows[best].is : NULL;
}
