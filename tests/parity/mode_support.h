/* Trainings of configs that are in fixtures (mode_*, photo*): the latents, what each branch is pulled to, losses, the
 * last gradient and AdamW, as PyTorch has them over several updates. */
#ifndef MODE_SUPPORT_H
#define MODE_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct mode_case {
    const char *fixture, *kind;
    bool large; /* on a card only with LECO_TEST_LARGE: an emulated one is slow */
} mode_case;

enum { MODE_CASES_MAX = 32 };

/* Runs each case [count] on each device; those alone whose names match argv[1], where that is given. What main returns.
 */
int mode_run_all(const char *group, const mode_case *cases, size_t count, int argc, char **argv);

#endif
