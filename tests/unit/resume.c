/* A training that is stopped again and again, at any place, and resumed, ends with the same file, to the byte, as one
 * that never was; and what can't be gone on from is refused. */
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/file.h"
#include "base/rng.h"
#include "leco/leco.h"
#include "model_support.h"
#include "picture/png.h"
#include "train/state.h"

#define MODEL FIXTURE("sd1-like")
#define STATE "out/small.state.safetensors"
#define RESULT "out/small.safetensors"

static leco_error err;

static const char config[] =
    "pretrained_model: {name_or_path: \"" MODEL "\"}\n"
    "network: {rank: 2, alpha: 1}\n"
    "train: {precision: float32, iterations: 7, max_denoising_steps: 5, lr: 1e-3, lr_scheduler: constant,\n"
    "        samples_per_trajectory: 1, timestep_jitter: false}\n"
    "save: {name: small, path: out, per_steps: 0}\n"
    "prompts:\n"
    "- {target: a red circle, positive: red, neutral: a circle}\n";

/* ---- stopping ---- */

/* Stops at the n-th call. */
typedef struct stopper {
    int calls, stop_at;       /* 0: never */
    bool denoising, learning; /* where it was stopped so far */
} stopper;

/* Not once all steps are done: then only what watches is left, and who doesn't wait for that loses its last row. */
static bool to_the_end;

static bool watch(void *user, const leco_progress *p)
{
    stopper *s = user;
    if (to_the_end && p->done == p->total) return true;
    if (s->stop_at == 0 || ++s->calls < s->stop_at) return true;
    s->denoising = s->denoising || p->part_done < p->part_total;
    s->learning = s->learning || p->part_done == p->part_total;
    return false;
}

enum { MOST_OVERRIDES = 9 };

static leco_status train(const char *const *overrides, bool resume, stopper *s)
{
    leco_train_report report = {0};
    leco_train_options o = {.overrides = overrides, .resume = resume, .progress = s ? watch : NULL, .user = s};
    while (overrides[o.override_count]) o.override_count++;
    leco_status status = leco_train(test_path("train.yaml"), &o, &report, &err);
    assert_true(report.path || !report.state);
    leco_train_report_free(&report);
    return status;
}

static unsigned char *result(size_t *size)
{
    unsigned char *bytes = test_read(test_path(RESULT), size);
    assert_int_equal(remove(test_path(RESULT)), 0);
    return bytes;
}

static void assert_result(const unsigned char *expected, size_t size, const char *what)
{
    size_t found_size;
    unsigned char *found = result(&found_size);
    if (found_size != size || memcmp(found, expected, size) != 0) fail_msg("%s: the files differ", what);
    free(found);
}

/* ---- the same, whatever is trained ---- */

typedef struct kind_of_run {
    const char *what;
    const char *overrides[MOST_OVERRIDES];
    int stopped_at; /* PENDING: in a pass that has begun to learn; GATHERING: with gradients that make no step yet */
} kind_of_run;

enum { PENDING = 1, GATHERING = 2 };

