/* A config as names and values: what must be as it was for a training to go on, and what its files tell of it. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "train/config.h"
#include "train/config_keys.h"

/* Where values come from, in front of each key: "prompts[2]". */
typedef struct telling {
    setting_list *out;
    const char *prefix;
    char *optimizer; /* its arguments, all of them, in place of what was written */
} telling;

/* Where things lie is not what they are; and the precision is the machine's to say. */
static bool is_told(const char *key)
{
    static const char *const left_out[] = {"prompts_file", "name_or_path", "path", "precision", "start_from"};
    for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++)
        if (strcmp(key, left_out[i]) == 0) return false;
    return true;
}

static leco_status add(telling *t, const char *key, const char *value, leco_error *err)
{
    char *name = *t->prefix ? mem_printf("%s.%s", t->prefix, key) : mem_strdup(key);
    leco_status status = name ? settings_add(t->out, name, value, err) : error_memory(err, 0, "a key's value");
    mem_free(name);
    return status;
}

static leco_status visit(void *user, const char *key, const char *value, leco_error *err)
{
    telling *t = user;
    if (!is_told(key) || strcmp(key, "optimizer_args") == 0) return LECO_OK;
    return add(t, key, t->optimizer && strcmp(key, "optimizer") == 0 ? t->optimizer : value, err);
}

static leco_status tell(telling *t, int section, const void *values, const char *prefix, leco_error *err)
{
    t->prefix = prefix;
    return keys_tell(&config_sections[section], values, visit, t, err);
}

static leco_status tell_count(telling *t, const char *name, size_t count, leco_error *err)
{
    char text[24];
    snprintf(text, sizeof text, "%zu", count);
    t->prefix = "";
    return add(t, name, text, err);
}

/* prefix: "prompts[2]". With what was settled of keys that weren't given. */
static leco_status tell_prompt(telling *t, const train_prompt *p, const char *prefix, leco_error *err)
{
    char inner[128];
    LECO_TRY(tell(t, SECTION_PROMPTS, p, prefix, err));
    snprintf(inner, sizeof inner, "number of %s.terms", prefix);
    if (p->term_count > 0) LECO_TRY(tell_count(t, inner, p->term_count, err));
    for (size_t i = 0; i < p->term_count; i++) {
        snprintf(inner, sizeof inner, "%s.terms[%zu]", prefix, i + 1);
        LECO_TRY(tell(t, SECTION_TERMS, &p->term[i], inner, err));
    }
    return LECO_OK;
}

static leco_status tell_all(telling *t, const train_config *c, leco_error *err)
{
    char prefix[64];
    for (int i = SECTION_FILE + 1; i < SECTION_SAVE; i++) LECO_TRY(tell(t, i, c, config_sections[i].name, err));
    if (c->stop_at_effect > 0) LECO_TRY(tell_count(t, "logging.effect_every", (size_t)c->logging.effect_every, err));
    if (c->images.path) LECO_TRY(tell(t, SECTION_IMAGES, c, "images", err));
    if (c->images.regularisation.path) LECO_TRY(tell(t, SECTION_REGULARISATION, c, "images.regularisation", err));
    LECO_TRY(tell_count(t, "number of teachers", c->teacher_count, err));
    for (size_t i = 0; i < c->teacher_count; i++) {
        snprintf(prefix, sizeof prefix, "teachers[%zu]", i + 1);
        LECO_TRY(tell(t, SECTION_TEACHERS, &c->teacher[i], prefix, err));
        LECO_TRY(add(t, "name", c->teacher[i].name, err));
    }
    LECO_TRY(tell_count(t, "number of prompts", c->prompt_count, err));
    for (size_t i = 0; i < c->prompt_count; i++) {
        snprintf(prefix, sizeof prefix, "prompts[%zu]", i + 1);
        LECO_TRY(tell_prompt(t, &c->prompt[i], prefix, err));
    }
    /* What of a concept is preserved follows from that: who compares names the concept first. */
    if (c->preserve.prompt) LECO_TRY(tell(t, SECTION_PRESERVE, c, "preserve", err));
    return LECO_OK;
}

leco_status train_config_describe(const train_config *c, setting_list *out, leco_error *err)
{
    telling t = {.out = out, .optimizer = optimizer_text(&c->optimizer)};
    leco_status status = t.optimizer ? tell_all(&t, c, err) : error_memory(err, 0, "the optimizer's arguments");
    mem_free(t.optimizer);
    return status;
}
