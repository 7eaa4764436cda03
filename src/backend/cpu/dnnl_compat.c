#include "backend/cpu/dnnl_compat.h"

#include <string.h>

#include "backend/cpu/choice.h"

#if DNNL_VERSION_MAJOR >= 3

dnnl_status_t compat_desc_create(compat_desc *d, int rank, const dnnl_dim_t *dims, dnnl_data_type_t type,
                                 dnnl_format_tag_t tag)
{
    dnnl_status_t status = dnnl_memory_desc_create_with_tag(d, rank, dims, type, tag);
    if (status != dnnl_success) *d = NULL;
    return status;
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

dnnl_status_t compat_view_layout(compat_view v, compat_layout *layout)
{
    int rank = 0, blocks = 0;
    dnnl_data_type_t type;
    const dnnl_dims_t *dims, *padded, *strides, *block, *block_dim;
    memset(layout, 0, sizeof *layout);
    COMPAT_TRY(dnnl_memory_desc_query(v, dnnl_query_ndims_s32, &rank));
    COMPAT_TRY(dnnl_memory_desc_query(v, dnnl_query_inner_nblks_s32, &blocks));
    if (rank > COMPAT_MAX_DIMS || blocks > COMPAT_MAX_BLOCKS) return dnnl_unimplemented;
    COMPAT_TRY(dnnl_memory_desc_query(v, dnnl_query_data_type, &type));
    COMPAT_TRY(dnnl_memory_desc_query(v, dnnl_query_dims, &dims));
    COMPAT_TRY(dnnl_memory_desc_query(v, dnnl_query_padded_dims, &padded));
    COMPAT_TRY(dnnl_memory_desc_query(v, dnnl_query_strides, &strides));
    COMPAT_TRY(dnnl_memory_desc_query(v, dnnl_query_inner_blks, &block));
    COMPAT_TRY(dnnl_memory_desc_query(v, dnnl_query_inner_idxs, &block_dim));
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
    return dnnl_success;
}

static dnnl_status_t append_scale(dnnl_post_ops_t ops, float alpha)
{
    return dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_linear, alpha, 0.0f);
}

static dnnl_status_t append_sum(dnnl_post_ops_t ops, float factor)
{
    return dnnl_post_ops_append_sum(ops, factor, 0, dnnl_data_type_undef);
}

/* Fills the list with `pd`, which is taken over, and all that follow it. */
static dnnl_status_t collect(compat_list *list, dnnl_primitive_desc_t pd)
{
    dnnl_status_t status = dnnl_success;
    while (status == dnnl_success && list->count < COMPAT_MAX_IMPLEMENTATIONS) {
        status = dnnl_primitive_desc_clone(&list->pd[list->count], pd);
        if (status != dnnl_success) break;
        list->count++;
        status = dnnl_primitive_desc_next_impl(pd);
    }
    dnnl_primitive_desc_destroy(pd);
    if (status == dnnl_success || status == dnnl_last_impl_reached) return dnnl_success;
    compat_list_destroy(list);
    return status;
}

dnnl_status_t compat_matmul(compat_list *list, dnnl_engine_t engine, const compat_desc *src, const compat_desc *weights,
                            const compat_desc *bias, const compat_desc *dst, dnnl_primitive_attr_t attr)
{
    dnnl_primitive_desc_t pd;
    list->count = 0;
    COMPAT_TRY(dnnl_matmul_primitive_desc_create(&pd, engine, *src, *weights, optional(bias), *dst, attr));
    return collect(list, pd);
}

static dnnl_status_t forward(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, dnnl_prop_kind_t kind,
                             const compat_desc *src, const compat_desc *weights, const compat_desc *bias,
                             const compat_desc *dst, const compat_window *w, dnnl_primitive_attr_t attr)
{
    return dnnl_convolution_forward_primitive_desc_create(pd, engine, kind, dnnl_convolution_direct, *src, *weights,
                                                          optional(bias), *dst, w->stride, NULL, w->before, w->after,
                                                          attr);
}

