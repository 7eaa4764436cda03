#include "solve/erase_internal.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "model/kinds.h"
#include "model/prompt_syntax.h"

/* Contexts of a concept; how many states behind the longest text are computed: the padding tells of the concept, too,
 * and all of it says about the same; how many texts are done between two calls of progress; and the parts of its bar.
 */
enum { CONTEXTS = 36, BEHIND = 12, SEED = 20231108, AT_A_TIME = 64 };
#define NEAR_DONE 0.1
#define ENCODED 0.5
#define GATHERED 0.6
#define CUT 0.9

/* ---- what is asked for ---- */

/* Is there a letter or digit of any script in it? */
static bool says_something(const char *word)
{
    for (const char *c = word; *c; c++)
        if (isalnum((unsigned char)*c) || (unsigned char)*c >= 0x80) return true;
    return false;
}

static leco_status check_concepts(solver *s)
{
    const erase_options *o = s->options;
    for (size_t i = 0; i < o->words; i++) {
        subject *c = &s->subject[i];
        if (!(c->word = word_by_itself(o->word[i], s->texts))) return erase_no_memory(s, "a concept");
        LECO_TRY(text_place(c->word, s->model->tokenizer, s->texts, &c->alone, s->err));
        if (c->alone.needed <= 2 || !says_something(c->word))
            return error_set(s->err, LECO_INVALID, "concept number %zu is empty: expected words", i + 1);
        if (c->alone.cut)
            return error_set(s->err, LECO_INVALID,
                             "the concept \"%.60s...\" is more than the %zu tokens that the text encoder reads",
                             c->word, tokenizer_length(s->model->tokenizer));
        for (size_t k = 0; k < i; k++)
            if (strcasecmp(s->subject[k].word, c->word) == 0)
                return error_set(s->err, LECO_INVALID, "the concept \"%.60s\" is given twice", c->word);
    }
    return LECO_OK;
}

/* What people write in other programs' prompts is taken literally here, too. */
static void tell_of_syntax(const solver *s)
{
    const erase_options *o = s->options;
    bool told = false;
    for (size_t i = 0; i < o->words; i++) prompt_syntax_tell(o->word[i], s->model->tokenizer, &told);
    for (size_t i = 0; i < o->targets; i++) prompt_syntax_tell(o->target[i].text, s->model->tokenizer, &told);
    for (size_t i = 0; i < o->keeps; i++) prompt_syntax_tell(o->keep[i], s->model->tokenizer, &told);
    for (size_t i = 0; i < o->contexts; i++) prompt_syntax_tell(o->context[i], s->model->tokenizer, &told);
}

static leco_status check_texts(const solver *s)
{
    const erase_options *o = s->options;
    placed_text place;
    const char *passed = NULL;
    size_t passed_by = 0;
    if (o->targets > 1 && o->words > 1)
        log_message(
            LOG_WARNING,
            "each of the %zu concepts becomes a mixture of the %zu texts of --to; one command for each concept, "
            "and leco merge, give each one of its own",
            o->words, o->targets);
    for (size_t i = 0; i < o->words; i++)
        LECO_TRY(word_warn_of_unknown(s->model->tokenizer, o->word[i], false, s->err));
    for (size_t i = 0; i < o->targets + o->keeps; i++) {
        const bool keep = i >= o->targets;
        const char *text = keep ? o->keep[i - o->targets] : o->target[i].text;
        LECO_TRY(word_warn_of_unknown(s->model->tokenizer, text, keep, s->err));
        LECO_TRY(text_place(text, s->model->tokenizer, s->texts, &place, s->err));
        if (keep && place.cut)
            log_message(LOG_WARNING,
                        "\"%.60s...\" is more than the %zu tokens that the text encoder reads: what is behind them "
                        "doesn't count",
                        text, tokenizer_length(s->model->tokenizer));
        if (!keep && strchr(text, ',')) word_warn_of_phrase(text);
        const subject *c = erase_mentioned(s, &place);
        if (c && keep && i - o->targets >= o->certain) {
            passed = passed ? passed : text;
            passed_by++;
        } else if (c)
            return error_set(s->err, LECO_INVALID, "\"%.100s\" can't be %s: it says \"%.60s\", which is to change",
                             text,
                             keep                       ? "kept"
                             : s->options->strength < 0 ? "what it is told from"
                                                        : "what comes in its place",
                             c->word);
    }
    if (passed)
        log_message(LOG_WARNING, "\"%.100s\"%s says what is to change, and isn't kept", passed,
                    passed_by > 1 ? ", as others of the file," : "");
    return LECO_OK;
}

