/* Plans and sessions: a plan takes and reads nothing, and says exactly what is then taken; on a device whose memory
 * isn't the host's, what the host never touches, a session computes what it does here. */
#include "test_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "backend/session.h"
#include "op/op.h"

static leco_error err;

/* Sessions on one workspace: the larger one moves it, the smaller one must follow. */
static void sessions_share_a_workspace(void **state)
{
    (void)state;
    workspace *ws = workspace_create(&host_memory);
    graph *g[2];
    tensor *x[2], *y[2];
    session *s[2];
    const int64_t size[2] = {4, 4096};
    for (int i = 0; i < 2; i++) {
        g[i] = graph_create(DTYPE_F32);
        x[i] = graph_input(g[i], "x", DTYPE_F32, SHAPE(1, size[i]));
        y[i] = op_add(g[i], x[i], x[i]);
        graph_result(g[i], y[i]);
        assert_int_equal(session_open(g[i], &backend_ref, ws, &s[i], NULL), LECO_OK);
    }
    assert_int_equal(workspace_bytes(ws), session_plan_arena_bytes(session_planned(s[1])));
    static float values[4096];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 2; i++) {
            for (int k = 0; k < size[i]; k++) values[k] = (float)(k + i + round);
            assert_int_equal(session_write(s[i], x[i], values, (size_t)size[i], NULL), LECO_OK);
            assert_int_equal(session_run(s[i], NULL), LECO_OK);
            assert_int_equal(session_read(s[i], y[i], values, (size_t)size[i], NULL), LECO_OK);
            for (int k = 0; k < size[i]; k++) assert_true(values[k] == 2 * (float)(k + i + round));
        }
    }
    for (int i = 0; i < 2; i++) {
        session_destroy(s[i]);
        graph_destroy(g[i]);
    }
    workspace_destroy(ws);
}

/* bf16 and f16 files, unaligned memory, stand-ins: a plain form is made once, and memory used in place where it can. */
static void weights_are_converted_once(void **state)
{
    (void)state;
    float values[4] = {1, -2, 0.5f, 3};
    weight w = {.name = "w", .type = DTYPE_F32, .shape = SHAPE(4), .data = values};
    weight_form *form, *again;
    assert_works(weight_want_plain(&w, &host_memory, DTYPE_F32, 4, &form, &err), &err);
    assert_null(form);
    assert_works(weight_want_plain(&w, &host_memory, DTYPE_BF16, 2, &form, &err), &err);
    assert_int_equal(weight_wanted_bytes(&w), 4 * sizeof(bf16));
    assert_int_equal(weight_taken_bytes(&w), 0);
    assert_works(weight_fill(&w, form, &err), &err);
    assert_works(weight_want_plain(&w, &host_memory, DTYPE_BF16, 2, &again, &err), &err);
    assert_ptr_equal(form, again);
    assert_int_equal(weight_taken_bytes(&w), 4 * sizeof(bf16));
    for (int i = 0; i < 4; i++) assert_true(bf16_to_f32(((const bf16 *)form->data)[i]) == values[i]);
    weight_release(&w);

    unsigned char bytes[17];
    memcpy(bytes + 1, values, sizeof values);
    weight odd = {.name = "odd", .type = DTYPE_F32, .shape = SHAPE(4), .data = bytes + 1};
    assert_works(weight_want_plain(&odd, &host_memory, DTYPE_F32, 4, &form, &err), &err);
    assert_works(weight_fill(&odd, form, &err), &err);
    assert_memory_equal(form->data, values, sizeof values);
    assert_true((uintptr_t)form->data % 64 == 0);
    weight_release(&odd);

    weight stand_in = w;
    stand_in.keep_out_of_place = true;
    assert_works(weight_want_plain(&stand_in, &host_memory, DTYPE_F32, 4, &form, &err), &err);
    assert_non_null(form);
    weight_release(&stand_in);
}

/* ---- a graph with every sort of weight: packed for both directions, shared, in place, converted, trained ---- */

