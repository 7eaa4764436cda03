#include "base/cpu.h"
#include "base/log.h"
#include "train/trainer_internal.h"

static source *source_of(const lesson *l)
{
    return l->source[0]->row->encode ? l->source[0] : NULL;
}

/* What is there beside the VAE and all graphs: the prompts' states, the latents. */
static size_t other_bytes(const trainer *t)
{
    size_t bytes = 0;
    for (size_t i = 0; i < t->frozen_count; i++) bytes += conditioner_bytes(t->frozen[i].conditioner);
    for (size_t i = 0; i < t->objectives.count; i++) {
        const source *s = source_of(&t->lessons[i]);
        if (s) bytes += s->row->encoded_bytes(s);
    }
    return bytes;
}

/* Of text encoders that stay, which `count` says of each one's weights. */
static size_t staying_weights(const trainer *t, size_t (*count)(const weights *w))
{
    size_t bytes = 0;
    for (size_t i = 0; i < t->frozen_count; i++)
        if (conditioner_streams(t->frozen[i].conditioner)) bytes += model_text_bytes(t->frozen[i].model, count);
    return bytes;
}

void trainer_plan_photos(trainer *t)
{
    if (t->photos.count == 0) return;
    const size_t bytes = other_bytes(t) + staying_weights(t, weights_planned_bytes) + t->text_arena_bytes +
                         photo_encoder_planned_bytes(&t->photos);
    if (bytes > t->planned_encoding_bytes) t->planned_encoding_bytes = bytes;
}

leco_status trainer_encode_photos(trainer *t, leco_error *err)
{
    const double start = cpu_seconds();
    size_t count = 0;
    if (t->photos.count == 0) return LECO_OK;
    LECO_TRY(photo_encoder_prepare(&t->photos, err));
    const size_t bytes = other_bytes(t) + staying_weights(t, weights_packed_bytes) +
                         workspace_bytes(t->device.workspace) + photo_encoder_allocated_bytes(&t->photos);
    if (bytes > t->encoding_bytes) t->encoding_bytes = bytes;
    for (size_t i = 0; i < t->objectives.count; i++) {
        source *s = source_of(&t->lessons[i]);
        if (!s) continue;
        leco_status status = s->row->encode(s, &t->photos, err);
        if (status != LECO_OK) return error_prefix(err, status, "%s", t->objectives.item[i].place);
        count += s->views * t->objectives.item[i].source.photo_count;
    }
    photo_encoder_free(&t->photos);
    log_message(LOG_DEBUG, "%zu photographs became latents, %.2f s", count, cpu_seconds() - start);
    return LECO_OK;
}
