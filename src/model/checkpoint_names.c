#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/checkpoint.h"

/* What a name begins with, and what that becomes. */
typedef struct renaming {
    const char *from, *to;
} renaming;

/* The rest of `name` behind a row's beginning, where the row fits; *to gets what it becomes. */
static const char *apply(const renaming *rows, const char *name, const char **to)
{
    for (; rows->from; rows++) {
        const size_t length = strlen(rows->from);
        if (strncmp(name, rows->from, length) != 0) continue;
        *to = rows->to;
        return name + length;
    }
    return NULL;
}

/* "down.", then "12." -> 12, and what follows; NULL where it is another name. */
static const char *indexed(const char *name, const char *before, int64_t *index)
{
    const size_t length = strlen(before);
    char *end;
    if (strncmp(name, before, length) != 0 || name[length] < '0' || name[length] > '9') return NULL;
    *index = strtoll(name + length, &end, 10);
    return *end == '.' && *index < 1000 ? end + 1 : NULL;
}

static int one(checkpoint_view *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int one(checkpoint_view *out, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    const int length = vsnprintf(out->name, sizeof out->name, format, list);
    va_end(list);
    out->third = -1;
    out->transposed = false;
    return length > 0 && length < (int)sizeof out->name;
}

/* ---- U-Net ---- */

static const renaming unet_ends[] = {
    {"time_embed.0.", "time_embedding.linear_1."},
    {"time_embed.2.", "time_embedding.linear_2."},
    {"label_emb.0.0.", "add_embedding.linear_1."},
    {"label_emb.0.2.", "add_embedding.linear_2."},
    {"input_blocks.0.0.", "conv_in."},
    {"out.0.", "conv_norm_out."},
    {"out.2.", "conv_out."},
    {NULL, NULL},
};

static const renaming unet_residual[] = {
    {"in_layers.0.", "norm1."},
    {"in_layers.2.", "conv1."},
    {"emb_layers.1.", "time_emb_proj."},
    {"out_layers.0.", "norm2."},
    {"out_layers.3.", "conv2."},
    {"skip_connection.", "conv_shortcut."},
    {NULL, NULL},
};

/* A residual block, or, in second place, a transformer. */
static int unet_block(const char *block, int64_t index, int64_t place, const char *rest, checkpoint_view *out)
{
    const char *to;
    if (place == 1) return one(out, "%s.attentions.%lld.%s", block, (long long)index, rest);
    rest = apply(unet_residual, rest, &to);
    return rest && place == 0 ? one(out, "%s.resnets.%lld.%s%s", block, (long long)index, to, rest) : 0;
}

static int unet_view(int64_t layers, const char *name, checkpoint_view *out)
{
    const char *to, *rest = apply(unet_ends, name, &to);
    int64_t number, place;
    char block[32];
    if (rest) return one(out, "%s%s", to, rest);
    const char *inner = indexed(name, "middle_block.", &number);
    if (inner) /* residual, transformer, residual */
        return unet_block("mid_block", number == 2, number == 1, inner, out);
    inner = indexed(name, "input_blocks.", &number);
    const bool down = inner != NULL;
    if (!down) inner = indexed(name, "output_blocks.", &number);
    if (!inner) return 0;
    rest = indexed(inner, "", &place);
    if (!rest) return 0;
    if (down && number-- == 0) return 0; /* the first is conv_in */
    const int64_t level = number / (layers + 1), index = number % (layers + 1);
    snprintf(block, sizeof block, "%s_blocks.%lld", down ? "down" : "up", (long long)level);
    if (down && strncmp(rest, "op.", 3) == 0) return one(out, "%s.downsamplers.0.conv.%s", block, rest + 3);
    if (!down && strncmp(rest, "conv.", 5) == 0) return one(out, "%s.upsamplers.0.conv.%s", block, rest + 5);
    return unet_block(block, index, place, rest, out);
}

/* ---- U-Net, the other way ---- */

/* The rest of the path behind a row's `to`, which ends in a point, as the path may. */
static const char *behind(const char *path, const char *to)
{
    for (; *to; path++, to++) {
        const bool joins = *to == '.' && (*path == '_' || *path == '\0'); /* also at its end */
        if (*path != *to && !joins) return NULL;
        if (*path == '\0') return path;
    }
    return path;
}

static const char *apply_back(const renaming *rows, const char *path, const char **from)
{
    for (; rows->from; rows++) {
        const char *rest = behind(path, rows->to);
        if (!rest) continue;
        *from = rows->from;
        return rest;
    }
    return NULL;
}

/* "down_blocks.", then "1." -> 1, and what follows. */
static const char *numbered(const char *path, const char *what, int64_t *index)
{
    const char *rest = behind(path, what);
    char *end;
    if (!rest || *rest < '0' || *rest > '9') return NULL;
    *index = strtoll(rest, &end, 10);
    return (*end == '.' || *end == '_') && *index < 1000 ? end + 1 : NULL;
}

/* What stands in a block: its index, its place there (unet_block), and the rest of its name in the file, in two pieces.
 */
typedef struct unet_member {
    int64_t index;
    int place;
    const char *from, *rest;
} unet_member;

static bool find_member(int64_t layers, const char *path, unet_member *m)
{
    const char *rest = numbered(path, "attentions.", &m->index);
    m->place = rest ? 1 : 0;
    m->from = "";
    m->rest = rest;
    if (rest) return m->index <= layers;
    rest = numbered(path, "resnets.", &m->index);
    m->rest = rest ? apply_back(unet_residual, rest, &m->from) : NULL;
    return m->rest && m->index <= layers;
}

bool checkpoint_unet_path(const checkpoint_depths *d, const char *path, char out[192])
{
    enum { SIZE = 192 };
    unet_member m;
    int64_t level;
    int length = -1;
    const char *from, *rest = apply_back(unet_ends, path, &from);
    if (rest) {
        length = snprintf(out, SIZE, "%s%s", from, rest);
    } else if ((rest = behind(path, "mid_block."))) {
        if (find_member(d->unet_layers, rest, &m))
            length = snprintf(out, SIZE, "middle_block.%lld.%s%s", (long long)(m.place == 1 ? 1 : 2 * m.index), m.from,
                              m.rest);
    } else {
        rest = numbered(path, "down_blocks.", &level);
        const bool down = rest != NULL;
        if (!down) rest = numbered(path, "up_blocks.", &level);
        if (!rest || level >= UNET_MAX_LEVELS) return false;
        const int64_t first = level * (d->unet_layers + 1) + down; /* the first of the downward blocks is conv_in */
        const char *block = down ? "input_blocks" : "output_blocks";
        const char *sampler = behind(rest, down ? "downsamplers.0.conv." : "upsamplers.0.conv.");
        if (sampler)
            length = snprintf(out, SIZE, "%s.%lld.%s.%s", block, (long long)(first + d->unet_layers),
                              down                     ? "0.op"
                              : d->up_attention[level] ? "2.conv"
                                                       : "1.conv",
                              sampler);
        else if (find_member(d->unet_layers, rest, &m))
            length =
                snprintf(out, SIZE, "%s.%lld.%d.%s%s", block, (long long)(first + m.index), m.place, m.from, m.rest);
    }
    if (length < 1 || length >= SIZE) return false;
    if (out[length - 1] == '.') out[length - 1] = '\0'; /* of a layer's path */
    return true;
}

/* ---- VAE ---- */

static const renaming vae_ends[] = {
    {"conv_in.", "conv_in."},
    {"norm_out.", "conv_norm_out."},
    {"conv_out.", "conv_out."},
    {NULL, NULL},
};

static const renaming vae_attention[] = {
    {"norm.", "group_norm."},   {"q.", "to_q."}, {"k.", "to_k."}, {"v.", "to_v."},
    {"proj_out.", "to_out.0."}, {NULL, NULL},
};

static int vae_residual(const char *half, const char *block, int64_t index, const char *rest, checkpoint_view *out)
{
    static const renaming shortcut[] = {{"nin_shortcut.", "conv_shortcut."}, {NULL, NULL}};
    const char *to = "", *renamed = apply(shortcut, rest, &to);
    return one(out, "%s.%s.resnets.%lld.%s%s", half, block, (long long)index, to, renamed ? renamed : rest);
}

static int vae_half(int64_t levels, const char *half, const char *name, checkpoint_view *out)
{
    const char *to, *rest = apply(vae_ends, name, &to);
    int64_t level, index;
    char block[32];
    if (rest) return one(out, "%s.%s%s", half, to, rest);
    rest = indexed(name, "mid.block_", &index);
    if (rest) return vae_residual(half, "mid_block", index - 1, rest, out);
    if (strncmp(name, "mid.attn_1.", 11) == 0) {
        rest = apply(vae_attention, name + 11, &to);
        return rest ? one(out, "%s.mid_block.attentions.0.%s%s", half, to, rest) : 0;
    }
    const char *inner = indexed(name, "down.", &level);
    const bool down = inner != NULL;
    if (!down) inner = indexed(name, "up.", &level);
    if (!inner) return 0;
    snprintf(block, sizeof block, "%s_blocks.%lld", down ? "down" : "up",
             (long long)(down ? level : levels - 1 - level)); /* the original counts from the picture up */
    if (strncmp(inner, "downsample.conv.", 16) == 0)
        return one(out, "%s.%s.downsamplers.0.conv.%s", half, block, inner + 16);
    if (strncmp(inner, "upsample.conv.", 14) == 0)
        return one(out, "%s.%s.upsamplers.0.conv.%s", half, block, inner + 14);
    rest = indexed(inner, "block.", &index);
    return rest ? vae_residual(half, block, index, rest, out) : 0;
}

static int vae_view(int64_t levels, const char *name, checkpoint_view *out)
{
    if (strncmp(name, "encoder.", 8) == 0) return vae_half(levels, "encoder", name + 8, out);
    if (strncmp(name, "decoder.", 8) == 0) return vae_half(levels, "decoder", name + 8, out);
    if (strncmp(name, "quant_conv.", 11) == 0 || strncmp(name, "post_quant_conv.", 16) == 0)
        return one(out, "%s", name);
    return 0;
}

/* What stands in a half ("encoder.") under diffusers' names. */
static int vae_half_back(int64_t levels, const char *half, const char *path, checkpoint_place *out)
{
    static const renaming shortcut[] = {{"nin_shortcut.", "conv_shortcut."}, {NULL, NULL}};
    static const renaming old_attention[] = {
        {"q.", "query."}, {"k.", "key."}, {"v.", "value."}, {"proj_out.", "proj_attn."}, {NULL, NULL}};
    enum { SIZE = sizeof out->name };
    const char *from = "", *rest = apply_back(vae_ends, path, &from), *inner;
    int64_t level, index;
    if (rest) return snprintf(out->name, SIZE, "%s%s%s", half, from, rest);
    if ((rest = behind(path, "mid_block.attentions.0."))) {
        inner = apply_back(vae_attention, rest, &from);
        if (!inner) inner = apply_back(old_attention, rest, &from);
        out->pixel = inner && strcmp(from, "norm.") != 0;
        return inner ? snprintf(out->name, SIZE, "%smid.attn_1.%s%s", half, from, inner) : -1;
    }
    if ((rest = numbered(path, "mid_block.resnets.", &index))) {
        inner = apply_back(shortcut, rest, &from);
        return snprintf(out->name, SIZE, "%smid.block_%lld.%s%s", half, (long long)index + 1, inner ? from : "",
                        inner ? inner : rest);
    }
    rest = numbered(path, "down_blocks.", &level);
    const bool down = rest != NULL;
    if (!down) rest = numbered(path, "up_blocks.", &level);
    if (!rest) return -1;
    const long long number = down ? level : levels - 1 - level; /* the original counts from the picture up */
    const char *sampler = behind(rest, down ? "downsamplers.0.conv." : "upsamplers.0.conv.");
    if (sampler)
        return snprintf(out->name, SIZE, "%s%s.%lld.%s.conv.%s", half, down ? "down" : "up", number,
                        down ? "downsample" : "upsample", sampler);
    rest = numbered(rest, "resnets.", &index);
    inner = rest ? apply_back(shortcut, rest, &from) : NULL;
    if (!rest) return -1;
    return snprintf(out->name, SIZE, "%s%s.%lld.block.%lld.%s%s", half, down ? "down" : "up", number, (long long)index,
                    inner ? from : "", inner ? inner : rest);
}

static int vae_place(const checkpoint_depths *d, const char *name, checkpoint_place *out)
{
    static const char *const halves[][2] = {{"encoder.", "first_stage_model.encoder."},
                                            {"decoder.", "first_stage_model.decoder."}};
    for (size_t i = 0; i < 2; i++)
        if (strncmp(name, halves[i][0], strlen(halves[i][0])) == 0)
            return vae_half_back(d->vae_levels, halves[i][1], name + strlen(halves[i][0]), out);
    return snprintf(out->name, sizeof out->name, "first_stage_model.%s", name);
}

/* ---- text encoders ---- */

static const renaming open_clip_ends[] = {
    {"token_embedding.", "text_model.embeddings.token_embedding."},
    {"positional_embedding", "text_model.embeddings.position_embedding.weight"},
    {"ln_final.", "text_model.final_layer_norm."},
    {NULL, NULL},
};

static const renaming open_clip_layer[] = {
    {"ln_1.", "layer_norm1."},
    {"ln_2.", "layer_norm2."},
    {"mlp.c_fc.", "mlp.fc1."},
    {"mlp.c_proj.", "mlp.fc2."},
    {"attn.out_proj.", "self_attn.out_proj."},
    {NULL, NULL},
};

/* OpenCLIP's: query, key and value lie above each other in one tensor. */
static int open_clip_view(const char *name, checkpoint_view *out)
{
    static const char *const products[] = {"q", "k", "v"};
    const char *to, *rest = apply(open_clip_ends, name, &to);
    int64_t layer;
    if (rest) return one(out, "%s%s", to, rest);
    if (strcmp(name, "text_projection") == 0) {
        const int made = one(out, "text_projection.weight");
        out->transposed = true;
        return made;
    }
    if (strcmp(name, "text_projection.weight") == 0) return one(out, "text_projection.weight");
    const char *inner = indexed(name, "transformer.resblocks.", &layer);
    if (!inner) return 0;
    rest = apply(open_clip_layer, inner, &to);
    if (rest) return one(out, "text_model.encoder.layers.%lld.%s%s", (long long)layer, to, rest);
    const bool matrix = strcmp(inner, "attn.in_proj_weight") == 0;
    if (!matrix && strcmp(inner, "attn.in_proj_bias") != 0) return 0;
    for (int i = 0; i < 3; i++) {
        if (!one(&out[i], "text_model.encoder.layers.%lld.self_attn.%s_proj.%s", (long long)layer, products[i],
                 matrix ? "weight" : "bias"))
            return 0;
        out[i].third = i;
    }
    return 3;
}

/* transformers'; the oldest lack its first word. */
static int clip_view(const char *name, checkpoint_view *out)
{
    return one(out, "%s%s", strncmp(name, "text_model.", 11) == 0 ? "" : "text_model.", name);
}

static int open_clip_place(const char *prefix, const char *name, checkpoint_place *out)
{
    enum { SIZE = sizeof out->name };
    const char *from, *rest = apply_back(open_clip_ends, name, &from), *inner;
    int64_t layer;
    if (rest) return snprintf(out->name, SIZE, "%s%s%s", prefix, from, rest);
    if (strcmp(name, "text_projection.weight") == 0) {
        out->transposed = true;
        return snprintf(out->name, SIZE, "%stext_projection", prefix);
    }
    if (!(rest = indexed(name, "text_model.encoder.layers.", &layer))) return -1;
    if ((inner = apply_back(open_clip_layer, rest, &from)))
        return snprintf(out->name, SIZE, "%stransformer.resblocks.%lld.%s%s", prefix, (long long)layer, from, inner);
    static const char *const products[] = {"self_attn.q_proj.", "self_attn.k_proj.", "self_attn.v_proj."};
    for (int i = 0; i < 3; i++) {
        const size_t length = strlen(products[i]);
        if (strncmp(rest, products[i], length) != 0) continue;
        out->third = i;
        return snprintf(out->name, SIZE, "%stransformer.resblocks.%lld.attn.in_proj_%s", prefix, (long long)layer,
                        rest + length);
    }
    return -1;
}

/* ---- all ---- */

int checkpoint_views(const checkpoint_depths *d, model_part part, const char *original,
                     checkpoint_view out[CHECKPOINT_MOST_VIEWS])
{
    static const renaming of_unet[] = {{"model.diffusion_model.", ""}, {NULL, NULL}};
    static const renaming of_vae[] = {{"first_stage_model.", ""}, {NULL, NULL}};
    static const renaming of_clip[] = {
        {"cond_stage_model.transformer.", ""}, {"conditioner.embedders.0.transformer.", ""}, {NULL, NULL}};
    static const renaming of_open_clip[] = {
        {"cond_stage_model.model.", ""}, {"conditioner.embedders.0.model.", ""}, {NULL, NULL}};
    static const renaming of_big_clip[] = {{"conditioner.embedders.1.model.", ""}, {NULL, NULL}};
    const char *to, *name;
    switch (part) {
    case PART_UNET:
        name = apply(of_unet, original, &to);
        return name ? unet_view(d->unet_layers, name, out) : 0;
    case PART_VAE:
        name = d->bare_vae ? original : apply(of_vae, original, &to);
        return name ? vae_view(d->vae_levels, name, out) : 0;
    case PART_TEXT_ENCODER:
        name = apply(of_clip, original, &to);
        if (name) return clip_view(name, out);
        name = apply(of_open_clip, original, &to);
        return name ? open_clip_view(name, out) : 0;
    case PART_TEXT_ENCODER_2:
        name = apply(of_big_clip, original, &to);
        return name ? open_clip_view(name, out) : 0;
    default:
        return 0;
    }
}

bool checkpoint_place_of(const checkpoint_depths *d, model_part part, const char *name, checkpoint_place *out)
{
    static const char of_unet[] = "model.diffusion_model.";
    char path[192];
    int length = -1;
    *out = (checkpoint_place){.third = -1};
    switch (part) {
    case PART_UNET:
        if (checkpoint_unet_path(d, name, path)) length = snprintf(out->name, sizeof out->name, "%s%s", of_unet, path);
        break;
    case PART_VAE:
        length = vae_place(d, name, out);
        break;
    case PART_TEXT_ENCODER:
        length = d->open_clip ? open_clip_place("cond_stage_model.model.", name, out)
                              : snprintf(out->name, sizeof out->name, "%s.transformer.%s",
                                         d->two_texts ? "conditioner.embedders.0" : "cond_stage_model", name);
        break;
    case PART_TEXT_ENCODER_2:
        length = open_clip_place("conditioner.embedders.1.model.", name, out);
        break;
    default:
        break;
    }
    return length > 0 && length < (int)sizeof out->name;
}
