#include "base/room.h"

#include <pthread.h>

#include "base/cpu.h"
#include "base/mem.h"

#define KERNEL_ROOM ((size_t)32 << 20)

leco_status room_for_kernels(leco_error *err)
{
    if (mem_available(KERNEL_ROOM)) return LECO_OK;
    return error_set(
        err, LECO_MEMORY,
        "out of memory: less than %zu MiB are left for kernels; a limit on memory (ulimit -v) may be too low",
        KERNEL_ROOM >> 20);
}

static void *wait_for_all(void *gate)
{
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

/* Starts `count` threads that live at the same time, as those of OpenMP will, and ends them again. */
static int try_threads(pthread_t *thread, size_t count)
{
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    size_t started = 0;
    int number = 0;
    pthread_mutex_lock(&gate);
    while (started < count && number == 0) {
        number = pthread_create(&thread[started], NULL, wait_for_all, &gate);
        if (number == 0) started++;
    }
    pthread_mutex_unlock(&gate);
    for (size_t i = 0; i < started; i++) pthread_join(thread[i], NULL);
    return number;
}

leco_status room_for_threads(leco_error *err)
{
    static _Thread_local int proven = 1; /* OpenMP keeps a team for each thread that calls it */
    const int count = cpu_threads();
    if (count <= proven) return LECO_OK;
    pthread_t *thread = mem_calloc((size_t)count, sizeof *thread);
    if (!thread) return error_memory(err, (size_t)count * sizeof *thread, "threads");
    const int number = try_threads(thread, (size_t)count - 1);
    mem_free(thread);
    if (number != 0)
        return error_set(err, LECO_MEMORY,
                         "could not start %d threads: too little memory, or a limit on memory or processes (ulimit -v, "
                         "-u) is too low; fewer threads need less",
                         count);
    proven = count;
    return LECO_OK;
}
