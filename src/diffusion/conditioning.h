/* What a prompt becomes: the numbers that a U-Net is conditioned on.
 *
 *     conditioner *c;
 *     LECO_TRY(conditioner_create(device, m, NULL, m->states, &c, err));
 *     conditioning of_prompt;
 *     LECO_TRY(conditioner_get(c, "a red circle", &of_prompt, err));
 *     conditioning_set_size(&of_prompt, height, width, (picture_crop){0});
 *     denoiser_set_context(n, 0, &of_prompt);
 *
 * Each prompt is encoded once, however often it is asked for. */
#ifndef LECO_DIFFUSION_CONDITIONING_H
#define LECO_DIFFUSION_CONDITIONING_H

#include "diffusion/prompt_encoder.h"
#include "diffusion/runner.h"

/* Of one sample. A U-Net without added conditions (SD1, SD2) reads the states alone; one that has them (SDXL) needs the
 * rest, too; one with its text encoders built in reads the ids in place of states and pooled. */
typedef struct conditioning {
    const int32_t *ids;         /* [encoders,tokens], of each text encoder */
    const float *states;        /* [tokens,width], unet_context_width */
    const float *pooled;        /* [unet_pooled_width]; NULL where the family has none */
    float sizes[UNET_TIME_IDS]; /* pixels: original height, width, crop top, left, target height, width */
} conditioning;

/* What part a picture is of what it was cut from; zero: all of it. Pixels. */
typedef struct picture_crop {
    int64_t height, width; /* of the whole */
    int64_t top, left;
} picture_crop;

/* The sizes of a picture of height x width. */
void conditioning_set_size(conditioning *c, int64_t height, int64_t width, picture_crop crop);

/* ids [tokenizer_length] of a prompt. One that is too long is cut, with a warning in the log; another program's syntax
 * gives one, too, the first time. */
typedef struct prompts_told {
    bool syntax, length;
    bool length_once; /* prompts may come again: the first that is cut is told of, no other */
} prompts_told;
leco_status conditioning_ids(const tokenizer *t, const char *prompt, prompts_told *told, int32_t *ids, leco_error *err);

typedef struct conditioner conditioner;

/* Builds the text encoders of m (weights mapped by the caller) with `adapters` (NULL: none) and plans them. options:
 * the family's (model/family.h), perhaps with other skip_layers. All outlive the conditioner. Of two encoders, the
 * states of a token are those of the first, then those of the second, and pooled is the second's. On failure *out is
 * NULL. */
leco_status conditioner_create(const device *d, const model *m, const adapter_set *adapters, text_options options,
                               conditioner **out, leco_error *err);
void conditioner_destroy(conditioner *c); /* NULL is fine */

int64_t conditioner_tokens(const conditioner *c); /* of a prompt's states: 77 */

/* Notes a prompt that will be asked for, so that it is counted and what is wrong with it said; nothing is encoded yet.
 * A prompt that is too long is cut, with one warning in the log; the first that holds another program's prompt syntax
 * gives one, too. */
leco_status conditioner_add(conditioner *c, const char *prompt, leco_error *err);
/* Takes what the encoder needs, m's weights being loaded now, and encodes all that was noted. */
leco_status conditioner_prepare(conditioner *c, leco_error *err);

/* For texts too many to be held: from now on they are encoded as they are asked for, and may be forgotten (trim) when
 * they take more than half of `bytes`, which is what conditioner_bytes counts for them. */
void conditioner_stream(conditioner *c, size_t bytes);
bool conditioner_streams(const conditioner *c);
/* Forgets all prompts of one that streams, where they take too much: conditionings are invalid then. */
void conditioner_trim(conditioner *c);
size_t conditioner_prompt_bytes(const conditioner *c); /* of the states and ids of one prompt */

/* As planned: of all states; of the encoder until it is released; and what that takes of the workspace. */
size_t conditioner_bytes(const conditioner *c);
size_t conditioner_encoder_bytes(const conditioner *c);
size_t conditioner_arena_bytes(const conditioner *c);

/* Notes and encodes the prompt if that isn't done yet. Ids, states and pooled are the conditioner's, valid until clear
 * or destroy; sizes are 0. */
leco_status conditioner_get(conditioner *c, const char *prompt, conditioning *out, leco_error *err);

/* The same where there is no (negative) prompt at all: zeros, or what "" is, as the model wants it (model.h). */
leco_status conditioner_get_none(conditioner *c, conditioning *out, leco_error *err);

/* Forgets all prompts, after an adapter of the text encoder changed. */
void conditioner_clear(conditioner *c);

/* Frees graph and session; what was encoded stays, and conditioner_get fails for other prompts. For programs that need
 * the memory. */
void conditioner_release_encoder(conditioner *c);

#endif
