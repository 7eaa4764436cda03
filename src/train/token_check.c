#include "train/token_check.h"

#include <stdio.h>

#include "model/model.h"
#include "model/wildcards.h"

/* What is looked at of a text that means more; any other is looked at whole. */
enum { MOST_ALTERNATIVES = 1024, QUOTED = 80 };

typedef struct checking {
    const frozen_model *models;
    const char *token;
    const objective *of;
} checking;

/* A search for an alternative of a text that holds the token, or for one that doesn't. */
typedef struct search {
    const checking *in;
    bool holding, found;
    char text[QUOTED + 1]; /* its beginning */
} search;

static leco_status look_at(void *user, const char *text, leco_error *err)
{
    search *s = user;
    bool holds;
    if (s->found) return LECO_OK;
    LECO_TRY(tokenizer_holds(s->in->models[0].model->tokenizer, text, s->in->token, &holds, err));
    if (holds != s->holding) return LECO_OK;
    s->found = true;
    snprintf(s->text, sizeof s->text, "%s", text);
    return LECO_OK;
}

static leco_status find(const checking *c, const char *prompt, bool holding, search *out, leco_error *err)
{
    *out = (search){.in = c, .holding = holding};
    leco_status status = wildcards_visit(prompt, MOST_ALTERNATIVES, look_at, out, err);
    return status == LECO_OK ? LECO_OK : error_prefix(err, status, "%s", c->of->place);
}

/* A prompt for a model without what is trained. */
static leco_status check_frozen(const checking *c, size_t which, const char *prompt, leco_error *err)
{
    search s;
    bool known = false;
    if (which > 0) LECO_TRY(tokenizer_holds(c->models[which].model->tokenizer, c->token, c->token, &known, err));
    if (known) return LECO_OK;
    LECO_TRY(find(c, prompt, true, &s, err));
    if (!s.found) return LECO_OK;
    return error_set(err, LECO_INVALID,
                     "%s: \"%s\" holds the token \"%s\" that is trained, but is asked of %s: only target may hold it; "
                     "give positive and the others without",
                     c->of->place, s.text, c->token, which == 0 ? "the model as it was" : "a teacher");
}

static leco_status check_source(const checking *c, const source_spec *s, leco_error *err)
{
    if (!s || !s->prompt || s->multiplier != 0) return LECO_OK; /* photographs have no prompt */
    LECO_TRY(check_frozen(c, s->model, s->prompt, err));
    return check_frozen(c, s->model, s->unconditional, err);
}

/* file: of a caption, with ": " behind it; or "". */
static leco_status nothing_learnt(const checking *c, const char *file, const char *text, leco_error *err)
{
    return error_set(err, LECO_INVALID,
                     "%s: %s%snothing would be learnt from \"%s\": it doesn't hold the token \"%s\" that is trained%s",
                     c->of->place, file, *file ? ": " : "", text, c->token,
                     *text ? "" : "; a guidance_scale above 1 has \"\" learn, too");
}

static leco_status check_captions(const checking *c, leco_error *err)
{
    for (size_t i = 0; i < c->of->source.photo_count; i++) {
        const photo *p = &c->of->source.photos[i];
        search s;
        LECO_TRY(find(c, p->prompt, false, &s, err));
        if (s.found) return nothing_learnt(c, p->path[0], s.text, err);
    }
    return LECO_OK;
}

/* Nothing but what is read as the token is trained: a branch without it is for nothing. */
static leco_status check_students(const checking *c, leco_error *err)
{
    for (size_t i = 0; i < c->of->branch_count; i++) {
        const char *prompt = c->of->branches[i].prompt;
        search s;
        if (!prompt)
            LECO_TRY(check_captions(c, err));
        else
            LECO_TRY(find(c, prompt, false, &s, err));
        if (prompt && s.found) return nothing_learnt(c, "", s.text, err);
    }
    return LECO_OK;
}

static leco_status check_one(const checking *c, leco_error *err)
{
    LECO_TRY(check_students(c, err));
    for (size_t i = 0; i < c->of->branch_count; i++) {
        for (size_t list = 0; list < BRANCH_LISTS; list++) {
            const term_list *terms = branch_list(&c->of->branches[i], list);
            for (size_t k = 0; k < terms->count; k++)
                LECO_TRY(check_frozen(c, terms->item[k].model, terms->item[k].prompt, err));
        }
    }
    LECO_TRY(check_source(c, &c->of->source, err));
    return check_source(c, c->of->also, err);
}

leco_status token_check(const objective_list *list, const frozen_model *models, const char *token, leco_error *err)
{
    for (size_t i = 0; i < list->count; i++) {
        const checking c = {models, token, &list->item[i]};
        LECO_TRY(check_one(&c, err));
    }
    return LECO_OK;
}
