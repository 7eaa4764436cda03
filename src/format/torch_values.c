/* What values of a pickle are, and where in it the tensors are that it is about. */
#include <string.h>

#include "format/torch_values.h"

bool torch_is_whole(const pickle_value *v, uint64_t *out)
{
    if (v->kind != PICKLE_WHOLE || v->whole < 0) return false;
    *out = (uint64_t)v->whole;
    return true;
}

/* A tuple of whole numbers. */
bool torch_read_dims(const pickle_value *v, uint64_t out[SAFETENSORS_MAX_DIMS])
{
    if (v->kind != PICKLE_TUPLE || v->count > SAFETENSORS_MAX_DIMS) return false;
    for (size_t i = 0; i < v->count; i++)
        if (!torch_is_whole(v->item[i], &out[i]) || out[i] > INT64_MAX) return false;
    return true;
}

bool torch_is_tensor(const pickle_value *v)
{
    return torch_is_object(v, OBJECT_TENSOR);
}

/* Has the dict itself tensors? Not those of a checkpoint whose names begin with that key ("model.diffusion_model."). */
static bool has_tensors(const pickle_value *dict)
{
    bool any = false;
    for (size_t i = 0; dict && dict->kind == PICKLE_DICT && i + 1 < dict->count; i += 2) {
        if (dict->item[i]->kind != PICKLE_TEXT || !torch_is_tensor(dict->item[i + 1])) continue;
        if (strncmp(dict->item[i]->text, "diffusion_model.", 16) == 0) return false;
        any = true;
    }
    return any;
}

const pickle_value *torch_find_state(const pickle_value *root)
{
    static const char *const keys[] = {"model", "lora", "weights", "network"};
    const pickle_value *state = pickle_find(root, "state_dict"), *found = NULL;
    if (state && state->kind == PICKLE_DICT) root = state;
    if (has_tensors(root)) return root;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const pickle_value *inner = pickle_find(root, keys[i]);
        if (!has_tensors(inner)) continue;
        if (found) return root; /* which of them? */
        found = inner;
    }
    return found ? found : root;
}
