#include "train/terms.h"

#include <assert.h>
#include <string.h>

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

void terms_sum(const term_list *list, const float *predictions, float *target, size_t count)
{
    memset(target, 0, count * sizeof *target);
    for (size_t k = 0; k < list->count; k++) {
        float factor = (float)list->item[k].weight;
        const float *prediction = predictions + k * count;
        for (size_t i = 0; i < count; i++) target[i] += factor * prediction[i];
    }
}
