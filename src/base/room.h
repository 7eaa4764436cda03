/* Room for what the libraries underneath take without being able to say no: oneDNN writes machine code through a null
 * pointer where it got no memory for it, and OpenMP's run-time ends the process where it can't start a thread. Asking
 * for the same just before turns both into an error. */
#ifndef LECO_BASE_ROOM_H
#define LECO_BASE_ROOM_H

#include "base/error.h"

/* Whether 32 MiB of memory can be had now; nothing is kept. One oneDNN primitive was seen to take 4.5 MiB at most. */
leco_status room_for_kernels(leco_error *err);

/* Whether the calling thread can have its cpu_threads() threads; once they could, it isn't tried again. */
leco_status room_for_threads(leco_error *err);

#endif