enum { CHANNELS = 16, SIDE = 6, RANK = 4, PIXELS = SIDE * SIDE, VALUES = CHANNELS * CHANNELS * 9 };

typedef struct subject {
    float *values; /* [VALUES] in a mapping of its own: can be made unreadable */
    weight conv, down, linear, norm, bias;
    param low, high;
    float low_values[2][RANK * CHANNELS], high_values[2][RANK * CHANNELS];
    graph *g;
    tensor *x, *target, *y, *loss;
} subject;

static void protect(const subject *s, int access)
{
    assert_int_equal(mprotect(s->values, VALUES * sizeof(float), access), 0);
}

static float number(size_t i)
{
    return 0.25f * (float)sin(1.7 * (double)i);
}

static weight weight_of(const subject *s, const char *name, shape of)
{
    return (weight){.name = name, .type = DTYPE_F32, .shape = of, .data = s->values};
}

static void build(subject *s, dtype compute)
{
    graph *g = s->g = graph_create(compute);
    assert_non_null(g);
    const int pad[4] = {1, 1, 1, 1};
    s->x = graph_input(g, "x", compute, SHAPE(1, SIDE, SIDE, CHANNELS));
    tensor *low = op_linear(g, s->x, graph_param(g, &s->low), NULL, NULL, 1);
    tensor *h = op_linear(g, low, graph_param(g, &s->high), NULL, s->x, 0.5f);
    h = op_conv2d(g, h, graph_weight(g, &s->conv), graph_weight(g, &s->bias), h, 1, pad);
    h = op_group_norm(g, h, graph_weight(g, &s->norm), graph_weight(g, &s->bias), 4, 1e-5f, true);
    h = op_conv2d(g, h, graph_weight(g, &s->conv), NULL, NULL, 1, pad);
    h = op_linear(g, h, graph_weight(g, &s->linear), graph_weight(g, &s->bias), h, 0.5f);
    s->y = op_conv2d(g, h, graph_weight(g, &s->down), NULL, NULL, 2, pad);
    s->target = graph_input(g, "target", DTYPE_F32, s->y->shape);
    s->loss = op_mse(g, s->y, s->target);
    graph_result(g, s->y);
    graph_result(g, s->loss);
    graph_backward(g, s->loss);
    assert_works(graph_finish(g, &err), &err);
}

