/* runtime.h on the host. */
#include "backend/cuda/emulate/card.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/product.h"
#include "backend/cuda/runtime.h"
#include "base/cpu.h"
#include "base/mem.h"

emulated_card emulated = {.capability = 90, .memory = SIZE_MAX};
static char failure[256];
static size_t taken; /* of its memory */

static long long said(const char *name, long long otherwise)
{
    const char *text = getenv(name);
    return text ? strtoll(text, NULL, 10) : otherwise;
}

leco_status gpu_open(leco_error *err)
{
    emulated.capability = (int)said("LECO_EMULATED_CAPABILITY", emulated.capability);
    emulated.memory = (size_t)said("LECO_EMULATED_MEMORY", (long long)emulated.memory);
    emulated.fails_at = said("LECO_EMULATED_FAILS_AT", emulated.fails_at);
    return gpu_product_open(err);
}

const char *gpu_name(void)
{
    return "an emulated card";
}

int gpu_capability(void)
{
    return emulated.capability;
}

int gpu_processors(void)
{
    return 132;
}

size_t gpu_shared_bytes(void)
{
    return emulated.capability < 80 ? 64 * 1024 : 227 * 1024;
}

void *gpu_stream(void)
{
    return NULL;
}

void gpu_failed(const char *what, const char *why)
{
    if (failure[0] == '\0') snprintf(failure, sizeof failure, "%s: %s", what, why);
}

void gpu_launched(int error, const char *name)
{
    if (error) gpu_failed(name, "failed");
}

/* ---- memory ---- */

enum { BEFORE_BLOCK = 64 }; /* bytes, where its size is */

static void *take(size_t bytes)
{
    if (bytes > emulated.memory - taken) return NULL;
    unsigned char *block = mem_aligned(bytes + BEFORE_BLOCK);
    if (!block) return NULL;
    memcpy(block, &bytes, sizeof bytes);
    taken += bytes;
    return block + BEFORE_BLOCK;
}

static void give_back(void *block)
{
    size_t bytes;
    if (!block) return;
    unsigned char *start = (unsigned char *)block - BEFORE_BLOCK;
    memcpy(&bytes, start, sizeof bytes);
    taken -= bytes;
    mem_free_aligned(start);
}

static size_t available(void)
{
    return emulated.memory - taken;
}

/* One more call: LECO_DEVICE from that on at which the card is lost. */
static leco_status count_call(leco_error *err)
{
    emulated.calls++;
    if (emulated.fails_at == 0 || emulated.calls < emulated.fails_at) return LECO_OK;
    return error_set(err, LECO_DEVICE, "an emulated card: computing: the card is lost");
}

static leco_status synchronise(leco_error *err)
{
    LECO_TRY(count_call(err));
    if (failure[0] == '\0') return LECO_OK;
    const leco_status status = error_set(err, LECO_DEVICE, "%s", failure);
    failure[0] = '\0';
    return status;
}

static leco_status copy(void *to, const void *from, size_t bytes, leco_error *err)
{
    LECO_TRY(synchronise(err));
    memcpy(to, from, bytes);
    return LECO_OK;
}

static leco_status upload(void *to, const void *from, size_t bytes, leco_error *err)
{
    emulated.uploads += bytes == emulated.watched;
    return copy(to, from, bytes, err);
}

static leco_status upload_as(void *to, dtype type, const void *from, dtype from_type, size_t count, leco_error *err)
{
    if (type == from_type) return upload(to, from, count * dtype_size(type), err);
    LECO_TRY(synchronise(err));
    dtype_convert(to, type, from, from_type, count);
    return LECO_OK;
}

const device_memory gpu_memory = {.alloc = take,
                                  .free = give_back,
                                  .upload = upload,
                                  .upload_as = upload_as,
                                  .download = copy,
                                  .synchronise = synchronise,
                                  .available = available};

static leco_status record_begin(leco_error *err)
{
    LECO_TRY(count_call(err));
    emulated_record();
    return LECO_OK;
}

static leco_status record_end(void **out, leco_error *err)
{
    (void)err;
    *out = emulated_recorded();
    return LECO_OK;
}

static leco_status record_replay(void *recording, leco_error *err)
{
    LECO_TRY(count_call(err));
    emulated_replay(recording);
    return LECO_OK;
}

const recorder gpu_recorder = {
    .begin = record_begin, .end = record_end, .replay = record_replay, .release = emulated_forget};

double gpu_seconds(void (*run)(void *with), void *with, int runs)
{
    double best = INFINITY;
    for (int i = 0; i < runs; i++) {
        const double start = cpu_seconds();
        run(with);
        const double passed = cpu_seconds() - start;
        if (passed < best) best = passed;
    }
    return best;
}

static double marked[4096];
static size_t mark_count;

static leco_status watch_begin(size_t marks, leco_error *err)
{
    if (marks > sizeof marked / sizeof *marked) return error_set(err, LECO_INTERNAL, "%zu marks", marks);
    mark_count = marks;
    return LECO_OK;
}

static void watch_mark(size_t index)
{
    marked[index] = cpu_seconds();
}

static leco_status watch_end(double *seconds, leco_error *err)
{
    for (size_t i = 0; i + 1 < mark_count; i++) seconds[i] = marked[i + 1] - marked[i];
    return synchronise(err);
}

const stopwatch gpu_stopwatch = {.begin = watch_begin, .mark = watch_mark, .end = watch_end};
