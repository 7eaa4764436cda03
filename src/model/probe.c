#include "model/probe.h"

#include <string.h>

#include "base/mem.h"
#include "model/config_json.h"
#include "op/op.h"

#define FORMAT "leco-probe-1"
#define MOST_LAYERS 64

typedef enum layer_op { LAYER_CONV, LAYER_NORM, LAYER_SILU, LAYER_AVERAGE, LAYER_LINEAR } layer_op;

static const char *const op_names[] = {"conv2d", "group_norm", "silu", "global_average", "linear"};

typedef struct layer {
    layer_op op;
    const char *weight, *bias; /* names of tensors, in the JSON tree */
    int64_t in, out;           /* conv2d, linear */
    int64_t kernel, stride, padding, groups;
    float eps;
} layer;

typedef struct head {
    const char *name;
    int64_t offset;
    const json_t *labels;
} head;

struct probe_config {
    char *path;
    json_t *root;
    int64_t size;
    layer layer[MOST_LAYERS];
    int64_t layer_count;
    head head[PROBE_MAX_HEADS];
    int64_t head_count;
};

/* ---- configuration ---- */

static leco_status read_op(const json_t *object, const char *path, layer *l, leco_error *err)
{
    const char *name;
    LECO_TRY(json_get_string(object, path, "op", "", &name, err));
    for (size_t i = 0; i < sizeof op_names / sizeof *op_names; i++) {
        if (strcmp(name, op_names[i]) == 0) {
            l->op = (layer_op)i;
            return LECO_OK;
        }
    }
    return config_refuse(json_object_get(object, "op"), path, "op",
                         "conv2d, group_norm, silu, global_average and linear", err);
}

static leco_status read_layer(const json_t *object, const char *path, layer *l, leco_error *err)
{
    LECO_TRY(read_op(object, path, l, err));
    if (l->op == LAYER_SILU || l->op == LAYER_AVERAGE) return LECO_OK;
    bool conv = l->op == LAYER_CONV;
    LECO_TRY(json_get_string(object, path, "weight", NULL, &l->weight, err));
    LECO_TRY(json_get_string(object, path, "bias", NULL, &l->bias, err));
    LECO_TRY(json_get_int(object, path, conv ? "in_channels" : "in_features", 0, 1, 65536, &l->in, err));
    LECO_TRY(json_get_int(object, path, conv ? "out_channels" : "out_features", 0, 1, 65536, &l->out, err));
    LECO_TRY(json_get_int(object, path, "kernel", 3, 1, 15, &l->kernel, err));
    LECO_TRY(json_get_int(object, path, "stride", 1, 1, 2, &l->stride, err));
    LECO_TRY(json_get_int(object, path, "padding", 0, 0, 15, &l->padding, err));
    LECO_TRY(json_get_int(object, path, "groups", 1, 1, 65536, &l->groups, err));
    LECO_TRY(config_get_number(object, path, "eps", 1e-5, 1e-12, 1, &l->eps, err));
    if (!l->weight || !l->bias || (l->op != LAYER_NORM && (l->in < 1 || l->out < 1)))
        return error_set(err, LECO_INVALID, "%s: a layer \"%s\" without weight, bias or channels", path,
                         op_names[l->op]);
    return LECO_OK;
}

static leco_status read_head(const json_t *object, const char *path, head *h, leco_error *err)
{
    size_t index;
    json_t *label;
    LECO_TRY(json_get_string(object, path, "attribute", NULL, &h->name, err));
    LECO_TRY(json_get_int(object, path, "offset", 0, 0, 65536, &h->offset, err));
    h->labels = json_object_get(object, "labels");
    bool good = h->name && json_is_array(h->labels) && json_array_size(h->labels) > 0;
    json_array_foreach(h->labels, index, label) good = good && json_is_text(label);
    return good ? LECO_OK : error_set(err, LECO_INVALID, "%s: a head without attribute or list of labels", path);
}

static leco_status read_input(const json_t *root, const char *path, int64_t *size, leco_error *err)
{
    const json_t *input = json_object_get(root, "input");
    int64_t height = 0, channels = 0;
    LECO_TRY(json_get_int(input, path, "width", 0, 1, 4096, size, err));
    LECO_TRY(json_get_int(input, path, "height", 0, 1, 4096, &height, err));
    LECO_TRY(json_get_int(input, path, "channels", 0, 3, 3, &channels, err));
    if (*size < 1 || height != *size || channels != 3)
        return error_set(err, LECO_UNSUPPORTED, "%s: key \"input\": expected a square RGB picture", path);
    return LECO_OK;
}

