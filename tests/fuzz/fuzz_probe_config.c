/* A probe's config.json, and the graph that it describes. */
#include "fuzz.h"

#include <string.h>

#include "model/probe.h"

const char *const fuzz_words[] = {"\"op\": ",
                                  "\"conv2d\"",
                                  "\"group_norm\"",
                                  "\"silu\"",
                                  "\"global_average\"",
                                  "\"linear\"",
                                  "\"weight\": ",
                                  "\"bias\": ",
                                  "\"in_channels\": ",
                                  "\"out_channels\": ",
                                  "\"kernel\": ",
                                  "\"stride\": ",
                                  "\"padding\": ",
                                  "\"groups\": ",
                                  "\"eps\": ",
                                  "\"in_features\": ",
                                  "\"out_features\": ",
                                  "\"attribute\": ",
                                  "\"offset\": ",
                                  "\"labels\": [\"a\"]",
                                  "{\"op\": \"silu\"},\n",
                                  "[]",
                                  "{}",
                                  "\"leco-probe-1\"",
                                  NULL};

static const char *const names[] = {"config.json", NULL};

static void check_config(const probe_config *c)
{
    FUZZ_CHECK(probe_picture_size(c) >= 1 && probe_picture_size(c) <= 4096);
    FUZZ_CHECK(probe_head_count(c) >= 1 && probe_head_count(c) <= PROBE_MAX_HEADS);
    for (int64_t head = 0; head < probe_head_count(c); head++) {
        FUZZ_CHECK(probe_head_name(c, head) && probe_label_count(c, head) >= 1);
        for (int64_t i = 0; i < probe_label_count(c, head); i++) FUZZ_CHECK(probe_label(c, head, i));
    }
}

/* Built, not run: the layers may not fit each other, and then the graph says so. */
static void check_graph(const probe_config *c)
{
    leco_error err = {0};
    graph *g = graph_create(DTYPE_F32);
    weights *w = weights_blank();
    FUZZ_CHECK(g && w);
    nn context;
    nn_init(&context, g, w, NULL, PART_OTHER);
    probe built = probe_build(&context, c, 1);
    leco_status status = graph_finish(g, &err);
    if (status != LECO_OK) FUZZ_REFUSED(status, &err);
    for (int64_t i = 0; status == LECO_OK && i < probe_head_count(c); i++)
        FUZZ_CHECK(built.logits[i] && built.logits[i]->shape.rank == 2 &&
                   built.logits[i]->shape.dim[1] == probe_label_count(c, i));
    graph_destroy(g);
    weights_close(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    probe_config *config = NULL;
    fuzz_part parts[FUZZ_MAX_PARTS] = {{data, size}};
    leco_status status = probe_config_read(fuzz_folder(names, parts), &config, &err);
    fuzz_accepted = status == LECO_OK;
    if (fuzz_accepted) {
        check_config(config);
        check_graph(config);
        probe_config_free(config);
    } else {
        FUZZ_REFUSED(status, &err);
        FUZZ_CHECK(!config);
    }
    return 0;
}

bool fuzz_seed(unsigned index, const char *path)
{
    if (index == 0) fuzz_put_file(path, "models/shapes-probe/config.json");
    if (index == 1)
        fuzz_put(path, "{\"format\": \"leco-probe-1\",\n\"input\": {\"channels\": 3, \"height\": 8, \"width\": 8},\n"
                       "\"layers\": [\n{\"op\": \"conv2d\", \"weight\": \"w\", \"bias\": \"b\", \"in_channels\": 3, "
                       "\"out_channels\": 4, \"kernel\": 3, \"stride\": 2, \"padding\": 1},\n"
                       "{\"op\": \"group_norm\", \"weight\": \"v\", \"bias\": \"c\", \"groups\": 2},\n"
                       "{\"op\": \"silu\"},\n{\"op\": \"global_average\"},\n"
                       "{\"op\": \"linear\", \"weight\": \"u\", \"bias\": \"d\", \"in_features\": 4, "
                       "\"out_features\": 3}\n],\n\"heads\": [\n{\"attribute\": \"shape\", \"offset\": 0, "
                       "\"labels\": [\"a\", \"b\"]},\n{\"attribute\": \"size\", \"offset\": 2, \"labels\": [\"c\"]}\n"
                       "]}\n");
    return index < 2;
}