/* ---- contexts and targets ---- */

/* One that says a concept besides its {} would have it change and stay. */
static leco_status check_context(const solver *s, const context *at)
{
    placed_text place;
    const char *text = context_text(at, "", s->texts);
    if (!text) return erase_no_memory(s, "a context");
    LECO_TRY(text_place(text, s->model->tokenizer, s->texts, &place, s->err));
    const subject *c = erase_mentioned(s, &place);
    if (!c) return LECO_OK;
    return error_set(s->err, LECO_INVALID, "the context \"%.60s{}%.60s\" says \"%.60s\" besides its {}", at->before,
                     at->after, c->word);
}

static leco_status draw_contexts(solver *s, subject *c, const near_words *near)
{
    const erase_options *o = s->options;
    const tokenizer *t = s->model->tokenizer;
    const char **others = arena_alloc(s->texts, s->count + 1, sizeof *others); /* a text says one concept only */
    size_t count = 0;
    if (!others) return erase_no_memory(s, "concepts");
    for (size_t i = 0; i < s->count; i++)
        if (&s->subject[i] != c) others[count++] = s->subject[i].word;
    if (!o->contexts) return contexts_of_topic(near->topic, t, others, CONTEXTS, &s->random, s->texts, &c->at, s->err);
    LECO_TRY(contexts_draw(o->context, o->contexts, CONTEXTS, &s->random, s->texts, &c->at, s->err));
    for (size_t i = 0; i < c->at.count; i++) {
        leco_status status = check_context(s, &c->at.item[i]);
        if (status != LECO_OK) return error_prefix(s->err, status, "%s", o->context_place[c->at.item[i].drawn_from]);
    }
    return contexts_of_topic(near->topic, t, others, CONTEXTS, &s->random, s->texts, &c->usual, s->err);
}

static leco_status choose_targets(solver *s, subject *c, erased_concept *told)
{
    const erase_options *o = s->options;
    erase_target *given = arena_alloc(s->texts, o->targets + 1, sizeof *given);
    if (!given) return erase_no_memory(s, "targets");
    for (size_t i = 0; i < o->targets; i++) {
        given[i] = o->target[i];
        if (topic_is_names(told->near.topic)) continue;
        if (!(given[i].text = word_by_itself(given[i].text, s->texts))) return erase_no_memory(s, "a target");
    }
    c->targets = given;
    c->target_count = o->targets;
    if (o->targets == 0) {
        given->share = 1;
        if (!(given->text = near_other(&told->near)))
            return error_set(s->err, LECO_INVALID,
                             "no other %s that this model knows is left to come in place of \"%.60s\": say with --to "
                             "what is to",
                             told->near.topic->name, c->word);
        c->target_count = 1;
    }
    told->becomes = arena_strdup(s->memory, c->target_count == 1 ? c->targets[0].text : "");
    for (size_t i = 0; told->becomes && c->target_count > 1 && i < c->target_count; i++)
        told->becomes = arena_printf(s->memory, "%s%s\"%s\" (%g)", told->becomes, i ? ", " : "", c->targets[i].text,
                                     c->targets[i].share);
    return told->becomes ? LECO_OK : erase_no_memory(s, "a target");
}

static leco_status place_all(const solver *s, const context_list *at, const char *word, encoded_text **out)
{
    *out = arena_alloc(s->texts, at->count, sizeof **out);
    if (!*out) return erase_no_memory(s, "contexts");
    for (size_t i = 0; i < at->count; i++) {
        leco_status status = context_place(&at->item[i], word, s->model->tokenizer, s->texts, &(*out)[i].place, s->err);
        if (status != LECO_OK && s->options->contexts)
            return error_prefix(s->err, status, "%s", s->options->context_place[at->item[i].drawn_from]);
        LECO_TRY(status);
    }
    return LECO_OK;
}

