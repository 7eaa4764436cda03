/* product.h over cuBLASLt, which is loaded when the card is opened. It knows column-major matrices only; ours are
 * row-major, so it is asked for y^T = b^T a^T. */
#include "backend/cuda/product.h"

#include <cublasLt.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "backend/cuda/library.h"
#include "base/mem.h"
#include "graph/plan.h"

enum { WORKSPACE_BYTES = 32 << 20 };

#define FUNCTIONS(F)                                                                                                   \
    F(cublasLtCreate)                                                                                                  \
    F(cublasLtMatmul)                                                                                                  \
    F(cublasLtMatmulDescCreate)                                                                                        \
    F(cublasLtMatmulDescDestroy)                                                                                       \
    F(cublasLtMatmulDescSetAttribute)                                                                                  \
    F(cublasLtMatrixLayoutCreate)                                                                                      \
    F(cublasLtMatrixLayoutDestroy)                                                                                     \
    F(cublasLtMatmulPreferenceCreate)                                                                                  \
    F(cublasLtMatmulPreferenceDestroy)                                                                                 \
    F(cublasLtMatmulPreferenceSetAttribute)                                                                            \
    F(cublasLtMatmulAlgoGetHeuristic)

static struct blas {
#define MEMBER(name) __typeof__(&name) name;
    FUNCTIONS(MEMBER)
#undef MEMBER
    cublasLtHandle_t handle;
} blas;

static bool start(void)
{
    if (blas.cublasLtCreate(&blas.handle) == CUBLAS_STATUS_SUCCESS) return true;
    blas.handle = NULL;
    return false;
}

leco_status gpu_product_open(leco_error *err)
{
#define ENTRY(name) {#name, offsetof(struct blas, name)},
    static const library_function functions[] = {FUNCTIONS(ENTRY)};
#undef ENTRY
    static const library cublaslt = {
        .name = "cuBLASLt", .file = "libcublasLt.so", .versions = {13, 12, 11}, .start = start};
    if (blas.handle) return LECO_OK;
    return library_load(&cublaslt, functions, sizeof functions / sizeof *functions, &blas, err);
}

typedef struct product_impl {
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t left, right, result; /* b, a, y as cuBLASLt sees them */
    cublasLtMatmulAlgo_t algorithm;
} product_impl;

static cudaDataType_t data_type(gpu_type type)
{
    return type == GPU_F32 ? CUDA_R_32F : type == GPU_BF16 ? CUDA_R_16BF : CUDA_R_16F;
}

/* A row-major matrix [rows,columns] is cuBLASLt's [columns,rows]. */
static bool layout(cublasLtMatrixLayout_t *out, gpu_type type, int64_t rows, int64_t columns)
{
    return blas.cublasLtMatrixLayoutCreate(out, data_type(type), (uint64_t)columns, (uint64_t)rows, columns) ==
           CUBLAS_STATUS_SUCCESS;
}

static bool set(product_impl *i, cublasLtMatmulDescAttributes_t what, const void *value, size_t bytes)
{
    return blas.cublasLtMatmulDescSetAttribute(i->operation, what, value, bytes) == CUBLAS_STATUS_SUCCESS;
}