dnnl_status_t compat_conv(compat_list *list, dnnl_engine_t engine, const compat_desc *src, const compat_desc *weights,
                          const compat_desc *bias, const compat_desc *dst, const compat_window *w,
                          dnnl_primitive_attr_t attr)
{
    dnnl_primitive_desc_t pd;
    list->count = 0;
    COMPAT_TRY(forward(&pd, engine, dnnl_forward_inference, src, weights, bias, dst, w, attr));
    return collect(list, pd);
}

dnnl_status_t compat_conv_dx(compat_list *list, dnnl_engine_t engine, const compat_desc *src,
                             const compat_desc *weights, const compat_desc *dst, const compat_window *w,
                             dnnl_primitive_attr_t attr)
{
    dnnl_primitive_desc_t hint, pd;
    list->count = 0;
    COMPAT_TRY(forward(&hint, engine, dnnl_forward_training, src, weights, NULL, dst, w, NULL));
    dnnl_status_t status = dnnl_convolution_backward_data_primitive_desc_create(
        &pd, engine, dnnl_convolution_direct, *src, *weights, *dst, w->stride, NULL, w->before, w->after, hint, attr);
    if (status == dnnl_success) status = collect(list, pd);
    dnnl_primitive_desc_destroy(hint); /* what follows pd in its list reads it, too */
    return status;
}

#else

dnnl_status_t compat_desc_create(compat_desc *d, int rank, const dnnl_dim_t *dims, dnnl_data_type_t type,
                                 dnnl_format_tag_t tag)
{
    dnnl_status_t status = dnnl_memory_desc_init_by_tag(d, rank, dims, type, tag);
    if (status != dnnl_success) memset(d, 0, sizeof *d);
    return status;
}

void compat_desc_destroy(compat_desc *d)
{
    (void)d;
}

compat_view compat_desc_view(const compat_desc *d)
{
    return d;
}

dnnl_status_t compat_view_layout(compat_view v, compat_layout *layout)
{
    const dnnl_blocking_desc_t *b = &v->format_desc.blocking;
    memset(layout, 0, sizeof *layout);
    if (v->format_kind != dnnl_blocked || v->ndims > COMPAT_MAX_DIMS || b->inner_nblks > COMPAT_MAX_BLOCKS)
        return dnnl_unimplemented;
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
    return dnnl_success;
}

static dnnl_status_t append_scale(dnnl_post_ops_t ops, float alpha)
{
    return dnnl_post_ops_append_eltwise(ops, 1.0f, dnnl_eltwise_linear, alpha, 0.0f);
}

static dnnl_status_t append_sum(dnnl_post_ops_t ops, float factor)
{
    return dnnl_post_ops_append_sum(ops, factor);
}

static dnnl_status_t collect(compat_list *list, dnnl_engine_t engine, const_dnnl_op_desc_t desc,
                             dnnl_primitive_attr_t attr, dnnl_primitive_desc_t hint)
{
    dnnl_primitive_desc_iterator_t all;
    list->count = 0;
    COMPAT_TRY(dnnl_primitive_desc_iterator_create(&all, desc, attr, engine, hint));
    dnnl_status_t status = dnnl_success;
    while (status == dnnl_success && list->count < COMPAT_MAX_IMPLEMENTATIONS) {
        dnnl_primitive_desc_t pd = dnnl_primitive_desc_iterator_fetch(all);
        if (pd) list->pd[list->count++] = pd;
        status = pd ? dnnl_primitive_desc_iterator_next(all) : dnnl_out_of_memory;
    }
    dnnl_primitive_desc_iterator_destroy(all);
    if (status == dnnl_success || status == dnnl_iterator_ends) return dnnl_success;
    compat_list_destroy(list);
    return status;
}

dnnl_status_t compat_matmul(compat_list *list, dnnl_engine_t engine, const compat_desc *src, const compat_desc *weights,
                            const compat_desc *bias, const compat_desc *dst, dnnl_primitive_attr_t attr)
{
    dnnl_matmul_desc_t desc;
    list->count = 0;
    COMPAT_TRY(dnnl_matmul_desc_init(&desc, src, weights, bias, dst));
    return collect(list, engine, &desc, attr, NULL);
}

