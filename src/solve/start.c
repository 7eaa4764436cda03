#include "solve/start.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "model/wildcards.h"
#include "train/modes.h"

/* Texts that are drawn of each entry with wildcards, and of what is preserved. */
enum { DRAWN = 32, PRESERVED = 64, SEED = 1 };
/* How far a word that is to mean more goes away from its neutral: as leco enhance has it. */
#define AWAY 0.3

/* What is gathered from a config. */
typedef struct gathering {
    arena *memory;
    erase_pair *pair;
    const char **keep;
    size_t pairs, keeps;
    bool away; /* the pairs are of words that are to mean more: their targets go away from what they are paired with */
    const char *dropped; /* that was to be kept, and is to change */
    rng random;
    leco_error *err;
} gathering;

bool start_is_asked_for(const train_config *c)
{
    return c->network.start && !c->network.kind->alone && strcmp(c->network.start, "erase") == 0;
}

static const char *expand(const wildcards *w, const wildcard_text *text, arena *memory)
{
    char *out = arena_alloc(memory, strlen(text->text) + 1, 1);
    if (out) wildcards_expand(w, text, out);
    return out;
}

/* Adds `count` drawn pairs of two texts whose wildcards belong together; those that don't differ are kept. */
static leco_status add_pair(gathering *g, const char *text, const char *becomes, size_t count)
{
    wildcards w = {.memory = g->memory};
    wildcard_text from, to;
    LECO_TRY(wildcards_read(&w, text, &from, g->err));
    LECO_TRY(wildcards_read(&w, becomes, &to, g->err));
    for (size_t i = 0; i < (w.count ? count : 1); i++) {
        wildcards_draw(&w, &g->random);
        const erase_pair p = {expand(&w, &from, g->memory), expand(&w, &to, g->memory)};
        if (!p.text || !p.becomes) return error_memory(g->err, 0, "a text");
        if (strcmp(p.text, p.becomes) == 0)
            g->keep[g->keeps++] = p.text;
        else
            g->pair[g->pairs++] = p;
    }
    return LECO_OK;
}

/* What is to change can't stay. */
static void drop_contradictions(gathering *g)
{
    size_t left = 0;
    for (size_t i = 0; i < g->keeps; i++) {
        bool changes = false;
        for (size_t k = 0; k < g->pairs; k++) changes = changes || strcmp(g->keep[i], g->pair[k].text) == 0;
        if (changes)
            g->dropped = g->keep[i];
        else
            g->keep[left++] = g->keep[i];
    }
    g->keeps = left;
}

/* What an entry's target is to read like; NULL: of a mode that begins at zero, as does what is drawn without a prompt.
 */
static const char *becomes_of(const train_prompt *p)
{
    if (p->teacher || !p->target[strspn(p->target, " \t\r\n")]) return NULL;
    return p->action == &mode_enhance ? p->positive : p->action == &mode_erase ? p->neutral : NULL;
}

/* Is a word to mean more of itself? Beside others, which become something else, it begins at zero. */
static bool goes_away(const train_prompt *p)
{
    return p->action == &mode_enhance && strcmp(p->positive, p->target) == 0;
}

static leco_status gather(gathering *g, const train_config *c)
{
    const size_t most = c->prompt_count * DRAWN + PRESERVED;
    g->pair = arena_alloc(g->memory, most, sizeof *g->pair);
    g->keep = arena_alloc(g->memory, most, sizeof *g->keep);
    if (!g->pair || !g->keep) return error_memory(g->err, most * sizeof *g->pair, "pairs of prompts");
    g->away = true;
    for (size_t i = 0; i < c->prompt_count; i++)
        g->away = g->away && (!becomes_of(&c->prompt[i]) || goes_away(&c->prompt[i]));
    for (size_t i = 0; i < c->prompt_count; i++) {
        const train_prompt *p = &c->prompt[i];
        const char *becomes = g->away ? p->neutral : becomes_of(p);
        if (!becomes_of(p)) continue;
        if (!g->away && goes_away(p))
            log_message(LOG_WARNING,
                        "%s: begins at zero: a closed form has words mean more only where no other entry becomes "
                        "something else",
                        p->place);
        else
            LECO_TRY(add_pair(g, p->target, becomes, DRAWN));
    }
    return c->preserve.prompt ? add_pair(g, c->preserve.prompt, c->preserve.prompt, PRESERVED) : LECO_OK;
}

static void tell(const gathering *g, const erase_result *r)
{
    char way[80] = "whose targets go away from what they are paired with";
    if (!g->away) snprintf(way, sizeof way, "of which %.1f%% of the way is left", 100 * r->erased[0].left);
    log_message(LOG_INFO,
                "starts from a closed form of %zu pair%s, %s; rank %lld leaves out %.1f%% of it; %zu kept text%s by "
                "%.1f%% of that",
                g->pairs, g->pairs == 1 ? "" : "s", way, (long long)r->rank, 100 * r->lost, r->kept_count,
                r->kept_count == 1 ? " moves" : "s move", 100 * r->kept_moved);
}

