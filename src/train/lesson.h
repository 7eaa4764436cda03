/* An objective to be trained on, planned, then ready: its source, the sessions of teachers and students, and what these
 * are conditioned on. Lessons of the same size share sessions through the run's pool. */
#ifndef LECO_TRAIN_LESSON_H
#define LECO_TRAIN_LESSON_H

#include "train/source.h"

typedef struct lesson {
    const objective *objective;     /* borrowed */
    const train_config *config;     /* borrowed, too */
    const noise_schedule *schedule; /* of the trained model; likewise */
    latent_size size;
    phrases *phrases;                /* all of its prompts */
    source *source[2];               /* the second may be NULL */
    struct lesson_teacher *teachers; /* [teacher_count] one a frozen model that has terms */
    size_t teacher_count;
    struct lesson_student *students; /* [objective->branch_count] */
    struct lesson_asked *asked;      /* [prediction_count] what is predicted, teacher after teacher */
    conditioning *texts;             /* [prediction_count] the same */
    size_t prediction_count;
    float *input, *predictions; /* [prediction_count, B,h,w,C] */
    float *wanted;              /* [branch_count, B,h,w,C] */
} lesson;

/* Plans it and the sessions that the pool lacks. Objective and what the setting points to outlive the lesson.
 * Frozen models whose predictions or schedules are others are asked at the timestep of the same noise, and their
 * predictions converted. */
leco_status lesson_create(const training_setting *in, const objective *o, lesson *out, leco_error *err);
/* Takes its memory. The texts must be in the frozen models' conditioners, or the encoders still there; the pool is
 * prepared by itself. */
leco_status lesson_prepare(lesson *l, const training_setting *in, leco_error *err);
void lesson_free(lesson *l);          /* safe on a zeroed one */
size_t lesson_bytes(const lesson *l); /* as planned */

/* The gradients of one step: values [trainable_count] times scale. */
typedef struct gradients_of_step {
    const float *values;
    float scale;
} gradients_of_step;

/* Teachers and students at one of a pass's noisy latents, x [views, B,h,w,C] of its source: *loss and the gradients.
 * Those of an objective of one branch are t's own; those of several add up in sum [trainable_count], which may be NULL
 * otherwise. */
leco_status lesson_learn(lesson *l, const source_pass *pass, size_t index, const float *x, trainable *t, float *sum,
                         double *loss, gradients_of_step *out, leco_error *err);
/* Of all views of the pass's source. */
size_t lesson_latents(const lesson *l, const source_pass *pass);

#endif
