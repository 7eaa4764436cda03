#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/number.h"
#include "train/config_internal.h"
#include "train/config_keys.h"
#include "train/modes.h"

/* What a computation in float32 would take for zero: then the pair would train nothing. */
static leco_status check_not_zero(const doc_node *entry, const char *key, double value, const char *why,
                                  leco_error *err)
{
    if (!number_is_lost(value)) return LECO_OK;
    return error_set(err, LECO_INVALID, "%s: prompts.%s: expected another number than 0%s: %s",
                     doc_find(entry, key)->place, key, value == 0 ? "" : ", which this one is in float32", why);
}

static leco_status read_term(const doc_node *n, train_config *c, train_term *t, leco_error *err)
{
    const key_section *section = &config_sections[SECTION_TERMS];
    if (n->kind != DOC_MAP) return doc_wrong(n, "terms", "entries with at least \"prompt: ...\"", err);
    keys_defaults(section, false, t);
    LECO_TRY(config_join_texts(c, n, section->name, "prompt", err));
    LECO_TRY(keys_read(n, section, config_sections, t, err));
    if (!t->prompt) return error_set(err, LECO_INVALID, "%s: terms: an entry needs a prompt", n->place);
    if (number_is_lost(t->weight))
        return error_set(err, LECO_INVALID, "%s: terms.weight: expected another number than 0: it would count nothing",
                         doc_find(n, "weight")->place);
    return LECO_OK;
}

/* An entry that spells its terms out has nothing that would make others; a teacher says whose trajectories are meant.
 */
static leco_status read_terms(const doc_node *entry, train_config *c, train_prompt *p, leco_error *err)
{
    static const char *const others[] = {"teacher", "action", "positive", "neutral", "guidance_scale"};
    const doc_node *list = doc_find(entry, "terms");
    if (doc_is_null(list)) return LECO_OK;
    const bool of_teacher = p->trajectory == TRAJECTORY_TEACHER || p->trajectory == TRAJECTORY_BOTH;
    for (size_t i = of_teacher ? 1 : 0; i < sizeof others / sizeof *others; i++)
        if (doc_find(entry, others[i]))
            return error_set(err, LECO_INVALID,
                             "%s: prompts.%s says nothing beside prompts.terms, which is all there is",
                             doc_find(entry, others[i])->place, others[i]);
    if (list->kind != DOC_LIST || list->count == 0 || list->count > TERMS_MAX)
        return error_set(err, LECO_INVALID, "%s: prompts.terms: expected a list of 1 to %d terms", list->place,
                         TERMS_MAX);
    p->term = arena_alloc(c->memory, list->count, sizeof *p->term);
    if (!p->term) return error_memory(err, list->count * sizeof *p->term, "the prompts");
    p->action = &mode_terms;
    p->term_count = list->count;
    for (size_t i = 0; i < list->count; i++) LECO_TRY(read_term(list->item[i].value, c, &p->term[i], err));
    return LECO_OK;
}

static leco_status read_teaching(const doc_node *entry, train_config *c, train_prompt *p, leco_error *err)
{
    LECO_TRY(read_terms(entry, c, p, err));
    LECO_TRY(config_find_teachers(c, entry, p, err));
    if (p->teacher && !p->term && !doc_find(entry, "action")) p->action = &mode_transplant;
    if (p->action->of_teacher && !p->teacher)
        return error_set(err, LECO_INVALID, "%s: prompts.action: %s needs a teacher", p->place, p->action->name);
    const bool of_teacher = p->trajectory == TRAJECTORY_TEACHER || p->trajectory == TRAJECTORY_BOTH;
    if (of_teacher && !p->teacher)
        return error_set(err, LECO_INVALID, "%s: prompts.trajectory: this one needs a teacher in the entry",
                         doc_find(entry, "trajectory")->place);
    if (p->action->mirrored && p->trajectory == TRAJECTORY_BOTH)
        return error_set(err, LECO_INVALID, "%s: prompts.trajectory: a slider's are student, frozen or teacher",
                         doc_find(entry, "trajectory")->place);
    return LECO_OK;
}

/* ESD's erase_from: the concept is taken out of another text. */
static leco_status settle_erase_from(const doc_node *n, train_prompt *p, leco_error *err)
{
    static const char *const others[] = {"positive", "neutral", "terms", "teacher", "images"};
    if (!p->erase_from) return LECO_OK;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!doc_is_null(doc_find(n, others[i])))
            return error_set(err, LECO_INVALID, "%s: prompts.erase_from goes without %s, which it stands for",
                             doc_find(n, "erase_from")->place, others[i]);
    if (p->action != &mode_erase && p->action != &mode_enhance)
        return error_set(err, LECO_INVALID, "%s: prompts.erase_from says nothing to an entry that is to %s",
                         doc_find(n, "erase_from")->place, p->action->name);
    p->positive = p->target;
    p->target = p->neutral = p->erase_from;
    return LECO_OK;
}

