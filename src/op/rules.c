#include "op/rules.h"

const op_rule *const op_rules[OP_COUNT] = {
#define OP(code, name, inputs, outputs, shared, summary) [OP_##code] = &op_##name##_rule,
#include "graph/ops.def"
#undef OP
};
