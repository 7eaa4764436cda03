/* What values of the keys of `train` that say how to learn may be called, and what help tells of them. */
#include "base/mem.h"
#include "format/document.h"
#include "train/config.h"
#include "train/config_keys.h"

static const char later[] = "is not supported yet";

/* ---- optimizers ---- */

/* The rows, then what else they are called: as many as there are rows stand for themselves. */
static choice optimizer_choice(size_t index)
{
    if (index < OPTIMIZER_COUNT) return (choice){.name = optimizer_rows[index]->name, .value = (int)index};
    const optimizer_alias *other = &optimizer_aliases[index - OPTIMIZER_COUNT];
    return (choice){.name = other->name, .alias = true, .row = other};
}

static void optimizer_store(void *field, const choice *chosen)
{
    *(optimizer_options *)field =
        chosen->row ? optimizer_by_alias(chosen->row) : optimizer_defaults((optimizer_kind)chosen->value);
}

static const char *optimizer_name(const void *field)
{
    return optimizer_rows[((const optimizer_options *)field)->kind]->name;
}

const choice_list config_optimizers = {optimizer_choice, optimizer_store, optimizer_name,
                                       NAMES("dadaptation", "dadaptadampreprint", "dadaptadagrad", "dadaptadan",
                                             "dadaptadanip", "dadaptsgd", "sgdschedulefree", "radamschedulefree",
                                             "adagrad", "adagrad8bit", "rmsprop", "rmsprop8bit", "radam", "came"),
                                       later};

static void tell_argument(FILE *out, const optimizer_argument *a)
{
    if (a->form == ARGUMENT_PAIR)
        fprintf(out, "%s=(%g,%g)", a->key, a->initial[0], a->initial[1]);
    else if (a->form == ARGUMENT_FLAG)
        fprintf(out, "%s=%s", a->key, a->initial[0] != 0 ? "True" : "False");
    else if (a->form == ARGUMENT_OPTIONAL && a->initial[0] == OPTIMIZER_NONE)
        fprintf(out, "%s=None", a->key);
    else
        fprintf(out, "%s=%g", a->key, a->initial[0]);
}

/* "adamw `betas=(0.9,0.999) weight_decay=0.01`; sgd ..." */
void config_tell_arguments(FILE *out)
{
    for (size_t i = 0; i < OPTIMIZER_COUNT; i++) {
        fprintf(out, "%s%s `", i ? "; " : "", optimizer_rows[i]->name);
        for (const optimizer_argument *a = optimizer_rows[i]->argument; a->key; a++) {
            if (a != optimizer_rows[i]->argument) fputc(' ', out);
            tell_argument(out, a);
        }
        fputc('`', out);
    }
}

/* Of a map's key: a scalar as it stands, or a list of them as "(one,two)". */
static leco_status read_value(const train_config *c, const doc_node *n, const char *name, const char **out,
                              leco_error *err)
{
    if (doc_is_null(n)) {
        *out = "None";
        return LECO_OK;
    }
    if (n->kind != DOC_LIST) return doc_text(n, name, out, err);
    const char *all = "(", *one;
    for (size_t i = 0; i < n->count && all; i++) {
        LECO_TRY(doc_text(n->item[i].value, name, &one, err));
        all = arena_printf(c->memory, "%s%s%s", all, i ? "," : "", one);
    }
    *out = all ? arena_printf(c->memory, "%s)", all) : NULL;
    return *out ? LECO_OK : error_memory(err, 0, "optimizer_args");
}

/* One text, sd-scripts' list of them, or a map of keys and values. */
leco_status config_read_arguments(const doc_node *n, const char *name, void *values, leco_error *err)
{
    train_config *c = values;
    if (n->kind == DOC_SCALAR) return doc_text(n, name, &c->optimizer_args, err);
    const char *all = "", *one;
    for (size_t i = 0; i < n->count; i++) {
        const doc_item *item = &n->item[i];
        const bool map = n->kind == DOC_MAP;
        LECO_TRY(map ? read_value(c, item->value, name, &one, err) : doc_text(item->value, name, &one, err));
        all = arena_printf(c->memory, "%s%s%s%s%s", all, i ? " " : "", map ? item->key : "", map ? "=" : "", one);
        if (!all) return error_memory(err, 0, "optimizer_args");
    }
    c->optimizer_args = all;
    return LECO_OK;
}

char *config_show_arguments(const void *values)
{
    const char *written = ((const train_config *)values)->optimizer_args;
    return mem_strdup(written ? written : "");
}

/* ---- the others ---- */

static choice lr_schedule_choice(size_t index)
{
    return index < LR_COUNT ? (choice){.name = lr_schedule_rows[index].name, .value = (int)index} : (choice){0};
}

static void lr_schedule_store(void *field, const choice *chosen)
{
    *(lr_schedule *)field = (lr_schedule)chosen->value;
}

static const char *lr_schedule_name(const void *field)
{
    return lr_schedule_rows[*(const lr_schedule *)field].name;
}

const choice_list config_lr_schedules = {
    lr_schedule_choice, lr_schedule_store, lr_schedule_name,
    NAMES("inverse_sqrt", "piecewise_constant", "cosine_with_min_lr", "warmup_stable_decay", "adafactor", "rex"),
    later};

static const choice loss_names[] = {
    {"mse", .value = LOSS_MSE},
    {"l2", .alias = true, .value = LOSS_MSE},
    {"huber", .value = LOSS_HUBER},
    {"smooth_l1", .value = LOSS_SMOOTH_L1},
    {0},
};
static choice loss_choice(size_t index)
{
    return loss_names[index];
}

static void loss_store(void *field, const choice *chosen)
{
    *(train_loss *)field = (train_loss)chosen->value;
}

static const char *loss_name(const void *field)
{
    size_t i = 0;
    while (loss_names[i].value != (int)*(const train_loss *)field) i++;
    return loss_names[i].name;
}

const choice_list config_losses = {loss_choice, loss_store, loss_name, NAMES("l1", "mae"), later};

static const choice huber_names[] = {
    {"snr", .value = HUBER_SNR},
    {"exponential", .value = HUBER_EXPONENTIAL},
    {"constant", .value = HUBER_CONSTANT},
    {0},
};
static choice huber_choice(size_t index)
{
    return huber_names[index];
}

static void huber_store(void *field, const choice *chosen)
{
    *(huber_schedule *)field = (huber_schedule)chosen->value;
}

static const char *huber_name(const void *field)
{
    return huber_names[*(const huber_schedule *)field].name;
}

const choice_list config_huber_schedules = {huber_choice, huber_store, huber_name, NULL, NULL};
