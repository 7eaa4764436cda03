#include "backend/cpu/dnnl_compat.h"

#include <string.h>

#define OK(call) ((call) == dnnl_success)

#if DNNL_VERSION_MAJOR >= 3

bool compat_desc_create(compat_desc *d, int rank, const dnnl_dim_t *dims, dnnl_data_type_t type, dnnl_format_tag_t tag)
{
    return OK(dnnl_memory_desc_create_with_tag(d, rank, dims, type, tag));
}

void compat_desc_destroy(compat_desc *d)
{
    if (*d) dnnl_memory_desc_destroy(*d);
    *d = NULL;
}

compat_view compat_desc_view(const compat_desc *d)
{
    return *d;
}

static compat_view optional(const compat_desc *d)
{
    return d ? *d : NULL;
}

bool compat_view_layout(compat_view v, compat_layout *layout)
{
    int rank = 0, blocks = 0;
    dnnl_data_type_t type;
    const dnnl_dims_t *dims, *padded, *strides, *block, *block_dim;
    memset(layout, 0, sizeof *layout);
    if (!OK(dnnl_memory_desc_query(v, dnnl_query_ndims_s32, &rank)) || rank > COMPAT_MAX_DIMS ||
        !OK(dnnl_memory_desc_query(v, dnnl_query_inner_nblks_s32, &blocks)) || blocks > COMPAT_MAX_BLOCKS ||
        !OK(dnnl_memory_desc_query(v, dnnl_query_data_type, &type)) ||
        !OK(dnnl_memory_desc_query(v, dnnl_query_dims, &dims)) ||
        !OK(dnnl_memory_desc_query(v, dnnl_query_padded_dims, &padded)) ||
        !OK(dnnl_memory_desc_query(v, dnnl_query_strides, &strides)) ||
        !OK(dnnl_memory_desc_query(v, dnnl_query_inner_blks, &block)) ||
        !OK(dnnl_memory_desc_query(v, dnnl_query_inner_idxs, &block_dim)))
        return false;
    layout->type = type;
    layout->rank = rank;
    layout->blocks = blocks;
    for (int i = 0; i < rank; i++) {
        layout->dims[i] = (*dims)[i];
        layout->padded[i] = (*padded)[i];
        layout->strides[i] = (*strides)[i];
    }
    for (int i = 0; i < blocks; i++) {
        layout->block[i] = (*block)[i];
        layout->block_dim[i] = (*block_dim)[i];
    }
    return true;
}

static bool append_scale(dnnl_post_ops_t ops, float alpha)
{
    return OK(dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_linear, alpha, 0.0f));
}

static bool append_sum(dnnl_post_ops_t ops, float factor)
{
    return OK(dnnl_post_ops_append_sum(ops, factor, 0, dnnl_data_type_undef));
}

bool compat_matmul(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const compat_desc *src, const compat_desc *weights,
                   const compat_desc *bias, const compat_desc *dst, dnnl_primitive_attr_t attr)
{
    return OK(dnnl_matmul_primitive_desc_create(pd, engine, *src, *weights, optional(bias), *dst, attr));
}

bool compat_conv(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const compat_desc *src, const compat_desc *weights,
                 const compat_desc *bias, const compat_desc *dst, const compat_window *w, dnnl_primitive_attr_t attr)
{
    return OK(dnnl_convolution_forward_primitive_desc_create(pd, engine, dnnl_forward_inference,
                                                             dnnl_convolution_direct, *src, *weights, optional(bias),
                                                             *dst, w->stride, NULL, w->before, w->after, attr));
}

bool compat_conv_dx(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const compat_desc *src, const compat_desc *weights,
                    const compat_desc *dst, const compat_window *w, dnnl_primitive_attr_t attr)
{
    dnnl_primitive_desc_t forward = NULL;
    if (!OK(dnnl_convolution_forward_primitive_desc_create(&forward, engine, dnnl_forward_training,
                                                           dnnl_convolution_direct, *src, *weights, NULL, *dst,
                                                           w->stride, NULL, w->before, w->after, NULL)))
        return false;
    bool ok = OK(dnnl_convolution_backward_data_primitive_desc_create(pd, engine, dnnl_convolution_direct, *src,
                                                                      *weights, *dst, w->stride, NULL, w->before,
                                                                      w->after, forward, attr));
    dnnl_primitive_desc_destroy(forward);
    return ok;
}

#else

bool compat_desc_create(compat_desc *d, int rank, const dnnl_dim_t *dims, dnnl_data_type_t type, dnnl_format_tag_t tag)
{
    return OK(dnnl_memory_desc_init_by_tag(d, rank, dims, type, tag));
}

void compat_desc_destroy(compat_desc *d)
{
    (void)d;
}