static leco_status prepare_concept(solver *s, size_t index)
{
    subject *c = &s->subject[index];
    erased_concept *told = &s->result->erased[index];
    const near_search search = {s->model, &s->readers, s->sketch, s->device, s->options->word, s->options->words};
    LECO_TRY(near_find(&search, c->word, s->memory, &told->near, s->err));
    if (!s->options->contexts) word_warn_of_phrase(c->word);
    LECO_TRY(choose_targets(s, c, told));
    LECO_TRY(draw_contexts(s, c, &told->near));
    told->contexts = c->at.count;
    for (size_t i = 0; i < c->at.count; i++)
        log_message(LOG_DEBUG, "context: %s%s%s", c->at.item[i].before, c->word, c->at.item[i].after);
    LECO_TRY(place_all(s, &c->at, c->word, &c->text));
    c->target = arena_alloc(s->texts, c->target_count, sizeof *c->target);
    if (!c->target) return erase_no_memory(s, "contexts");
    for (size_t i = 0; i < c->target_count; i++) LECO_TRY(place_all(s, &c->at, c->targets[i].text, &c->target[i]));
    return erase_report(s, NEAR_DONE * (double)(index + 1) / (double)s->options->words);
}

static leco_status place_pairs(solver *s)
{
    const erase_options *o = s->options;
    static const erase_target whole = {"", 1};
    subject *c = &s->subject[0];
    *c = (subject){.word = o->pair[0].text, .targets = &whole, .target_count = 1, .at.count = o->pairs};
    s->result->erased[0].becomes = "";
    s->result->erased[0].contexts = o->pairs;
    c->text = arena_alloc(s->texts, o->pairs, sizeof *c->text);
    c->target = arena_alloc(s->texts, 1, sizeof *c->target);
    if (!c->text || !c->target) return erase_no_memory(s, "pairs");
    if (!(c->target[0] = arena_alloc(s->texts, o->pairs, sizeof *c->text))) return erase_no_memory(s, "pairs");
    for (size_t i = 0; i < o->pairs; i++) {
        placed_text both[2];
        LECO_TRY(pair_place(o->pair[i].text, o->pair[i].becomes, s->model->tokenizer, s->texts, both, s->err));
        c->text[i].place = both[0];
        c->target[0][i].place = both[1];
    }
    return LECO_OK;
}

/* ---- states ---- */

static size_t longest(size_t most, const encoded_text *text, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (text[i].place.needed > most) most = text[i].place.needed;
    return most;
}

static void choose_length(solver *s)
{
    size_t most = longest(0, s->kept, s->kept_count);
    const size_t length = tokenizer_length(s->model->tokenizer);
    for (size_t i = 0; i < s->count; i++) {
        const subject *c = &s->subject[i];
        most = longest(most, c->text, c->at.count);
        for (size_t k = 0; k < c->target_count; k++) most = longest(most, c->target[k], c->at.count);
    }
    s->tokens = most + BEHIND < length ? most + BEHIND : length;
}

/* Counts what is done. */
static leco_status encode_some(solver *s, text_states *states, encoded_text *text, size_t count, size_t *done,
                               size_t all)
{
    for (size_t from = 0; from < count; from += AT_A_TIME) {
        const size_t now = count - from < AT_A_TIME ? count - from : AT_A_TIME;
        LECO_TRY(encode_texts(states, text + from, now, s->texts, s->err));
        *done += now;
        LECO_TRY(erase_report(s, NEAR_DONE + (ENCODED - NEAR_DONE) * (double)*done / (double)all));
    }
    return LECO_OK;
}

static leco_status encode_all(solver *s)
{
    text_states *states;
    size_t done = 0, all = s->kept_count;
    choose_length(s);
    for (size_t i = 0; i < s->count; i++) all += s->subject[i].at.count * (1 + s->subject[i].target_count);
    LECO_TRY(text_states_create(s->device, s->model, (int64_t)s->tokens, &states, s->err));
    leco_status status = encode_some(s, states, s->kept, s->kept_count, &done, all);
    for (size_t i = 0; i < s->count && status == LECO_OK; i++) {
        subject *c = &s->subject[i];
        status = encode_some(s, states, c->text, c->at.count, &done, all);
        for (size_t k = 0; k < c->target_count && status == LECO_OK; k++)
            status = encode_some(s, states, c->target[k], c->at.count, &done, all);
    }
    text_states_destroy(states);
    return status;
}

