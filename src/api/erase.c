#define _GNU_SOURCE /* strcasestr */
/* Closed-form edits: options checked, the solve, the file, the report. */
#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "api/layers.h"
#include "api/locale.h"
#include "api/report.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/lines.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/name_table.h"
#include "base/utf8.h"
#include "model/family.h"
#include "model/wildcards.h"
#include "solve/contexts.h"
#include "solve/erase.h"

enum { MOST_TOLD = 6, PROMPT_FILE_LIMIT = 4 << 20, LONGEST_LINE = 1 << 16 /* as the tokenizer has it */ };
enum { MOST_KEPT_OF_ONE = 256 }; /* of what a text with wildcards means */

leco_erase_options leco_erase_defaults(void)
{
    return (leco_erase_options){.method = "uce", .strength = 1, .lambda = ERASE_LAMBDA, .max_rank = ERASE_MAX_RANK};
}

void leco_erase_report_free(leco_erase_report *report)
{
    mem_free(report->summary);
    mem_free(report->json);
    *report = (leco_erase_report){0};
}

/* One at work. */
typedef struct erasing {
    leco_model *handle;
    const leco_erase_options *options;
    const char *path;
    double start;
    arena *memory;     /* of texts */
    const char **word; /* [concept_count] the concepts by themselves */
    dtype precision;   /* of the file */
    erase_options what;
    erase_result result;
} erasing;

/* ---- options ---- */

static leco_status check(const leco_erase_options *o, leco_error *err)
{
    if (o->concept_count == 0) return error_set(err, LECO_INVALID, "no concept given");
    if (!o->method || (strcmp(o->method, "uce") != 0 && strcmp(o->method, "speed") != 0))
        return error_set(err, LECO_INVALID, "the method is \"%.60s\": expected uce or speed",
                         o->method ? o->method : "");
    if (!isfinite(o->strength) || o->strength <= 0)
        return error_set(err, LECO_INVALID, "the strength is %g: expected a number above 0", o->strength);
    if (!isfinite(o->lambda) || o->lambda < 0)
        return error_set(err, LECO_INVALID, "lambda is %g: expected a number of at least 0", o->lambda);
    if (o->rank < 0 || o->rank > 1024)
        return error_set(err, LECO_INVALID, "the rank is %d: expected 1 to 1024, or 0 for as low as serves", o->rank);
    if (o->max_rank < 1 || o->max_rank > 1024)
        return error_set(err, LECO_INVALID, "the highest rank is %d: expected 1 to 1024", o->max_rank);
    if (o->rounds < 0 || o->rounds > 3) return error_set(err, LECO_INVALID, "%d rounds: expected 0 to 3", o->rounds);
    return LECO_OK;
}

/* Wildcards are for contexts and what is kept: a concept, and what comes in its place, are words. */
static leco_status check_words(const char *what, const char *const *text, size_t count, leco_error *err)
{
    for (size_t i = 0; i < count; i++)
        if (strpbrk(text[i], "{}"))
            return error_set(err, LECO_INVALID,
                             "%s \"%.100s\" has a brace: wildcards are for the texts of --in and --keep only", what,
                             text[i]);
    return LECO_OK;
}

#define LARGEST_SHARE 1e9

/* "a man:0.5": the share is what stands behind the last colon, where that is a number. */
static leco_status read_target(const char *text, arena *memory, erase_target *out, leco_error *err)
{
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    const double share = colon && colon[1] ? strtod(colon + 1, &end) : 1;
    *out = (erase_target){text, 1};
    if (colon && colon[1 + strspn(colon + 1, "0123456789.,% ")] == '\0' && (!end || *end))
        return error_set(err, LECO_INVALID, "the share in \"%.100s\" is \"%.100s\": expected a number above 0", text,
                         colon + 1);
    if (!end || *end) return LECO_OK;
    if (!(share > 0) || share > LARGEST_SHARE)
        return error_set(err, LECO_INVALID, "the share in \"%.100s\" is %s: expected a number above 0, and up to %g",
                         text, colon + 1, LARGEST_SHARE);
    char *without = arena_printf(memory, "%.*s", (int)(colon - text), text);
    *out = (erase_target){without, share};
    return without ? LECO_OK : error_memory(err, strlen(text), "a text");
}

/* A text, and for messages where it stands: the option's name, or "FILE:LINE". */
typedef struct found_text {
    const char *text, *place;
} found_text;

