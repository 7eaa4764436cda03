/* leco-probe: what a probe sees in a model's pictures, without and with a LoRA, as a small table.
 *
 * Draws many prompts of the shapes world (or given ones) at each weight of the LoRA, always from the same noise, asks
 * the probe what is in the pictures, and counts how often that is what the prompt says. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/common.h"
#include "leco/probe.h"

#define HEADS_MAX 16
#define WORDS_MAX 64
#define CAPTION 256

typedef struct head {
    const char *name;
    const char *word[WORDS_MAX]; /* owned by the JSON document */
    bool allowed[WORDS_MAX];     /* may be drawn */
    size_t count;
} head;

typedef struct vocabulary {
    json_t *document;
    head heads[HEADS_MAX];
    size_t count;
} vocabulary;

typedef struct probe_args {
    const char *probe;
    int64_t count;
    text_list require, forbid, expect, prompts;
    number_list weights;
    bool donor;
} probe_args;

/* What one weight of the LoRA gave, as shares of the prompts. */
typedef struct column {
    double weight;
    double expect[LIST_MAX];
    double together;            /* all that is expected, in one picture */
    double as_asked[HEADS_MAX]; /* of the prompts that say something about it; NaN: none does */
    double all;                 /* everything that was asked for, at once */
} column;

#define ARG(field) .offset = offsetof(probe_args, field)
static const option_spec probe_options[] = {
    {"probe", 0, OPTION_TEXT, "FOLDER", ARG(probe),
     .help = "the probe (default: models/shapes-probe, here or where leco's own files are)"},
    {"count", 0, OPTION_WHOLE, "N", ARG(count), .min = 1, .max = 100000, .fallback = "256", .help = "prompts to draw"},
    {"require", 0, OPTION_TEXTS, "WHAT=WORD", ARG(require), .help = "all prompts say this, for instance color=red"},
    {"forbid", 0, OPTION_TEXTS, "WHAT=WORD", ARG(forbid), .help = "no prompt says this"},
    {"expect", 0, OPTION_TEXTS, "WHAT=WORD", ARG(expect),
     .help = "count how often the probe sees this; of several, also all in one picture"},
    {"prompt", 'p', OPTION_TEXTS, "PROMPT", ARG(prompts),
     .help = "draw this, not the world's prompts; several take turns"},
    {"weights", 0, OPTION_NUMBERS, "W,W,...", ARG(weights), .min = -1000, .max = 1000, .fallback = "0,1",
     .help = "one column a weight, given to the last --lora"},
    {"donor", 0, OPTION_FLAG, ARG(donor), .help = "also use the words that models/shapes-v alone knows"},
    {0},
};

/* ---- the world's words ---- */

static head *find_head(vocabulary *v, const char *name, size_t length)
{
    for (size_t i = 0; i < v->count; i++)
        if (strlen(v->heads[i].name) == length && strncmp(v->heads[i].name, name, length) == 0) return &v->heads[i];
    return NULL;
}

static bool read_vocabulary(const char *folder, vocabulary *v)
{
    char path[4200];
    json_error_t error;
    snprintf(path, sizeof path, "%s/config.json", folder);
    v->document = json_load_file(path, 0, &error);
    if (!v->document) {
        if (error.line > 0)
            fprintf(stderr, "leco-probe: %s: line %d: %s\n", path, error.line, error.text);
        else
            fprintf(stderr, "leco-probe: %s\n", error.text); /* "unable to open PATH: No such file ..." */
        return false;
    }
    size_t i, w;
    json_t *each, *label;
    json_array_foreach(json_object_get(v->document, "heads"), i, each) {
        if (v->count == HEADS_MAX) break;
        head *h = &v->heads[v->count++];
        h->name = json_string_value(json_object_get(each, "attribute"));
        json_array_foreach(json_object_get(each, "labels"), w, label) {
            if (h->count == WORDS_MAX || !json_is_string(label)) h->name = NULL;
            if (h->name) h->word[h->count++] = json_string_value(label);
        }
        if (!h->name) {
            fprintf(stderr, "leco-probe: %s: \"heads\": each has an \"attribute\" and at most %d \"labels\"\n", path,
                    WORDS_MAX);
            return false;
        }
    }
    if (v->count == 0) fprintf(stderr, "leco-probe: %s: has no \"heads\"\n", path);
    return v->count > 0;
}

