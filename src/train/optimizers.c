/* The optimizers there are. A new one: its file, its lines in optimizer.h and its place here. */
#include "train/optimizer.h"

const optimizer_row *const optimizer_rows[OPTIMIZER_COUNT] = {
    [OPTIMIZER_ADAMW] = &optimizer_adamw,
    [OPTIMIZER_ADAM] = &optimizer_adam,
    [OPTIMIZER_SGD] = &optimizer_sgd,
    [OPTIMIZER_LION] = &optimizer_lion,
    [OPTIMIZER_PRODIGY] = &optimizer_prodigy,
    [OPTIMIZER_DADAPTADAM] = &optimizer_dadaptadam,
    [OPTIMIZER_DADAPTLION] = &optimizer_dadaptlion,
    [OPTIMIZER_ADAFACTOR] = &optimizer_adafactor,
    [OPTIMIZER_ADAMW_SCHEDULE_FREE] = &optimizer_adamw_schedule_free,
};

#define NESTEROV "momentum=0.9 nesterov=True"

/* p1atdev's, sd-scripts', ai-toolkit's and bitsandbytes' names. "Paged" says where states lie, not what they are.
 * laksjdjf's and sd-scripts' configs may name a class by its module. */
const optimizer_alias optimizer_aliases[] = {
    {"adamw8bit", OPTIMIZER_ADAMW, NULL, true},
    {"pagedadamw8bit", OPTIMIZER_ADAMW, NULL, true},
    {"pagedadamw", OPTIMIZER_ADAMW, NULL, false},
    {"pagedadamw32bit", OPTIMIZER_ADAMW, NULL, false},
    {"adam8bit", OPTIMIZER_ADAM, NULL, true},
    {"pagedadam8bit", OPTIMIZER_ADAM, NULL, true},
    {"pagedadam", OPTIMIZER_ADAM, NULL, false},
    {"pagedadam32bit", OPTIMIZER_ADAM, NULL, false},
    {"lion8bit", OPTIMIZER_LION, NULL, true},
    {"pagedlion8bit", OPTIMIZER_LION, NULL, true},
    {"pagedlion", OPTIMIZER_LION, NULL, false},
    {"pagedlion32bit", OPTIMIZER_LION, NULL, false},
    {"sgd8bit", OPTIMIZER_SGD, NULL, true},
    {"sgdnesterov", OPTIMIZER_SGD, NESTEROV, false},
    {"sgdnesterov8bit", OPTIMIZER_SGD, NESTEROV, true},
    {"prodigy8bit", OPTIMIZER_PRODIGY, NULL, true},
    {"schedulefree", OPTIMIZER_ADAMW_SCHEDULE_FREE, NULL, false},
    {"adamw_schedulefree", OPTIMIZER_ADAMW_SCHEDULE_FREE, NULL, false},
    {"adamw_schedule_free", OPTIMIZER_ADAMW_SCHEDULE_FREE, NULL, false},
    {"torch.optim.adamw", OPTIMIZER_ADAMW, NULL, false},
    {"torch.optim.adam", OPTIMIZER_ADAM, NULL, false},
    {"torch.optim.sgd", OPTIMIZER_SGD, NULL, false},
    {"bitsandbytes.optim.adamw8bit", OPTIMIZER_ADAMW, NULL, true},
    {"bitsandbytes.optim.adam8bit", OPTIMIZER_ADAM, NULL, true},
    {"bitsandbytes.optim.lion8bit", OPTIMIZER_LION, NULL, true},
    {"lion_pytorch.lion", OPTIMIZER_LION, NULL, false},
    {"prodigyopt.prodigy", OPTIMIZER_PRODIGY, NULL, false},
    {"dadaptation.dadaptadam", OPTIMIZER_DADAPTADAM, NULL, false},
    {"dadaptation.dadaptlion", OPTIMIZER_DADAPTLION, NULL, false},
    {"transformers.adafactor", OPTIMIZER_ADAFACTOR, NULL, false},
    {"transformers.optimization.adafactor", OPTIMIZER_ADAFACTOR, NULL, false},
    {"schedulefree.adamwschedulefree", OPTIMIZER_ADAMW_SCHEDULE_FREE, NULL, false},
    {0},
};