/* What goes with sums of predictions on texts only, and with some of these. */
static leco_status check_target(const doc_node *n, const train_prompt *p, leco_error *err)
{
    if (p->before && (p->keep_above || p->norm_match || p->dynamic_resolution || p->dynamic_crops ||
                      p->trajectory == TRAJECTORY_NONE))
        return error_set(err, LECO_INVALID,
                         "%s: prompts: keep_above, norm_match, dynamic_resolution, dynamic_crops and trajectory are "
                         "for texts: pairs "
                         "of pictures have none of them (train.min_timestep and max_timestep say which timesteps these "
                         "are trained at)",
                         n->place);
    if (p->action->no_neutral && p->neutral && !p->norm_match)
        return error_set(err, LECO_INVALID, "%s: prompts.neutral says nothing to an entry that is to %s",
                         doc_find(n, "neutral")->place, p->action->name);
    return LECO_OK;
}

/* Is it an entry of laksjdjf's that leaves out its `negative`, which is "" then? Another one of the file has it. */
static bool leaves_out_negative(const doc_node *n, const train_prompt *p, bool others_have)
{
    return others_have && !p->negative && doc_find(n, "guidance_scale") && !doc_find(n, "unconditional") &&
           !doc_find(n, "positive") && !doc_find(n, "neutral");
}

/* laksjdjf's `negative` is `unconditional`, and what goes with it is added, so that a guidance_scale below 0 erases.
 * In entries without it such a scale turns the action round: people who come from there may not have meant that. */
static leco_status settle_negative(const doc_node *n, bool others_have, train_prompt *p, leco_error *err)
{
    const bool acts = doc_find(n, "action") || p->action != &mode_erase;
    if (!acts && leaves_out_negative(n, p, others_have)) p->negative = "";
    if (p->negative && doc_find(n, "unconditional"))
        return error_set(err, LECO_INVALID, "%s: prompts.negative and unconditional are the same; keep one",
                         doc_find(n, "negative")->place);
    if (p->negative) p->unconditional = p->negative;
    if (p->negative && !acts) p->action = &mode_enhance;
    if (!p->negative && !acts && p->guidance_scale < 0)
        log_message(LOG_WARNING,
                    "%s: erase, which is the action where none is given, at a guidance_scale below 0 is enhance; "
                    "to erase write %g, or, as laksjdjf's leco.py has it, action: enhance",
                    p->place, -p->guidance_scale);
    return LECO_OK;
}

/* Does an entry say what is to go, and nothing of what is to come? Not where it is photographs or a new word that is
 * trained. */
static bool says_target_only(const doc_node *n, const train_config *c, const train_prompt *p)
{
    static const char *const more[] = {"positive", "unconditional", "neutral", "attributes"};
    const bool embedding = c->network.kind == &kind_embedding || c->network.layers.scope == SCOPE_EMBEDDING;
    if (c->as_p1atdev || c->images.path || embedding || p->teacher) return false;
    if (p->action != &mode_erase || p->attributes || p->negative || p->erase_from) return false;
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        if (doc_find(n, more[i])) return false;
    return p->target[strspn(p->target, " \t\r\n")];
}

/* And is that a word or a few? */
static bool is_concept(const doc_node *n, const train_config *c, const train_prompt *p)
{
    if (!says_target_only(n, c, p)) return false;
    if (!strpbrk(p->target, "{}\\")) return true;
    log_message(LOG_WARNING,
                "%s: prompts.target means several texts, and is taken as it stands: without another word in its place, "
                "and with nothing preserved. Give each word an entry of its own, or say what comes with `neutral`",
                p->place);
    return false;
}