#define K3 "train.samples_per_trajectory=3"
#define TWO_TEXTS "pretrained_model.name_or_path=" FIXTURE("sdxl-like")
static const kind_of_run runs[] = {
    {"one latent a trajectory", {"train.lr=1e-3"}, 0},
    {"several, with jitter", {K3, "train.timestep_jitter=true"}, PENDING},
    {"adam, clipped", {"train.optimizer=adam", "train.max_grad_norm=0.1"}, 0},
    {"sgd with momentum, cosine",
     {"train.optimizer=sgd", "train.optimizer_args=momentum=0.9 nesterov=True", "train.lr_scheduler=cosine"},
     0},
    {"sgd without a state", {"train.optimizer=sgd", K3}, PENDING},
    {"lion", {"train.optimizer=lion", "train.lr=1e-4", K3}, PENDING},
    {"prodigy, warm-up",
     {"train.optimizer=Prodigy", "train.optimizer_args=d0=1e-3,safeguard_warmup=True", "train.lr=1",
      "train.lr_warmup_steps=3", K3},
     PENDING},
    {"dadaptadam, linear", {"train.optimizer=dadaptadam", "train.lr=1", "train.lr_scheduler=linear", K3}, PENDING},
    {"dadaptlion, polynomial", {"train.optimizer=dadaptlion", "train.lr=1", "train.lr_scheduler=polynomial"}, 0},
    {"adafactor", {"train.optimizer=adafactor", "train.optimizer_args=beta1=0.9 warmup_init=True", K3}, PENDING},
    {"schedule-free", {"train.optimizer=AdamWScheduleFree", "train.optimizer_args=warmup_steps=3", K3}, PENDING},
    {"an average", {"train.ema_decay=0.9", "train.lr_scheduler=cosine_with_restarts", K3}, PENDING},
    {"several latents a step", {"train.gradient_accumulation_steps=3", "train.max_grad_norm=0.1"}, GATHERING},
    {"several latents a step, across passes",
     {"train.gradient_accumulation_steps=2", K3, "train.ema_decay=0.5", "train.loss=huber", "preserve=[a star]"},
     PENDING | GATHERING},
    {"smooth_l1, several pairs a step",
     {"train={loss: smooth_l1, huber_schedule: exponential, gradient_accumulation_steps: 4, iterations: 4, precision: "
      "float32, max_denoising_steps: 5, optimizer: AdamWScheduleFree, samples_per_trajectory: 3}",
      "prompts=[{target: a circle, positive: red}, {target: a star, action: enhance, positive: 'big star'}]"},
     PENDING | GATHERING},
    {"preserve", {"preserve=[a star, '{blue|green} ring']", K3}, PENDING},
    {"several prompts with wildcards",
     {"prompts=[{target: 'a {red|blue} circle', positive: red}, {target: a star, action: enhance, positive: 'big "
      "star'}]",
      K3},
     PENDING},
    {"a slider",
     {"prompts=[{action: slider, target: star, positive: big star, attributes: [red, blue]}]", K3},
     PENDING},
    {"photographs",
     {"images={path: photos, prompt: 'a {red|blue} thing', batch_size: 2}", "prompts=null", K3},
     PENDING},
    {"pairs of photographs, and preserve",
     {"prompts=[{action: slider, target: a star, images: {before: photos, after: after}}]", K3, "preserve=[a ring]"},
     PENDING},
    {"an embedding",
     {"network={type: embedding, token: <thing>, vectors: 2, init: red}",
      "prompts=[{target: a <thing>, positive: red circle, neutral: a circle}]", K3},
     PENDING},
    {"the text encoder", {"network.text_encoder=true", K3}, PENDING},
    {"two text encoders",
     {TWO_TEXTS, "network.text_encoder=true", "train.iterations=4", "prompts.0.resolution=32", K3},
     PENDING},
    {"an embedding of two text encoders",
     {TWO_TEXTS, "network={type: embedding, token: <thing>, vectors: 2, init: red}",
      "prompts=[{target: a <thing>, positive: red circle, neutral: a circle, resolution: 32}]", "train.iterations=4",
      K3},
     PENDING},
    {"an effect that ends it",
     {"train.stop_at_effect=0.00002", "train.iterations=40", "logging.effect_every=2", K3},
     PENDING},
    {"an effect of an average that ends it, several latents a step",
     {"train.stop_at_effect=0.00001", "train.iterations=30", "logging.effect_every=2", "train.ema_decay=0.5",
      "train.gradient_accumulation_steps=2", K3},
     PENDING | GATHERING},
    {"watched by all",
     {K3, "logging.effect_every=1", "logging.prompts=[a star, 'a {red|blue} ring']", "logging.interval=2",
      "logging.steps=2", "logging.log=true", "logging.tensorboard=tb", "preserve=[a star]"},
     PENDING},
    {"a teacher, both trajectories",
     {"teachers={donor: {name_or_path: donor}}", "prompts=[{target: a circle, teacher: donor, trajectory: both}]", K3,
      "train.timestep_jitter=true"},
     PENDING},
    {"dropout of all sorts, started from a file",
     {"network.dropout=0.2", "network.rank_dropout=0.2", "network.module_dropout=0.1",
      "network.start_from=start.safetensors", K3},
     PENDING},
    {"dropout, several branches, the text encoder",
     {"network.dropout=0.5", "network.text_encoder=true",
      "prompts=[{action: slider, target: star, positive: big star}]", K3},
     PENDING},
    {"lokr on chosen layers",
     {"network.kind=lokr", "network.type=c3lier", "network.include=[mid_block, resnets]",
      "network.ranks=[{match: attn1, rank: 1, alpha: 2}]", K3},
     PENDING},
    {"dora", {"network.kind=dora", "network.exclude=ff", K3}, PENDING},
    {"loha, frozen trajectory",
     {"network.kind=loha", "network.type=c3lier",
      "prompts=[{target: a circle, positive: red, neutral: '', trajectory: frozen}]", K3},
     PENDING},
};

