/* SGD  g += wd p;  b = momentum b + (1 - dampening) g (at first b = g);  p -= lr b, or lr (g + momentum b) for nesterov
 *
 * Source: Sutskever et al., "On the importance of initialization and momentum in deep learning" (2013), in the form
 * that torch.optim.SGD has. */
#include "train/optimizer.h"

enum { MOMENTUM, DAMPENING, WEIGHT_DECAY, NESTEROV };

static leco_status check(const optimizer_options *o, leco_error *err)
{
    if (o->value[NESTEROV][0] != 0 && (o->value[MOMENTUM][0] <= 0 || o->value[DAMPENING][0] != 0))
        return error_set(err, LECO_INVALID, "nesterov needs a momentum and no dampening");
    return LECO_OK;
}

/* b of all values. */
static size_t state_floats(const optimizer_options *options, const flat_params *on)
{
    return options->value[MOMENTUM][0] > 0 ? on->count : 0;
}

static void step(const optimizer_update *u)
{
    const double(*argument)[2] = u->options->value;
    const float decay = (float)argument[WEIGHT_DECAY][0], momentum = (float)argument[MOMENTUM][0];
    const float rest = (float)(1.0 - argument[DAMPENING][0]), rate = (float)u->lr;
    const bool has_momentum = argument[MOMENTUM][0] > 0, nesterov = argument[NESTEROV][0] != 0;
    float *value = u->on.values, *b = u->state;
    for (size_t i = 0; i < u->on.count; i++) {
        float g = u->grads[i] * u->scale + decay * value[i];
        if (has_momentum) {
            b[i] = u->step == 1 ? g : momentum * b[i] + rest * g;
            g = nesterov ? g + momentum * b[i] : b[i];
        }
        value[i] -= rate * g;
    }
}

const optimizer_row optimizer_sgd = {.name = "sgd",
                                     .argument = {[MOMENTUM] = {"momentum", ARGUMENT_NUMBER, {0}, 0, 1},
                                                  [DAMPENING] = {"dampening", ARGUMENT_NUMBER, {0}, 0, 1},
                                                  [WEIGHT_DECAY] = {"weight_decay", ARGUMENT_NUMBER, {0}, 0, 10},
                                                  [NESTEROV] = {"nesterov", ARGUMENT_FLAG, {0}, 0, 0}},
                                     .check = check,
                                     .state_floats = state_floats,
                                     .step = step};
