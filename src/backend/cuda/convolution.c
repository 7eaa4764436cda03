/* convolution.h over cuDNN, which is loaded when first needed. */
#include "backend/cuda/convolution.h"

#include <cudnn.h>
#include <stddef.h>
#include <stdio.h>

#include "backend/cuda/library.h"
#include "base/log.h"
#include "base/mem.h"

enum { MOST_SCRATCH = 256 << 20, MOST_ALGORITHMS = 12 };

#define FUNCTIONS(F)                                                                                                   \
    F(cudnnCreate)                                                                                                     \
    F(cudnnSetStream)                                                                                                  \
    F(cudnnGetErrorString)                                                                                             \
    F(cudnnCreateTensorDescriptor)                                                                                     \
    F(cudnnDestroyTensorDescriptor)                                                                                    \
    F(cudnnSetTensor4dDescriptor)                                                                                      \
    F(cudnnCreateFilterDescriptor)                                                                                     \
    F(cudnnDestroyFilterDescriptor)                                                                                    \
    F(cudnnSetFilter4dDescriptor)                                                                                      \
    F(cudnnCreateConvolutionDescriptor)                                                                                \
    F(cudnnDestroyConvolutionDescriptor)                                                                               \
    F(cudnnSetConvolution2dDescriptor)                                                                                 \
    F(cudnnSetConvolutionMathType)                                                                                     \
    F(cudnnGetConvolutionForwardAlgorithm_v7)                                                                          \
    F(cudnnGetConvolutionBackwardDataAlgorithm_v7)                                                                     \
    F(cudnnCreateActivationDescriptor)                                                                                 \
    F(cudnnDestroyActivationDescriptor)                                                                                \
    F(cudnnSetActivationDescriptor)                                                                                    \
    F(cudnnGetConvolutionForwardWorkspaceSize)                                                                         \
    F(cudnnConvolutionBiasActivationForward)                                                                           \
    F(cudnnConvolutionForward)                                                                                         \
    F(cudnnConvolutionBackwardData)

static struct dnn {
#define MEMBER(name) __typeof__(&name) name;
    FUNCTIONS(MEMBER)
#undef MEMBER
    cudnnHandle_t handle;
    enum { DNN_UNKNOWN, DNN_THERE, DNN_ABSENT } state;
} dnn;

static bool start(void)
{
    return dnn.cudnnCreate(&dnn.handle) == CUDNN_STATUS_SUCCESS &&
           dnn.cudnnSetStream(dnn.handle, gpu_stream()) == CUDNN_STATUS_SUCCESS;
}

static leco_status open_cudnn(leco_error *err)
{
#define ENTRY(name) {#name, offsetof(struct dnn, name)},
    static const library_function functions[] = {FUNCTIONS(ENTRY)};
#undef ENTRY
    static const library cudnn = {.name = "cuDNN", .file = "libcudnn.so", .versions = {CUDNN_MAJOR}, .start = start};
    return library_load(&cudnn, functions, sizeof functions / sizeof *functions, &dnn, err);
}

static leco_status load(leco_error *err)
{
    if (dnn.state == DNN_UNKNOWN) {
        leco_error why = {0};
        dnn.state = open_cudnn(&why) == LECO_OK ? DNN_THERE : DNN_ABSENT;
        if (dnn.state == DNN_ABSENT)
            log_message(LOG_WARNING, "%s; convolutions are done as products, which is slower", why.message);
    }
    return dnn.state == DNN_THERE ? LECO_OK : error_set(err, LECO_UNSUPPORTED, "there is no cuDNN");
}

typedef struct convolution_impl {
    cudnnTensorDescriptor_t x, y; /* of the convolution, also where its gradient is wanted */
    cudnnFilterDescriptor_t w;
    cudnnConvolutionDescriptor_t how;
    cudnnTensorDescriptor_t bias;
    cudnnActivationDescriptor_t identity;
    cudnnConvolutionFwdAlgo_t forward;
    cudnnConvolutionBwdDataAlgo_t backward;
    size_t workspace_bytes;
    bool unfused; /* cuDNN said that it can't do bias and residual along the way */
} convolution_impl;

static cudnnDataType_t data_type(gpu_type type)
{
    return type == GPU_F32 ? CUDNN_DATA_FLOAT : type == GPU_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_HALF;
}

static bool good(cudnnStatus_t status)
{
    return status == CUDNN_STATUS_SUCCESS;
}

