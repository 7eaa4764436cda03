/* The optimizers there are. A new one: its file, its lines in optimizer.h and its place here. */
#include "train/optimizer.h"

const optimizer_row *const optimizer_rows[OPTIMIZER_COUNT] = {
    [OPTIMIZER_ADAMW] = &optimizer_adamw,
    [OPTIMIZER_ADAM] = &optimizer_adam,
    [OPTIMIZER_SGD] = &optimizer_sgd,
    [OPTIMIZER_LION] = &optimizer_lion,
};
