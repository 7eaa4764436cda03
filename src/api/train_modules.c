#include "api/train_modules.h"

#include <jansson.h>
#include <stdlib.h>

#include "api/report.h"
#include "base/mem.h"
#include "model/kinds.h"
#include "model/part.h"

static json_t *module_json(const trainable_module *m)
{
    int64_t parameters = 0;
    for (size_t k = 0; k < m->params; k++) parameters += shape_count(&m->param[k].shape);
    json_t *sizes = json_pack("[I, I]", (json_int_t)m->layer.out, (json_int_t)m->layer.in);
    for (int i = 0; i < 2 && m->layer.kernel > 0 && m->layer.is_conv; i++)
        json_array_append_new(sizes, json_integer(m->layer.kernel));
    json_t *o = json_pack("{s:s, s:s, s:s, s:I}", "part", part_rows[m->layer.part].name, "layer", m->layer.path, "kind",
                          m->kind->name, "rank", (json_int_t)m->rank);
    if (!m->kind->alone) json_object_set_new(o, "alpha", report_number((double)m->alpha));
    json_object_set_new(o, "shape", sizes);
    json_object_set_new(o, "parameters", json_integer(parameters));
    return o;
}

leco_status train_modules_text(trainable *t, char **text, leco_error *err)
{
    json_t *list = json_array();
    bool good = list != NULL;
    for (size_t i = 0; i < trainable_module_count(t) && good; i++)
        good = json_array_append_new(list, module_json(trainable_module_at(t, i))) == 0;
    char *made = good ? json_dumps(list, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(list);
    *text = made ? mem_strdup(made) : NULL;
    free(made); /* jansson's */
    return *text ? LECO_OK : error_memory(err, 0, "the list of layers");
}