/* Beside the config. */
static void put_start(void)
{
    size_t size;
    unsigned char *lora = test_read(FIXTURE("sd1-like/lora.safetensors"), &size);
    test_write(test_path("start.safetensors"), lora, size);
    free(lora);
}

static void put_photographs(const char *name, int shade)
{
    assert_int_equal(mkdir(test_path(name), 0777), 0);
    for (int i = 0; i < 3; i++) {
        char path[64];
        image img;
        assert_works(image_create(32, 32, &img, &err), &err);
        memset(img.rgb, shade + 40 * i, (size_t)img.width * 32 * 3);
        snprintf(path, sizeof path, "%s/%d.png", name, i);
        assert_works(png_write(test_path(path), &img, NULL, &err), &err);
        image_free(&img);
    }
}

/* Stops a little later each time, so that it comes through in the end, however long that takes; returns how often. */
static int stop_and_go(const char *const *overrides, stopper *s, int *stopped_at)
{
    int stops = 0;
    leco_status status;
    *s = (stopper){.stop_at = 2};
    *stopped_at = 0;
    while ((status = train(overrides, file_exists(test_path(STATE)), s)) == LECO_INTERRUPTED) {
        train_state state;
        if (file_exists(test_path(STATE))) {
            assert_works(state_read(test_path(STATE), &state, &err), &err);
            *stopped_at |= (state.learnt > 0 ? PENDING : 0) | (state.gathered > 0 ? GATHERING : 0);
            state_free(&state);
        }
        s->calls = 0;
        s->stop_at += stops < 10 ? 1 : 2;
        stops++;
    }
    assert_works(status, &err);
    assert_false(file_exists(test_path(STATE)));
    return stops;
}

static void check_run(const kind_of_run *k)
{
    size_t size;
    stopper s;
    int stopped_at;
    assert_works(train(k->overrides, false, NULL), &err);
    unsigned char *expected = result(&size);
    const int stops = stop_and_go(k->overrides, &s, &stopped_at);
    printf("    %-35s stopped %d times\n", k->what, stops);
    assert_true(stops >= 3 && s.learning);
    assert_int_equal(stopped_at, k->stopped_at);
    assert_result(expected, size, k->what);
    free(expected);
}

static void a_stopped_run_ends_as_one_that_never_was(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) check_run(&runs[i]);
}

/* The lines of the log, but for the seconds, which are its last word, and for what was measured. */
static char *log_lines(void)
{
    char *text = (char *)test_read(test_path("out/small.log.jsonl"), NULL), *out = calloc(strlen(text) + 1, 1),
         *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) && *line;) {
        char *seconds = strstr(line, ", \"seconds\"");
        assert_non_null(seconds);
        strncat(out, line, (size_t)(seconds - line));
        strcat(out, "\n");
    }
    free(text);
    return out;
}

/* Log and sheet of a run that was stopped again and again hold each step once, and the same. */
static void what_watches_goes_on_where_it_was(void **state)
{
    (void)state;
    const char *const overrides[] = {K3,
                                     "logging.effect_every=3",
                                     "logging.prompts=[a star, 'a {red|blue} ring']",
                                     "logging.interval=3",
                                     "logging.steps=2",
                                     "logging.log=true",
                                     "save.per_steps=2",
                                     NULL};
    static const char sheet[] = "out/small.previews.png";
    size_t size, found_size;
    stopper s;
    int stopped_at;
    assert_works(train(overrides, false, NULL), &err);
    char *expected = log_lines();
    unsigned char *drawn = test_read(test_path(sheet), &size);
    assert_non_null(strstr(expected, "\"step\": 7,"));
    test_remove_files("out");
    to_the_end = true;
    assert_true(stop_and_go(overrides, &s, &stopped_at) > 10);
    to_the_end = false;
    char *found = log_lines();
    unsigned char *drawn_again = test_read(test_path(sheet), &found_size);
    assert_string_equal(found, expected);
    assert_int_equal(found_size, size);
    assert_memory_equal(drawn_again, drawn, size);
    free(expected);
    free(found);
    free(drawn);
    free(drawn_again);
    test_remove_files("out");
}

static char *steps_of_sheet(void)
{
    image sheet;
    char *text = NULL;
    assert_works(png_read(test_path("out/small.previews.png"), &sheet, &text, &err), &err);
    image_free(&sheet);
    return text;
}