static leco_status read_config(probe_config *c, leco_error *err)
{
    const char *format;
    size_t index;
    json_t *object;
    LECO_TRY(json_get_string(c->root, c->path, "format", "", &format, err));
    if (strcmp(format, FORMAT) != 0)
        return config_refuse(json_object_get(c->root, "format"), c->path, "format", FORMAT, err);
    LECO_TRY(read_input(c->root, c->path, &c->size, err));
    LECO_TRY(config_get_length(c->root, c->path, "layers", MOST_LAYERS, &c->layer_count, err));
    LECO_TRY(config_get_length(c->root, c->path, "heads", PROBE_MAX_HEADS, &c->head_count, err));
    json_array_foreach(json_object_get(c->root, "layers"), index, object) {
        LECO_TRY(read_layer(object, c->path, &c->layer[index], err));
    }
    json_array_foreach(json_object_get(c->root, "heads"), index, object) {
        LECO_TRY(read_head(object, c->path, &c->head[index], err));
    }
    return LECO_OK;
}

leco_status probe_config_read(const char *folder, probe_config **out, leco_error *err)
{
    *out = NULL;
    probe_config *c = mem_calloc(1, sizeof *c);
    if (!c) return error_memory(err, sizeof *c, "a probe");
    leco_status status = config_open(folder, "config.json", &c->path, &c->root, err);
    if (status == LECO_OK) status = read_config(c, err);
    if (status != LECO_OK) {
        probe_config_free(c);
        return status;
    }
    *out = c;
    return LECO_OK;
}

void probe_config_free(probe_config *config)
{
    if (!config) return;
    json_decref(config->root);
    mem_free(config->path);
    mem_free(config);
}

int64_t probe_picture_size(const probe_config *config)
{
    return config->size;
}

int64_t probe_head_count(const probe_config *config)
{
    return config->head_count;
}

const char *probe_head_name(const probe_config *config, int64_t index)
{
    return config->head[index].name;
}

int64_t probe_label_count(const probe_config *config, int64_t index)
{
    return (int64_t)json_array_size(config->head[index].labels);
}

const char *probe_label(const probe_config *config, int64_t index, int64_t label)
{
    return json_string_value(json_array_get(config->head[index].labels, (size_t)label));
}

/* ---- the network ---- */

/* x [N,H,W,C], after the average [N,C]. `silu` is the layer after a norm, which does both at once. */
static tensor *apply(nn *c, const layer *l, tensor *x, bool silu)
{
    if (!x || !graph_ok(c->g)) return NULL;
    int64_t channels = shape_last(&x->shape);
    int pad = (int)l->padding;
    tensor *w, *b;
    switch (l->op) {
    case LAYER_CONV:
        w = nn_weight(c, l->weight, SHAPE(l->out, l->in, l->kernel, l->kernel));
        b = nn_weight(c, l->bias, SHAPE(l->out));
        return op_conv2d(c->g, x, w, b, NULL, (int)l->stride, (const int[4]){pad, pad, pad, pad});
    case LAYER_NORM:
        w = nn_weight(c, l->weight, SHAPE(channels));
        b = nn_weight(c, l->bias, SHAPE(channels));
        return op_group_norm(c->g, x, w, b, (int)l->groups, l->eps, silu);
    case LAYER_LINEAR:
        w = nn_weight(c, l->weight, SHAPE(l->out, l->in));
        b = nn_weight(c, l->bias, SHAPE(l->out));
        return op_linear(c->g, x, w, b, NULL, 1.0f);
    case LAYER_AVERAGE:
        if (x->shape.rank != 4) return graph_fail(c->g, LECO_INVALID, "the probe averages twice");
        return op_sum_spatial(c->g, x, 1.0f / (float)(x->shape.dim[1] * x->shape.dim[2]));
    case LAYER_SILU:
        break;
    }
    return op_activation(c->g, x, ACT_SILU);
}

probe probe_build(nn *c, const probe_config *config, int64_t batch)
{
    probe p = {0};
    p.sample = graph_input(c->g, "sample", graph_dtype(c->g), SHAPE(batch, config->size, config->size, 3));
    tensor *x = p.sample;
    for (int64_t i = 0; i < config->layer_count; i++) {
        const layer *l = &config->layer[i];
        graph_set_name(c->g, l->weight ? l->weight : op_names[l->op]);
        bool silu = l->op == LAYER_NORM && i + 1 < config->layer_count && l[1].op == LAYER_SILU;
        x = apply(c, l, x, silu);
        if (silu) i++;
    }
    if (x && x->shape.rank != 2) graph_fail(c->g, LECO_INVALID, "the probe's layers don't end in one row a picture");
    for (int64_t i = 0; i < config->head_count; i++) {
        p.logits[i] = op_slice(c->g, x, config->head[i].offset, probe_label_count(config, i));
        if (p.logits[i]) graph_result(c->g, p.logits[i]);
    }
    return p;
}