/* Looks up WHAT=WORD. */
static bool find_word(vocabulary *v, const char *text, head **h, size_t *word)
{
    size_t length = strcspn(text, "=");
    *h = text[length] ? find_head(v, text, length) : NULL;
    for (*word = 0; *h && *word < (*h)->count; ++*word)
        if (strcmp((*h)->word[*word], text + length + 1) == 0) return true;
    options_mistake("leco-probe", "'%s' is not WHAT=WORD of words that the probe knows, such as color=red", text);
    return false;
}

/* Is it about the same thing, as "color=red" and "color=blue" are? */
static bool is_same_head(const char *a, const char *b)
{
    const size_t length = strcspn(a, "=");
    return strncmp(a, b, length + 1) == 0;
}

/* What would be ignored otherwise. */
static bool check_choices(const probe_args *args)
{
    const text_list *require = &args->require, *forbid = &args->forbid;
    if (args->prompts.count > 0 && (require->count > 0 || forbid->count > 0 || args->donor)) {
        options_mistake("leco-probe", "--%s is for prompts that are drawn at random; with -p they are what you give",
                        require->count > 0  ? "require"
                        : forbid->count > 0 ? "forbid"
                                            : "donor");
        return false;
    }
    for (size_t i = 0; i < require->count; i++) {
        for (size_t k = 0; k < i + forbid->count; k++) {
            const char *other = k < i ? require->item[k] : forbid->item[k - i];
            if (!is_same_head(require->item[i], other)) continue;
            options_mistake("leco-probe", "--%s %s says nothing beside --require %s", k < i ? "require" : "forbid",
                            other, require->item[i]);
            return false;
        }
    }
    return true;
}

static bool choose_words(vocabulary *v, const probe_args *args)
{
    static const char *const donor[] = {"hexagon", "arrow", "gold", "checkered"};
    head *h;
    size_t word;
    for (size_t i = 0; i < v->count; i++) {
        for (size_t w = 0; w < v->heads[i].count; w++) {
            v->heads[i].allowed[w] = true;
            for (size_t d = 0; d < 4 && !args->donor; d++)
                if (strcmp(v->heads[i].word[w], donor[d]) == 0) v->heads[i].allowed[w] = false;
        }
    }
    for (size_t i = 0; i < args->forbid.count; i++) {
        if (!find_word(v, args->forbid.item[i], &h, &word)) return false;
        h->allowed[word] = false;
    }
    for (size_t i = 0; i < args->require.count; i++) {
        if (!find_word(v, args->require.item[i], &h, &word)) return false;
        memset(h->allowed, 0, sizeof h->allowed);
        h->allowed[word] = true;
    }
    for (size_t i = 0; i < args->expect.count; i++)
        if (!find_word(v, args->expect.item[i], &h, &word)) return false;
    return true;
}

/* ---- prompts ---- */

static uint64_t next_random(uint64_t *state) /* splitmix64 */
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static const char *random_word(vocabulary *v, const char *name, uint64_t *state)
{
    const head *h = find_head(v, name, strlen(name));
    size_t allowed[WORDS_MAX], count = 0;
    for (size_t w = 0; h && w < h->count; w++)
        if (h->allowed[w]) allowed[count++] = w;
    return count ? h->word[allowed[next_random(state) % count]] : "";
}

/* "a small red star on a navy background, dotted style" */
static void write_caption(vocabulary *v, uint64_t *state, char caption[CAPTION])
{
    const char *size = random_word(v, "size", state), *color = random_word(v, "color", state);
    const char *shape = random_word(v, "shape", state), *background = random_word(v, "background", state);
    snprintf(caption, CAPTION, "a %s %s %s on a %s background, %s style", size, color, shape, background,
             random_word(v, "style", state));
}

