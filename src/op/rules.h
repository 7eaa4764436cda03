/* The rules of all operators, one a row of ops.def: op_linear_rule, op_linear_dx_rule, ... Each is defined in its
 * operator's file, with what its row says filled in by OP_RULE:
 *     const op_rule op_linear_rule = {OP_RULE(linear), .infer = linear_infer, .grad = linear_grad}; */
#ifndef LECO_OP_RULES_H
#define LECO_OP_RULES_H

#include "graph/graph.h"

#define OP(code, name, inputs, outputs, shared, summary)                                                               \
    enum { op_##name##_inputs = inputs, op_##name##_outputs = outputs, op_##name##_shared = shared };                  \
    extern const op_rule op_##name##_rule;
#include "graph/ops.def"
#undef OP

#define OP_RULE(op) .max_inputs = op_##op##_inputs, .max_outputs = op_##op##_outputs, .shared_input = op_##op##_shared

#endif
