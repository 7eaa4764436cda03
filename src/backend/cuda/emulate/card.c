/* runtime.h on the host. */
#include "backend/cuda/emulate/card.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backend/cuda/runtime.h"
#include "base/cpu.h"
#include "base/mem.h"

static char failure[256];

leco_status gpu_open(leco_error *err)
{
    (void)err;
    return LECO_OK;
}

const char *gpu_name(void)
{
    return "an emulated card";
}

int gpu_capability(void)
{
    return 90;
}

int gpu_processors(void)
{
    return 132;
}

size_t gpu_shared_bytes(void)
{
    return 227 * 1024;
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

static leco_status synchronise(leco_error *err)
{
    if (failure[0] == '\0') return LECO_OK;
    const leco_status status = error_set(err, LECO_INTERNAL, "%s", failure);
    failure[0] = '\0';
    return status;
}

static leco_status copy(void *to, const void *from, size_t bytes, leco_error *err)
{
    memcpy(to, from, bytes);
    return synchronise(err);
}

static leco_status upload_as(void *to, dtype type, const void *from, dtype from_type, size_t count, leco_error *err)
{
    dtype_convert(to, type, from, from_type, count);
    return synchronise(err);
}

static size_t available(void)
{
    return (size_t)1 << 40;
}

const device_memory gpu_memory = {.alloc = mem_aligned,
                                  .free = mem_free_aligned,
                                  .upload = copy,
                                  .upload_as = upload_as,
                                  .download = copy,
                                  .synchronise = synchronise,
                                  .available = available};

static leco_status record_begin(leco_error *err)
{
    (void)err;
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
    (void)err;
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
        const double taken = cpu_seconds() - start;
        if (taken < best) best = taken;
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