/* The word of a head that the prompt holds, or NULL. */
static const char *asked(const head *h, const char *prompt)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (const char *at = prompt; *at;) {
        size_t length = strspn(at, letters);
        for (size_t w = 0; w < h->count; w++)
            if (strlen(h->word[w]) == length && strncmp(h->word[w], at, length) == 0) return h->word[w];
        at += length ? length : 1;
    }
    return NULL;
}

/* ---- counting ---- */

static const char *seen(const leco_probe_result *r, size_t image, const char *name, size_t length)
{
    for (size_t a = 0; a < r->attribute_count; a++)
        if (strlen(r->attribute[a]) == length && strncmp(r->attribute[a], name, length) == 0)
            return r->label[image * r->attribute_count + a];
    return "";
}

static bool sees(const leco_probe_result *r, size_t image, const char *expected)
{
    const size_t length = strcspn(expected, "=");
    return strcmp(seen(r, image, expected, length), expected + length + 1) == 0;
}

/* The pictures in which the probe sees everything that is expected. */
static double share_together(const probe_args *args, const leco_probe_result *r)
{
    size_t hits = 0;
    for (size_t i = 0; i < r->image_count; i++) {
        bool every = true;
        for (size_t e = 0; e < args->expect.count; e++) every = every && sees(r, i, args->expect.item[e]);
        hits += every;
    }
    return (double)hits / (double)r->image_count;
}

/* Whether --expect asks for several things that one picture can show at once. */
static bool expects_together(const probe_args *args)
{
    for (size_t i = 0; i < args->expect.count; i++)
        for (size_t k = i + 1; k < args->expect.count; k++) {
            const char *a = args->expect.item[i], *b = args->expect.item[k];
            const size_t length = strcspn(a, "=");
            if (length == strcspn(b, "=") && strncmp(a, b, length) == 0) return false;
        }
    return args->expect.count > 1;
}

/* drawn: what each of the pictures was drawn from. */
static void count_column(const vocabulary *v, const probe_args *args, char *const *drawn, const leco_probe_result *r,
                         column *c)
{
    size_t n = r->image_count, all = 0, right[HEADS_MAX] = {0}, said[HEADS_MAX] = {0};
    for (size_t i = 0; i < n; i++) {
        bool every = true;
        for (size_t h = 0; h < v->count; h++) {
            const char *word = asked(&v->heads[h], drawn[i]);
            if (!word) continue;
            bool same = strcmp(word, seen(r, i, v->heads[h].name, strlen(v->heads[h].name))) == 0;
            said[h]++;
            right[h] += same;
            every = every && same;
        }
        all += every;
    }
    c->all = (double)all / (double)n;
    for (size_t h = 0; h < v->count; h++) c->as_asked[h] = said[h] ? (double)right[h] / (double)said[h] : (double)NAN;
    for (size_t e = 0; e < args->expect.count; e++) {
        size_t hits = 0;
        for (size_t i = 0; i < n; i++) hits += sees(r, i, args->expect.item[e]);
        c->expect[e] = (double)hits / (double)n;
    }
    c->together = share_together(args, r);
}

/* One progress over all passes: each draws the same pictures, with another weight. */
typedef struct passes {
    progress *bar;
    size_t done, count;
    double before; /* seconds that the passes done took */
    double now;    /* and this one so far */
} passes;

static bool show_pass(void *user, const leco_progress *state)
{
    passes *p = user;
    leco_progress whole = *state;
    p->now = state->seconds;
    whole.done = (int64_t)p->done * state->total + state->done;
    whole.total = (int64_t)p->count * state->total;
    whole.seconds = p->before + state->seconds;
    if (state->seconds_left >= 0)
        whole.seconds_left += (double)(p->count - p->done - 1) * (state->seconds + state->seconds_left);
    return progress_show(p->bar, &whole);
}