static leco_status add_pairs(solver *s, const state_pairs *p, void *user)
{
    return moments_erase(user, p->c, p->g, p->weight, (int64_t)p->count, s->err);
}

/* SPEED's K: the state of the first token, and the mean of those of the empty prompt. */
static leco_status add_anchors(solver *s, moments *m)
{
    const size_t width = (size_t)s->readers.width;
    const float *empty = s->kept[0].states;
    m->anchors = dense_new(s->texts, s->readers.width, 2, s->err);
    if (!m->anchors) return LECO_MEMORY;
    for (size_t i = 0; i < width; i++) {
        m->anchors[i] = (double)empty[i];
        for (size_t k = 1; k < s->tokens; k++) m->anchors[width + i] += (double)empty[k * width + i];
        m->anchors[width + i] /= (double)(s->tokens - 1);
    }
    return LECO_OK;
}

static leco_status gather(solver *s, moments *m)
{
    const size_t length = tokenizer_length(s->model->tokenizer);
    LECO_TRY(moments_create(s->readers.width, s->texts, m, s->err));
    for (size_t i = 0; i < s->count; i++) LECO_TRY(erase_each_pair(s, &s->subject[i], add_pairs, m));
    float *of_state = arena_alloc(s->texts, s->tokens, sizeof *of_state);
    if (!of_state) return erase_no_memory(s, "text states");
    for (size_t i = 0; i < s->kept_count; i++) {
        state_weights(s->tokens, length, of_state);
        for (size_t k = 0; k < s->tokens; k++) of_state[k] *= s->kept_weight[i];
        LECO_TRY(moments_keep(m, s->kept[i].states, of_state, (int64_t)s->tokens, s->err));
        if (i % AT_A_TIME == 0)
            LECO_TRY(erase_report(s, ENCODED + (GATHERED - ENCODED) * (double)i / (double)s->kept_count));
    }
    m->kept *= s->kept_own;
    moments_average(m);
    if (s->options->method == EDIT_SPEED) LECO_TRY(add_anchors(s, m));
    return s->options->rounds > 0 ? readers_gram(&s->readers, s->texts, &m->gram, s->err) : LECO_OK;
}

static leco_status solve(solver *s)
{
    moments m;
    LECO_TRY(gather(s, &m));
    double energy = 0;
    for (int64_t i = 0; i < m.width; i++) energy += m.cc[i + i * m.width] + m.pp[i + i * m.width];
    const edit_options o = {.method = s->options->method,
                            .lambda = s->options->lambda * energy / (double)m.width,
                            .rounds = s->options->rounds};
    return edit_solve(&m, &o, s->texts, &s->edit, s->err);
}

/* ---- the LoRA ---- */

static leco_status cut_all(solver *s, cut *c)
{
    const erase_options *o = s->options;
    LECO_TRY(cut_create(&s->edit, s->readers.count, o->rank ? o->rank : o->max_rank, s->texts, c, s->err));
    for (size_t i = 0; i < s->readers.count; i++) {
        const reader *r = &s->readers.item[i];
        arena *scratch = arena_create();
        if (!scratch) return erase_no_memory(s, "a matrix");
        double *matrix = dense_new(scratch, s->readers.width, r->layer->out, s->err);
        leco_status status = matrix ? reader_values(r, matrix, s->err) : LECO_MEMORY;
        if (status == LECO_OK) status = cut_add(c, i, matrix, r->layer->out, s->err);
        arena_destroy(scratch);
        LECO_TRY(status);
        LECO_TRY(erase_report(s, GATHERED + (CUT - GATHERED) * (double)(i + 1) / (double)s->readers.count));
    }
    s->result->rank = o->rank ? c->most : cut_rank(c, o->lost);
    s->result->lost = cut_lost(c, s->result->rank);
    return LECO_OK;
}