/* The given texts and those of a file. */
static leco_status gather_texts(const char *const *given, size_t count, const char *option, const char *file,
                                arena *memory, found_text **out, size_t *total, leco_error *err)
{
    char *text = NULL, *lines = NULL;
    size_t most = count, number = 0;
    if (file) {
        LECO_TRY(file_read_text(file, PROMPT_FILE_LIMIT, &text, NULL, err));
        lines = arena_strdup(memory, text);
        mem_free(text);
        if (!lines) return error_memory(err, 0, file);
        for (const char *c = lines; *c; c++) most += *c == '\n';
        most++;
    }
    found_text *all = arena_alloc(memory, most, sizeof *all);
    if (!all) return error_memory(err, most * sizeof *all, "texts");
    for (size_t i = 0; i < count; i++) all[i] = (found_text){given[i], option};
    *total = count;
    for (const char *line; (line = lines_next(&lines, &number)); (*total)++) {
        all[*total] = (found_text){line, arena_printf(memory, "%s:%zu", file, number)};
        if (!all[*total].place) return error_memory(err, strlen(file), "texts");
        if (strlen(line) > LONGEST_LINE)
            return error_set(err, LECO_INVALID, "%s: a text of %zu bytes: expected at most %d", all[*total].place,
                             strlen(line), LONGEST_LINE);
    }
    if (file && *total == count) return error_set(err, LECO_INVALID, "%s: expected a text a line, found none", file);
    *out = all;
    return LECO_OK;
}

/* ---- contexts ---- */

/* Where a prompt says a word by itself, whatever its case; NULL: nowhere. */
static const char *find_word(const char *prompt, const char *word)
{
    const size_t length = strlen(word);
    for (const char *at = strcasestr(prompt, word); at; at = strcasestr(at + 1, word))
        if ((at == prompt || !isalnum((unsigned char)at[-1])) && !isalnum((unsigned char)at[length])) return at;
    return NULL;
}

/* A prompt that has no {} and says one of the concepts, once, gets it there; "" of one that says none, or several. */
static leco_status place_concept(const erasing *e, const char *prompt, const char **out, leco_error *err)
{
    const char *found = NULL;
    size_t length = 0, count = 0;
    for (size_t i = 0; i < e->options->concept_count; i++) {
        const char *word = e->word[i], *at = *word ? find_word(prompt, word) : NULL;
        if (!at) continue;
        count += find_word(at + 1, word) ? 2 : 1; /* another one would stay */
        found = at;
        length = strlen(word);
    }
    *out = "";
    if (count != 1) return LECO_OK;
    *out = arena_printf(e->memory, "%.*s{}%s", (int)(found - prompt), prompt, found + length);
    return *out ? LECO_OK : error_memory(err, strlen(prompt), "a context");
}

/* Files may hold prompts that people have anyway: those that say a concept are contexts, others are passed over. */
static leco_status gather_contexts(erasing *e, leco_error *err)
{
    const leco_erase_options *o = e->options;
    found_text *found;
    size_t count, kept = 0, first_passed = 0;
    LECO_TRY(gather_texts(o->contexts, o->context_count, "--in", o->context_file, e->memory, &found, &count, err));
    const char **all = arena_alloc(e->memory, count + 1, sizeof *all);
    const char **place = arena_alloc(e->memory, count + 1, sizeof *place);
    if (!all || !place) return error_memory(err, count * sizeof *all, "contexts");
    for (size_t i = 0; i < count; i++) {
        const char *text = all[kept] = found[i].text;
        if (i >= o->context_count && !strstr(text, "{}")) LECO_TRY(place_concept(e, text, &all[kept], err));
        place[kept] = found[i].place;
        const leco_status status = *all[kept] ? context_check(all[kept], err) : LECO_OK;
        if (status != LECO_OK) return error_prefix(err, status, "%s", found[i].place);
        const bool taken = i < o->context_count || *all[kept];
        if (!taken && kept == i) first_passed = i;
        kept += taken;
    }
    if (kept == 0 && count > 0)
        return error_set(err, LECO_INVALID, "%s: no line has a {} or says one concept once", o->context_file);
    if (kept < count)
        log_message(LOG_WARNING, "%s: passed over, as all lines that have no {} and don't say one concept once: %zu",
                    found[first_passed].place, count - kept);
    e->what.context = all;
    e->what.context_place = place;
    e->what.contexts = kept;
    return LECO_OK;
}

/* ---- what is kept ---- */

/* Texts, each once. */
typedef struct keeping {
    arena *memory;
    name_table known;
    const char **text; /* [room], the arena's */
    size_t count, room;
} keeping;