static leco_status measure(const model_args *from, const probe_args *args, const leco_generate_options *o,
                           const vocabulary *v, column *columns, size_t count, progress *bar, leco_error *err)
{
    passes all = {.bar = bar, .count = count};
    leco_generate_options options = *o;
    options.progress = show_pass;
    options.user = &all;
    leco_model *model = NULL;
    leco_status status = model_args_open(from, &model, err);
    for (size_t i = 0; i < count && status == LECO_OK; i++) {
        leco_images images = {0};
        leco_probe_result result = {0};
        columns[i].weight = args->weights.item[i];
        if (from->lora.count > 0)
            status = leco_model_set_lora_weight(model, from->lora.count - 1, (float)columns[i].weight, err);
        all.done = i;
        if (status == LECO_OK) status = leco_generate(model, &options, &images, err);
        all.before += all.now;
        if (status == LECO_OK) status = leco_probe(args->probe, images.image, images.count, &result, err);
        if (status == LECO_OK) count_column(v, args, images.prompts, &result, &columns[i]);
        leco_probe_result_free(&result);
        leco_images_free(&images);
    }
    leco_model_close(model);
    return status;
}

/* ---- the table ---- */

static void print_row(const char *before, const char *name, const column *columns, size_t count, size_t offset)
{
    int used = printf("  %s%s", before, name);
    printf("%*s", used < 26 ? 26 - used : 1, "");
    for (size_t i = 0; i < count; i++) {
        double share = *(const double *)(const void *)((const char *)&columns[i] + offset);
        printf("  %9.1f%%", 100 * share);
    }
    putchar('\n');
}

static void print_table(const vocabulary *v, const probe_args *args, const leco_generate_options *o, bool lora,
                        const column *columns, size_t count)
{
    printf("%zu prompts such as \"%s\"\n%26s", o->prompt_count, o->prompts[0], "");
    for (size_t i = 0; i < count; i++) {
        char title[32];
        snprintf(title, sizeof title, columns[i].weight == 0 ? "no LoRA" : "LoRA %g", columns[i].weight);
        printf("  %10s", lora ? title : "");
    }
    putchar('\n');
    for (size_t e = 0; e < args->expect.count; e++) {
        char name[128];
        size_t length = strcspn(args->expect.item[e], "=");
        snprintf(name, sizeof name, "%.*s is %s", (int)length, args->expect.item[e], args->expect.item[e] + length + 1);
        print_row("", name, columns, count, offsetof(column, expect) + e * sizeof(double));
    }
    if (expects_together(args)) print_row("", "all of these", columns, count, offsetof(column, together));
    for (size_t h = 0; h < v->count; h++)
        if (!isnan(columns[0].as_asked[h]))
            print_row(v->heads[h].name, " as asked", columns, count, offsetof(column, as_asked) + h * sizeof(double));
    print_row("", "all of them as asked", columns, count, offsetof(column, all));
}

static void print_columns_json(const vocabulary *v, const probe_args *args, const leco_generate_options *o,
                               const column *columns, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *expect = json_object(), *as_asked = json_object();
        for (size_t e = 0; e < args->expect.count; e++)
            json_object_set_new(expect, args->expect.item[e], json_real(columns[i].expect[e]));
        for (size_t h = 0; h < v->count; h++)
            if (!isnan(columns[i].as_asked[h]))
                json_object_set_new(as_asked, v->heads[h].name, json_real(columns[i].as_asked[h]));
        json_t *figures = json_pack("{s:f, s:o, s:o, s:f}", "weight", columns[i].weight, "expect", expect, "as_asked",
                                    as_asked, "all", columns[i].all);
        if (expects_together(args)) json_object_set_new(figures, "together", json_real(columns[i].together));
        json_array_append_new(list, figures);
    }
    print_json(json_pack("{s:I, s:o, s:o}", "prompts", (json_int_t)o->prompt_count, "example", json_text(o->prompts[0]),
                         "columns", list));
}

/* ---- the program ---- */

