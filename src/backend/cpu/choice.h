/* Which of oneDNN's implementations of a primitive is used. oneDNN lists those that it has for a shape, the fastest
 * first as a rule; a table of what is known about its versions (choice.c) says which of them are passed over. */
#ifndef LECO_BACKEND_CPU_CHOICE_H
#define LECO_BACKEND_CPU_CHOICE_H

#include <stddef.h>
#include <stdint.h>

/* One number for a version of oneDNN: 2.6.3 is 20603. */
#define CHOICE_VERSION(major, minor, patch) ((major)*10000 + (minor)*100 + (patch))

typedef enum choice_verdict {
    CHOICE_GOOD,      /* nothing is known against it */
    CHOICE_REFERENCE, /* right, but a thousand times too slow */
    CHOICE_BROKEN     /* does what it must not do, for some shapes at least */
} choice_verdict;

/* What is known about the implementation of that name in that version of oneDNN, for products over `depth` (0: it isn't
 * a product). *why, which may be NULL, is set to the reason; "" for a good one. */
choice_verdict choice_judge(const char *name, int version, int64_t depth, const char **why);

/* The index of the implementation to use: the first good one. -1: there is none. */
int choice_pick(const char *const *names, size_t count, int version, int64_t depth);

#endif