/* With more steps, and at another interval: what was drawn stays, the last row of the shorter one, too. */
static void a_sheet_goes_on_when_a_training_gets_longer(void **state)
{
    (void)state;
    const char *const first[] = {K3,
                                 "train.iterations=6",
                                 "save.keep_state=true",
                                 "logging.prompts=[a star]",
                                 "logging.interval=4",
                                 "logging.steps=1",
                                 "logging.effect=false",
                                 NULL};
    const char *longer[MOST_OVERRIDES + 1], *another[MOST_OVERRIDES + 1];
    memcpy(longer, first, sizeof first);
    memcpy(another, first, sizeof first);
    longer[1] = "train.iterations=1002";
    longer[4] = "logging.interval=500";
    another[1] = "train.iterations=12";
    another[4] = "logging.interval=3";
    assert_works(train(first, false, NULL), &err);
    char *text = steps_of_sheet();
    assert_non_null(strstr(text, "steps: 0 6"));
    leco_free(text);
    assert_works(train(another, true, NULL), &err);
    text = steps_of_sheet();
    assert_non_null(strstr(text, "steps: 0 6 9 12"));
    leco_free(text);
    stopper s = {.stop_at = 40};
    assert_fails(train(longer, true, &s), LECO_INTERRUPTED, &err, "stopped");
    text = steps_of_sheet();
    assert_non_null(strstr(text, "steps: 0 6 9 12"));
    leco_free(text);
    test_remove_files("out");
}

/* What is saved on the way is what is saved without a stop, too. */
static void files_on_the_way_are_the_same(void **state)
{
    (void)state;
    const char *const overrides[] = {"save.per_steps=3", "train.samples_per_trajectory=2", NULL};
    static const char *const files[] = {"out/small_000004.safetensors", "out/small_000006.safetensors"};
    unsigned char *expected[2];
    size_t size[2];
    assert_works(train(overrides, false, NULL), &err);
    for (int i = 0; i < 2; i++) {
        expected[i] = test_read(test_path(files[i]), &size[i]);
        assert_int_equal(remove(test_path(files[i])), 0);
    }
    stopper s;
    int stopped_at;
    assert_true(stop_and_go(overrides, &s, &stopped_at) > 2);
    for (int i = 0; i < 2; i++) {
        size_t found_size;
        unsigned char *found = test_read(test_path(files[i]), &found_size);
        assert_int_equal(found_size, size[i]);
        assert_memory_equal(found, expected[i], size[i]);
        free(found);
        free(expected[i]);
    }
    test_remove_files("out");
}

/* ---- more steps ---- */

static void a_finished_run_can_be_made_longer(void **state)
{
    (void)state;
    const char *const longer[] = {K3, "train.iterations=11", NULL};
    const char *const kept[] = {K3, "save.keep_state=true", NULL};
    size_t size;
    assert_works(train(longer, false, NULL), &err);
    unsigned char *expected = result(&size);
    assert_works(train(kept, false, NULL), &err); /* 7 steps: in the middle of a pass */
    assert_true(file_exists(test_path(STATE)));
    assert_works(train(longer, true, NULL), &err);
    assert_false(file_exists(test_path(STATE)));
    assert_result(expected, size, "4 more steps");
    free(expected);

    /* Less than were done, and where the rate of steps that were done would have been another. */
    const char *const less[] = {K3, "train.iterations=5", NULL};
    const char *const falling[] = {"train.lr_scheduler=cosine", "save.keep_state=true", NULL};
    const char *const more[] = {"train.lr_scheduler=cosine", "train.iterations=11", NULL};
    assert_works(train(kept, false, NULL), &err);
    assert_fails(train(less, true, NULL), LECO_INVALID, &err, STATE, "7 steps were done", "train.iterations is 5");
    assert_works(train(falling, false, NULL), &err);
    assert_fails(train(more, true, NULL), LECO_INVALID, &err, STATE, "train.iterations is \"11\" now", "was \"7\"");
    /* Where the rates so far don't depend on how many steps there are, it may be another one: a warm-up of so many
     * steps, but no share of them. */
    const char *const warm[] = {"train.lr_warmup_steps=9", "save.keep_state=true", NULL};
    const char *const warm_longer[] = {"train.lr_warmup_steps=9", "train.iterations=11", NULL};
    const char *const share[] = {"train.lr_warmup_steps=0.5", "save.keep_state=true", NULL};
    const char *const share_longer[] = {"train.lr_warmup_steps=0.5", "train.iterations=11", NULL};
    assert_works(train(warm, false, NULL), &err);
    assert_works(train(warm_longer, true, NULL), &err);
    assert_works(train(share, false, NULL), &err);
    assert_fails(train(share_longer, true, NULL), LECO_INVALID, &err, STATE, "train.iterations is \"11\" now");
    test_remove_files("out");
}

