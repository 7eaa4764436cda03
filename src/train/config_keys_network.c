/* The keys of what is trained; rows as in config_keys.c. */
#include "train/config_keys.h"

#include <string.h>

#include "base/mem.h"
#include "train/config.h"

static choice kind_choice(size_t index)
{
    const trainable_kind *const *kind = trainable_kinds;
    for (; *kind; kind++)
        if (!(*kind)->variant_of && !(*kind)->only_read && index-- == 0)
            return (choice){.name = (*kind)->name, .row = *kind};
    return (choice){0};
}

static void kind_store(void *field, const choice *chosen)
{
    *(const trainable_kind **)field = chosen->row;
}
NAME_OF(kind, trainable_kind *, (*stored)->name)

static const choice_list kinds = {kind_choice, kind_store, kind_name, NULL, NULL};

static const choice layer_scope_names[] = {
    {"lierla", .value = SCOPE_LIERLA},
    {"c3lier", .value = SCOPE_C3LIER},
    {"embedding", .value = SCOPE_EMBEDDING},
    {0},
};
ENUM_CHOICES(layer_scope, NULL, NULL)

static const choice training_method_names[] = {
    {"full", .value = METHOD_FULL},
    {"selfattn", .value = METHOD_SELFATTN},
    {"xattn", .value = METHOD_XATTN},
    {"xattn-strict", .value = METHOD_XATTN_STRICT},
    {"noxattn", .value = METHOD_NOXATTN},
    {"innoxattn", .value = METHOD_INNOXATTN},
    {0},
};
ENUM_CHOICES(training_method, NULL, NULL)

/* ---- patterns ---- */

static leco_status read_pattern(const doc_node *n, const char *name, const char **out, leco_error *err)
{
    LECO_TRY(doc_text(n, name, out, err));
    return **out ? LECO_OK : doc_wrong(n, name, "a pattern of module paths, such as attn2 or down_blocks.*", err);
}

/* A list, or one alone. */
static leco_status read_patterns(const doc_node *n, const char *name, void *values, layer_patterns *out,
                                 leco_error *err)
{
    const train_config *c = values;
    const size_t count = n->kind == DOC_LIST ? n->count : 1;
    const char **at = arena_alloc(c->memory, count, sizeof *at);
    if (n->kind == DOC_MAP) return doc_wrong(n, name, "a list of patterns", err);
    if (!at) return error_memory(err, count * sizeof *at, "patterns");
    for (size_t i = 0; i < count; i++)
        LECO_TRY(read_pattern(n->kind == DOC_LIST ? n->item[i].value : n, name, &at[i], err));
    *out = (layer_patterns){at, count, n->place};
    return LECO_OK;
}

static leco_status read_include(const doc_node *n, const char *name, void *values, leco_error *err)
{
    return read_patterns(n, name, values, &((train_config *)values)->network.layers.include, err);
}

static leco_status read_exclude(const doc_node *n, const char *name, void *values, leco_error *err)
{
    return read_patterns(n, name, values, &((train_config *)values)->network.layers.exclude, err);
}

/* text + more, of which the first is freed; NULL: no memory. */
static char *joined(char *text, char *more)
{
    char *all = text && more ? mem_printf("%s%s", text, more) : NULL;
    mem_free(text);
    mem_free(more);
    return all;
}

static char *show_patterns(const layer_patterns *p)
{
    char *text = mem_strdup("[");
    for (size_t i = 0; i < p->count; i++) text = joined(text, mem_printf("%s%s", i ? ", " : "", p->at[i]));
    return joined(text, mem_strdup("]"));
}

static char *show_include(const void *values)
{
    return show_patterns(&((const train_config *)values)->network.layers.include);
}

static char *show_exclude(const void *values)
{
    return show_patterns(&((const train_config *)values)->network.layers.exclude);
}

static leco_status read_rule(const doc_node *n, rank_rule *out, leco_error *err)
{
    *out = (rank_rule){0};
    if (n->kind != DOC_MAP) return doc_wrong(n, "network.ranks", "a map with match, rank and alpha", err);
    const key_section section[] = {{.name = "network.ranks", .keys = config_rank_keys}, {.name = NULL}};
    LECO_TRY(keys_read(n, section, section, out, err));
    if (!out->match || !*out->match)
        return error_set(err, LECO_INVALID, "%s: network.ranks: match is missing: the pattern of module paths",
                         n->place);
    if (out->rank || out->alpha > 0) return LECO_OK;
    return error_set(err, LECO_INVALID, "%s: network.ranks: expected a rank or an alpha for \"%.80s\"", n->place,
                     out->match);
}

static leco_status read_ranks(const doc_node *n, const char *name, void *values, leco_error *err)
{
    train_config *c = values;
    if (n->kind != DOC_LIST) return doc_wrong(n, name, "a list of {match: PATTERN, rank: N, alpha: N}", err);
    rank_rule *rules = arena_alloc(c->memory, n->count, sizeof *rules);
    if (!rules) return error_memory(err, n->count * sizeof *rules, "patterns");
    for (size_t i = 0; i < n->count; i++) LECO_TRY(read_rule(n->item[i].value, &rules[i], err));
    c->network.rules = rules;
    c->network.rule_count = n->count;
    c->network.rules_place = n->place;
    return LECO_OK;
}