static dnnl_status_t forward(dnnl_convolution_desc_t *desc, dnnl_prop_kind_t kind, const compat_desc *src,
                             const compat_desc *weights, const compat_desc *bias, const compat_desc *dst,
                             const compat_window *w)
{
    return dnnl_convolution_forward_desc_init(desc, kind, dnnl_convolution_direct, src, weights, bias, dst, w->stride,
                                              w->before, w->after);
}

dnnl_status_t compat_conv(compat_list *list, dnnl_engine_t engine, const compat_desc *src, const compat_desc *weights,
                          const compat_desc *bias, const compat_desc *dst, const compat_window *w,
                          dnnl_primitive_attr_t attr)
{
    dnnl_convolution_desc_t desc;
    list->count = 0;
    COMPAT_TRY(forward(&desc, dnnl_forward_inference, src, weights, bias, dst, w));
    return collect(list, engine, &desc, attr, NULL);
}

dnnl_status_t compat_conv_dx(compat_list *list, dnnl_engine_t engine, const compat_desc *src,
                             const compat_desc *weights, const compat_desc *dst, const compat_window *w,
                             dnnl_primitive_attr_t attr)
{
    dnnl_primitive_desc_t hint;
    dnnl_convolution_desc_t desc;
    list->count = 0;
    COMPAT_TRY(forward(&desc, dnnl_forward_training, src, weights, NULL, dst, w));
    COMPAT_TRY(dnnl_primitive_desc_create(&hint, &desc, NULL, engine, NULL));
    dnnl_status_t status = dnnl_convolution_backward_data_desc_init(&desc, dnnl_convolution_direct, src, weights, dst,
                                                                    w->stride, w->before, w->after);
    if (status == dnnl_success) status = collect(list, engine, &desc, attr, hint);
    dnnl_primitive_desc_destroy(hint);
    return status;
}

#endif

int compat_version(void)
{
    const dnnl_version_t *v = dnnl_version();
    return CHOICE_VERSION(v->major, v->minor, v->patch);
}

size_t compat_view_bytes(compat_view v)
{
    return dnnl_memory_desc_get_size(v);
}

dnnl_status_t compat_memory_create(dnnl_memory_t *m, compat_view v, dnnl_engine_t engine)
{
    dnnl_status_t status = dnnl_memory_create(m, v, engine, DNNL_MEMORY_NONE);
    if (status != dnnl_success) *m = NULL;
    return status;
}

static dnnl_status_t fill_attr(dnnl_primitive_attr_t attr, dnnl_post_ops_t ops, float alpha, bool sum)
{
    if (sum) COMPAT_TRY(append_sum(ops, 1.0f / alpha));
    if (alpha != 1.0f) COMPAT_TRY(append_scale(ops, alpha));
    COMPAT_TRY(dnnl_primitive_attr_set_post_ops(attr, ops));
    return dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
}

dnnl_status_t compat_attr_create(dnnl_primitive_attr_t *attr, float alpha, bool sum)
{
    dnnl_primitive_attr_t made;
    dnnl_post_ops_t ops;
    *attr = NULL;
    COMPAT_TRY(dnnl_primitive_attr_create(&made));
    dnnl_status_t status = dnnl_post_ops_create(&ops);
    if (status == dnnl_success) {
        status = fill_attr(made, ops, alpha, sum);
        dnnl_post_ops_destroy(ops);
    }
    if (status == dnnl_success)
        *attr = made;
    else
        dnnl_primitive_attr_destroy(made);
    return status;
}

void compat_attr_destroy(dnnl_primitive_attr_t *attr)
{
    if (*attr) dnnl_primitive_attr_destroy(*attr);
    *attr = NULL;
}

void compat_list_destroy(compat_list *list)
{
    for (size_t i = 0; i < list->count; i++) dnnl_primitive_desc_destroy(list->pd[i]);
    list->count = 0;
}

const char *compat_name(const_dnnl_primitive_desc_t pd)
{
    const char *name = NULL;
    dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, (void *)&name);
    return name ? name : "";
}

compat_view compat_query(const_dnnl_primitive_desc_t pd, dnnl_query_t what)
{
    return dnnl_primitive_desc_query_md(pd, what, 0);
}

compat_view compat_bias(const_dnnl_primitive_desc_t pd)
{
    return dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 1);
}
