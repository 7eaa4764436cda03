/* The gradient rules and the reference kernels against central differences.
 *
 * Everything is computed in f64. With loss = sum(u * y) for a random u, the gradient of each leaf is compared with
 * (loss(x + h) - loss(x - h)) / 2h: for up to 400 single elements, and along one random direction in which all
 * elements move. Then the harness itself is put to the test: with one gradient kernel broken at a time, it must notice.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "machine.h"
#include "op/op.h"

/* The truncation error is h^2 / 6 times the third derivative, the rounding error 1e-16 |loss| / h: for losses and
 * derivatives around 1 and up to 100 both stay under 1e-9 here. Relative to the largest element of the gradient. */
static const double h = 1e-5, tolerance = 1e-7;
static const size_t most_elements = 400;

typedef struct report {
    char text[640]; /* what is wrong; "" where nothing is */
} report;

static double loss_of(machine *m, const trial *t, double *y)
{
    for (int i = 0; i <= t->y->maker->id; i++) machine_run_bare(m, i);
    machine_read(m, t->y, y);
    double sum = 0;
    size_t count = (size_t)shape_count(&t->y->shape);
    for (size_t i = 0; i < count; i++) sum += (t->u == NULL ? 1 : t->u->values[i]) * y[i];
    return sum;
}

/* d loss / d step along `direction`. */
static double central_difference(machine *m, const trial *t, const leaf *l, const double *direction, double *room)
{
    double *y = room + l->count, loss[2];
    for (int side = 0; side < 2; side++) {
        double step = side == 0 ? -h : h;
        for (size_t i = 0; i < l->count; i++) room[i] = l->values[i] + step * direction[i];
        machine_write(m, l->tensor, room);
        loss[side] = loss_of(m, t, y);
    }
    machine_write(m, l->tensor, l->values);
    return (loss[1] - loss[0]) / (2 * h);
}

static double largest(const double *values, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++) most = fmax(most, fabs(values[i]));
    return most;
}

static void compare(report *r, const trial *t, const leaf *l, const char *where, size_t index, double expected,
                    double got, double scale)
{
    /* Written so that a NaN is a difference. */
    if (fabs(got - expected) <= tolerance * fmax(scale, 0.01)) return;
    snprintf(r->text, sizeof r->text,
             "%s: gradient of %s, %s %zu: %.12g by central differences, %.12g by the rule (LECO_TEST_SEED=%llu)",
             t->c->name, l->name, where, index, expected, got, (unsigned long long)t->seed);
}

static void check_leaf(report *r, machine *m, const trial *t, const leaf *l)
{
    size_t y_count = (size_t)shape_count(&t->y->shape);
    double *grad = mem_calloc(l->count, sizeof *grad), *direction = mem_calloc(l->count, sizeof *direction);
    double *room = mem_calloc(l->count + y_count, sizeof *room);
    assert_true(grad != NULL && direction != NULL && room != NULL);
    machine_read(m, l->grad, grad);
    double scale = largest(grad, l->count);
    dice d = dice_for(t->seed, t->c->name, "directions");
    for (size_t k = 0; k < l->count && k < most_elements; k++) {
        size_t i = l->count <= most_elements ? k : (size_t)(dice_word(&d) % l->count);
        direction[i] = 1;
        compare(r, t, l, "element", i, central_difference(m, t, l, direction, room), grad[i], scale);
        direction[i] = 0;
    }
    double along = 0;
    for (size_t i = 0; i < l->count; i++) {
        direction[i] = dice_uniform(&d, -1, 1);
        along += direction[i] * grad[i];
    }
    double expected = central_difference(m, t, l, direction, room);
    compare(r, t, l, "along direction", 0, expected, along, scale * sqrt((double)l->count));
    mem_free(room);
    mem_free(direction);
    mem_free(grad);
}

/* The gradients of one case on `b`, which is the reference backend or a broken one. */
static report check_case(const op_case *c, const backend *b, bool shared)
{
    report r = {""};
    trial *t = trial_create(c, DTYPE_F64, DTYPE_F64);
    machine *m = machine_create(t, b);
    if (!machine_run(m, (int)graph_node_count(t->g) - 1, shared)) {
        snprintf(r.text, sizeof r.text, "%s", machine_problem(m));
    }
    for (int i = 0; i < t->leaf_count && r.text[0] == '\0'; i++) {
        const leaf *l = &t->leaves[i];
        if (!l->wants_gradient) continue;
        if (l->grad == NULL) {
            snprintf(r.text, sizeof r.text, "%s: %s got no gradient", c->name, l->name);
        } else {
            check_leaf(&r, m, t, l);
        }
    }
    machine_destroy(m);
    trial_destroy(t);
    return r;
}

