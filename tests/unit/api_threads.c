/* Two models and a training in threads of their own, at the same time: each must give what it gives alone. The thread
 * sanitizer watches, too (scripts/test). */
#include "test_support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"
#include "leco/leco.h"

#define MODEL LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like"
#define LORA MODEL "/lora.safetensors"

/* What a thread does, and what came of it. Threads must not use cmocka's assertions. */
typedef struct job {
    const char *precision, *lora; /* a drawing; NULL: a training */
    int64_t seed;
    leco_status status;
    leco_error err;
    unsigned char *result;
    size_t size;
} job;

/* Every thread has its own log, the last one wins: a message must come with the user it was set with. */
static void check_user(void *user, leco_log_level level, const char *message)
{
    (void)level;
    (void)message;
    atomic_fetch_add((atomic_int *)user, 1);
}

static leco_status draw(job *j)
{
    const leco_model_options options = {.precision = j->precision};
    leco_generate_options o = leco_generate_defaults();
    o.prompts = (const char *const[]){"a red circle", "a blue star"};
    o.prompt_count = 2;
    o.batch = 1;
    o.steps = 2;
    o.seed = j->seed;
    leco_model *model = NULL;
    leco_images images = {0};
    leco_status status = leco_model_open(MODEL, &options, &model, &j->err);
    if (status == LECO_OK && j->lora) status = leco_model_add_lora(model, j->lora, 1, &j->err);
    if (status == LECO_OK) status = leco_generate(model, &o, &images, &j->err);
    for (size_t i = 0; i < images.count && status == LECO_OK; i++) {
        const leco_image *image = &images.image[i];
        size_t bytes = (size_t)(3 * image->width * image->height);
        j->result = realloc(j->result, j->size + bytes);
        memcpy(j->result + j->size, image->rgb, bytes);
        j->size += bytes;
    }
    leco_images_free(&images);
    leco_model_close(model);
    return status;
}

static const char config[] = "pretrained_model: {name_or_path: \"" MODEL "\"}\n"
                             "train: {precision: float32, iterations: 2, max_denoising_steps: 2, lr: 1e-3,"
                             " samples_per_trajectory: 2, seed: 7}\n"
                             "save: {name: small, path: threads}\n"
                             "prompts:\n"
                             "- {target: a red circle, neutral: a circle}\n";

static leco_status train(job *j, const char *path)
{
    leco_train_report report = {0};
    safetensors *file = NULL;
    leco_status status = leco_train(path, NULL, &report, &j->err);
    if (status == LECO_OK) status = safetensors_open(report.path, &file, &j->err);
    for (size_t i = 0; file && i < safetensors_count(file); i++) { /* not the metadata: they hold the date */
        const safetensors_entry *e = safetensors_at(file, i);
        size_t bytes = e->count * dtype_size(e->type);
        j->result = realloc(j->result, j->size + bytes);
        memcpy(j->result + j->size, e->data, bytes);
        j->size += bytes;
    }
    if (file) safetensors_close(file);
    leco_train_report_free(&report);
    return status;
}

static char config_path[512];

static void *run(void *data)
{
    static atomic_int messages;
    job *j = data;
    leco_set_log(check_user, &messages);
    j->status = j->precision ? draw(j) : train(j, config_path);
    return NULL;
}

#define JOBS 3
static const job jobs[JOBS] = {
    {.precision = "float32", .lora = LORA, .seed = 3}, {.precision = "bfloat16", .seed = 4}, {.precision = NULL}};

static void release(job *done)
{
    for (int i = 0; i < JOBS; i++) free(done[i].result);
}

static void threads_do_not_meet(void **state)
{
    (void)state;
    job alone[JOBS], together[JOBS];
    test_write(test_path("threads.yaml"), config, strlen(config));
    strcpy(config_path, test_path("threads.yaml"));
    for (int round = 0; round < 2;
         round++) { /* together first: what is made once is made by threads that race for it */
        pthread_t thread[JOBS];
        memcpy(together, jobs, sizeof jobs);
        memcpy(alone, jobs, sizeof jobs);
        for (int i = 0; i < JOBS; i++) assert_int_equal(pthread_create(&thread[i], NULL, run, &together[i]), 0);
        for (int i = 0; i < JOBS; i++) assert_int_equal(pthread_join(thread[i], NULL), 0);
        for (int i = 0; i < JOBS; i++) {
            run(&alone[i]);
            if (alone[i].status == LECO_UNSUPPORTED) { /* bfloat16 on this processor */
                assert_int_equal(together[i].status, LECO_UNSUPPORTED);
                continue;
            }
            assert_works(alone[i].status, &alone[i].err);
            assert_works(together[i].status, &together[i].err);
            assert_true(alone[i].size > 0 && alone[i].size == together[i].size);
            assert_memory_equal(alone[i].result, together[i].result, alone[i].size);
        }
        release(alone);
        release(together);
    }
    leco_set_log(NULL, NULL);
}

#if defined(__SANITIZE_THREAD__)
/* oneDNN isn't instrumented: the sanitizer sees what it writes to the descriptions that threads share through its
 * cache, and not the locks that it does so under. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "called_from_lib:libdnnl.so\n";
}
#endif

int main(void)
{
#if defined(__SANITIZE_THREAD__)
    leco_set_threads(1); /* the sanitizer doesn't know how OpenMP's threads wait for each other */
#endif
    const struct CMUnitTest tests[] = {cmocka_unit_test(threads_do_not_meet)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