/* ---- what must be as it was ---- */

/* Stopped after two steps. */
static void leave_a_state(const char *const *overrides)
{
    stopper s = {.stop_at = 12};
    assert_fails(train(overrides, false, &s), LECO_INTERRUPTED, &err, "stopped after");
    assert_true(file_exists(test_path(STATE)));
}

static void a_changed_config_is_refused_by_name(void **state)
{
    (void)state;
    static const char *const none[] = {NULL};
    static const struct {
        const char *override, *name, *now, *then;
    } changes[] = {
        {"train.lr=2e-3", "train.lr", "0.002", "0.001"},
        {"train.seed=1", "train.seed", "1", "0"},
        {"network.rank=4", "network.rank", "4", "2"},
        {"network.alpha=2", "network.alpha", "2", "1"},
        {"network.kind=loha", "network.kind", "loha", "lora"},
        {"network.type=c3lier", "network.type", "c3lier", "lierla"},
        {"network.include=[attn1, to_k]", "network.include", "[attn1, to_k]", "[]"},
        {"network.exclude=ff", "network.exclude", "[ff]", "[]"},
        {"network.ranks=[{match: attn1, alpha: 2}]", "network.ranks", "{match: attn1, rank: 0, alpha: 2}", "[]"},
        {"network.dropout=0.1", "network.dropout", "0.1", "0"},
        {"network.module_dropout=0.1", "network.module_dropout", "0.1", "0"},
        {"network.start_from=start.safetensors", "the file of network.start_from", "not given", ""},
        {"network.training_method=xattn", "network.training_method", "xattn", "full"},
        {"train.optimizer=lion", "train.optimizer", "lion(", "adamw("},
        {"train.optimizer_args=eps=1e-7", "train.optimizer", "eps=1e-07", "eps=1e-08"},
        {"train.lr_scheduler=cosine", "train.lr_scheduler", "cosine", "constant"},
        {"train.lr_warmup_steps=2", "train.lr_warmup_steps", "2", "0"},
        {"train.gradient_accumulation_steps=2", "train.gradient_accumulation_steps", "2", "1"},
        {"train.ema_decay=0.9", "train.ema_decay", "0.9", "0"},
        {"train.loss=huber", "train.loss", "huber", "mse"},
        {"train.optimizer=adamwschedulefree", "train.optimizer", "adamwschedulefree(", "adamw("},
        {"train.max_denoising_steps=6", "train.max_denoising_steps", "6", "5"},
        {"train.noise_scheduler=euler", "train.noise_scheduler", "euler", "ddim"},
        {"train.timestep_jitter=true", "train.timestep_jitter", "true", "false"},
        {"train.samples_per_trajectory=2", "train.samples_per_trajectory", "2", "1"},
        {"pretrained_model.clip_skip=2", "pretrained_model.clip_skip", "2", "1"},
        {"prompts.0.target=a blue circle", "prompts[1].target", "a blue circle", "a red circle"},
        {"prompts.0.resolution=64", "prompts[1].resolution", "[64, 64]", "[0, 0]"},
        {"prompts.0.weight=2", "prompts[1].weight", "2", "1"},
        {"prompts.0.action=enhance", "prompts[1].action", "enhance", "erase"},
        {"prompts=[{target: a, positive: red}, {target: b, positive: red}]", "number of prompts", "2", "1"},
        {"preserve=[a star]", "preserve.prompts", "a star", "not given"},
    };
    leave_a_state(none);
    size_t before, after;
    unsigned char *state_before = test_read(test_path(STATE), &before);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const char *const overrides[] = {changes[i].override, NULL};
        assert_fails(train(overrides, true, NULL), LECO_INVALID, &err, STATE, "can't go on", changes[i].name,
                     changes[i].now, changes[i].then);
    }
    unsigned char *state_after = test_read(test_path(STATE), &after); /* nothing is lost */
    assert_int_equal(after, before);
    assert_memory_equal(state_after, state_before, before);
    free(state_before);
    free(state_after);

    /* Where what was there is gone. */
    const char *const preserved[] = {"preserve=[a star]", NULL};
    leave_a_state(preserved);
    assert_fails(train(none, true, NULL), LECO_INVALID, &err, "preserve", "not given");

    /* What doesn't matter for what comes out may change. */
    const char *const free_to_change[] = {"save.per_steps=1",      "save.precision=float16", "save.keep_last=2",
                                          "logging.verbose=false", "prompts.0.positive=red", NULL};
    leave_a_state(none);
    assert_works(train(free_to_change, true, NULL), &err);
    test_remove_files("out");
}