static bool describe(product_impl *i, const gpu_product *p)
{
    const cublasOperation_t left = p->b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t right = p->a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    const int32_t bias_type = (int32_t)data_type(p->type);
    /* f32 products in f32 throughout: never rounded to tf32. */
    return blas.cublasLtMatmulDescCreate(&i->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS &&
           set(i, CUBLASLT_MATMUL_DESC_TRANSA, &left, sizeof left) &&
           set(i, CUBLASLT_MATMUL_DESC_TRANSB, &right, sizeof right) &&
           (!p->has_bias || (set(i, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue) &&
                             set(i, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &bias_type, sizeof bias_type))) &&
           (p->b_transposed ? layout(&i->left, p->type, p->columns, p->depth)
                            : layout(&i->left, p->type, p->depth, p->columns)) &&
           (p->a_transposed ? layout(&i->right, p->type, p->depth, p->rows)
                            : layout(&i->right, p->type, p->rows, p->depth)) &&
           layout(&i->result, p->out, p->rows, p->columns);
}

/* Parts of a sum over the depth aren't added up in f16, whose range is small. */
static bool prefer(cublasLtMatmulPreference_t preference, gpu_type type, int wanted)
{
    static const cublasLtMatmulPreferenceAttributes_t alignments[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    const size_t workspace = WORKSPACE_BYTES;
    const uint32_t in_f32 = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    const uint32_t alignment = wanted > 0 ? (uint32_t)wanted : PLAN_ALIGNMENT;
    for (size_t i = 0; i < sizeof alignments / sizeof *alignments; i++)
        if (blas.cublasLtMatmulPreferenceSetAttribute(preference, alignments[i], &alignment, sizeof alignment) !=
            CUBLAS_STATUS_SUCCESS)
            return false;
    return blas.cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                                     sizeof workspace) == CUBLAS_STATUS_SUCCESS &&
           (type != GPU_F16 ||
            blas.cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &in_f32,
                                                      sizeof in_f32) == CUBLAS_STATUS_SUCCESS);
}

static bool choose(product_impl *i, gpu_product *p)
{
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t found;
    int count = 0;
    if (blas.cublasLtMatmulPreferenceCreate(&preference) != CUBLAS_STATUS_SUCCESS) return false;
    const bool chosen =
        prefer(preference, p->type, p->alignment) &&
        blas.cublasLtMatmulAlgoGetHeuristic(blas.handle, i->operation, i->left, i->right, i->result, i->result,
                                            preference, 1, &found, &count) == CUBLAS_STATUS_SUCCESS;
    blas.cublasLtMatmulPreferenceDestroy(preference);
    if (!chosen || count < 1) return false;
    i->algorithm = found.algo;
    p->scratch_bytes = found.workspaceSize > 0 ? found.workspaceSize + LIBRARY_ALIGNMENT : 0;
    return true;
}

leco_status gpu_product_plan(gpu_product *p, leco_error *err)
{
    product_impl *i = mem_calloc(1, sizeof *i);
    if (!i) return error_memory(err, sizeof *i, "a product");
    p->impl = i;
    if (describe(i, p) && choose(i, p)) return LECO_OK;
    return error_set(err, LECO_UNSUPPORTED, "cuBLASLt has no product of %lld x %lld x %lld on this card",
                     (long long)p->rows, (long long)p->depth, (long long)p->columns);
}

void gpu_product_run(const gpu_product *p, const void *a, const void *b, const void *bias, const void *add, void *y,
                     void *scratch)
{
    product_impl *i = p->impl;
    const float beta = add ? 1.0f : 0.0f;
    /* cuBLASLt gives other bits where it adds to its output than where it adds another matrix (13.1, on an H100); which
     * of the two it is depends on the memory plan, and results must not. */
    if (add && add != y) launch_copy(add, y, p->rows * p->columns * (p->out == GPU_F32 ? 4 : 2));
    if (bias) set(i, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    const bool roomy = p->scratch_bytes > 0;
    const cublasStatus_t status = blas.cublasLtMatmul(
        blas.handle, i->operation, &p->scale, b, i->left, a, i->right, &beta, y, i->result, y, i->result, &i->algorithm,
        roomy ? library_workspace(scratch) : NULL, roomy ? p->scratch_bytes - LIBRARY_ALIGNMENT : 0, gpu_stream());
    if (status == CUBLAS_STATUS_SUCCESS) return;
    char why[160];
    snprintf(why, sizeof why, "status %d for a product of %lld x %lld x %lld", (int)status, (long long)p->rows,
             (long long)p->depth, (long long)p->columns);
    gpu_failed("cuBLASLt", why);
}

void gpu_product_release(gpu_product *p)
{
    product_impl *i = p->impl;
    if (!i) return;
    if (i->operation) blas.cublasLtMatmulDescDestroy(i->operation);
    if (i->left) blas.cublasLtMatrixLayoutDestroy(i->left);
    if (i->right) blas.cublasLtMatrixLayoutDestroy(i->right);
    if (i->result) blas.cublasLtMatrixLayoutDestroy(i->result);
    mem_free(i);
    p->impl = NULL;
}