static char *show_ranks(const void *values)
{
    const trainable_options *o = &((const train_config *)values)->network;
    char *text = mem_strdup("[");
    for (size_t i = 0; i < o->rule_count; i++)
        text = joined(text, mem_printf("%s{match: %s, rank: %lld, alpha: %.7g}", i ? ", " : "", o->rules[i].match,
                                       (long long)o->rules[i].rank, (double)o->rules[i].alpha));
    return joined(text, mem_strdup("]"));
}

/* ---- keys ---- */

#define KEYS_OF rank_rule

const key_row config_rank_keys[] = {
    TEXT("match", match, UNSET("required"), "a pattern, as those of `include`"),
    INT("rank", rank, 1, 1024, UNSET("as of other layers"), "1 to 1024"),
    FLOAT("alpha", alpha, 1e-6, 1e6, UNSET("as of other layers"), "the layer's output is scaled by alpha / rank"),
    KEYS_END,
};

#undef KEYS_OF
#define KEYS_OF train_config

const key_row config_network_keys[] = {
    CHOICE(
        "type", network.layers.scope, layer_scope, layer_scope_choices, "lierla",
        "which layers may be trained. `lierla`: linear and 1x1 convolution layers of the transformer blocks. `c3lier`: "
        "also all layers of the residual blocks and of the down- and upsamplers (LoCon). `embedding`: none of them, "
        "but "
        "what a new word stands for (textual inversion)"),
    CHOICE("training_method", network.layers.method, training_method, training_method_choices, "full",
           "which of these are: `full`: all; `selfattn`: attn1 only; `xattn`: attn2 only; `xattn-strict`: attn2's to_k "
           "and to_v only; `noxattn`: all but attn2; `innoxattn`: all but attn1"),
    CHOICE("kind", network.kind, const trainable_kind *, kinds, UNSET("as the type asks: `lora`"),
           "what is put on them: $names"),
    INT("rank", network.rank, 1, 1024, EITHER("8", "4"),
        "1 to 1024. A 1x1 convolution with fewer channels gets as much rank as these, as in p1atdev's LECO; `alpha` "
        "stays"),
    OWN("include", read_include, show_include, "all of them",
        "only those of these layers that one of the patterns matches. A pattern is of module paths as diffusers has "
        "them: names that follow each other in a path (`attn2`, `attn2.to_k`, `mid_block`), or a glob of the whole "
        "path "
        "where it has `*`, `?` or `[`, as LyCORIS's target_name (`down_blocks.*.to_k`). One that matches nothing is an "
        "error; `--dry-run` lists what is chosen"),
    OWN("exclude", read_exclude, show_exclude, "none", "and none that one of these patterns matches"),
    OWN("ranks", read_ranks, show_ranks, "none",
        "other ranks and alphas for the layers that a pattern matches: a list of `{match: attn2, rank: 8, alpha: 4}`; "
        "the first that matches a layer decides, what it doesn't say is as for all others"),
    INT("conv_dim", network.conv_rank, 1, 1024, UNSET("as `rank` says"),
        "rank of convolutions larger than 1x1, which `c3lier` has, as in kohya's sd-scripts and LyCORIS"),
    FLOAT("conv_alpha", network.conv_alpha, 0, 1e6, UNSET("as `alpha` says"), "their alpha; 0: as `alpha` says"),
    BOOL("text_encoder", network.layers.text_encoder, "false",
         "also on the attention and MLP layers of the model's text encoders, as kohya's sd-scripts have it"),
    FLOAT("alpha", network.alpha, 0, 1e6, EITHER("0", "1.0"),
          "the adapter's output is scaled by alpha / rank; 0: alpha is the rank"),
    INT("factor", network.factor, -1, 65536, "-1",
        "of `lokr`: into which factors a layer's sizes are split, as in LyCORIS; -1: as near to a square as it goes. "
        "The larger, the smaller the file"),
    FLOAT("dropout", network.dropout.element, 0, 0.99, "0",
          "of `lora`: while it learns, so many of the numbers between down and up are left out at random, as "
          "sd-scripts' network_dropout; off while latents are made, for previews and teachers"),
    FLOAT("rank_dropout", network.dropout.rank, 0, 0.99, "0", "likewise, of whole ranks"),
    FLOAT("module_dropout", network.dropout.module, 0, 0.99, "0", "likewise, of whole layers"),
    TEXT("start_from", network.start_from, UNSET("none"),
         "a LoRA's file (of any `kind`, with kohya's names) that is trained further. Its layers keep the file's ranks "
         "and alphas, others begin anew; a layer of it that isn't selected is an error"),
    TEXT("token", network.token, UNSET("required of an embedding"),
         "the new word: what `target` calls it. It must not be a token of the model. Programs that load the file know "
         "it "
         "by the file's name, leco by either"),
    INT("vectors", network.vectors, 1, 75, "1", "of an embedding: how many tokens of a prompt the word takes up"),
    TEXT("init", network.start,
         UNSET("of an embedding the sign `*`, as in A1111; `erase` where an entry is a concept alone"),
         "of an embedding: the words that it starts as, of at most as many tokens as it has vectors; of fewer, each is "
         "taken for several vectors. Of a LoRA: `zero`, or `erase`, which is to start from a closed form of its pairs "
         "(docs/erase.md)"),
    KEYS_END,
};