static leco_status solve_with(const train_config *c, const char *device_name, gathering *g, model *m, trainable **out)
{
    device d = {0};
    erase_result result;
    const erase_options o = {.pair = g->pair,
                             .pairs = g->pairs,
                             .keep = g->keep,
                             .keeps = g->keeps,
                             .certain = g->keeps,
                             .lambda = ERASE_LAMBDA,
                             .strength = g->away ? -AWAY : 1,
                             .rank = c->network.rank,
                             .max_rank = ERASE_MAX_RANK};
    if (g->dropped)
        log_message(LOG_WARNING, "%s: \"%.100s\" is to change and to stay: the closed form changes it", c->path,
                    g->dropped);
    if (g->keeps == 0)
        log_message(
            LOG_WARNING,
            "%s: network.init: erase keeps nothing but the empty prompt: other words will change, too; say with "
            "`preserve` what is to stay",
            train_config_place(c, "network.init"));
    LECO_TRY(start_open_device(c, device_name, &d, g->err));
    leco_status status = erase_solve(m, &d, &o, &result, g->err);
    if (status != LECO_OK && status != LECO_INTERRUPTED && status != LECO_MEMORY)
        status = error_prefix(g->err, status, "%s: network.init", train_config_place(c, "network.init"));
    if (status == LECO_OK) {
        tell(g, &result);
        *out = result.trainable;
        result.trainable = NULL;
        erase_result_free(&result);
    }
    device_close(&d);
    return status;
}

static leco_status check(const train_config *c, const gathering *g, leco_error *err)
{
    if (g->pairs == 0)
        return error_set(
            err, LECO_INVALID,
            "%s: network.init: erase needs an entry without teacher whose target is to become another text: one that "
            "erases and has another neutral, or one that enhances and has another positive or neutral",
            train_config_place(c, "network.init"));
    if (c->network.kind == &kind_lora) return LECO_OK;
    return error_set(err, LECO_INVALID, "%s: network.init: erase makes a lora, not a %s",
                     train_config_place(c, "network.init"), c->network.kind->name);
}

/* Fills g, whose memory is to be destroyed in any case. */
static leco_status gather_checked(gathering *g, const train_config *c, leco_error *err)
{
    *g = (gathering){.memory = arena_create(), .err = err};
    if (!g->memory) return error_memory(err, 0, "pairs of prompts");
    rng_seed(&g->random, RNG_CPU, SEED);
    LECO_TRY(gather(g, c));
    drop_contradictions(g);
    return check(c, g, err);
}

leco_status start_check(const train_config *c, leco_error *err)
{
    gathering g;
    leco_status status = gather_checked(&g, c, err);
    arena_destroy(g.memory);
    return status;
}

leco_status start_open_device(const train_config *c, const char *name, device *out, leco_error *err)
{
    leco_status status = device_open(name, c->precision, out, err);
    return status == LECO_UNSUPPORTED && c->precision ? device_open(name, NULL, out, err) : status;
}

leco_status start_open_model(const train_config *c, model **out, leco_error *err)
{
    model *m;
    *out = NULL;
    if (c->model_written) /* by a config: a library's caller gives the path alone */
        LECO_TRY(
            train_config_check_place(c->model_place, "pretrained_model.name_or_path", c->model, c->model_written, err));
    LECO_TRY(model_open(c->model, &m, err));
    if (c->embedding_count > 0)
        log_message(LOG_WARNING,
                    "%s: a closed form reads the words of --embedding letter by letter, as if they weren't there",
                    c->path);
    leco_status status = model_map(m, MODEL_UNET, err);
    if (status == LECO_OK) status = model_load(m, MODEL_TEXT_ENCODER, err);
    if (status == LECO_OK && model_skip_layers(m, c->clip_skip, err) != LECO_OK)
        status = error_prefix(err, LECO_INVALID, "%s: pretrained_model.clip_skip",
                              train_config_place(c, "pretrained_model.clip_skip"));
    if (status == LECO_OK)
        *out = m;
    else
        model_close(m);
    return status;
}

leco_status start_solve(const train_config *c, const char *device_name, trainable **out, leco_error *err)
{
    gathering g;
    model *m = NULL;
    *out = NULL;
    leco_status status = gather_checked(&g, c, err);
    if (status == LECO_OK) status = start_open_model(c, &m, err);
    if (status == LECO_OK) status = solve_with(c, device_name, &g, m, out);
    model_close(m);
    arena_destroy(g.memory);
    return status;
}

/* up [out, rank] of a module in another's, whose scale is another and whose rank may be higher: zeros behind. */
static void copy_up(const trainable_module *from, trainable_module *into)
{
    const param *source = &from->param[1], *target = &into->param[1];
    const float scale = into->alpha / (float)into->rank; /* from's is 1 */
    for (int64_t i = 0; i < from->layer.out; i++)
        for (int64_t r = 0; r < from->rank; r++) {
            const float value = ((const float *)source->value)[i * from->rank + r] / scale;
            char *at = (char *)target->value + (size_t)(i * into->rank + r) * dtype_size(target->type);
            dtype_convert(at, target->type, &value, DTYPE_F32, 1);
        }
}

size_t start_copy(trainable *from, trainable *into)
{
    size_t copied = 0;
    for (size_t i = 0; i < trainable_module_count(into); i++) {
        trainable_module *to = trainable_module_at(into, i);
        for (size_t k = 0; k < trainable_module_count(from); k++) {
            const trainable_module *m = trainable_module_at(from, k);
            if (m->layer.part != to->layer.part || strcmp(m->layer.path, to->layer.path) != 0) continue;
            const size_t down = (size_t)shape_count(&m->param[0].shape);
            dtype_convert(to->param[0].value, to->param[0].type, m->param[0].value, DTYPE_F32, down);
            copy_up(m, to);
            copied++;
        }
    }
    trainable_changed(into);
    return copied;
}