static leco_status keep_one(void *user, const char *text, leco_error *err)
{
    keeping *k = user;
    if (name_table_find(&k->known, text)) return LECO_OK;
    const char *copy = arena_strdup(k->memory, text);
    if (k->count == k->room) {
        const size_t room = 2 * k->room + 64;
        const char **grown = arena_alloc(k->memory, room, sizeof *grown);
        if (!grown) return error_memory(err, room * sizeof *grown, "texts");
        if (k->count > 0) memcpy(grown, k->text, k->count * sizeof *grown);
        k->text = grown;
        k->room = room;
    }
    if (!copy || !name_table_add(&k->known, copy, k->count)) return error_memory(err, strlen(text), "a text");
    k->text[k->count++] = copy;
    return LECO_OK;
}

/* All that the texts mean. */
static leco_status expand_kept(keeping *k, const found_text *found, leco_error *err)
{
    if (strstr(found->text, "{}"))
        return error_set(err, LECO_INVALID, "%s: \"%.100s\" has a {}: these are for the texts of --in", found->place,
                         found->text);
    const leco_status status = wildcards_visit(found->text, MOST_KEPT_OF_ONE, keep_one, k, err);
    return status == LECO_OK ? LECO_OK : error_prefix(err, status, "%s", found->place);
}

static leco_status gather_kept(erasing *e, leco_error *err)
{
    const leco_erase_options *o = e->options;
    found_text *found;
    size_t count;
    LECO_TRY(gather_texts(o->keep, o->keep_count, "--keep", o->keep_file, e->memory, &found, &count, err));
    keeping k = {.memory = e->memory};
    leco_status status = LECO_OK;
    for (size_t i = 0; i < count && status == LECO_OK; i++) {
        status = expand_kept(&k, &found[i], err);
        if (i < o->keep_count) e->what.certain = k.count;
    }
    name_table_free(&k.known);
    e->what.keep = k.text;
    e->what.keeps = k.count;
    return status;
}

/* ---- all of them ---- */

static bool forward_progress(void *user, double done)
{
    const erasing *e = user;
    const double seconds = cpu_seconds() - e->start;
    const leco_progress out = {.what = e->options->enhance ? "enhancing" : "erasing",
                               .done = (int64_t)(100 * done),
                               .total = 100,
                               .seconds = seconds,
                               .seconds_left = done > 0 ? seconds * (1 - done) / done : -1,
                               .loss = NAN};
    IN_HOST_LOCALE;
    return e->options->progress(e->options->user, &out);
}

static leco_status read_options(erasing *e, leco_error *err)
{
    const leco_erase_options *o = e->options;
    LECO_TRY(check(o, err));
    LECO_TRY(layers_precision(o->precision, &e->precision, err));
    LECO_TRY(check_words("the concept", o->concepts, o->concept_count, err));
    LECO_TRY(check_words("what comes in its place", o->to, o->to_count, err));
    e->what = (erase_options){.word = o->concepts,
                              .words = o->concept_count,
                              .targets = o->to_count,
                              .method = strcmp(o->method, "speed") == 0 ? EDIT_SPEED : EDIT_UCE,
                              .rounds = o->rounds,
                              .lambda = o->lambda,
                              .strength = o->enhance ? -o->strength : o->strength,
                              .rank = o->rank,
                              .max_rank = o->max_rank,
                              .lost = ERASE_LOST,
                              .progress = o->progress ? forward_progress : NULL,
                              .user = e};
    erase_target *target = arena_alloc(e->memory, o->to_count + 1, sizeof *target);
    if (!target) return error_memory(err, o->to_count * sizeof *target, "texts");
    for (size_t i = 0; i < o->to_count; i++) LECO_TRY(read_target(o->to[i], e->memory, &target[i], err));
    e->what.target = target;
    if (!(e->word = arena_alloc(e->memory, o->concept_count, sizeof *e->word)))
        return error_memory(err, o->concept_count * sizeof *e->word, "concepts");
    for (size_t i = 0; i < o->concept_count; i++)
        if (!(e->word[i] = word_by_itself(o->concepts[i], e->memory))) return error_memory(err, 0, "a concept");
    LECO_TRY(gather_contexts(e, err));
    return gather_kept(e, err);
}

/* ---- the file ---- */

static const char *verb_of(const leco_erase_options *o)
{
    return o->enhance ? "goes away from" : "becomes";
}

/* Around what comes in a concept's place: several texts have quotes themselves. */
static const char *quote_of(const char *becomes)
{
    return *becomes == '"' ? "" : "\"";
}

