/* trainable_load_embedding: a file of rows is refused, or gives finite rows of the model's width, and a word that
 * prompts find. */
#include "fuzz.h"

#include <math.h>
#include <string.h>

#include "format/safetensors.h"
#include "fuzz_tensors.h"
#include "model/model.h"
#include "model/trainable.h"

enum { WIDTH = 24 }; /* of the model */

const char *const fuzz_words[] = {"emb_params",
                                  "<dot>",
                                  "clip_l",
                                  "lora_",
                                  "\"modelspec.trigger_phrase\":\"<dot>\"",
                                  "\"__metadata__\":{",
                                  "\"shape\":[24]",
                                  "\"shape\":[2,24]",
                                  "\"shape\":[1,1,24]",
                                  "[24,2]",
                                  "\"dtype\":",
                                  "\"F32\"",
                                  "\"F16\"",
                                  "\"BF16\"",
                                  "\"I64\"",
                                  "\"U8\"",
                                  NULL};

static model *open_model(void)
{
    model *m;
    leco_error err = {0};
    FUZZ_CHECK(model_open(LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like", &m, &err) == LECO_OK);
    return m;
}

static void check_loaded(const model *m, trainable *t)
{
    const trainable_module *module = trainable_module_at(t, 0);
    const size_t count = (size_t)trainable_parameters(t);
    FUZZ_CHECK(trainable_module_count(t) == 1 && count == (size_t)module->rank * WIDTH);
    for (size_t i = 0; i < count; i++) FUZZ_CHECK(isfinite(((const float *)module->param[0].value)[i]));
    int32_t ids[77];
    leco_error err = {0};
    FUZZ_CHECK(tokenizer_encode(m->tokenizer, module->token, strlen(module->token), ids, NULL, &err) == LECO_OK);
    FUZZ_CHECK(ids[1] == module->first && module->first >= m->text.vocab_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static model *m; /* opening one takes longer than all else; a refusal leaves it as it was */
    leco_error err = {0};
    trainable *t = NULL;
    if (!m) m = open_model();
    leco_status status = trainable_load_embedding(fuzz_path(data, size), m, DTYPE_F32, &t, &err);
    fuzz_accepted = status == LECO_OK;
    if (!fuzz_accepted) {
        FUZZ_REFUSED(status, &err);
        FUZZ_CHECK(!t);
        return 0;
    }
    check_loaded(m, t);
    trainable_destroy(t);
    model_close(m); /* it has the file's words now */
    m = open_model();
    return 0;
}

/* The name of the file that is read, a number, is a token: so the files tell a word. */
bool fuzz_seed(unsigned index, const char *path)
{
    static const float values[2 * WIDTH] = {1, 2, -0.5f};
    static const char *const names[] = {"emb_params", "<dot>", "emb_params"};
    static const char *const phrase[][2] = {{"modelspec.trigger_phrase", "<dot>"}};
    if (index >= 3) return false;
    const safetensors_entry e = {.name = names[index],
                                 .type = index == 1 ? DTYPE_F16 : DTYPE_F32,
                                 .rank = index == 1 ? 1 : 2,
                                 .shape = {index == 0   ? 2
                                           : index == 1 ? WIDTH
                                                        : 1,
                                           WIDTH},
                                 .count = index == 0 ? 2 * WIDTH : WIDTH,
                                 .data = values};
    leco_error err = {0};
    FUZZ_CHECK(safetensors_write(path, &e, 1, index == 1 ? NULL : phrase, index == 1 ? 0 : 1, &err) == LECO_OK);
    return true;
}

size_t fuzz_repair(uint8_t *data, size_t size, size_t capacity)
{
    return fuzz_repair_tensors(data, size, capacity);
}
