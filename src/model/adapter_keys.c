#include "model/adapter_keys.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/kinds.h"
#include "model/other_families.h"
#include "model/part.h"

char *adapter_key(const layer_info *layer)
{
    const part_row *part = &part_rows[layer->part];
    char *key = mem_printf("%s%s", layer->is_first ? part->first_prefix : part->lora_prefix, layer->path);
    for (char *p = key; p && *p; p++)
        if (*p == '.') *p = '_';
    return key;
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

const char *adapter_path(const char *key, layer_info *layer)
{
    for (int p = 0; p < PART_COUNT; p++) {
        const char *const prefixes[] = {part_rows[p].lora_prefix, part_rows[p].first_prefix};
        for (int i = 0; i < 2; i++) {
            layer->part = (model_part)p;
            layer->is_first = i == 1;
            if (prefixes[i] && starts_with(key, prefixes[i])) return key + strlen(prefixes[i]);
        }
    }
    return NULL;
}

bool adapter_path_is_original(const char *path)
{
    static const char *const blocks[] = {"input_blocks_", "middle_block_", "output_blocks_"};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (starts_with(path, blocks[i])) return true;
    return false;
}

static char *with_suffix(const trainable_module *m, const char *suffix)
{
    const part_row *part = &part_rows[m->layer.part];
    if (m->kind->alone) return mem_strdup(m->layer.is_first ? part->first_rows : part->rows);
    char *key = adapter_key(&m->layer), *name = key ? mem_printf("%s%s", key, suffix) : NULL;
    mem_free(key);
    return name;
}

char *adapter_tensor_name(const trainable_module *m, size_t k)
{
    return with_suffix(m, m->kind->param[k].suffix);
}

char *adapter_alpha_name(const trainable_module *m)
{
    return with_suffix(m, ADAPTER_ALPHA);
}

const char *adapter_suffix(const char *name)
{
    const char *suffix = strchr(name, '.');
    if (!suffix || strcmp(suffix, ADAPTER_ALPHA) == 0) return suffix;
    for (const trainable_kind *const *kind = trainable_kinds; *kind; kind++)
        for (size_t i = 0; i < kind_file_params(*kind) && !(*kind)->alone; i++)
            if (strcmp(suffix, (*kind)->param[i].suffix) == 0) return suffix;
    return NULL;
}

/* ---- layers of text encoders ---- */

int64_t adapter_text_depth(const layer_list *text)
{
    long long depth = 0, index;
    for (size_t i = 0; text && i < text->count; i++)
        if (sscanf(text->layer[i].path, "text_model.encoder.layers.%lld.", &index) == 1 && index >= depth)
            depth = index + 1;
    return depth;
}

leco_status adapter_text_layer(const char *key, model_part *part, int64_t *number, char **as_first, leco_error *err)
{
    static const char layers[] = "text_model_encoder_layers_";
    layer_info layer;
    const char *path = adapter_path(key, &layer), *digits = path ? path + sizeof layers - 1 : NULL;
    char *rest;
    *as_first = NULL;
    if (!path || !starts_with(path, layers) || !isdigit((unsigned char)*digits)) return LECO_OK;
    *part = layer.part;
    *number = strtoll(digits, &rest, 10);
    *as_first = mem_printf("%.*s0%s", (int)(digits - key), key, rest);
    return *as_first ? LECO_OK : error_memory(err, strlen(key), "the keys of a LoRA");
}

/* ---- what goes with a LoRA, and is none ---- */

bool adapter_is_stray(const safetensors_entry *e)
{
    static const char *const counters[] = {"epoch", "step", "global_step"};
    static const char frozen[] = ".base_layer.weight";
    const size_t length = strlen(e->name), end = sizeof frozen - 1;
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
        if (e->count == 1 && strcmp(e->name, counters[i]) == 0) return true;
    return length > end && strcmp(e->name + length - end, frozen) == 0;
}

/* ---- what leco can't load: what it is, as exactly as it shows ---- */

typedef struct meaning {
    const char *part; /* of the key; at its beginning where `leads` */
    bool leads;
    const char *is;
} meaning;

/* Behind kohya's name of a layer. */
static const meaning suffixes[] = {
    {".oft_", false, "part of an OFT of another form, or whose blocks aren't beside it"},
    {".boft_", false, "part of a BOFT of another form, or whose blocks aren't beside it"},
    {".rescale", false, "part of an OFT whose blocks aren't beside it"},
    {".lora_magnitude_vector", false, "the scale of a DoRA"},
    {".diff", false, "a difference of weights that are no layer's"},
    {".on_input", false, "part of an (IA)^3 whose scale isn't beside it"},
    {".weight", true, "a scale of which nothing says what it scales"},
    {".scalar", false, "the scale of a LyCORIS module"},
};

/* Names of other programs. What a file holds comes before how it is named. */
static const meaning names[] = {
    {"emb_params", true, "is a textual-inversion embedding, not a LoRA (--embedding loads it)"},
    {"string_to_param", true, "is a textual-inversion embedding, not a LoRA"},
    {"model.diffusion_model.", true, "belongs to a whole checkpoint, not to a LoRA"},
    {"cond_stage_model.", true, "belongs to a whole checkpoint, not to a LoRA"},
    {"conditioner.", true, "belongs to a whole checkpoint, not to a LoRA"},
    {"first_stage_model.", true, "belongs to a whole checkpoint, not to a LoRA"},
    {"lllite_", true, "is part of a ControlNet-LLLite, not of a LoRA"},
    {"lycoris_", true, "is part of a LyCORIS network"},
    {".lora_B.bias", false, "is a bias of the LoRA itself (PEFT's lora_bias), which leco can't apply yet"},
    {".base_layer.bias", false, "is a bias that PEFT trained beside the LoRA (its bias), which leco can't apply yet"},
};

static const char *look_up(const meaning *rows, size_t count, const char *key)
{
    for (size_t i = 0; i < count; i++)
        if (rows[i].leads ? starts_with(key, rows[i].part) : strstr(key, rows[i].part) != NULL) return rows[i].is;
    return NULL;
}

/* Room for the list of them. */
enum { SUFFIXES = 768 };

/* Adds "NAME, " unless it is there. */
static int add_suffix(char text[SUFFIXES], int used, const char *name)
{
    char one[64];
    snprintf(one, sizeof one, "%s, ", name);
    const bool there = used && strstr(text, one);
    return there ? used : used + snprintf(text + used, SUFFIXES - (size_t)used, "%s", one);
}

/* "lora_down.weight, lora_up.weight and alpha": the suffixes that leco knows, each once, for messages. */
static const char *known_suffixes(char text[SUFFIXES])
{
    int used = 0;
    for (const trainable_kind *const *kind = trainable_kinds; *kind; kind++) {
        if ((*kind)->alone || used > SUFFIXES - 128) continue;
        if ((*kind)->folded_from) {
            used = add_suffix(text, used, (*kind)->folded_from);
            continue;
        }
        for (size_t i = 0; i < kind_file_params(*kind); i++)
            used = add_suffix(text, used, (*kind)->param[i].suffix + 1);
    }
    snprintf(text + used - 2, SUFFIXES - (size_t)used, " and %s", ADAPTER_ALPHA + 1);
    return text;
}

/* Kohya's prefix, but none of the suffixes. */
static leco_status refuse_suffix(const char *path, const char *name, leco_error *err)
{
    char known[SUFFIXES] = "";
    const char *suffix = strchr(name, '.');
    const char *is = look_up(suffixes, sizeof suffixes / sizeof *suffixes, suffix ? suffix : "");
    if (is)
        return error_set(err, LECO_UNSUPPORTED,
                         "%s: tensor \"%s\" is %s, which leco can't apply yet (only %s are supported)", path, name, is,
                         known_suffixes(known));
    return error_set(err, LECO_UNSUPPORTED, "%s: tensor \"%s\": only %s are supported", path, name,
                     known_suffixes(known));
}

static leco_status refuse_name(const char *path, const char *name, leco_error *err)
{
    const char *is = look_up(names, sizeof names / sizeof *names, name);
    if (is)
        return error_set(
            err, LECO_UNSUPPORTED,
            "%s: tensor \"%s\" %s; leco reads LoRAs with kohya's keys (lora_unet_..., lora_te_...), PEFT's and "
            "diffusers'",
            path, name, is);
    return error_set(
        err, LECO_FORMAT,
        "%s: tensor \"%s\": not a LoRA with the keys of kohya (lora_unet_..., lora_te_...), PEFT or diffusers", path,
        name);
}

static leco_status refuse_layer(const char *path, const char *name, int texts, leco_error *err)
{
    layer_info layer;
    const char *of = adapter_path(name, &layer);
    if (layer.part == PART_UNET && adapter_path_is_original(of))
        return error_set(err, LECO_UNSUPPORTED,
                         "%s: tensor \"%s\": among the block names of original checkpoints leco knows none like it",
                         path, name);
    if (layer.part == PART_TEXT_ENCODER_2 && texts == 1)
        return error_set(
            err, LECO_INVALID,
            "%s: this LoRA is for another model: tensor \"%s\" belongs to the second text encoder of a model "
            "with two text encoders; this model has one",
            path, name);
    if (texts == 0 && layer.part != PART_UNET)
        return error_set(err, LECO_UNSUPPORTED, "%s: tensor \"%s\": no text encoder to apply it to", path, name);
    return error_set(err, LECO_INVALID,
                     "%s: this LoRA is for another model: tensor \"%s\" is for a layer that the "
                     "model doesn't have",
                     path, name);
}

leco_status adapter_refuse(const char *path, const char *name, int texts, leco_error *err)
{
    layer_info layer;
    const char *family = other_family_of(name);
    if (family && !look_up(names, sizeof names / sizeof *names, name))
        return error_set(
            err, LECO_UNSUPPORTED,
            "%s: tensor \"%s\" is of %s, which leco doesn't support: it reads LoRAs of Stable Diffusion 1, 2 "
            "and XL",
            path, name, family);
    if (!adapter_path(name, &layer)) return refuse_name(path, name, err);
    return adapter_suffix(name) ? refuse_layer(path, name, texts, err) : refuse_suffix(path, name, err);
}
