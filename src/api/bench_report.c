#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/bench.h"
#include "api/report.h"
#include "base/cpu.h"
#include "base/mem.h"

static const double GIGA = 1e9, MIB = 1024.0 * 1024.0;

static double mean_rate(const bench_run *run)
{
    return 0.5 * (run->rate_before + run->rate_after);
}

static double reached(const timing *t)
{
    return t->seconds > 0 ? t->flops / t->seconds / GIGA : 0;
}

static double percent_of_rate(const bench_run *run, const timing *t)
{
    return mean_rate(run) > 0 ? 100 * reached(t) / mean_rate(run) : 0;
}

/* Operators that occur, the slowest first. */
static int sorted_operators(const timing *t, int order[OP_COUNT])
{
    int count = 0;
    for (int op = 0; op < OP_COUNT; op++) {
        if (t->op[op].count == 0) continue;
        int at = count++;
        for (; at > 0 && t->op[order[at - 1]].seconds < t->op[op].seconds; at--) order[at] = order[at - 1];
        order[at] = op;
    }
    return count;
}

static double profiled_seconds(const timing *t)
{
    double sum = 0;
    for (int op = 0; op < OP_COUNT; op++) sum += t->op[op].seconds;
    return sum;
}

/* ---- for people ---- */

static void print_operators(FILE *out, const timing *t)
{
    int order[OP_COUNT];
    const int count = sorted_operators(t, order);
    const double all = profiled_seconds(t);
    fprintf(out, "    %-20s %6s %10s %7s %10s %10s\n", "operator", "nodes", "ms", "share", "GFLOP", "GFLOP/s");
    for (int i = 0; i < count; i++) {
        const op_time *o = &t->op[order[i]];
        fprintf(out, "    %-20s %6lld %10.2f %6.1f%%", op_name(order[i]), (long long)o->count, 1e3 * o->seconds,
                all > 0 ? 100 * o->seconds / all : 0);
        if (o->flops > 0)
            fprintf(out, " %10.2f %10.1f\n", o->flops / GIGA, o->seconds > 0 ? o->flops / o->seconds / GIGA : 0);
        else
            fprintf(out, " %10s %10s\n", "", "");
    }
}

static void print_timing(FILE *out, const bench_run *run, const timing *t, const char *what)
{
    fprintf(out, "  %s, batch %lld: %.4g s (best of %d), %.1f GFLOP, %.1f GFLOP/s = %.1f%% of the matrix rate\n", what,
            (long long)t->batch, t->seconds, t->runs, t->flops / GIGA, reached(t), percent_of_rate(run, t));
}

static void print_run(FILE *out, const bench_run *run)
{
    const uint64_t planned = run->weights + run->activations + run->adapter + run->optimizer;
    fprintf(out, "\n%s\n  matrix rate: %.1f GFLOP/s before, %.1f after\n", dtype_name(run->compute), run->rate_before,
            run->rate_after);
    print_timing(out, run, &run->forward, "forward");
    print_operators(out, &run->forward);
    print_timing(out, run, &run->step, "training step (student forward + backward, LoRA rank 4)");
    print_operators(out, &run->step);
    fprintf(
        out,
        "  memory for training: %.1f MiB planned = weights %.1f + activations %.1f + adapter %.1f + optimizer %.1f; "
        "%.1f MiB allocated\n",
        (double)planned / MIB, (double)run->weights / MIB, (double)run->activations / MIB, (double)run->adapter / MIB,
        (double)run->optimizer / MIB, (double)run->allocated / MIB);
    if (run->peak_resident) fprintf(out, "  peak resident: %.1f MiB (VmHWM)\n", (double)run->peak_resident / MIB);
}

static leco_status report_for_people(const bench_result *result, char **text, leco_error *err)
{
    char *buffer = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&buffer, &size);
    if (!out) return error_memory(err, 0, "a report");
    fprintf(out, "%s, %dx%d pixels, %d threads, %s\n", result->model, result->width, result->height, cpu_threads(),
            result->device);
    for (int i = 0; i < result->count; i++) print_run(out, &result->run[i]);
    bool failed = fclose(out) != 0;
    char *copy = failed ? NULL : mem_strdup(buffer); /* leco_free is not free */
    free(buffer);
    if (!copy) return error_memory(err, size, "a report");
    *text = copy;
    return LECO_OK;
}

/* ---- for programs ---- */

static json_t *groups_json(const timing *t)
{
    json_t *groups = json_array();
    for (int i = 0; i < t->groups; i++) {
        const shape_time *g = &t->group[i];
        char first[SHAPE_TEXT], second[SHAPE_TEXT], out[SHAPE_TEXT];
        json_array_append_new(groups,
                              json_pack("{s:s, s:[s, s], s:s, s:I, s:f, s:f}", "operator", op_name(g->op), "inputs",
                                        shape_format(&g->first, first), shape_format(&g->second, second), "output",
                                        shape_format(&g->out, out), "nodes", (json_int_t)g->time.count, "seconds",
                                        g->time.seconds, "gflop", g->time.flops / GIGA));
    }
    return groups;
}

static json_t *timing_json(const bench_run *run, const timing *t)
{
    int order[OP_COUNT];
    const int count = sorted_operators(t, order);
    json_t *operators = json_array();
    for (int i = 0; i < count; i++) {
        const op_time *o = &t->op[order[i]];
        json_array_append_new(operators,
                              json_pack("{s:s, s:I, s:f, s:f}", "operator", op_name(order[i]), "nodes",
                                        (json_int_t)o->count, "seconds", o->seconds, "gflop", o->flops / GIGA));
    }
    return json_pack("{s:I, s:i, s:f, s:f, s:f, s:f, s:o, s:o}", "batch", (json_int_t)t->batch, "runs", t->runs,
                     "seconds", t->seconds, "gflop", t->flops / GIGA, "gflops", reached(t), "percent_of_matrix_rate",
                     percent_of_rate(run, t), "operators", operators, "shapes", groups_json(t));
}

static json_t *run_json(const bench_run *run)
{
    return json_pack("{s:s, s:f, s:f, s:o, s:o, s:{s:I, s:I, s:I, s:I}, s:I, s:I, s:I}", "precision",
                     dtype_name(run->compute), "matrix_gflops_before", run->rate_before, "matrix_gflops_after",
                     run->rate_after, "forward", timing_json(run, &run->forward), "training_step",
                     timing_json(run, &run->step), "memory", "weights", (json_int_t)run->weights, "activations",
                     (json_int_t)run->activations, "adapter", (json_int_t)run->adapter, "optimizer",
                     (json_int_t)run->optimizer, "planned_bytes",
                     (json_int_t)(run->weights + run->activations + run->adapter + run->optimizer), "allocated_bytes",
                     (json_int_t)run->allocated, "peak_resident_bytes", (json_int_t)run->peak_resident);
}

leco_status bench_report(const bench_result *result, bool json, char **text, leco_error *err)
{
    if (!json) return report_for_people(result, text, err);
    json_t *runs = json_array();
    for (int i = 0; i < result->count; i++) json_array_append_new(runs, run_json(&result->run[i]));
    json_t *document =
        json_pack("{s:s, s:i, s:i, s:i, s:s, s:o}", "model", result->model, "width", result->width, "height",
                  result->height, "threads", cpu_threads(), "processor", result->device, "runs", runs);
    if (!document) return error_memory(err, 0, "a report");
    leco_status status = report_text(document, true, text, err);
    json_decref(document);
    return status;
}