static void gradients_are_right(void **state)
{
    const op_case *c = *state;
    for (int shared = 0; shared < 2; shared++) {
        report r = check_case(c, &backend_ref, shared);
        if (r.text[0] != '\0') fail_msg("%s", r.text);
    }
}

/* ---- the harness under test ---- */

/* What is done to the kernel of `sabotaged`. */
typedef enum sabotage {
    SCALE_ONE_ELEMENT, /* the largest element of an output is off by a part in 100000 */
    FORGET_ADD,        /* what was accumulated so far is dropped */
    WRITE_PAST_END,
    CHANGE_INPUT,
    LEAVE_UNWRITTEN, /* the last element */
    SABOTAGES
} sabotage;

static op_code sabotaged;
static sabotage how;
static int add_index;

static void scale_one_element(const kernel_args *a)
{
    for (int k = 0; k < NODE_MAX_OUTPUTS; k++) {
        if (a->output[k] == NULL) continue;
        double *values = a->output[k];
        size_t count = (size_t)shape_count(&a->node->output[k]->shape), most = 0;
        for (size_t i = 1; i < count; i++) most = fabs(values[i]) > fabs(values[most]) ? i : most;
        values[most] *= 1.00001;
        return;
    }
}

static double *last_element(const kernel_args *a)
{
    int k = a->output[0] != NULL ? 0 : a->output[1] != NULL ? 1 : 2;
    return (double *)a->output[k] + shape_count(&a->node->output[k]->shape) - 1;
}

static void run_sabotaged(const kernel_args *a)
{
    kernel_args args = *a;
    if (how == FORGET_ADD) args.input[add_index] = NULL;
    backend_ref.kernel_for(sabotaged, DTYPE_F64)->run(&args);
    if (how == SCALE_ONE_ELEMENT) scale_one_element(a);
    if (how == WRITE_PAST_END) last_element(a)[1] = 0;
    if (how == CHANGE_INPUT) memset((void *)(uintptr_t)a->input[0], 1, sizeof(double));
    if (how == LEAVE_UNWRITTEN) *last_element(a) = NAN;
}

static const kernel *sabotaged_kernel_for(op_code op, dtype compute)
{
    static kernel broken;
    const kernel *good = backend_ref.kernel_for(op, compute);
    if (op != sabotaged) return good;
    broken = *good;
    broken.run = run_sabotaged;
    return &broken;
}

static int node_uses(const op_case *c, op_code op, int input)
{
    trial *t = trial_create(c, DTYPE_F64, DTYPE_F64);
    int uses = 0;
    for (size_t i = 0; i < graph_node_count(t->g); i++) {
        const node *n = graph_node_at(t->g, i);
        uses += n->op == op && n->backward && (input < 0 || n->input[input] != NULL);
    }
    trial_destroy(t);
    return uses;
}

/* Cases of at least this many are enough to believe it. */
#define CASES_TO_SABOTAGE 3

/* Expects the harness to reject every one of a few cases whose backward graph has `op`. Returns how many there were. */
static int expect_rejections(op_code op, sabotage damage, int input)
{
    backend broken = backend_ref;
    broken.kernel_for = sabotaged_kernel_for;
    sabotaged = op;
    how = damage;
    add_index = input;
    int tried = 0;
    for (size_t i = 0; i < op_case_count && tried < CASES_TO_SABOTAGE; i++) {
        const op_case *c = &op_cases[i];
        if ((c->flags & (BENCH | LARGE | FORWARD_ONLY)) || node_uses(c, op, input) == 0) continue;
        tried++;
        report r = check_case(c, &broken, false);
        if (r.text[0] == '\0') {
            fail_msg("%s: nobody noticed damage %d in %s", c->name, (int)damage, op_name(op));
        }
    }
    return tried;
}

static const op_code gradient_ops[] = {
    OP_LINEAR_DX,   OP_LINEAR_DW,     OP_HADAMARD_DA,   OP_HADAMARD_DB,    OP_CONV2D_DX, OP_CONV2D_DW,
    OP_AFFINE_DV,   OP_GROUP_NORM_DX, OP_LAYER_NORM_DX, OP_ATTENTION_GRAD, OP_GEGLU_DX,  OP_ACTIVATION_DX,
    OP_UPSAMPLE_DX, OP_MSE_DX,        OP_HUBER_DX,      OP_ADD_ROWS_DW,    OP_ADD,       OP_PRODUCT,
    OP_SWAP,        OP_AFFINE,        OP_MULTIPLY,      OP_SUM_SPATIAL,    OP_SLICE,     OP_SELECT_ROWS_DX};

static void broken_gradients_are_noticed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof gradient_ops / sizeof *gradient_ops; i++) {
        assert_true(expect_rejections(gradient_ops[i], SCALE_ONE_ELEMENT, -1) > 0);
        assert_true(expect_rejections(gradient_ops[i], LEAVE_UNWRITTEN, -1) > 0);
    }
}