/* negatives: entries of the same list have laksjdjf's `negative`. */
static leco_status read_prompt(const doc_node *n, bool negatives, train_config *c, train_prompt *p, leco_error *err)
{
    static const char *const texts[] = {"target",   "positive",   "unconditional", "neutral",
                                        "negative", "attributes", "erase_from",    "to"};
    const key_section *section = &config_sections[SECTION_PROMPTS];
    if (n->kind != DOC_MAP) return doc_wrong(n, "prompts", "a list of entries with at least \"target: ...\"", err);
    keys_defaults(section, false, p);
    p->trajectory_guidance_scale = -1;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        LECO_TRY(config_join_texts(c, n, "prompts", texts[i], err));
    LECO_TRY(keys_read(n, section, config_sections, p, err));
    p->place = n->place;
    if (!p->target) return error_set(err, LECO_INVALID, "%s: prompts: an entry needs a target", n->place);
    if (!p->attributes) p->attributes = c->attributes;
    LECO_TRY(settle_erase_from(n, p, err));
    LECO_TRY(read_teaching(n, c, p, err));
    LECO_TRY(settle_negative(n, negatives, p, err));
    LECO_TRY(config_read_pairs(c, n, p, err));
    LECO_TRY(check_target(n, p, err));
    p->concept = is_concept(n, c, p);
    if (p->to && !p->concept)
        return error_set(
            err, LECO_INVALID,
            "%s: prompts.to is for an entry of `prompts` that erases and says nothing else than a word or a "
            "few as its target; in others `neutral` says what comes in its place",
            doc_find(n, "to")->place);
    if (p->concept && !doc_find(n, "guidance_scale")) p->guidance_scale = 0; /* another word comes in its place */
    if (!p->positive) p->positive = p->target;
    if (!p->neutral) p->neutral = p->action->mirrored ? p->target : p->negative ? "" : p->unconditional;
    if (p->trajectory_guidance_scale < 0)
        p->trajectory_guidance_scale = p->action->unguided ? 1 : c->trajectory_guidance_scale;
    if (!p->batch_size) p->batch_size = c->batch_size;
    const double strength = p->multiplier * (double)c->network.alpha / (double)c->network.rank;
    LECO_TRY(check_not_zero(n, "multiplier", strength, "the adapter would be off while it is trained", err));
    return check_not_zero(n, "weight", p->weight, "the entry would train nothing; leave it out instead", err);
}

/* Concept Sliders' own prompt files that a language model wrote have a `guidance` and a `rank` in their entries, which
 * it doesn't read. */
static void leave_out_ignored(doc_node *list)
{
    const char *place = NULL;
    for (size_t i = 0; i < list->count; i++) {
        doc_node *entry = list->item[i].value;
        size_t kept = 0;
        for (size_t k = 0; entry->kind == DOC_MAP && k < entry->count; k++) {
            const doc_item *item = &entry->item[k];
            const bool ignored = strcmp(item->key, "guidance") == 0 || strcmp(item->key, "rank") == 0;
            if (ignored && !place) place = item->value->place;
            if (!ignored) entry->item[kept++] = *item;
        }
        if (entry->kind == DOC_MAP) entry->count = kept;
    }
    if (place)
        log_message(LOG_INFO,
                    "%s: guidance and rank of an entry are left out, as Concept Sliders does: guidance_scale and "
                    "network.rank say what they seem to",
                    place);
}

leco_status config_read_prompts(train_config *c, doc_node *list, leco_error *err)
{
    const char *where = c->path;
    if (doc_is_null(list)) list = NULL;
    if (c->prompts_file && list)
        return error_set(err, LECO_INVALID, "%s: prompts and prompts_file are both given; keep one", list->place);
    if (c->prompts_file) {
        doc_node *file;
        LECO_TRY(config_find(c, c->prompts_file, &where, err));
        if (!file_exists(where)) return train_config_missing(c->path, "prompts_file", where, c->prompts_file, err);
        LECO_TRY(document_read(c->memory, where, &file, err));
        c->prompts_found = where;
        list = file;
    }
    if (!list && c->images.path) return LECO_OK;
    if (!list)
        return error_set(err, LECO_INVALID, "%s: no prompts: give a list under \"prompts\", or a \"prompts_file\"",
                         where);
    LECO_TRY(config_entries(c->memory, list, &list, err));
    if (c->prompts_file) leave_out_ignored(list);
    c->prompt = arena_alloc(c->memory, list->count, sizeof *c->prompt);
    if (!c->prompt) return error_memory(err, list->count * sizeof *c->prompt, "the prompts");
    c->prompt_count = list->count;
    bool negatives = false;
    for (size_t i = 0; i < list->count; i++) {
        const doc_node *n = list->item[i].value;
        negatives = negatives || (n->kind == DOC_MAP && doc_find(n, "negative"));
    }
    for (size_t i = 0; i < list->count; i++)
        LECO_TRY(read_prompt(list->item[i].value, negatives, c, &c->prompt[i], err));
    return LECO_OK;
}

leco_status config_read_preserved(train_config *c, const doc_node *root, leco_error *err)
{
    const key_section *section = &config_sections[SECTION_PRESERVE];
    preserve_config *p = &c->preserve;
    doc_node *n = doc_find(root, section->name);
    if (doc_is_null(n)) return LECO_OK;
    LECO_TRY(config_join_texts(c, n, section->name, "prompts", err));
    LECO_TRY(keys_read(n, section, config_sections, c, err));
    p->place = n->place;
    if (!p->batch_size) p->batch_size = c->batch_size;
    return LECO_OK;
}

leco_status config_check_preserved(const train_config *c, leco_error *err)
{
    for (size_t i = 0; i < c->prompt_count; i++)
        if (c->prompt[i].concept) return LECO_OK; /* what stays is found out with it */
    if (!c->preserve.place || c->preserve.prompt) return LECO_OK;
    return error_set(err, LECO_INVALID, "%s: preserve needs prompts: what shall stay as it is", c->preserve.place);
}
