#include "backend/cuda/stream.h"

#include <stdio.h>
#include <string.h>

static cudaStream_t stream;
static char first_failure[STREAM_FAILURE]; /* "": none */

cudaError_t stream_open(void)
{
    return cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
}

void *gpu_stream(void)
{
    return stream;
}

void gpu_failed(const char *what, const char *why)
{
    if (first_failure[0] == '\0') snprintf(first_failure, sizeof first_failure, "%s: %s", what, why);
}

void gpu_launched(int error, const char *name)
{
    if (error != cudaSuccess) gpu_failed(name, cudaGetErrorString((cudaError_t)error));
}

bool stream_failure(char text[STREAM_FAILURE])
{
    memcpy(text, first_failure, STREAM_FAILURE);
    first_failure[0] = '\0';
    return text[0] != '\0';
}