compat_view compat_desc_view(const compat_desc *d)
{
    return d;
}

bool compat_view_layout(compat_view v, compat_layout *layout)
{
    const dnnl_blocking_desc_t *b = &v->format_desc.blocking;
    memset(layout, 0, sizeof *layout);
    if (v->format_kind != dnnl_blocked || v->ndims > COMPAT_MAX_DIMS || b->inner_nblks > COMPAT_MAX_BLOCKS)
        return false;
    layout->type = v->data_type;
    layout->rank = v->ndims;
    layout->blocks = b->inner_nblks;
    for (int i = 0; i < v->ndims; i++) {
        layout->dims[i] = v->dims[i];
        layout->padded[i] = v->padded_dims[i];
        layout->strides[i] = b->strides[i];
    }
    for (int i = 0; i < b->inner_nblks; i++) {
        layout->block[i] = b->inner_blks[i];
        layout->block_dim[i] = b->inner_idxs[i];
    }
    return true;
}

static bool append_scale(dnnl_post_ops_t ops, float alpha)
{
    return OK(dnnl_post_ops_append_eltwise(ops, 1.0f, dnnl_eltwise_linear, alpha, 0.0f));
}

static bool append_sum(dnnl_post_ops_t ops, float factor)
{
    return OK(dnnl_post_ops_append_sum(ops, factor));
}

static bool make(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const_dnnl_op_desc_t desc, dnnl_primitive_attr_t attr,
                 dnnl_primitive_desc_t hint)
{
    return OK(dnnl_primitive_desc_create(pd, desc, attr, engine, hint));
}

bool compat_matmul(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const compat_desc *src, const compat_desc *weights,
                   const compat_desc *bias, const compat_desc *dst, dnnl_primitive_attr_t attr)
{
    dnnl_matmul_desc_t desc;
    return OK(dnnl_matmul_desc_init(&desc, src, weights, bias, dst)) && make(pd, engine, &desc, attr, NULL);
}

static bool conv(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, dnnl_prop_kind_t kind, const compat_desc *src,
                 const compat_desc *weights, const compat_desc *bias, const compat_desc *dst, const compat_window *w,
                 dnnl_primitive_attr_t attr)
{
    dnnl_convolution_desc_t desc;
    return OK(dnnl_convolution_forward_desc_init(&desc, kind, dnnl_convolution_direct, src, weights, bias, dst,
                                                 w->stride, w->before, w->after)) &&
           make(pd, engine, &desc, attr, NULL);
}

bool compat_conv(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const compat_desc *src, const compat_desc *weights,
                 const compat_desc *bias, const compat_desc *dst, const compat_window *w, dnnl_primitive_attr_t attr)
{
    return conv(pd, engine, dnnl_forward_inference, src, weights, bias, dst, w, attr);
}

bool compat_conv_dx(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const compat_desc *src, const compat_desc *weights,
                    const compat_desc *dst, const compat_window *w, dnnl_primitive_attr_t attr)
{
    dnnl_primitive_desc_t forward = NULL;
    dnnl_convolution_desc_t desc;
    if (!conv(&forward, engine, dnnl_forward_training, src, weights, NULL, dst, w, NULL)) return false;
    bool ok = OK(dnnl_convolution_backward_data_desc_init(&desc, dnnl_convolution_direct, src, weights, dst, w->stride,
                                                          w->before, w->after)) &&
              make(pd, engine, &desc, attr, forward);
    dnnl_primitive_desc_destroy(forward);
    return ok;
}

#endif

size_t compat_view_bytes(compat_view v)
{
    return dnnl_memory_desc_get_size(v);
}

bool compat_memory_create(dnnl_memory_t *m, compat_view v, dnnl_engine_t engine)
{
    return OK(dnnl_memory_create(m, v, engine, DNNL_MEMORY_NONE));
}

bool compat_attr_create(dnnl_primitive_attr_t *attr, float alpha, bool sum)
{
    dnnl_post_ops_t ops = NULL;
    *attr = NULL;
    bool ok = OK(dnnl_primitive_attr_create(attr)) && OK(dnnl_post_ops_create(&ops)) &&
              (!sum || append_sum(ops, 1.0f / alpha)) && (alpha == 1.0f || append_scale(ops, alpha)) &&
              OK(dnnl_primitive_attr_set_post_ops(*attr, ops)) &&
              OK(dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user));
    if (ops) dnnl_post_ops_destroy(ops);
    if (!ok && *attr) dnnl_primitive_attr_destroy(*attr);
    return ok;
}

compat_view compat_query(dnnl_primitive_desc_t pd, dnnl_query_t what)
{
    return dnnl_primitive_desc_query_md(pd, what, 0);
}