static void another_model_or_other_pictures_are_refused(void **state)
{
    (void)state;
    const char *const donor[] = {"pretrained_model.name_or_path=donor", NULL};
    const char *const none[] = {NULL};
    leave_a_state(none);
    assert_fails(train(donor, true, NULL), LECO_INVALID, &err, STATE, "the contents of pretrained_model");

    const char *const photos[] = {"images={path: photos, prompt: a thing}", "prompts=null",
                                  "train.samples_per_trajectory=4", NULL};
    const char *const others[] = {"images={path: after, prompt: a thing}", "prompts=null",
                                  "train.samples_per_trajectory=4", NULL};
    stopper s = {.stop_at = 4};
    assert_fails(train(photos, false, &s), LECO_INTERRUPTED, &err, "stopped after");
    assert_fails(train(others, true, NULL), LECO_INVALID, &err, STATE, "the contents of the folders of pictures");
    assert_works(train(photos, true, NULL), &err);
    test_remove_files("out");
}

static void without_a_state_there_is_nothing_to_resume(void **state)
{
    (void)state;
    const char *const stateless[] = {"save.state=false", "save.per_steps=2", NULL};
    stopper s = {.stop_at = 20};
    assert_fails(train(stateless, false, &s), LECO_INTERRUPTED, &err, "stopped after", "save.state is false");
    assert_false(file_exists(test_path(STATE)));
    assert_fails(train(stateless, true, NULL), LECO_INVALID, &err, "--resume", "there is no", STATE);
    test_remove_files("out");
    assert_fails(train(stateless, true, NULL), LECO_INVALID, &err, "--resume", "there is no", STATE);
}

/* ---- the file ---- */

static void a_damaged_state_is_refused(void **state)
{
    (void)state;
    const char *const overrides[] = {K3, NULL};
    size_t size;
    train_state read;
    leave_a_state(overrides);
    unsigned char *bytes = test_read(test_path(STATE), &size);
    const char *path = test_path("damaged.safetensors");
    rng r;
    rng_seed(&r, RNG_CPU, 1);
    for (int i = 0; i < 3000; i++) { /* the header more often than the numbers */
        const size_t at = (size_t)rng_randint(&r, 0, i % 2 ? (int64_t)size : 8000);
        const unsigned char bit = (unsigned char)(1 << rng_randint(&r, 0, 8));
        bytes[at] ^= bit;
        test_write(path, bytes, size);
        if (state_read(path, &read, &err) == LECO_OK) fail_msg("bit %d of byte %zu goes unseen", bit, at);
        assert_non_null(strstr(err.message, path));
        bytes[at] ^= bit;
    }
    for (size_t cut = 0; cut < size; cut += 1 + size / 300) {
        test_write(path, bytes, cut);
        assert_fails(state_read(path, &read, &err), LECO_FORMAT, &err, path);
    }
    test_write(path, bytes, size);
    assert_works(state_read(path, &read, &err), &err);
    state_free(&read);

    /* As the run tells it; and one that isn't a state at all. */
    bytes[size - 1] ^= 1;
    test_write(test_path(STATE), bytes, size);
    assert_fails(train(overrides, true, NULL), LECO_FORMAT, &err, STATE, "is damaged");
    free(bytes);
    bytes = test_read(FIXTURE("sd1-like/lora.safetensors"), &size);
    test_write(test_path(STATE), bytes, size);
    assert_fails(train(overrides, true, NULL), LECO_FORMAT, &err, STATE, "is not the state of a leco training");
    free(bytes);
    test_remove_files("out");
}

