#include "model/family.h"
#include "train/trainer_internal.h"

/* States of prompts that are held, whatever the encoder takes. */
static const size_t HELD_BYTES = (size_t)64 << 20;

/* ---- the prompts of a model ---- */

typedef leco_status (*prompt_visitor)(void *user, const char *prompt, leco_error *err);

static leco_status visit_terms(const term_list *terms, size_t which, prompt_visitor visit, void *user, leco_error *err)
{
    for (size_t i = 0; i < terms->count; i++)
        if (terms->item[i].model == which) LECO_TRY(visit(user, terms->item[i].prompt, err));
    return LECO_OK;
}

static leco_status visit_objective(const objective *o, size_t which, prompt_visitor visit, void *user, leco_error *err)
{
    const source_spec *const sources[] = {&o->source, o->also};
    for (size_t i = 0; i < 2; i++) {
        const source_spec *s = sources[i];
        if (!s || s->model != which) continue;
        if (s->prompt) LECO_TRY(visit(user, s->prompt, err));
        if (s->unconditional) LECO_TRY(visit(user, s->unconditional, err));
        for (size_t k = 0; k < s->photo_count; k++)
            if (s->photos[k].prompt) LECO_TRY(visit(user, s->photos[k].prompt, err));
    }
    for (size_t i = 0; i < o->branch_count; i++) {
        const branch *b = &o->branches[i];
        if (which == 0 && b->prompt) LECO_TRY(visit(user, b->prompt, err));
        for (size_t k = 0; k < BRANCH_LISTS; k++) LECO_TRY(visit_terms(branch_list(b, k), which, visit, user, err));
    }
    return LECO_OK;
}

static leco_status visit_all(const trainer *t, size_t which, prompt_visitor visit, void *user, leco_error *err)
{
    for (size_t i = 0; i < t->objectives.count; i++) {
        const objective *o = &t->objectives.item[i];
        leco_status status = visit_objective(o, which, visit, user, err);
        if (status != LECO_OK) return error_prefix(err, status, "%s", o->place);
    }
    if (which > 0 || !t->memory) return LECO_OK;
    leco_status status = observer_visit_prompts(t->config, visit, user, err);
    return status == LECO_OK ? LECO_OK : error_prefix(err, status, "%s: logging", t->config->path);
}

static leco_status note(void *user, const char *prompt, leco_error *err)
{
    return phrase_add_all(user, prompt, err);
}

/* Adds to the double at `user`. */
static leco_status count(void *user, const char *prompt, leco_error *err)
{
    size_t ways;
    LECO_TRY(phrase_ways(prompt, &ways, err));
    *(double *)user += (double)ways;
    return LECO_OK;
}

bool trainer_keeps_encoder(const trainer *t, size_t which)
{
    return conditioner_streams(t->frozen[which].conditioner) || (which == 0 && trainable_reaches_texts(t->trainable));
}

/* ---- planning ---- */

/* Notes all prompts, or lets them stream. */
static leco_status note_prompts(trainer *t, size_t which, leco_error *err)
{
    conditioner *c = t->frozen[which].conditioner;
    size_t room = model_text_bytes(t->frozen[which].model, weights_planned_bytes);
    if (room < HELD_BYTES) room = HELD_BYTES;
    double prompts = 0;
    LECO_TRY(visit_all(t, which, count, &prompts, err));
    if (prompts * (double)conditioner_prompt_bytes(c) <= (double)room) return visit_all(t, which, note, c, err);
    conditioner_stream(c, room);
    return LECO_OK;
}

/* Of one encoder at work; the other models' texts are there, too. */
static size_t encoding_bytes(const trainer *t, size_t which, size_t room, size_t packed)
{
    size_t bytes = room + packed + conditioner_encoder_bytes(t->frozen[which].conditioner);
    for (size_t i = 0; i <= which; i++) bytes += conditioner_bytes(t->frozen[i].conditioner);
    return bytes;
}

leco_status trainer_plan_texts(trainer *t, size_t which, leco_error *err)
{
    const train_config *c = t->config;
    struct model *m = t->frozen[which].model;
    conditioner **texts = &t->frozen[which].conditioner;
    LECO_TRY(model_map(m, MODEL_TEXT_ENCODER, err));
    const teacher_config *teacher = which > 0 ? &c->teacher[which - 1] : NULL;
    const leco_status skipped = model_skip_layers(m, teacher ? teacher->clip_skip : c->clip_skip, err);
    if (skipped != LECO_OK && teacher)
        return error_prefix(err, skipped, "%s: teachers.%s", teacher->place, teacher->name);
    if (skipped != LECO_OK) return error_prefix(err, skipped, "%s: pretrained_model", c->path);
    if (which == 0) t->pool.text = m->states;
    LECO_TRY(conditioner_create(&t->device, m, which == 0 ? &t->pool.given : NULL, m->states, texts, err));
    LECO_TRY(note_prompts(t, which, err));
    const size_t room = conditioner_arena_bytes(*texts);
    const size_t bytes = encoding_bytes(t, which, room, model_text_bytes(m, weights_planned_bytes));
    if (room > t->text_arena_bytes) t->text_arena_bytes = room;
    if (bytes > t->planned_encoding_bytes) t->planned_encoding_bytes = bytes;
    return LECO_OK;
}

/* ---- encoding ---- */

leco_status trainer_encode_texts(trainer *t, size_t which, leco_error *err)
{
    struct model *m = t->frozen[which].model;
    conditioner *texts = t->frozen[which].conditioner;
    LECO_TRY(model_load(m, MODEL_TEXT_ENCODER, err));
    LECO_TRY(conditioner_prepare(texts, err));
    const size_t bytes =
        encoding_bytes(t, which, workspace_bytes(t->device.workspace), model_text_bytes(m, weights_packed_bytes));
    if (bytes > t->encoding_bytes) t->encoding_bytes = bytes;
    LECO_TRY(model_unchanged(m, err));
    if (conditioner_streams(texts)) return LECO_OK;
    conditioner_release_encoder(texts);
    if (trainer_keeps_encoder(t, which)) return LECO_OK; /* in sessions of its own */
    model_unload_texts(m);
    return LECO_OK;
}
