#define _GNU_SOURCE /* strcasestr: tokens are found in any letters */
#include "train/token_check.h"

#include <string.h>

static bool holds(const char *prompt, const char *token)
{
    return strcasestr(prompt, token) != NULL;
}

/* A prompt for the trained model without what is trained. */
static leco_status check_frozen(const objective *o, const char *prompt, const char *token, leco_error *err)
{
    if (!holds(prompt, token)) return LECO_OK;
    return error_set(err, LECO_INVALID,
                     "%s: \"%.80s\" holds the token \"%s\" that is trained, but is asked of the model as it was: only "
                     "target may hold it; give positive and the others without",
                     o->place, prompt, token);
}

static leco_status check_source(const objective *o, const source_spec *s, const char *token, leco_error *err)
{
    if (!s || !s->prompt || s->model != 0 || s->multiplier != 0) return LECO_OK; /* photographs have no prompt */
    LECO_TRY(check_frozen(o, s->prompt, token, err));
    return check_frozen(o, s->unconditional, token, err);
}

static leco_status nothing_learnt(const objective *o, const char *prompt, const char *token, leco_error *err)
{
    return error_set(err, LECO_INVALID,
                     "%s: nothing would be learnt from \"%.80s\": it doesn't hold the token \"%s\" that is trained",
                     o->place, prompt, token);
}

static leco_status check_captions(const objective *o, const char *token, leco_error *err)
{
    for (size_t i = 0; i < o->source.photo_count; i++) {
        const photo *p = &o->source.photos[i];
        if (holds(p->prompt, token)) continue;
        return error_prefix(err, nothing_learnt(o, p->prompt, token, err), "%s", p->path[0]);
    }
    return LECO_OK;
}

static leco_status check_one(const objective *o, const char *token, leco_error *err)
{
    bool learns = false;
    for (size_t i = 0; i < o->branch_count; i++) {
        const char *prompt = o->branches[i].prompt;
        if (!prompt) LECO_TRY(check_captions(o, token, err));
        learns = learns || !prompt || holds(prompt, token);
    }
    if (!learns) return nothing_learnt(o, o->branches[0].prompt, token, err);
    for (size_t i = 0; i < o->branch_count; i++) {
        for (size_t list = 0; list < BRANCH_LISTS; list++) {
            const term_list *terms = branch_list(&o->branches[i], list);
            for (size_t k = 0; k < terms->count; k++)
                if (terms->item[k].model == 0) LECO_TRY(check_frozen(o, terms->item[k].prompt, token, err));
        }
    }
    LECO_TRY(check_source(o, &o->source, token, err));
    return check_source(o, o->also, token, err);
}

leco_status token_check(const objective_list *list, const char *token, leco_error *err)
{
    for (size_t i = 0; i < list->count; i++) LECO_TRY(check_one(&list->item[i], token, err));
    return LECO_OK;
}
