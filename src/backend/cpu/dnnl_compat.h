/* oneDNN 2.x and 3.x behind one face: everything that was renamed or retyped between them. Debian 12 has 2.6. */
#ifndef LECO_BACKEND_CPU_DNNL_COMPAT_H
#define LECO_BACKEND_CPU_DNNL_COMPAT_H

#include <oneapi/dnnl/dnnl.h>
#include <stdbool.h>
#include <stddef.h>

#define COMPAT_MAX_DIMS 4
#define COMPAT_MAX_BLOCKS 6
#define COMPAT_MAX_IMPLEMENTATIONS 64 /* oneDNN's longest lists have about 30 */

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t compat_desc; /* owned: compat_desc_destroy */
typedef const_dnnl_memory_desc_t compat_view;
#else
typedef dnnl_memory_desc_t compat_desc; /* a plain struct; destroying it does nothing */
typedef const dnnl_memory_desc_t *compat_view;
#endif

/* Leaves the function with the status of a call that failed. */
#define COMPAT_TRY(call)                                                                                               \
    do {                                                                                                               \
        dnnl_status_t try_status_ = (call);                                                                            \
        if (try_status_ != dnnl_success) return try_status_;                                                           \
    } while (0)

/* Of the library that is loaded, as choice.h counts versions. */
int compat_version(void);

/* On failure what a function was to make is zeroed: destroying it is allowed, and does nothing. */

dnnl_status_t compat_desc_create(compat_desc *d, int rank, const dnnl_dim_t *dims, dnnl_data_type_t type,
                                 dnnl_format_tag_t tag);
void compat_desc_destroy(compat_desc *d); /* a zeroed one, too */
compat_view compat_desc_view(const compat_desc *d);
size_t compat_view_bytes(compat_view v);

/* The memory layout of a descriptor in a form that can be compared byte by byte. */
typedef struct compat_layout {
    int64_t type, rank, blocks;
    int64_t dims[COMPAT_MAX_DIMS], padded[COMPAT_MAX_DIMS], strides[COMPAT_MAX_DIMS];
    int64_t block[COMPAT_MAX_BLOCKS], block_dim[COMPAT_MAX_BLOCKS];
} compat_layout;
/* dnnl_unimplemented where the layout has another form. */
dnnl_status_t compat_view_layout(compat_view v, compat_layout *layout);

dnnl_status_t compat_memory_create(dnnl_memory_t *m, compat_view v, dnnl_engine_t engine); /* without data */

/* dst = alpha * product, + dst where `sum`; alpha is not 0. (The sum comes first, as dst / alpha: some kernels know no
 * other order.) */
dnnl_status_t compat_attr_create(dnnl_primitive_attr_t *attr, float alpha, bool sum);
void compat_attr_destroy(dnnl_primitive_attr_t *attr); /* a NULL one, too */

/* All implementations that oneDNN has of a primitive, in its order. Owned: compat_list_destroy. */
typedef struct compat_list {
    dnnl_primitive_desc_t pd[COMPAT_MAX_IMPLEMENTATIONS];
    size_t count; /* at least one after success: none is dnnl_unimplemented */
} compat_list;
void compat_list_destroy(compat_list *list);             /* a zeroed one, too */
const char *compat_name(const_dnnl_primitive_desc_t pd); /* lives as long as pd */
compat_view compat_query(const_dnnl_primitive_desc_t pd, dnnl_query_t what);
compat_view compat_bias(const_dnnl_primitive_desc_t pd); /* of one that has a bias */

/* bias may be NULL. */
dnnl_status_t compat_matmul(compat_list *list, dnnl_engine_t engine, const compat_desc *src, const compat_desc *weights,
                            const compat_desc *bias, const compat_desc *dst, dnnl_primitive_attr_t attr);

typedef struct compat_window {
    dnnl_dims_t stride, before, after; /* height, width */
} compat_window;
dnnl_status_t compat_conv(compat_list *list, dnnl_engine_t engine, const compat_desc *src, const compat_desc *weights,
                          const compat_desc *bias, const compat_desc *dst, const compat_window *w,
                          dnnl_primitive_attr_t attr);
/* The data gradient: src and dst are those of the convolution whose gradient this is. */
dnnl_status_t compat_conv_dx(compat_list *list, dnnl_engine_t engine, const compat_desc *src,
                             const compat_desc *weights, const compat_desc *dst, const compat_window *w,
                             dnnl_primitive_attr_t attr);

#endif
