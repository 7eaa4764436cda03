/* Whether other programs keep the processor from a training whose threads wait for each other: then fewer are faster.
 */
#ifndef LECO_TRAIN_CROWD_H
#define LECO_TRAIN_CROWD_H

#include <stdbool.h>

typedef struct crowd {
    double since, waited; /* when was looked last, and what cores_waited said then; zero-initialise */
    bool told;
} crowd;

/* Warns once, when the training has been crowded for a while. To be called again and again; looks now and then. */
void crowd_look(crowd *c);

/* How many threads would do better, of `threads` that together waited so many seconds of these; 0: no fewer. */
int crowd_advice(int threads, double seconds, double waited);

#endif
