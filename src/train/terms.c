#include "train/terms.h"

#include <assert.h>
#include <string.h>

#include "base/log.h"

void terms_add(term_list *list, double factor, int model_index, const char *prompt)
{
    size_t i = 0;
    while (i < list->count && !(list->item[i].model == model_index && strcmp(list->item[i].prompt, prompt) == 0)) i++;
    if (i == list->count) {
        assert(list->count < TERMS_MAX);
        list->item[list->count++] = (term){0, model_index, prompt};
    }
    list->item[i].weight += factor;
    if (list->item[i].weight != 0) return;
    list->count--;
    memmove(&list->item[i], &list->item[i + 1], (list->count - i) * sizeof list->item[0]);
}

term_list terms_of_prompt(const train_prompt *p)
{
    double eta = p->action == ACTION_ERASE ? -p->guidance_scale : p->guidance_scale;
    term_list list = {0};
    terms_add(&list, 1, 0, p->neutral);
    terms_add(&list, eta, 0, p->positive);
    terms_add(&list, -eta, 0, p->unconditional);
    return list;
}

bool terms_hold_still(const term_list *list, const char *prompt)
{
    const term *only = &list->item[0];
    return list->count == 1 && only->weight == 1 && only->model == 0 && strcmp(only->prompt, prompt) == 0;
}

/* The loss of the student's own prediction against itself is 0, and so is the gradient of one that is switched off. */
static bool moves_nothing(const train_prompt *p)
{
    const term_list list = terms_of_prompt(p);
    return terms_hold_still(&list, p->target) || p->weight == 0 || p->multiplier == 0;
}

/* Why a pair moves nothing, and what would. */
static const char *remedy(const train_prompt *p)
{
    if (p->weight == 0) return "its weight is 0";
    if (p->multiplier == 0) return "its multiplier is 0, which leaves the adapter out";
    if (p->guidance_scale == 0) return "a guidance_scale of 0 holds it still; another value changes it";
    if (strcmp(p->positive, p->unconditional) == 0)
        return "positive and unconditional are the same text, so that nothing is taken away or added; give another "
               "positive";
    return "it is pulled to what the model predicts for it anyway; give a larger guidance_scale (2, for instance), a "
           "neutral, or another positive";
}

leco_status terms_check(const train_config *config, leco_error *err)
{
    const train_prompt *first = NULL, *odd = NULL;
    size_t still = 0, odd_count = 0;
    for (size_t i = 0; i < config->prompt_count; i++) {
        const train_prompt *p = &config->prompt[i];
        if (!moves_nothing(p)) continue;
        if (still++ == 0) first = p;
        if (p->guidance_scale != 0 && p->weight != 0 && odd_count++ == 0) odd = p;
    }
    if (still == config->prompt_count)
        return error_set(err, LECO_INVALID, "%s: nothing would be trained: target \"%.80s\": %s%s", first->place,
                         first->target, remedy(first), still > 1 ? "; and so it is with all other entries" : "");
    if (odd_count > 0)
        log_message(LOG_WARNING, "%s: this entry trains nothing: target \"%.80s\": %s%s", odd->place, odd->target,
                    remedy(odd), odd_count > 1 ? "; there are more like it" : "");
    return LECO_OK;
}

void terms_sum(const term_list *list, const float *predictions, float *target, size_t count)
{
    memset(target, 0, count * sizeof *target);
    for (size_t k = 0; k < list->count; k++) {
        float factor = (float)list->item[k].weight;
        const float *prediction = predictions + k * count;
        for (size_t i = 0; i < count; i++) target[i] += factor * prediction[i];
    }
}
