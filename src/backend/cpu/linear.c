/* linear and linear_dx. One row-major copy of a weight serves both: oneDNN reads it transposed or not at nearly the
 * speed of a packed one. */
#include "backend/cpu/kernels.h"
#include "backend/cpu/product.h"
#include "base/mem.h"

static leco_status prepare(const product_spec *spec, kernel_plan *plan, leco_error *err)
{
    product *p = mem_calloc(1, sizeof *p);
    if (!p) return error_memory(err, sizeof *p, spec->node->name);
    leco_status status = product_prepare(p, spec, plan, err);
    if (status != LECO_OK) {
        product_release(p);
        mem_free(p);
        return status;
    }
    plan->state = p;
    return LECO_OK;
}

static leco_status linear_prepare(const node *n, dtype compute, kernel_plan *plan, leco_error *err)
{
    product_spec spec = {.node = n,
                         .compute = compute,
                         .rows = shape_rows(&n->input[0]->shape),
                         .bias = 2,
                         .add = 3,
                         .scale = n->attr.scale};
    return prepare(&spec, plan, err);
}

static leco_status linear_dx_prepare(const node *n, dtype compute, kernel_plan *plan, leco_error *err)
{
    product_spec spec = {.node = n,
                         .compute = compute,
                         .rows = shape_rows(&n->input[0]->shape),
                         .data_gradient = true,
                         .bias = -1,
                         .add = 2,
                         .scale = n->attr.scale};
    return prepare(&spec, plan, err);
}

static void run(const kernel_args *args)
{
    product_run(args->plan->state, args);
}

static void release(kernel_plan *plan)
{
    if (!plan->state) return;
    product_release(plan->state);
    mem_free(plan->state);
    plan->state = NULL;
}

static const char *chosen(const kernel_plan *plan)
{
    const product *p = plan->state;
    return p->primitive.implementation;
}

const kernel cpu_linear = {.prepare = linear_prepare, .run = run, .release = release, .chosen = chosen};
const kernel cpu_linear_dx = {.prepare = linear_dx_prepare, .run = run, .release = release, .chosen = chosen};