/* f32 in f32 throughout: never rounded to tf32. */
static bool set_math(convolution_impl *i, gpu_type type, cudnnMathType_t math)
{
    if (type == GPU_F32 && math == CUDNN_DEFAULT_MATH) math = CUDNN_FMA_MATH;
    return good(dnn.cudnnSetConvolutionMathType(i->how, math));
}

static bool describe(convolution_impl *i, const gpu_convolution *c)
{
    const conv_shape *s = &c->shape;
    const cudnnDataType_t type = data_type(c->type);
    const cudnnMathType_t math = c->type == GPU_F32 ? CUDNN_FMA_MATH : CUDNN_TENSOR_OP_MATH;
    return good(dnn.cudnnCreateTensorDescriptor(&i->x)) && good(dnn.cudnnCreateTensorDescriptor(&i->y)) &&
           good(dnn.cudnnCreateFilterDescriptor(&i->w)) && good(dnn.cudnnCreateConvolutionDescriptor(&i->how)) &&
           good(dnn.cudnnSetTensor4dDescriptor(i->x, CUDNN_TENSOR_NHWC, type, (int)s->n, (int)s->in, (int)s->h,
                                               (int)s->w)) &&
           good(dnn.cudnnSetTensor4dDescriptor(i->y, CUDNN_TENSOR_NHWC, type, (int)s->n, (int)s->out, (int)s->ho,
                                               (int)s->wo)) &&
           good(dnn.cudnnSetFilter4dDescriptor(i->w, type, CUDNN_TENSOR_NHWC, (int)s->out, (int)s->in, (int)s->kh,
                                               (int)s->kw)) &&
           good(dnn.cudnnSetConvolution2dDescriptor(i->how, s->top, s->left, s->stride, s->stride, 1, 1,
                                                    CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT)) &&
           set_math(i, c->type, math) && good(dnn.cudnnCreateTensorDescriptor(&i->bias)) &&
           good(dnn.cudnnSetTensor4dDescriptor(i->bias, CUDNN_TENSOR_NHWC, type, 1, (int)s->out, 1, 1)) &&
           good(dnn.cudnnCreateActivationDescriptor(&i->identity)) &&
           good(dnn.cudnnSetActivationDescriptor(i->identity, CUDNN_ACTIVATION_IDENTITY, CUDNN_NOT_PROPAGATE_NAN, 0));
}

/* Room for the one algorithm that is fused with bias and residual, too. */
static void make_room_for_fused(convolution_impl *i, gpu_convolution *c)
{
    size_t bytes = 0;
    if (!good(dnn.cudnnGetConvolutionForwardWorkspaceSize(dnn.handle, i->x, i->w, i->how, i->y,
                                                          CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, &bytes)) ||
        bytes > MOST_SCRATCH)
        i->unfused = true;
    else if (bytes > c->scratch_bytes)
        c->scratch_bytes = bytes;
}

static bool choose_forward(convolution_impl *i, gpu_convolution *c)
{
    cudnnConvolutionFwdAlgoPerf_t found[MOST_ALGORITHMS];
    int count = 0;
    if (!good(dnn.cudnnGetConvolutionForwardAlgorithm_v7(dnn.handle, i->x, i->w, i->how, i->y, MOST_ALGORITHMS, &count,
                                                         found)))
        return false;
    for (int k = 0; k < count; k++) {
        if (!good(found[k].status) || found[k].determinism != CUDNN_DETERMINISTIC || found[k].memory > MOST_SCRATCH)
            continue;
        i->forward = found[k].algo;
        c->scratch_bytes = found[k].memory;
        return set_math(i, c->type, found[k].mathType);
    }
    return false;
}

static bool choose_backward(convolution_impl *i, gpu_convolution *c)
{
    cudnnConvolutionBwdDataAlgoPerf_t found[MOST_ALGORITHMS];
    int count = 0;
    if (!good(dnn.cudnnGetConvolutionBackwardDataAlgorithm_v7(dnn.handle, i->w, i->y, i->how, i->x, MOST_ALGORITHMS,
                                                              &count, found)))
        return false;
    for (int k = 0; k < count; k++) {
        if (!good(found[k].status) || found[k].determinism != CUDNN_DETERMINISTIC || found[k].memory > MOST_SCRATCH)
            continue;
        i->backward = found[k].algo;
        c->scratch_bytes = found[k].memory;
        return set_math(i, c->type, found[k].mathType);
    }
    return false;
}