/* A file with the right checksum and impossible numbers. */
static void numbers_that_cannot_be_are_refused(void **state)
{
    (void)state;
    const float values[] = {1, 2}, bad[] = {1, NAN};
    const int64_t steps[] = {2, 1};
    const char *path = test_path("made.safetensors");
    train_state good = {.threads = 1, .iterations = 9, .done = 3, .loss = 1, .values = values, .value_count = 2}, read;
    rng_seed(&good.rng, RNG_CPU, 3);
    good.drawn = good.rng;
    assert_works(state_write(&good, path, &err), &err);
    assert_works(state_read(path, &read, &err), &err);
    assert_true(read.done == 3 && read.value_count == 2 && memcmp(&read.rng, &good.rng, sizeof good.rng) == 0);
    state_free(&read);
    train_state made[20];
    int count = 0;
    for (; count < 20; count++) made[count] = good;
    count = 0;
    made[count++].done = 0;
    made[count++].done = 10;
    made[count++].iterations = INT64_MAX;
    made[count++].learnt = 1;
    made[count++].learnt = -1;
    made[count].kept = values;
    made[count++].kept_floats = 2;
    made[count].learnt = 2;
    made[count].kept_count = 2;
    made[count].kept = values;
    made[count++].kept_floats = 2;
    made[count++].loss = NAN;
    made[count++].seconds = -1;
    made[count++].first_count = 4;
    made[count++].threads = 0;
    made[count++].values = bad;
    made[count++].gathered = 2;
    made[count].gradients = values;
    made[count++].gradient_count = 2;
    made[count].average = bad;
    made[count++].average_count = 2;
    made[count++].gathered_loss = INFINITY;
    made[count].saved = steps;
    made[count++].saved_count = 2;
    made[count++].rng.next = 625;
    made[count++].rng.normal = INFINITY;
    for (int i = 0; i < count; i++) {
        assert_works(state_write(&made[i], path, &err), &err);
        assert_fails(state_read(path, &read, &err), LECO_FORMAT, &err, path, "is no state that leco wrote");
    }
}

/* ---- what a file says of its training ---- */

static void the_metadata_tell_all(void **state)
{
    (void)state;
    static const char *const overrides[] = {"pretrained_model.clip_skip=2",  "train.lr_scheduler=cosine",
                                            "train.optimizer_args=eps=1e-7", "network.text_encoder=true",
                                            "prompts.0.target=say \"red\"",  NULL};
    static const char *const expected[][2] = {
        {"ss_sd_model_name", "sd1-like"},
        {"ss_v2", "False"},
        {"ss_mixed_precision", "no"},
        {"ss_clip_skip", "2"},
        {"ss_steps", "7"},
        {"ss_max_train_steps", "7"},
        {"ss_learning_rate", "0.001"},
        {"ss_unet_lr", "0.001"},
        {"ss_text_encoder_lr", "0.001"},
        {"ss_lr_scheduler", "cosine"},
        {"ss_lr_warmup_steps", "0"},
        {"ss_gradient_accumulation_steps", "1"},
        {"ss_loss_type", "l2"},
        {"ss_optimizer", "adamw(betas=(0.9,0.999),eps=1e-07,weight_decay=0.01)"},
        {"ss_max_grad_norm", "0"},
        {"ss_batch_size_per_device", "1"},
        {"ss_seed", "0"},
        {"ss_network_dim", "2"},
        {"modelspec.date", "2023-11-14T22:13:20Z"},
    };
    safetensors *file;
    assert_works(train(overrides, false, NULL), &err);
    assert_works(safetensors_open(test_path(RESULT), &file, &err), &err);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const char *found = safetensors_metadata(file, expected[i][0]);
        if (!found || strcmp(found, expected[i][1]) != 0)
            fail_msg("%s is %s", expected[i][0], found ? found : "missing");
    }
    json_t *told = json_loads(safetensors_metadata(file, "leco_config"), 0, NULL);
    assert_non_null(told);
    assert_string_equal(json_string_value(json_object_get(told, "prompts[1].target")), "say \"red\"");
    assert_string_equal(json_string_value(json_object_get(told, "train.lr_scheduler")), "cosine");
    assert_string_equal(json_string_value(json_object_get(told, "prompts[1].action")), "erase");
    json_decref(told);
    for (size_t i = 0; i < safetensors_metadata_count(file); i++) { /* nobody's folders */
        const char *key, *value;
        safetensors_metadata_at(file, i, &key, &value);
        assert_null(strstr(value, LECO_SOURCE_DIR));
    }
    safetensors_close(file);
    test_remove_files("out");
}

/* ---- files that go ---- */

