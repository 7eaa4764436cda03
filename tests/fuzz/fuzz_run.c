/* The inputs of `leco run`, and the start latents of `leco generate`: the first byte picks the module, the rest is the
 * safetensors file. The model is models/shapes, whose modules run on whatever is accepted. */
#include "fuzz.h"

#include <stdio.h>
#include <string.h>

#include "format/safetensors.h"
#include "fuzz_tensors.h"
#include "leco/leco.h"

const char *const fuzz_words[] = {"sample",     "timestep",  "encoder_hidden_states",
                                  "input_ids",  "latents",   "\"dtype\":",
                                  "\"shape\":", "[]",        "[1]",
                                  "[1,4,2,2]",  "[1,3,4,4]", "[1,2]",
                                  "\"F32\"",    "\"F16\"",   "\"F64\"",
                                  "\"I64\"",    "\"I32\"",   "\"U8\"",
                                  NULL};

#define CONTEXT 128 /* width of models/shapes */

static const char *const modules[] = {"text-encoder", "unet", "vae-encoder", "vae-decoder"};

static leco_model *model(void)
{
    static leco_model *opened;
    leco_error err = {0};
    if (!opened) {
        const leco_model_options options = {.device = "cpu", .precision = "float32"};
        leco_set_threads(1);
        FUZZ_CHECK(leco_model_open(LECO_SOURCE_DIR "/models/shapes", &options, &opened, &err) == LECO_OK);
    }
    return opened;
}

static leco_status generate(const char *path, leco_error *err)
{
    static const char *const prompts[] = {"red"};
    leco_images images = {0};
    leco_generate_options o = leco_generate_defaults();
    o.prompts = prompts;
    o.prompt_count = 1;
    o.steps = 1;
    o.guidance_scale = 1;
    o.latents = path;
    leco_status status = leco_generate(model(), &o, &images, err);
    if (status == LECO_OK) FUZZ_CHECK(images.count == 1 && images.image[0].rgb && images.image[0].width > 0);
    leco_images_free(&images);
    return status;
}

/* The result is a file of one or two tensors of numbers. */
static void check_result(void)
{
    leco_error err = {0};
    safetensors *file;
    FUZZ_CHECK(safetensors_open(fuzz_result(), &file, &err) == LECO_OK);
    FUZZ_CHECK(safetensors_count(file) >= 1 && safetensors_count(file) <= 2);
    for (size_t i = 0; i < safetensors_count(file); i++) FUZZ_CHECK(safetensors_at(file, i)->count > 0);
    safetensors_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    fuzz_accepted = false;
    if (size == 0) return 0;
    const char *path = fuzz_path(data + 1, size - 1);
    size_t kind = data[0] % 5;
    leco_status status =
        kind == 4 ? generate(path, &err) : leco_run(model(), modules[kind], path, NULL, fuzz_result(), &err);
    fuzz_accepted = status == LECO_OK;
    if (!fuzz_accepted)
        FUZZ_REFUSED(status, &err);
    else if (kind < 4)
        check_result();
    return 0;
}

/* ---- seeds ---- */

static void write_seed(const char *path, char kind, const safetensors_entry *entries, size_t count)
{
    static uint8_t bytes[16384];
    FUZZ_CHECK(safetensors_write(path, entries, count, NULL, 0, NULL) == LECO_OK);
    FILE *file = fopen(path, "r+b");
    FUZZ_CHECK(file);
    size_t size = fread(bytes, 1, sizeof bytes, file);
    rewind(file);
    FUZZ_CHECK(fputc(kind, file) == kind && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
}

/* Kinds '0' to '4' are 3, 4, 0, 1 and 2 in `modules`, counted round. */
bool fuzz_seed(unsigned index, const char *path)
{
    static const float values[4 * CONTEXT] = {1, -0.5f, 0.25f};
    static const int64_t ids[] = {624, 17, 625}, timestep[] = {981};
    const safetensors_entry text = {
        .name = "input_ids", .type = DTYPE_I64, .rank = 2, .shape = {1, 3}, .count = 3, .data = ids};
    const safetensors_entry unet[] = {
        {.name = "sample", .type = DTYPE_F32, .rank = 4, .shape = {1, 4, 4, 4}, .count = 64, .data = values},
        {.name = "timestep", .type = DTYPE_I64, .rank = 0, .count = 1, .data = timestep},
        {.name = "encoder_hidden_states",
         .type = DTYPE_F32,
         .rank = 3,
         .shape = {1, 2, CONTEXT},
         .count = 2 * CONTEXT,
         .data = values}};
    const safetensors_entry picture = {
        .name = "sample", .type = DTYPE_F16, .rank = 4, .shape = {1, 3, 4, 8}, .count = 96, .data = values};
    const safetensors_entry latents = {
        .name = "latents", .type = DTYPE_F32, .rank = 4, .shape = {1, 4, 4, 4}, .count = 64, .data = values};
    static const char kinds[] = {'2', '3', '4', '0', '1'};
    if (index >= 5) return false;
    const safetensors_entry *const entries[] = {&text, unet, &picture, &latents, &latents};
    write_seed(path, kinds[index], entries[index], index == 1 ? 3 : 1);
    return true;
}

size_t fuzz_repair(uint8_t *data, size_t size, size_t capacity)
{
    return size ? 1 + fuzz_repair_tensors(data + 1, size - 1, capacity - 1) : 0;
}
