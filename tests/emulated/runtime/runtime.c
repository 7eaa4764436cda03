/* What is said where there is no card, no driver, an old one of either, no library, too little memory, or a card that
 * fails: runtime.c, product.c and library.c with a CUDA that says so. */
#include "test_support.h"

#include <stdlib.h>
#include <string.h>

#include "backend/cuda/library.h"
#include "backend/cuda/product.c" /* itself, and the next: what they found out is to be forgotten */
#include "backend/cuda/runtime.c"

static leco_error err;

/* ---- CUDA's answers ---- */

static struct {
    int driver, cards, major, minor;
    cudaError_t count, everything; /* of cudaGetDeviceCount; of all that computes, copies, waits */
    size_t memory;
} cuda;

static void cuda_is(int driver, cudaError_t count)
{
    memset(&card, 0, sizeof card);
    memset(&blas, 0, sizeof blas);
    unsetenv("STAND_IN_CUBLASLT");
    memset(&cuda, 0, sizeof cuda);
    cuda.driver = driver;
    cuda.count = count;
    cuda.cards = count == cudaSuccess ? 1 : 0;
    cuda.major = 8;
    cuda.minor = 6;
    cuda.memory = 1000;
}

const char *cudaGetErrorString(cudaError_t error)
{
    return error == cudaErrorECCUncorrectable ? "uncorrectable ECC error encountered" : "some error";
}
cudaError_t cudaGetLastError(void)
{
    return cuda.everything;
}
cudaError_t cudaDriverGetVersion(int *version)
{
    *version = cuda.driver;
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int *count)
{
    *count = cuda.cards;
    return cuda.count;
}
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *out, int index)
{
    (void)index;
    memset(out, 0, sizeof *out);
    strcpy(out->name, "A Card");
    out->major = cuda.major;
    out->minor = cuda.minor;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int index)
{
    (void)index;
    return cuda.everything;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags)
{
    (void)flags;
    *out = NULL;
    return cuda.everything;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    (void)stream;
    return cuda.everything;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, int mode)
{
    (void)stream;
    (void)mode;
    return cuda.everything;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out)
{
    (void)stream;
    *out = NULL;
    return cuda.everything;
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *out, cudaGraph_t recorded, unsigned long long flags)
{
    (void)recorded;
    (void)flags;
    *out = NULL;
    return cuda.everything;
}
cudaError_t cudaGraphDestroy(cudaGraph_t recorded)
{
    (void)recorded;
    return cuda.everything;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t recorded)
{
    (void)recorded;
    return cuda.everything;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t recorded, cudaStream_t stream)
{
    (void)recorded;
    (void)stream;
    return cuda.everything;
}
cudaError_t cudaMalloc(void **out, size_t bytes)
{
    *out = NULL;
    if (bytes > cuda.memory) return cudaErrorMemoryAllocation;
    *out = malloc(bytes);
    return cudaSuccess;
}
cudaError_t cudaFree(void *block)
{
    free(block);
    return cuda.everything;
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, int kind, cudaStream_t stream)
{
    (void)kind;
    (void)stream;
    if (cuda.everything == cudaSuccess) memcpy(to, from, bytes);
    return cuda.everything;
}
cudaError_t cudaMemGetInfo(size_t *available, size_t *total)
{
    *available = *total = cuda.memory;
    return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t *out)
{
    *out = NULL;
    return cuda.everything;
}
cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    (void)event;
    return cuda.everything;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    (void)event;
    (void)stream;
    return cuda.everything;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    (void)event;
    return cuda.everything;
}
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    (void)from;
    (void)to;
    *ms = 1;
    return cuda.everything;
}

void launch_convert(gpu_type from, gpu_type to, const void *x, void *y, int64_t count)
{
    (void)from;
    (void)to;
    (void)x;
    (void)y;
    (void)count;
}
void launch_copy(const void *x, void *y, int64_t bytes)
{
    (void)x;
    (void)y;
    (void)bytes;
}
void launch_pause(int milliseconds)
{
    (void)milliseconds;
}

/* ---- finding it ---- */

/* Once it is known, it is the same the second time. */
#define assert_no_card(status, ...)                                                                                    \
    for (int time = 0; time < 2; time++) assert_fails(gpu_open(&err), status, &err, __VA_ARGS__)
#define assert_absent(...) assert_no_card(LECO_UNSUPPORTED, __VA_ARGS__)
#define assert_unusable(...) assert_no_card(LECO_DEVICE, __VA_ARGS__)

static void each_want_has_its_sentence(void **state)
{
    (void)state;
    cuda_is(0, cudaErrorInsufficientDriver);
    assert_absent("no NVIDIA driver is installed");
    cuda_is(11080, cudaErrorInsufficientDriver);
    assert_unusable("the NVIDIA driver is too old", "it knows CUDA 11.8", "built for 13.0");
    cuda_is(13000, cudaErrorNoDevice);
    assert_absent("no NVIDIA card was found");
    cuda_is(13000, cudaSuccess);
    cuda.cards = 0; /* CUDA_VISIBLE_DEVICES is empty */
    assert_absent("no NVIDIA card was found");
    cuda_is(13000, cudaSuccess);
    cuda.major = 6;
    cuda.minor = 1;
    assert_unusable("A Card has compute capability 6.1: 7.5 or later is needed");
    cuda_is(13000, cudaSuccess);
    cuda.everything = cudaErrorECCUncorrectable;
    assert_unusable("the NVIDIA card can't be used", "uncorrectable ECC error");
    cuda_is(13000, cudaSuccess);
    assert_works(gpu_open(&err), &err);
    assert_string_equal(gpu_name(), "A Card");
    assert_int_equal(gpu_capability(), 86);
}

