/* linear and linear_dx. One row-major copy of a weight serves both: oneDNN reads it transposed or not at nearly the
 * speed of a packed one. */
#include "backend/cpu/kernels.h"
#include "backend/cpu/product.h"
#include "base/mem.h"

static leco_status plan_product(const product_spec *spec, kernel_plan *plan, leco_error *err)
{
    const char *name = spec->at->node->name;
    product *p = mem_calloc(1, sizeof *p);
    if (!p) return error_memory(err, sizeof *p, name);
    plan->state = p;
    leco_status status = product_plan(p, spec, plan, err);
    return status == LECO_OK ? LECO_OK : error_prefix(err, status, "%s", name);
}

static leco_status plan_linear(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    product_spec spec = {
        .at = at, .rows = shape_rows(&at->node->input[0]->shape), .bias = 2, .add = 3, .scale = at->node->attr.scale};
    return plan_product(&spec, plan, err);
}

static leco_status plan_linear_dx(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    product_spec spec = {.at = at,
                         .rows = shape_rows(&at->node->input[0]->shape),
                         .data_gradient = true,
                         .bias = -1,
                         .add = 2,
                         .scale = at->node->attr.scale};
    return plan_product(&spec, plan, err);
}

static leco_status prepare(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    leco_status status = product_prepare(plan->state, plan, err);
    return status == LECO_OK ? LECO_OK : error_prefix(err, status, "%s", at->node->name);
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

const cpu_kernel cpu_linear = {
    .once = {.plan = plan_linear, .prepare = prepare, .run = run, .release = release, .chosen = chosen}};
const cpu_kernel cpu_linear_dx = {
    .once = {.plan = plan_linear_dx, .prepare = prepare, .run = run, .release = release, .chosen = chosen}};