static void forgotten_accumulation_is_noticed(void **state)
{
    (void)state;
    static const struct {
        op_code op;
        int add;
    } adders[] = {{OP_LINEAR_DX, 2}, {OP_LINEAR_DW, 2},     {OP_HADAMARD_DA, 4},   {OP_HADAMARD_DB, 4},
                  {OP_CONV2D_DX, 2}, {OP_CONV2D_DW, 2},     {OP_AFFINE_DV, 2},     {OP_AFFINE, 3},
                  {OP_PRODUCT, 2},   {OP_GROUP_NORM_DX, 5}, {OP_LAYER_NORM_DX, 4}, {OP_ADD_ROWS_DW, 2}};
    for (size_t i = 0; i < sizeof adders / sizeof *adders; i++) {
        assert_true(expect_rejections(adders[i].op, FORGET_ADD, adders[i].add) > 0);
    }
}

static void stray_writes_are_noticed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof gradient_ops / sizeof *gradient_ops; i++) {
        assert_true(expect_rejections(gradient_ops[i], WRITE_PAST_END, -1) > 0);
        assert_true(expect_rejections(gradient_ops[i], CHANGE_INPUT, -1) > 0);
    }
}

/* ---- the table is complete ---- */

static void every_operator_has_a_case(void **state)
{
    (void)state;
    bool seen[OP_COUNT] = {false};
    for (size_t i = 0; i < op_case_count; i++) {
        if (op_cases[i].flags & BENCH) continue;
        trial *t = trial_create(&op_cases[i], DTYPE_F64, DTYPE_F64);
        for (size_t k = 0; k < graph_node_count(t->g); k++) seen[graph_node_at(t->g, k)->op] = true;
        trial_destroy(t);
    }
    for (int op = 0; op < OP_COUNT; op++) {
        if (!seen[op]) fail_msg("no case uses %s", op_name(op));
    }
}

/* Operators that training passes through must be differentiable; the others are listed here, each with its reason. */
static bool needs_no_gradient(op_code op)
{
    switch (op) {
    case OP_SLICE:              /* serves as concat's gradient */
    case OP_SUM_SPATIAL:        /* serves as add_spatial's gradient, and in the probe, which is only read */
    case OP_TIMESTEP_EMBEDDING: /* timesteps are given */
    case OP_EMBEDDING:          /* the text encoder's tables are frozen */
    case OP_ROW_NORMS:          /* a constant in DoRA's gradient */
        return true;
    default:
        break;
    }
    for (size_t i = 0; i < sizeof gradient_ops / sizeof *gradient_ops; i++) {
        if (op == gradient_ops[i] && op_rules[op]->grad == NULL) return true;
    }
    return false;
}

static void gradients_exist_where_required(void **state)
{
    (void)state;
    bool checked[OP_COUNT] = {false};
    for (size_t i = 0; i < op_case_count; i++) {
        if (op_cases[i].flags & (BENCH | LARGE | FORWARD_ONLY)) continue;
        trial *t = trial_create(&op_cases[i], DTYPE_F64, DTYPE_F64);
        checked[t->y->maker->op] = true;
        trial_destroy(t);
    }
    for (int op = 0; op < OP_COUNT; op++) {
        if (needs_no_gradient((op_code)op)) continue;
        if (op_rules[op]->grad == NULL) fail_msg("%s has no gradient", op_name(op));
        if (!checked[op]) fail_msg("no case checks the gradient of %s", op_name(op));
    }
}

int main(void)
{
    const struct CMUnitTest fixed[] = {
        cmocka_unit_test(every_operator_has_a_case),    cmocka_unit_test(gradients_exist_where_required),
        cmocka_unit_test(broken_gradients_are_noticed), cmocka_unit_test(forgotten_accumulation_is_noticed),
        cmocka_unit_test(stray_writes_are_noticed),
    };
    size_t fixed_count = sizeof fixed / sizeof *fixed, count = fixed_count;
    struct CMUnitTest *tests = mem_calloc(fixed_count + op_case_count, sizeof *tests);
    if (tests == NULL) return 1;
    memcpy(tests, fixed, sizeof fixed);
    for (size_t i = 0; i < op_case_count; i++) {
        if (op_cases[i].flags & (BENCH | LARGE | FORWARD_ONLY)) continue;
        tests[count++] = (struct CMUnitTest){.name = op_cases[i].name,
                                             .test_func = gradients_are_right,
                                             .initial_state = (void *)(uintptr_t)&op_cases[i]};
    }
    int failed = _cmocka_run_group_tests("ref_gradients", tests, count, NULL, NULL);
    mem_free(tests);
    return failed;
}