static leco_status save(const erasing *e, leco_error *err)
{
    const model *m = e->handle->model;
    char comment[512];
    size_t used = (size_t)snprintf(comment, sizeof comment, "leco: %s ", e->options->enhance ? "enhances" : "erases");
    for (size_t i = 0; i < e->options->concept_count && used < sizeof comment; i++) {
        const char *to = e->result.erased[i].becomes, *quote = quote_of(to);
        used += (size_t)snprintf(comment + used, sizeof comment - used, "%s\"%s\", which %s %s%s%s", i ? "; " : "",
                                 e->options->concepts[i], verb_of(e->options), quote, to, quote);
    }
    if (used < sizeof comment)
        snprintf(comment + used, sizeof comment - used, ", by a closed form (%s)", e->options->method);
    utf8_tidy(comment, false);
    const trainable_metadata metadata = {
        .comment = comment, .family = m->family, .v_prediction = m->schedule.prediction == PREDICT_V};
    return layers_save(e->result.trainable, e->path, e->precision, &metadata, err);
}

/* ---- the report ---- */

static json_t *near_json(const near_words *near)
{
    json_t *all = json_array();
    for (size_t i = 0; i < near->count; i++)
        json_array_append_new(all, json_pack("{s:s, s:f, s:b, s:b, s:b}", "word", near->item[i].word, "distance",
                                             near->item[i].distance, "of_topic", near->item[i].of_topic, "form",
                                             near->item[i].form, "same", near->item[i].same));
    return all;
}

static char *to_json(const erasing *e, const leco_erase_report *report)
{
    json_t *concepts = json_array(), *kept = json_array();
    const erase_result *r = &e->result;
    for (size_t i = 0; i < e->options->concept_count; i++)
        json_array_append_new(concepts, json_pack("{s:s, s:s, s:s, s:I, s:f, s:o}", "concept", e->options->concepts[i],
                                                  "topic", r->erased[i].near.topic->name,
                                                  e->options->enhance ? "goes_away_from" : "becomes",
                                                  r->erased[i].becomes, "contexts", (json_int_t)r->erased[i].contexts,
                                                  "left", r->erased[i].left, "near", near_json(&r->erased[i].near)));
    for (size_t i = 0; i < r->kept_count; i++)
        json_array_append_new(kept, json_pack("{s:s, s:f}", "text", r->kept[i].text, "moved", r->kept[i].moved));
    json_t *all =
        json_pack("{s:o, s:i, s:I, s:I, s:f, s:f, s:f, s:f, s:o, s:o}", "file", report_string(e->path), "rank",
                  report->rank, "layers", (json_int_t)trainable_module_count(r->trainable), "parameters",
                  (json_int_t)trainable_parameters(r->trainable), "lost", report->lost, "left", report->left, "moved",
                  report->moved, "seconds", report->seconds, "concepts", concepts, "kept", kept);
    char *text = NULL;
    leco_status status = all ? report_text(all, true, &text, NULL) : LECO_MEMORY;
    json_decref(all);
    return status == LECO_OK ? text : NULL;
}

typedef enum near_kind { NEAR_LISTED, NEAR_IN_VOCABULARY, NEAR_FORM } near_kind;

static near_kind kind_of(const near_word *w)
{
    return w->of_topic ? NEAR_LISTED : w->form ? NEAR_FORM : NEAR_IN_VOCABULARY;
}

/* Some of the nearest words of a kind, those up to `most` far, behind what these are; whether there are any. */
static bool tell_near(FILE *out, const near_words *near, near_kind kind, double most, const char *what)
{
    size_t told = 0;
    for (size_t i = 0; i < near->count && told < MOST_TOLD; i++) {
        const near_word *w = &near->item[i];
        if (kind_of(w) != kind || w->distance > most) continue;
        fprintf(out, "%s %s (%.2f)", told++ ? "," : what, w->word, w->distance);
    }
    return told > 0;
}

/* How far the nearest word of a list is that says something else. */
static double nearest_listed(const near_words *near)
{
    for (size_t i = 0; i < near->count; i++)
        if (near->item[i].of_topic && !near->item[i].same) return near->item[i].distance;
    return INFINITY;
}

static void tell_all_near(FILE *out, const near_words *near)
{
    const bool any = tell_near(out, near, NEAR_LISTED, INFINITY, "\n  nearest to it:");
    fprintf(out, "%s\n", any ? "" : "\n  nearest to it: nothing that is known of its kind");
    if (tell_near(out, near, NEAR_IN_VOCABULARY, nearest_listed(near),
                  "  nearer, in the tokenizer's vocabulary (--to takes any):"))
        fputc('\n', out);
    if (tell_near(out, near, NEAR_FORM, INFINITY, "  spelt like it (not erased, unless named as well):"))
        fputc('\n', out);
}