/* A matrix may have fewer rows than the rank: what it has no use for stays as it was made, with zeros in up. */
static void fill_module(const solver *s, trainable_module *m, const cut_layer *l)
{
    const int64_t rank = m->rank, width = s->readers.width;
    float *down = m->param[0].value, *up = m->param[1].value;
    for (int64_t r = 0; r < rank && r < l->rank; r++) {
        for (int64_t i = 0; i < width; i++) down[r * width + i] = (float)l->down[r * width + i];
        for (int64_t i = 0; i < l->rows; i++) up[i * rank + r] = (float)(l->up[i + r * l->rows] * s->options->strength);
    }
}

static leco_status make_trainable(solver *s, const cut *c)
{
    erase_result *r = s->result;
    const trainable_options o = {.kind = &kind_lora,
                                 .layers = {.scope = SCOPE_LIERLA, .method = METHOD_XATTN_STRICT},
                                 .rank = r->rank,
                                 .alpha = (float)r->rank,
                                 .exact = DTYPE_F32};
    LECO_TRY(trainable_create(s->model, &o, &s->random, &r->trainable, s->err));
    for (size_t i = 0; i < trainable_module_count(r->trainable); i++) {
        trainable_module *m = trainable_module_at(r->trainable, i);
        for (size_t k = 0; k < s->readers.count; k++)
            if (strcmp(s->readers.item[k].layer->path, m->layer.path) == 0) fill_module(s, m, &c->layer[k]);
    }
    return LECO_OK;
}

/* SPEED leaves the keys as they are: all figures are of the values then, too. */
static leco_status find_readers(solver *s)
{
    readers *r = &s->readers;
    LECO_TRY(readers_find(s->model, s->texts, r, s->err));
    if (s->options->method != EDIT_SPEED) return LECO_OK;
    size_t count = 0;
    for (size_t i = 0; i < r->count; i++) {
        const char *dot = strrchr(r->item[i].layer->path, '.');
        if (!dot || strcmp(dot, ".to_k") != 0) r->item[count++] = r->item[i];
    }
    r->count = count;
    return LECO_OK;
}

static leco_status prepare(solver *s)
{
    const erase_options *o = s->options;
    s->count = o->pairs ? 1 : o->words;
    s->subject = arena_alloc(s->texts, s->count, sizeof *s->subject);
    s->result->erased = arena_alloc(s->memory, s->count, sizeof *s->result->erased);
    if (!s->subject || !s->result->erased) return erase_no_memory(s, "concepts");
    tell_of_syntax(s);
    LECO_TRY(check_concepts(s));
    LECO_TRY(check_texts(s));
    LECO_TRY(find_readers(s));
    LECO_TRY(readers_sketch(&s->readers, s->texts, &s->sketch, s->err));
    for (size_t i = 0; i < o->words; i++) LECO_TRY(prepare_concept(s, i));
    return o->pairs ? place_pairs(s) : LECO_OK;
}

static leco_status run(solver *s)
{
    cut c;
    LECO_TRY(prepare(s));
    LECO_TRY(erase_keep(s));
    LECO_TRY(encode_all(s));
    LECO_TRY(solve(s));
    LECO_TRY(cut_all(s, &c));
    LECO_TRY(erase_measure(s, &c));
    LECO_TRY(erase_report(s, 1));
    return make_trainable(s, &c);
}

leco_status erase_solve(model *m, const device *d, const erase_options *options, erase_result *out, leco_error *err)
{
    *out = (erase_result){.memory = arena_create()};
    solver s = {.model = m,
                .device = d,
                .options = options,
                .result = out,
                .memory = out->memory,
                .texts = arena_create(),
                .err = err};
    rng_seed(&s.random, RNG_CPU, SEED);
    leco_status status = s.memory && s.texts ? run(&s) : erase_no_memory(&s, "an edit");
    name_table_free(&s.kept_places);
    arena_destroy(s.texts);
    if (status != LECO_OK) erase_result_free(out);
    return status;
}

void erase_result_free(erase_result *r)
{
    trainable_destroy(r->trainable);
    arena_destroy(r->memory);
    *r = (erase_result){0};
}
