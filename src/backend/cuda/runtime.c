#include "backend/cuda/runtime.h"

#include <math.h>
#include <stdio.h>

#include "backend/cuda/product.h"
#include "backend/cuda/stream.h"
#include "base/log.h"
#include "base/mem.h"

static struct card {
    enum { CARD_UNKNOWN, CARD_OPEN, CARD_ABSENT } state;
    leco_error why; /* absent */
    struct cudaDeviceProp properties;
} card;

static leco_status absent(leco_error *err, leco_status status, const char *why)
{
    card.state = CARD_ABSENT;
    error_set(&card.why, status, "%s", why);
    return error_set(err, status, "%s", why);
}

static leco_status unusable(leco_error *err, cudaError_t code)
{
    char text[400];
    snprintf(text, sizeof text, "the NVIDIA card can't be used: %s", cudaGetErrorString(code));
    return absent(err, LECO_DEVICE, text);
}

static leco_status old_driver(leco_error *err)
{
    int driver = 0, needed = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&needed);
    char text[160];
    if (driver == 0) return absent(err, LECO_UNSUPPORTED, "no NVIDIA driver is installed");
    snprintf(text, sizeof text, "the NVIDIA driver is too old: it knows CUDA %d.%d, this leco was built for %d.%d",
             driver / 1000, driver % 1000 / 10, needed / 1000, needed % 1000 / 10);
    return absent(err, LECO_DEVICE, text);
}

static leco_status find_card(leco_error *err)
{
    int count = 0;
    cudaError_t code = cudaGetDeviceCount(&count);
    if (code == cudaErrorInsufficientDriver) return old_driver(err);
    if (code == cudaErrorNoDevice || (code == cudaSuccess && count == 0))
        return absent(err, LECO_UNSUPPORTED, "no NVIDIA card was found");
    if (code != cudaSuccess) return unusable(err, code);
    code = cudaGetDeviceProperties(&card.properties, 0);
    if (code != cudaSuccess) return unusable(err, code);
    if (gpu_capability() < 75) {
        char text[400];
        snprintf(text, sizeof text, "%s has compute capability %d.%d: 7.5 or later is needed", card.properties.name,
                 card.properties.major, card.properties.minor);
        return absent(err, LECO_DEVICE, text);
    }
    code = cudaSetDevice(0);
    if (code == cudaSuccess) code = stream_open();
    if (code != cudaSuccess) return unusable(err, code);
    leco_error why = {0};
    if (gpu_product_open(&why) != LECO_OK) return absent(err, LECO_DEVICE, why.message);
    card.state = CARD_OPEN;
    log_message(LOG_DEBUG, "card %s, compute capability %d.%d, %zu MiB", card.properties.name, card.properties.major,
                card.properties.minor, card.properties.totalGlobalMem >> 20);
    return LECO_OK;
}

leco_status gpu_open(leco_error *err)
{
    if (card.state == CARD_OPEN) return LECO_OK;
    if (card.state == CARD_ABSENT) return error_set(err, card.why.status, "%s", card.why.message);
    return find_card(err);
}

const char *gpu_name(void)
{
    return card.properties.name;
}

int gpu_capability(void)
{
    return card.properties.major * 10 + card.properties.minor;
}

int gpu_processors(void)
{
    return card.properties.multiProcessorCount;
}

size_t gpu_shared_bytes(void)
{
    return card.properties.sharedMemPerBlockOptin;
}

/* ---- memory ---- */

static leco_status failed(leco_error *err, const char *what, cudaError_t code)
{
    return error_set(err, LECO_DEVICE, "%s: %s: %s", card.properties.name, what, cudaGetErrorString(code));
}

static void *card_alloc(size_t bytes)
{
    void *block = NULL;
    if (cudaMalloc(&block, bytes > 0 ? bytes : 1) == cudaSuccess) return block;
    cudaGetLastError(); /* a want of memory is the caller's to tell, not the next launch's */
    return NULL;
}

static void card_free(void *block)
{
    cudaFree(block);
}

static leco_status card_synchronise(leco_error *err)
{
    const cudaError_t code = cudaStreamSynchronize(gpu_stream());
    char failure[STREAM_FAILURE];
    if (stream_failure(failure)) return error_set(err, LECO_DEVICE, "%s: %s", card.properties.name, failure);
    return code == cudaSuccess ? LECO_OK : failed(err, "computing", code);
}

static leco_status card_upload(void *to, const void *from, size_t bytes, leco_error *err)
{
    const cudaError_t code = cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, gpu_stream());
    return code == cudaSuccess ? card_synchronise(err) : failed(err, "copying to it", code);
}

static leco_status card_download(void *to, const void *from, size_t bytes, leco_error *err)
{
    const cudaError_t code = cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, gpu_stream());
    return code == cudaSuccess ? card_synchronise(err) : failed(err, "copying from it", code);
}