/* word: the name by itself. */
static void tell_concept(FILE *out, const char *name, const char *word, const erased_concept *c,
                         const leco_erase_options *o)
{
    const char *quote = quote_of(c->becomes);
    fprintf(out, "%s (%s, %zu context%s) %s %s%s%s", name, c->near.topic->name, c->contexts,
            c->contexts == 1 ? "" : "s", verb_of(o), quote, c->becomes, quote);
    if (!o->enhance)
        fprintf(out, "; %.1f%% of the way is left (%s)", 100 * c->left,
                *quote == '\0'                        ? "a mixture reads like what lies between: look at pictures"
                : c->left < 0.5 && !strchr(word, ' ') ? "gone, as a rule"
                : c->left < ERASE_HARDLY              ? "look at pictures: it may be gone"
                                                      : "hardly changed");
    tell_all_near(out, &c->near);
    for (size_t i = 0; i < c->near.count; i++)
        if (c->near.item[i].same) fprintf(out, "  \"%s\" says about the same, and is not kept\n", c->near.item[i].word);
}

static char *to_summary(const erasing *e, const leco_erase_report *report)
{
    const erase_result *r = &e->result;
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out) return NULL;
    const leco_erase_options *o = e->options;
    for (size_t i = 0; i < o->concept_count; i++) tell_concept(out, o->concepts[i], e->word[i], &r->erased[i], o);
    fprintf(out, "kept: %zu text%s, moved by %.1f%% of %s; most:\n", r->kept_count, r->kept_count == 1 ? "" : "s",
            100 * report->moved, o->enhance ? "the way from a concept to what is near to it" : "that");
    for (size_t i = 0; i < r->kept_count && i < 3; i++)
        fprintf(out, "  %5.1f%%  \"%s\"\n", 100 * r->kept[i].moved, r->kept[i].text);
    fprintf(out, "rank %d, which leaves out %.1f%% of the change; %zu layers, %lld parameters\n", report->rank,
            100 * report->lost, trainable_module_count(r->trainable), (long long)trainable_parameters(r->trainable));
    bool failed = ferror(out);
    if (fclose(out) != 0 || failed) {
        free(text);
        return NULL;
    }
    char *copy = mem_strdup(text);
    free(text);
    if (copy) utf8_tidy(copy, true);
    return copy;
}

static leco_status make_report(erasing *e, leco_erase_report *out, leco_error *err)
{
    const erase_result *r = &e->result;
    leco_erase_report made = {.rank = (int)r->rank, .lost = r->lost, .moved = r->kept_moved};
    for (size_t i = 0; i < e->options->concept_count; i++)
        if (r->erased[i].left > made.left) made.left = r->erased[i].left;
    made.seconds = cpu_seconds() - e->start;
    made.summary = to_summary(e, &made);
    made.json = to_json(e, &made);
    if (made.summary && made.json) {
        *out = made;
        return LECO_OK;
    }
    leco_erase_report_free(&made);
    return error_memory(err, 0, "the report");
}

/* ---- all of it ---- */

static leco_status erase(erasing *e, leco_erase_report *report, leco_error *err)
{
    model *m = e->handle->model;
    LECO_TRY(folder_refuse_inside(m->folder, e->path, err));
    LECO_TRY(read_options(e, err));
    LECO_TRY(model_map(m, MODEL_UNET, err));
    LECO_TRY(model_load(m, MODEL_TEXT_ENCODER, err));
    LECO_TRY(erase_solve(m, &e->handle->device, &e->what, &e->result, err));
    leco_status status = make_report(e, report, err);
    if (status == LECO_OK) status = model_unchanged(m, err);
    if (status == LECO_OK) status = save(e, err);
    if (status != LECO_OK) leco_erase_report_free(report);
    erase_result_free(&e->result);
    return status;
}

leco_status leco_erase(leco_model *handle, const leco_erase_options *options, const char *path,
                       leco_erase_report *report, leco_error *err)
{
    IN_C_LOCALE;
    erasing e = {.handle = handle, .options = options, .path = path, .start = cpu_seconds(), .memory = arena_create()};
    leco_erase_report made = {0};
    leco_status status = e.memory ? erase(&e, &made, err) : error_memory(err, 0, "an edit");
    arena_destroy(e.memory);
    if (status == LECO_OK) *report = made;
    return status;
}