/* Prompts, one a picture: *captions owns the texts of those that are made up. */
static bool make_prompts(vocabulary *v, const probe_args *args, uint64_t seed, const char ***prompts,
                         char (**captions)[CAPTION])
{
    size_t count = (size_t)args->count;
    *captions = calloc(count, sizeof **captions);
    *prompts = calloc(count, sizeof **prompts);
    for (size_t i = 0; i < count && *captions && *prompts; i++) {
        if (args->prompts.count == 0) write_caption(v, &seed, (*captions)[i]);
        (*prompts)[i] = args->prompts.count ? args->prompts.item[i % args->prompts.count] : (*captions)[i];
    }
    return *captions && *prompts;
}

static int probe_model(const model_args *model, const probe_args *args, const drawing_args *drawing,
                       const general_args *general)
{
    vocabulary words = {0};
    const char **prompts = NULL;
    char(*captions)[CAPTION] = NULL;
    size_t count = model->lora.count ? args->weights.count : 1;
    column *columns = calloc(count, sizeof *columns);
    int status = EXIT_FAILED;
    if (columns && read_vocabulary(args->probe, &words)) {
        if (!check_choices(args) || !choose_words(&words, args)) {
            status = EXIT_USAGE;
        } else if (make_prompts(&words, args, (uint64_t)drawing->seed, &prompts, &captions)) {
            progress bar;
            general_begin(general, &bar, WORK_SHEET);
            leco_error err = {0};
            leco_generate_options o = drawing_apply(drawing, &bar);
            o.prompts = prompts;
            o.prompt_count = (size_t)args->count;
            leco_status result = measure(model, args, &o, &words, columns, count, &bar, &err);
            progress_end(&bar, result == LECO_OK);
            if (result != LECO_OK)
                status = report_failure(result, &err);
            else if (general->json)
                print_columns_json(&words, args, &o, columns, count);
            else
                print_table(&words, args, &o, model->lora.count > 0, columns, count);
            if (result == LECO_OK) status = EXIT_DONE;
        }
    }
    free(prompts);
    free(captions);
    free(columns);
    json_decref(words.document);
    return status;
}

/* The embedded models' probe: in the folder where leco is started, or where its own files are. */
static char *default_probe(void)
{
    static const char path[] = "models/shapes-probe";
    char *found = access(path, R_OK) == 0 ? NULL : options_find_file(path);
    return found ? found : strdup(path); /* if it isn't there, the message names it */
}

int main(int argc, char **argv)
{
    settle_process(argv);
    model_args model;
    probe_args args;
    drawing_args drawing;
    general_args general;
    const option_group groups[] = {{"What to ask", probe_options, &args},
                                   {"Of which model", model_options, &model},
                                   {"How to draw", drawing_options, &drawing},
                                   {"Besides", general_options, &general},
                                   {0}};
    const command_line line = {
        .program = "leco-probe",
        .summary = "counts how often a model draws what it is asked for, without and with a LoRA",
        .usage = "-m MODEL [--lora FILE] [options]",
        .details = "Made for the models in models/: prompts are drawn at random from the words of their world.",
        .examples = EXAMPLE_LORA
        "  leco-probe -m models/shapes --lora out/erase_red.safetensors --guidance-scale 4 \\\n"
        "             --require color=red --expect color=red\n"
        "  leco-probe -m models/shapes --lora out/erase_red.safetensors --guidance-scale 4 --forbid color=red\n"
        "  leco-probe -m models/shapes --lora out/enhance_blue.safetensors --guidance-scale 4 \\\n"
        "             -p \"a circle\" --expect color=blue\n",
        .groups = groups,
    };
    int status = options_read(&line, argc, argv, NULL);
    if (status == OPTIONS_READY) status = model_args_check(line.program, &model);
    if (status != OPTIONS_READY) return status;
    char *probe = args.probe ? NULL : default_probe();
    if (probe) args.probe = probe;
    if (args.probe) status = probe_model(&model, &args, &drawing, &general);
    free(probe);
    return status == OPTIONS_READY ? EXIT_FAILED : status;
}