/* Raw, and converted there. */
static leco_status card_upload_as(void *to, dtype type, const void *from, dtype from_type, size_t count,
                                  leco_error *err)
{
    const size_t bytes = count * dtype_size(from_type);
    if (type == from_type) return card_upload(to, from, bytes, err);
    void *raw = card_alloc(bytes);
    if (!raw) return memory_error(&gpu_memory, bytes, "a weight on its way", err);
    leco_status status = card_upload(raw, from, bytes, err);
    if (status == LECO_OK) {
        launch_convert(gpu_type_of(from_type), gpu_type_of(type), raw, to, (int64_t)count);
        status = card_synchronise(err);
    }
    card_free(raw);
    return status;
}

static size_t card_available(void)
{
    size_t available = 0, total = 0;
    return cudaMemGetInfo(&available, &total) == cudaSuccess ? available : 0;
}

const device_memory gpu_memory = {.alloc = card_alloc,
                                  .free = card_free,
                                  .upload = card_upload,
                                  .upload_as = card_upload_as,
                                  .download = card_download,
                                  .synchronise = card_synchronise,
                                  .available = card_available};

/* ---- recording ---- */

static leco_status record_begin(leco_error *err)
{
    const cudaError_t code = cudaStreamBeginCapture(gpu_stream(), cudaStreamCaptureModeRelaxed);
    return code == cudaSuccess ? LECO_OK : failed(err, "recording", code);
}

static leco_status record_end(void **out, leco_error *err)
{
    cudaGraph_t recorded = NULL;
    cudaGraphExec_t ready = NULL;
    cudaError_t code = cudaStreamEndCapture(gpu_stream(), &recorded);
    if (code == cudaSuccess) code = cudaGraphInstantiateWithFlags(&ready, recorded, 0);
    if (recorded) cudaGraphDestroy(recorded);
    *out = ready;
    return code == cudaSuccess ? LECO_OK : failed(err, "recording", code);
}

static leco_status record_replay(void *recording, leco_error *err)
{
    const cudaError_t code = cudaGraphLaunch((cudaGraphExec_t)recording, gpu_stream());
    return code == cudaSuccess ? LECO_OK : failed(err, "computing", code);
}

static void record_release(void *recording)
{
    if (recording) cudaGraphExecDestroy((cudaGraphExec_t)recording);
}

const recorder gpu_recorder = {
    .begin = record_begin, .end = record_end, .replay = record_replay, .release = record_release};

/* ---- timing ---- */

double gpu_seconds(void (*run)(void *with), void *with, int runs)
{
    cudaEvent_t start, end;
    float best = INFINITY;
    if (cudaEventCreate(&start) != cudaSuccess) return INFINITY;
    if (cudaEventCreate(&end) == cudaSuccess) {
        for (int i = 0; i < runs; i++) {
            float taken = INFINITY;
            cudaEventRecord(start, gpu_stream());
            run(with);
            cudaEventRecord(end, gpu_stream());
            if (cudaEventSynchronize(end) == cudaSuccess) cudaEventElapsedTime(&taken, start, end);
            if (taken < best) best = taken;
        }
        cudaEventDestroy(end);
    }
    cudaEventDestroy(start);
    return (double)best * 1e-3;
}

static struct {
    cudaEvent_t *marks;
    size_t count;
} watch;

static void watch_stop(void)
{
    for (size_t i = 0; i < watch.count; i++) cudaEventDestroy(watch.marks[i]);
    mem_free(watch.marks);
    watch.marks = NULL;
    watch.count = 0;
}

/* The card is held up first, so that the host's launches run ahead and what is timed follows without gaps. */
static leco_status watch_begin(size_t marks, leco_error *err)
{
    enum { HEAD_START_MS = 10 };
    watch.marks = mem_calloc(marks, sizeof *watch.marks);
    if (!watch.marks) return error_memory(err, marks * sizeof *watch.marks, "a profile");
    for (; watch.count < marks; watch.count++) {
        const cudaError_t code = cudaEventCreate(&watch.marks[watch.count]);
        if (code == cudaSuccess) continue;
        watch_stop();
        return failed(err, "timing", code);
    }
    launch_pause(HEAD_START_MS);
    return LECO_OK;
}

static void watch_mark(size_t index)
{
    gpu_launched((int)cudaEventRecord(watch.marks[index], gpu_stream()), "timing");
}

static leco_status watch_end(double *seconds, leco_error *err)
{
    leco_status status = card_synchronise(err);
    for (size_t i = 0; i + 1 < watch.count && status == LECO_OK; i++) {
        float taken = 0;
        const cudaError_t code = cudaEventElapsedTime(&taken, watch.marks[i], watch.marks[i + 1]);
        seconds[i] = (double)taken * 1e-3;
        if (code != cudaSuccess) status = failed(err, "timing", code);
    }
    watch_stop();
    return status;
}

const stopwatch gpu_stopwatch = {.begin = watch_begin, .mark = watch_mark, .end = watch_end};
