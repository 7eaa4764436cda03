/* Memory shared by sessions that never run at the same time: it grows to the largest of them. Contents don't survive
 * from one session's run to another's. */
#ifndef LECO_BACKEND_WORKSPACE_H
#define LECO_BACKEND_WORKSPACE_H

#include "backend/memory.h"

typedef struct workspace workspace;

workspace *workspace_create(const device_memory *m); /* NULL: out of memory */
void workspace_destroy(workspace *w);                /* NULL is fine */
const device_memory *workspace_memory(const workspace *w);
size_t workspace_bytes(const workspace *w); /* what is allocated now */

/* Makes it at least that large. It may move then, and what was in it is gone. */
leco_status workspace_reserve(workspace *w, size_t bytes, leco_error *err);
unsigned char *workspace_start(const workspace *w); /* NULL while it has no bytes */

#endif
