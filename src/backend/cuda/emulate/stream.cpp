#include <cstdlib>
#include <vector>

extern "C" {
#include "base/error.h"
}
#include "backend/cuda/convolution.h"
#include "backend/cuda/emulate/card.h"
#include "backend/cuda/emulate/emulate.h"
#include "backend/cuda/product.h"

/* ---- the stream ---- */

using work_list = std::vector<std::function<void()>>;

static work_list *recording;

void emulated_do(std::function<void()> work)
{
    if (recording)
        recording->push_back(std::move(work));
    else
        work();
}

void emulated_record(void)
{
    recording = new work_list;
}

void *emulated_recorded(void)
{
    work_list *done = recording;
    recording = nullptr;
    return done;
}

void emulated_replay(void *list)
{
    for (const auto &work : *static_cast<work_list *>(list)) work();
}

void emulated_forget(void *list)
{
    delete static_cast<work_list *>(list);
}

/* ---- elements ---- */

static float get(const void *x, gpu_type type, int64_t at)
{
    if (type == GPU_F32) return static_cast<const float *>(x)[at];
    if (type == GPU_BF16) return to_float(static_cast<const bf16 *>(x)[at]);
    return to_float(static_cast<const f16 *>(x)[at]);
}

static void put(void *y, gpu_type type, int64_t at, float value)
{
    if (type == GPU_F32)
        static_cast<float *>(y)[at] = value;
    else if (type == GPU_BF16)
        static_cast<bf16 *>(y)[at] = from_float<bf16>(value);
    else
        static_cast<f16 *>(y)[at] = from_float<f16>(value);
}

/* ---- cuBLASLt's stand-in ---- */

leco_status gpu_product_open(leco_error *err)
{
    const char *there = getenv("LECO_EMULATED_CUBLASLT");
    return there && *there == '0' ? error_set(err, LECO_DEVICE, "cuBLASLt is not installed") : LECO_OK;
}

leco_status gpu_product_plan(gpu_product *p, leco_error *)
{
    p->scratch_bytes = 0;
    return LECO_OK;
}

static void product(const gpu_product &p, const void *a, const void *b, const void *bias, const void *add, void *y)
{
#pragma omp parallel for
    for (int64_t r = 0; r < p.rows; r++) {
        for (int64_t c = 0; c < p.columns; c++) {
            float sum = 0;
            for (int64_t k = 0; k < p.depth; k++)
                sum += get(a, p.type, p.a_transposed ? k * p.rows + r : r * p.depth + k) *
                       get(b, p.type, p.b_transposed ? c * p.depth + k : k * p.columns + c);
            sum *= p.scale;
            if (bias) sum += get(bias, p.type, c);
            if (add) sum += get(add, p.out, r * p.columns + c);
            put(y, p.out, r * p.columns + c, sum);
        }
    }
}

void gpu_product_run(const gpu_product *p, const void *a, const void *b, const void *bias, const void *add, void *y,
                     void *)
{
    const gpu_product copy = *p;
    emulated_do([=]() { product(copy, a, b, bias, add, y); });
}

void gpu_product_release(gpu_product *)
{
}

/* ---- cuDNN's stand-in ---- */

leco_status gpu_convolution_plan(gpu_convolution *c, leco_error *err)
{
    const conv_shape &s = c->shape;
    const char *there = getenv("LECO_EMULATED_CUDNN");
    if (there && *there == '0') return error_set(err, LECO_UNSUPPORTED, "there is no cuDNN");
    if (s.top != s.bottom || s.left != s.right)
        return error_set(err, LECO_UNSUPPORTED, "padding differs from side to side");
    c->scratch_bytes = 0;
    return LECO_OK;
}

static void forward(const gpu_convolution &c, const void *x, const void *w, const void *bias, const void *add, void *y)
{
    const conv_shape &s = c.shape;
#pragma omp parallel for
    for (int64_t at = 0; at < s.n * s.ho * s.wo; at++) {
        const int64_t n = at / s.wo / s.ho, i = at / s.wo % s.ho * s.stride - s.top, j = at % s.wo * s.stride - s.left;
        for (int64_t o = 0; o < s.out; o++) {
            float sum = add ? get(add, c.type, at * s.out + o) : 0.0f;
            if (bias) sum += get(bias, c.type, o);
            for (int64_t p = 0; p < s.kh; p++)
                for (int64_t q = 0; q < s.kw; q++) {
                    if (i + p < 0 || i + p >= s.h || j + q < 0 || j + q >= s.w) continue;
                    for (int64_t k = 0; k < s.in; k++)
                        sum += get(x, c.type, ((n * s.h + i + p) * s.w + j + q) * s.in + k) *
                               get(w, c.type, ((o * s.kh + p) * s.kw + q) * s.in + k);
                }
            put(y, c.type, at * s.out + o, sum);
        }
    }
}

static void backward(const gpu_convolution &c, const void *dy, const void *w, const void *, const void *add, void *dx)
{
    const conv_shape &s = c.shape;
#pragma omp parallel for
    for (int64_t at = 0; at < s.n * s.h * s.w; at++) {
        const int64_t n = at / s.w / s.h, h = at / s.w % s.h, v = at % s.w;
        for (int64_t k = 0; k < s.in; k++) {
            float sum = add ? get(add, c.type, at * s.in + k) : 0.0f;
            for (int64_t p = 0; p < s.kh; p++)
                for (int64_t q = 0; q < s.kw; q++) {
                    const int64_t i = h + s.top - p, j = v + s.left - q;
                    if (i < 0 || i % s.stride || i / s.stride >= s.ho) continue;
                    if (j < 0 || j % s.stride || j / s.stride >= s.wo) continue;
                    for (int64_t o = 0; o < s.out; o++)
                        sum += get(dy, c.type, ((n * s.ho + i / s.stride) * s.wo + j / s.stride) * s.out + o) *
                               get(w, c.type, ((o * s.kh + p) * s.kw + q) * s.in + k);
                }
            put(dx, c.type, at * s.in + k, sum);
        }
    }
}

void gpu_convolution_run(const gpu_convolution *c, const void *x, const void *w, const void *bias, const void *add,
                         void *y, void *)
{
    const gpu_convolution copy = *c;
    emulated_do([=]() { (copy.gradient ? backward : forward)(copy, x, w, bias, add, y); });
}

void gpu_convolution_release(gpu_convolution *)
{
}