static void subject_open(subject *s, dtype compute)
{
    memset(s, 0, sizeof *s);
    s->values = mmap(NULL, VALUES * sizeof(float), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(s->values != MAP_FAILED);
    for (size_t i = 0; i < VALUES; i++) s->values[i] = number(i);
    s->conv = weight_of(s, "conv", SHAPE(CHANNELS, CHANNELS, 3, 3));
    s->down = weight_of(s, "down", SHAPE(CHANNELS, CHANNELS, 3, 3));
    s->linear = weight_of(s, "linear", SHAPE(CHANNELS, CHANNELS));
    s->norm = weight_of(s, "norm", SHAPE(CHANNELS));
    s->bias = weight_of(s, "bias", SHAPE(CHANNELS));
    s->low = (param){.name = "low", .type = DTYPE_F32, .shape = SHAPE(RANK, CHANNELS), .trained = true};
    s->high = (param){.name = "high", .type = DTYPE_F32, .shape = SHAPE(CHANNELS, RANK), .trained = true};
    build(s, compute);
}

static void give_params(subject *s)
{
    for (size_t i = 0; i < RANK * CHANNELS; i++) {
        s->low_values[0][i] = number(i + 7);
        s->high_values[0][i] = number(i + 13);
    }
    s->low.value = s->low_values[0];
    s->low.grad = s->low_values[1];
    s->high.value = s->high_values[0];
    s->high.grad = s->high_values[1];
}

static size_t taken(const subject *s)
{
    return weight_taken_bytes(&s->conv) + weight_taken_bytes(&s->down) + weight_taken_bytes(&s->linear) +
           weight_taken_bytes(&s->norm) + weight_taken_bytes(&s->bias);
}

static void subject_close(subject *s)
{
    graph_destroy(s->g);
    weight_release(&s->conv);
    weight_release(&s->down);
    weight_release(&s->linear);
    weight_release(&s->norm);
    weight_release(&s->bias);
    munmap(s->values, VALUES * sizeof(float));
}

/* y, the loss and both gradients. */
typedef struct outcome {
    float y[PIXELS / 4 * CHANNELS], loss, low[RANK * CHANNELS], high[RANK * CHANNELS];
} outcome;

static leco_status run(subject *s, session *at, outcome *out)
{
    float x[PIXELS * CHANNELS], target[PIXELS / 4 * CHANNELS];
    for (size_t i = 0; i < PIXELS * CHANNELS; i++) x[i] = 4 * number(i + 3);
    for (size_t i = 0; i < PIXELS / 4 * CHANNELS; i++) target[i] = number(i + 5);
    LECO_TRY(session_write(at, s->x, x, PIXELS * CHANNELS, &err));
    LECO_TRY(session_write(at, s->target, target, PIXELS / 4 * CHANNELS, &err));
    LECO_TRY(session_run(at, &err));
    LECO_TRY(session_read(at, s->y, out->y, PIXELS / 4 * CHANNELS, &err));
    LECO_TRY(session_read(at, s->loss, &out->loss, 1, &err));
    memcpy(out->low, s->low_values[1], sizeof out->low);
    memcpy(out->high, s->high_values[1], sizeof out->high);
    return LECO_OK;
}

/* ---- plans ---- */

static size_t allocated; /* by counting_memory */

static void *counting_alloc(size_t bytes)
{
    allocated += bytes;
    return host_memory.alloc(bytes);
}

static void no_free(void *block)
{
    host_memory.free(block);
}

static const device_memory counting_memory = {.alloc = counting_alloc, .free = no_free};

static void plan_and_take(const backend *on, dtype compute)
{
    if (!on->supports(compute)) return;
    backend counted = *on;
    counted.memory = &counting_memory;
    subject s;
    session_plan *p;
    session *at;
    subject_open(&s, compute);
    protect(&s, PROT_NONE); /* planning reads no weight, and the params have no memory yet */
    allocated = 0;
    assert_works(session_plan_create(s.g, &counted, &p, &err), &err);
    assert_int_equal(allocated, 0);
    const size_t arena_bytes = session_plan_arena_bytes(p), weight_bytes = session_plan_weight_bytes(p);
    protect(&s, PROT_READ);
    give_params(&s);
    workspace *w = workspace_create(&counting_memory);
    assert_works(session_create(p, w, &at, &err), &err);
    assert_int_equal(workspace_bytes(w), arena_bytes);
    assert_int_equal(taken(&s), weight_bytes);
    assert_int_equal(allocated, arena_bytes + weight_bytes);
    outcome out;
    assert_works(run(&s, at, &out), &err);
    assert_true(isfinite(out.loss) && out.loss > 0);

    session *second; /* finds all forms there */
    assert_works(session_open(s.g, &counted, w, &second, &err), &err);
    assert_int_equal(session_plan_weight_bytes(session_planned(second)), weight_bytes);
    assert_int_equal(allocated, arena_bytes + weight_bytes);
    session_destroy(second);
    session_destroy(at);
    workspace_destroy(w);
    subject_close(&s);
}

static void a_plan_says_what_is_taken(void **state)
{
    (void)state;
    plan_and_take(&backend_ref, DTYPE_F32);
    plan_and_take(&backend_cpu, DTYPE_F32);
    plan_and_take(&backend_cpu, DTYPE_BF16);
}

static void a_plan_can_be_dropped(void **state)
{
    (void)state;
    subject s;
    session_plan *p;
    subject_open(&s, DTYPE_F32);
    assert_works(session_plan_create(s.g, &backend_cpu, &p, &err), &err);
    session_plan_destroy(p);
    assert_int_equal(taken(&s), 0);
    subject_close(&s);
}

/* ---- a device with memory of its own: the reference kernels, in blocks that nobody else can reach ---- */

enum { BLOCKS = 16 };
static struct {
    void *start;
    size_t bytes;
} block[BLOCKS];
static bool failing; /* the next synchronisation */

static void open_device(int access)
{
    for (int i = 0; i < BLOCKS; i++)
        if (block[i].start) assert_int_equal(mprotect(block[i].start, block[i].bytes, access), 0);
}

static void *away_alloc(size_t bytes)
{
    int i = 0;
    while (i < BLOCKS && block[i].start) i++;
    assert_true(i < BLOCKS);
    void *start = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return NULL;
    block[i].start = start;
    block[i].bytes = bytes;
    return start;
}

static void away_free(void *start)
{
    for (int i = 0; start && i < BLOCKS; i++) {
        if (block[i].start != start) continue;
        munmap(start, block[i].bytes);
        block[i].start = NULL;
    }
}

static leco_status away_copy(void *to, const void *from, size_t bytes, leco_error *error)
{
    (void)error;
    open_device(PROT_READ | PROT_WRITE);
    memcpy(to, from, bytes);
    open_device(PROT_NONE);
    return LECO_OK;
}

static leco_status away_synchronise(leco_error *error)
{
    return failing ? error_set(error, LECO_DEVICE, "the device failed") : LECO_OK;
}

static leco_status away_upload_as(void *to, dtype type, const void *from, dtype from_type, size_t count,
                                  leco_error *error)
{
    (void)error;
    open_device(PROT_READ | PROT_WRITE);
    dtype_convert(to, type, from, from_type, count);
    open_device(PROT_NONE);
    return LECO_OK;
}

static const device_memory away_memory = {.alloc = away_alloc,
                                          .free = away_free,
                                          .upload = away_copy,
                                          .upload_as = away_upload_as,
                                          .download = away_copy,
                                          .synchronise = away_synchronise};

static void away_run(const kernel_args *args)
{
    open_device(PROT_READ | PROT_WRITE);
    backend_ref.kernel_for(args->node->op, DTYPE_F32)->run(args);
    open_device(PROT_NONE);
}

static const kernel *away_kernel_for(op_code op, dtype compute)
{
    static kernel all[OP_COUNT];
    const kernel *k = backend_ref.kernel_for(op, compute);
    if (!k) return NULL;
    all[op] = *k;
    all[op].run = away_run;
    return &all[op];
}

static void a_device_may_have_memory_of_its_own(void **state)
{
    (void)state;
    backend away = backend_ref;
    away.memory = &away_memory;
    away.kernel_for = away_kernel_for;
    subject s;
    subject_open(&s, DTYPE_F32);
    give_params(&s);
    workspace *here = workspace_create(&host_memory), *there = workspace_create(&away_memory);
    session *at_home, *at_device;
    outcome expected = {.loss = 0}, got = {.loss = 0};
    assert_works(session_open(s.g, &backend_ref, here, &at_home, &err), &err);
    assert_works(session_open(s.g, &away, there, &at_device, &err), &err);
    for (int i = 0; i < 2; i++) { /* values that change between runs arrive */
        s.low_values[0][i] += 1;
        assert_works(run(&s, at_home, &expected), &err);
        memset(s.low_values[1], 0xff, sizeof s.low_values[1]);
        assert_works(run(&s, at_device, &got), &err);
        assert_memory_equal(&got, &expected, sizeof got);
    }
    failing = true;
    assert_fails(run(&s, at_device, &got), LECO_DEVICE, &err, "the device failed");
    failing = false;
    assert_works(run(&s, at_device, &got), &err);
    session_destroy(at_home);
    session_destroy(at_device);
    workspace_destroy(here);
    workspace_destroy(there);
    subject_close(&s);
    for (int i = 0; i < BLOCKS; i++) assert_null(block[i].start);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_share_a_workspace),          cmocka_unit_test(weights_are_converted_once),
        cmocka_unit_test(a_plan_says_what_is_taken),           cmocka_unit_test(a_plan_can_be_dropped),
        cmocka_unit_test(a_device_may_have_memory_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
