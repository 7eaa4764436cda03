/* The prompts of one objective as conditionings that follow the choices of its wildcards (model/wildcards.h), which all
 * of them share. */
#ifndef LECO_TRAIN_PHRASES_H
#define LECO_TRAIN_PHRASES_H

#include "diffusion/conditioning.h"
#include "model/wildcards.h"

typedef struct phrases phrases;

phrases *phrases_create(void); /* NULL: out of memory */
void phrases_destroy(phrases *p);

/* Adds a text, and puts what it is as long as nothing has been drawn into *out: with the first of all alternatives.
 * Text, conditioner and *out outlive p. height, width: of the picture, in pixels. */
leco_status phrases_add(phrases *p, conditioner *from, const char *text, int64_t height, int64_t width,
                        conditioning *out, leco_error *err);

/* The same of several texts, of which phrases_pick says which one it is from now on, the first at first: *slot is the
 * number to give it. texts [count] outlive p, and count is at least 1. */
leco_status phrases_add_any(phrases *p, conditioner *from, const char *const *texts, size_t count, int64_t height,
                            int64_t width, conditioning *out, size_t *slot, leco_error *err);
void phrases_pick(phrases *p, size_t slot, size_t which);

/* Chooses anew, by one word of r for each choice. */
void phrases_draw(phrases *p, rng *r);
/* Has the U-Net told, by what phrases_resolve puts, that the picture is part of a larger one: of 1 to 3 times its size,
 * anywhere in it, as p1atdev's trainer draws it. Three words. All phrases are of one size. */
void phrases_draw_crop(phrases *p, rng *r);
/* Puts what was chosen into every *out: after drawing, and when a conditioner was cleared. */
leco_status phrases_resolve(phrases *p, leco_error *err);

/* How many texts one may become; and all of them noted (conditioner_add). */
leco_status phrase_ways(const char *text, size_t *ways, leco_error *err);
leco_status phrase_add_all(conditioner *c, const char *text, leco_error *err);

#endif