/* ---- cuBLASLt ---- */

static void a_card_is_open_with_the_newest_cublaslt_that_starts(void **state)
{
    (void)state;
    cuda_is(13000, cudaSuccess);
    assert_works(gpu_open(&err), &err);
    assert_string_equal(blas.handle, "13");
    cuda_is(12080, cudaSuccess); /* CUDA 13's library lies there, and its driver doesn't */
    setenv("STAND_IN_CUBLASLT", "12", true);
    assert_works(gpu_open(&err), &err);
    assert_string_equal(blas.handle, "12");
    cuda_is(11080, cudaSuccess);
    setenv("STAND_IN_CUBLASLT", "any", true); /* libcublasLt.so without a number */
    assert_works(gpu_open(&err), &err);
    assert_string_equal(blas.handle, "any");
    cuda_is(11080, cudaSuccess);
    setenv("STAND_IN_CUBLASLT", "none", true);
    assert_unusable("cuBLASLt (libcublasLt.so.13) does not start on this card");
}

/* ---- losing it ---- */

static void a_card_that_fails_is_a_device_that_fails(void **state)
{
    (void)state;
    char here[8] = "", there[8] = "values";
    void *recording;
    cuda_is(13000, cudaSuccess);
    assert_works(gpu_open(&err), &err);
    assert_works(gpu_memory.upload(here, there, sizeof here, &err), &err);
    assert_works(gpu_memory.synchronise(&err), &err);
    cuda.everything = cudaErrorECCUncorrectable;
    static const char why[] = "uncorrectable ECC error encountered";
    assert_fails(gpu_memory.synchronise(&err), LECO_DEVICE, &err, "A Card: computing: ", why);
    assert_fails(gpu_memory.upload(here, there, 8, &err), LECO_DEVICE, &err, "A Card: copying to it: ", why);
    assert_fails(gpu_memory.download(here, there, 8, &err), LECO_DEVICE, &err, "A Card: copying from it: ", why);
    assert_fails(gpu_recorder.begin(&err), LECO_DEVICE, &err, "A Card: recording: ", why);
    assert_fails(gpu_recorder.end(&recording, &err), LECO_DEVICE, &err, "A Card: recording: ", why);
    assert_fails(gpu_recorder.replay(NULL, &err), LECO_DEVICE, &err, "A Card: computing: ", why);
    assert_fails(gpu_stopwatch.begin(2, &err), LECO_DEVICE, &err, "A Card: timing: ", why);
    /* What a kernel's start says is kept until somebody waits, the first of several. */
    cuda.everything = cudaSuccess;
    gpu_launched(cudaErrorECCUncorrectable, "some_kernel");
    gpu_launched(cudaErrorECCUncorrectable, "another_kernel");
    assert_fails(gpu_memory.synchronise(&err), LECO_DEVICE, &err, "A Card: some_kernel: ", why);
    assert_works(gpu_memory.synchronise(&err), &err);
}

static void memory_that_runs_out_is_told_with_what_is_free(void **state)
{
    (void)state;
    const uint16_t halves[2048] = {0};
    float wide[4];
    cuda_is(13000, cudaSuccess);
    assert_works(gpu_open(&err), &err);
    cuda.memory = 1 << 20;
    assert_null(gpu_memory.alloc((size_t)3 << 20));
    assert_int_equal(gpu_memory.available(), 1 << 20);
    assert_fails(memory_error(&gpu_memory, (size_t)3 << 20, "activations", &err), LECO_MEMORY, &err, "3.0 MiB",
                 "for activations", "1.0 MiB of it are free");
    cuda.memory = 1000;
    assert_fails(gpu_memory.upload_as(wide, DTYPE_F32, halves, DTYPE_F16, 2048, &err), LECO_MEMORY, &err,
                 "a weight on its way");
}

/* ---- libraries ---- */

static bool starts(void)
{
    return true;
}

static void a_library_that_is_missing_or_another_is_named(void **state)
{
    (void)state;
    static const library_function functions[] = {{"cos", 0}, {"leco_has_no_such", sizeof(void *)}};
    void *table[2] = {NULL};
    const library none = {
        .name = "cuBLASLt", .file = "libleco-has-no-such.so", .versions = {13, 12, 11}, .start = starts};
    assert_fails(library_load(&none, functions, 1, table, &err), LECO_UNSUPPORTED, &err, "cuBLASLt is not installed",
                 "libleco-has-no-such.so", "LD_LIBRARY_PATH");
    const library maths = {.name = "cuDNN", .file = "libm.so", .versions = {9, 6}, .start = starts};
    assert_works(library_load(&maths, functions, 1, table, &err), &err);
    assert_non_null(table[0]);
    assert_fails(library_load(&maths, functions, 2, table, &err), LECO_UNSUPPORTED, &err, "cuDNN is too old or too new",
                 "libm.so.6 has no leco_has_no_such");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_want_has_its_sentence),
        cmocka_unit_test(a_card_is_open_with_the_newest_cublaslt_that_starts),
        cmocka_unit_test(a_card_that_fails_is_a_device_that_fails),
        cmocka_unit_test(memory_that_runs_out_is_told_with_what_is_free),
        cmocka_unit_test(a_library_that_is_missing_or_another_is_named),
    };
    return cmocka_run_group_tests_name("emulated/runtime", tests, NULL, NULL);
}