/* cuDNN pads both sides alike; where the far side is padded less, or rows remain that no window reads, its output would
 * have another size. */
static bool padded_alike(const conv_shape *s)
{
    return (s->h + 2 * s->top - s->kh) / s->stride + 1 == s->ho &&
           (s->w + 2 * s->left - s->kw) / s->stride + 1 == s->wo && s->top <= s->kh && s->left <= s->kw;
}

leco_status gpu_convolution_plan(gpu_convolution *c, leco_error *err)
{
    if (!padded_alike(&c->shape)) return error_set(err, LECO_UNSUPPORTED, "padding differs from side to side");
    LECO_TRY(load(err));
    convolution_impl *i = mem_calloc(1, sizeof *i);
    if (!i) return error_memory(err, sizeof *i, "a convolution");
    c->impl = i;
    if (describe(i, c) && (c->gradient ? choose_backward(i, c) : choose_forward(i, c))) {
        if (!c->gradient) make_room_for_fused(i, c);
        i->workspace_bytes = c->scratch_bytes;
        c->scratch_bytes += LIBRARY_ALIGNMENT;
        return LECO_OK;
    }
    return error_set(err, LECO_UNSUPPORTED, "cuDNN has no such convolution on this card");
}

/* Convolution, bias and residual in one kernel, where cuDNN has that: *served says so. */
static void run_fused(const gpu_convolution *c, const void *x, const void *w, const void *bias, const void *add,
                      void *y, void *scratch, bool *served)
{
    convolution_impl *i = c->impl;
    const float one = 1.0f, with_add = add ? 1.0f : 0.0f;
    *served = false;
    if (!bias || i->unfused) return;
    *served = good(dnn.cudnnConvolutionBiasActivationForward(
        dnn.handle, &one, i->x, x, i->w, w, i->how, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, scratch,
        i->workspace_bytes, &with_add, i->y, add ? add : y, i->bias, bias, i->identity, i->y, y));
    if (*served) return;
    i->unfused = true;
    log_message(LOG_DEBUG, "cuDNN has no fused convolution %lld -> %lld", (long long)c->shape.in,
                (long long)c->shape.out);
}

void gpu_convolution_run(const gpu_convolution *c, const void *x, const void *w, const void *bias, const void *add,
                         void *y, void *scratch)
{
    const convolution_impl *i = c->impl;
    const conv_shape *s = &c->shape;
    const float alpha = 1.0f, beta = add ? 1.0f : 0.0f;
    const int64_t rows = c->gradient ? s->n * s->h * s->w : s->n * s->ho * s->wo;
    const int64_t channels = c->gradient ? s->in : s->out;
    bool served;
    scratch = library_workspace(scratch);
    run_fused(c, x, w, bias, add, y, scratch, &served);
    if (served) return;
    if (add && (add != y || bias)) launch_add_bias(c->type, add, bias, NULL, y, rows, channels);
    const cudnnStatus_t status =
        c->gradient ? dnn.cudnnConvolutionBackwardData(dnn.handle, &alpha, i->w, w, i->y, x, i->how, i->backward,
                                                       scratch, i->workspace_bytes, &beta, i->x, y)
                    : dnn.cudnnConvolutionForward(dnn.handle, &alpha, i->x, x, i->w, w, i->how, i->forward, scratch,
                                                  i->workspace_bytes, &beta, i->y, y);
    if (!good(status))
        gpu_failed("cuDNN", dnn.cudnnGetErrorString(status));
    else if (bias && !add)
        launch_add_bias(c->type, y, bias, NULL, y, rows, channels);
}

void gpu_convolution_release(gpu_convolution *c)
{
    convolution_impl *i = c->impl;
    if (!i) return;
    if (i->x) dnn.cudnnDestroyTensorDescriptor(i->x);
    if (i->y) dnn.cudnnDestroyTensorDescriptor(i->y);
    if (i->w) dnn.cudnnDestroyFilterDescriptor(i->w);
    if (i->bias) dnn.cudnnDestroyTensorDescriptor(i->bias);
    if (i->identity) dnn.cudnnDestroyActivationDescriptor(i->identity);
    if (i->how) dnn.cudnnDestroyConvolutionDescriptor(i->how);
    mem_free(i);
    c->impl = NULL;
}