static void the_metadata_tell_how_it_was_learnt(void **state)
{
    (void)state;
    static const char *const overrides[] = {
        "train={lr: 1, lr_scheduler: linear, lr_warmup_steps: 0.3, loss: smooth_l1, "
        "gradient_accumulation_steps: 2, iterations: 7, max_denoising_steps: 5, "
        "optimizer: Prodigy8bit, optimizer_args: [d_coef=2, 'betas=0.9,0.99'], "
        "min_snr_gamma: 5, ema_decay: 0.5}",
        NULL};
    static const char *const expected[][2] = {
        {"ss_lr_scheduler", "linear"},
        {"ss_lr_warmup_steps", "2"},
        {"ss_gradient_accumulation_steps", "2"},
        {"ss_loss_type", "smooth_l1"},
        {"ss_huber_schedule", "snr"},
        {"ss_huber_c", "0.1"},
        {"ss_min_snr_gamma", "5"},
        {"ss_steps", "7"},
        {"ss_optimizer",
         "prodigy(betas=(0.9,0.99),beta3=None,eps=1e-08,weight_decay=0,decouple=True,"
         "use_bias_correction=False,safeguard_warmup=False,d0=1e-06,d_coef=2,growth_rate=inf,slice_p=1)"},
    };
    safetensors *file;
    assert_works(train(overrides, false, NULL), &err);
    assert_works(safetensors_open(test_path(RESULT), &file, &err), &err);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const char *found = safetensors_metadata(file, expected[i][0]);
        if (!found || strcmp(found, expected[i][1]) != 0)
            fail_msg("%s is %s", expected[i][0], found ? found : "missing");
    }
    safetensors_close(file);
    test_remove_files("out");
}

static void only_the_last_files_are_kept(void **state)
{
    (void)state;
    const char *const overrides[] = {"save.per_steps=1", "save.keep_last=2", NULL};
    stopper s;
    int stopped_at;
    assert_true(stop_and_go(overrides, &s, &stopped_at) > 2);
    assert_int_equal(test_count_files(test_path("out")), 3);
    assert_true(file_exists(test_path(RESULT)) && file_exists(test_path("out/small_000005.safetensors")) &&
                file_exists(test_path("out/small_000006.safetensors")));
    test_remove_files("out");
}

/* ---- one at a time ---- */

static bool train_within(void *user, const leco_progress *p)
{
    int *tried = user;
    static const char *const none[] = {NULL}, *const elsewhere[] = {"save.name=other", NULL};
    if (p->done != 1 || *tried > 0) return true;
    ++*tried;
    char process[32];
    snprintf(process, sizeof process, "(process %ld)", (long)getpid());
    assert_fails(train(none, false, NULL), LECO_IO, &err, "out/small", "another training", process, "save.name");
    assert_works(train(elsewhere, false, NULL), &err);
    return true;
}

static void two_trainings_of_one_name_are_one_too_many(void **state)
{
    (void)state;
    int tried = 0;
    leco_train_options o = {.progress = train_within, .user = &tried};
    leco_train_report report = {0};
    assert_works(leco_train(test_path("train.yaml"), &o, &report, &err), &err);
    leco_train_report_free(&report);
    assert_int_equal(tried, 1);
    assert_int_equal(test_count_files(test_path("out")), 2); /* no lock is left */
    test_remove_files("out");
}

static int set_up(void **state)
{
    (void)state;
    char path[600];
    setenv("SOURCE_DATE_EPOCH", "1700000000", 1);
    test_write(test_path("train.yaml"), config, strlen(config));
    put_photographs("photos", 30);
    put_start();
    put_photographs("after", 90);
    snprintf(path, sizeof path, "%s/scheduler/scheduler_config.json", model_copy(MODEL, "donor"));
    model_edit(path, "beta_end", "0.02");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stopped_run_ends_as_one_that_never_was),
        cmocka_unit_test(what_watches_goes_on_where_it_was),
        cmocka_unit_test(a_sheet_goes_on_when_a_training_gets_longer),
        cmocka_unit_test(files_on_the_way_are_the_same),
        cmocka_unit_test(a_finished_run_can_be_made_longer),
        cmocka_unit_test(a_changed_config_is_refused_by_name),
        cmocka_unit_test(another_model_or_other_pictures_are_refused),
        cmocka_unit_test(without_a_state_there_is_nothing_to_resume),
        cmocka_unit_test(a_damaged_state_is_refused),
        cmocka_unit_test(numbers_that_cannot_be_are_refused),
        cmocka_unit_test(the_metadata_tell_all),
        cmocka_unit_test(the_metadata_tell_how_it_was_learnt),
        cmocka_unit_test(only_the_last_files_are_kept),
        cmocka_unit_test(two_trainings_of_one_name_are_one_too_many),
    };
    return cmocka_run_group_tests_name("unit/resume", tests, set_up, NULL);
}
