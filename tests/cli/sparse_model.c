/* Fills a model's folder with weights of which only the headers take room on a disk: a full-size model for tests.
 *
 *     cli_sparse_model FOLDER        with all configs and the tokenizer in it
 *
 * All tensors are float16 and zero. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "model/model.h"
#include "model/part.h"

/* A tensor's line of the header; its data begin at `at`. Returns where they end. */
static uint64_t describe(FILE *out, const weight *w, uint64_t at)
{
    const uint64_t end = at + (uint64_t)shape_count(&w->shape) * sizeof(f16);
    fprintf(out, "%s\"%s\":{\"dtype\":\"F16\",\"shape\":[", at ? "," : "{", w->name);
    for (int i = 0; i < w->shape.rank; i++) fprintf(out, "%s%lld", i ? "," : "", (long long)w->shape.dim[i]);
    fprintf(out, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at, (unsigned long long)end);
    return end;
}

static bool write_file(const char *path, const graph *g)
{
    FILE *out = fopen(path, "wb");
    if (!out) return false;
    uint64_t bytes = 0, length = 0;
    fwrite(&length, sizeof length, 1, out);
    for (size_t i = 0; i < graph_tensor_count(g); i++) {
        const tensor *t = graph_tensor_at(g, i);
        if (t->kind == TENSOR_WEIGHT) bytes = describe(out, t->weight, bytes);
    }
    fputc('}', out);
    length = (uint64_t)ftell(out) - sizeof length;
    rewind(out);
    fwrite(&length, sizeof length, 1, out); /* little-endian, as this machine */
    bool written = fflush(out) == 0 && ftruncate(fileno(out), (off_t)(sizeof length + length + bytes)) == 0;
    return fclose(out) == 0 && written;
}

/* Builds the part over weights without data, which are then all that it needs. */
static bool write_part(const model *m, model_part part)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s/%s.safetensors", m->folder, part_rows[part].name,
             part == PART_TEXT_ENCODER ? "model" : "diffusion_pytorch_model");
    weights *w = weights_blank();
    graph *g = graph_create(DTYPE_F32);
    leco_error err = {0};
    bool done = false;
    if (w && g) {
        nn c;
        nn_init(&c, g, w, NULL, part);
        part_rows[part].build(&c, m);
        done = graph_finish(g, &err) == LECO_OK && write_file(path, g);
    }
    if (!done) fprintf(stderr, "%s: %s\n", path, err.message);
    graph_destroy(g);
    weights_close(w);
    return done;
}

int main(int argc, char **argv)
{
    model *m = NULL;
    leco_error err = {0};
    if (argc != 2) return 2;
    bool done = model_open(argv[1], &m, &err) == LECO_OK;
    if (!done) fprintf(stderr, "%s\n", err.message);
    for (int part = 0; part < PART_COUNT && done; part++)
        if (model_has(m, (model_part)part)) done = write_part(m, (model_part)part);
    model_close(m);
    return done ? 0 : 1;
}
