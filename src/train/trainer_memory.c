#include "train/trainer_internal.h"

#include <stdio.h>

#include "base/mem.h"
#include "train/save.h"
#include "train/trajectory.h"

uint64_t memory_total(const memory_use *use)
{
    const uint64_t training =
        use->weights + use->activations + use->texts + use->latents + use->graphs + use->adapter + use->optimizer;
    return training > use->encoding ? training : use->encoding;
}

bool trainer_has_sums(const trainer *t)
{
    for (size_t i = 0; i < t->objectives.count; i++)
        if (t->objectives.item[i].branch_count > 1) return true;
    return false;
}

size_t trainer_buffer_bytes(const trainer *t)
{
    const train_config *c = t->config;
    const size_t samples = (size_t)c->samples_per_trajectory, values = trainable_count(t->trainable);
    const size_t copies =
        (size_t)trainer_has_sums(t) + (c->accumulation > 1) + (c->ema_decay > 0) + trainer_has_average(c);
    return (3 * t->largest + samples * t->largest_kept + copies * values) * sizeof(float) +
           samples * sizeof *t->kept_steps;
}

size_t trainer_arena_bytes(const trainer *t)
{
    const size_t pool = denoiser_pool_arena_bytes(&t->pool);
    const size_t pictures = t->observer.previews ? previews_planned(t->observer.previews).arena : 0;
    return pool > pictures ? pool : pictures;
}

static void add_observer(const observer *o, memory_use *use)
{
    use->latents += observer_bytes(o);
    if (!o->previews) return;
    const previews_memory p = previews_planned(o->previews);
    use->latents += p.pictures;
    use->graphs += p.graphs;
    use->mapped += p.mapped;
}

/* All that the plans say; what is only known when it is taken is the caller's to fill in. */
static memory_use memory_of(const trainer *t)
{
    const flat_params on = flat_params_of(t->trainable);
    memory_use use = {.latents = trainer_buffer_bytes(t),
                      .graphs = denoiser_pool_bytes(&t->pool),
                      .adapter = trainable_bytes(t->trainable),
                      .optimizer = optimizer_planned_bytes(&t->config->optimizer, &on)};
    for (size_t i = 0; i < t->pool.given.count; i++) use.adapter += trainable_bytes(t->given[i].trainable);
    for (size_t i = 0; i < t->frozen_count; i++) {
        const frozen_model *f = &t->frozen[i];
        use.mapped += weights_mapped_bytes(f->model->weights[PART_UNET]);
        use.texts += conditioner_bytes(f->conditioner);
        if (conditioner_streams(f->conditioner)) use.graphs += conditioner_encoder_bytes(f->conditioner);
        if (trainer_keeps_encoder(t, i)) use.mapped += model_text_bytes(f->model, weights_mapped_bytes);
    }
    for (size_t i = 0; i < t->objectives.count; i++) use.latents += lesson_bytes(&t->lessons[i]);
    add_observer(&t->observer, &use);
    return use;
}

memory_use trainer_planned(const trainer *t)
{
    const size_t sessions = trainer_arena_bytes(t);
    memory_use use = memory_of(t);
    use.activations = sessions > t->text_arena_bytes ? sessions : t->text_arena_bytes;
    use.encoding = t->planned_encoding_bytes + use.graphs; /* the graphs are there by then */
    if (t->observer.previews) use.weights += previews_planned(t->observer.previews).weights;
    for (size_t i = 0; i < t->frozen_count; i++) {
        const frozen_model *f = &t->frozen[i];
        use.weights += weights_planned_bytes(f->model->weights[PART_UNET]);
        if (trainer_keeps_encoder(t, i)) use.weights += model_text_bytes(f->model, weights_planned_bytes);
    }
    return use;
}

memory_use trainer_allocated(const trainer *t)
{
    memory_use use = memory_of(t);
    use.activations = workspace_bytes(t->device.workspace);
    use.encoding = t->encoding_bytes + use.graphs;
    use.optimizer = optimizer_bytes(t->optimizer);
    if (t->observer.previews) use.weights += previews_allocated(t->observer.previews).weights;
    for (size_t i = 0; i < t->frozen_count; i++) {
        const frozen_model *f = &t->frozen[i];
        use.weights += weights_packed_bytes(f->model->weights[PART_UNET]);
        if (trainer_keeps_encoder(t, i)) use.weights += model_text_bytes(f->model, weights_packed_bytes);
    }
    return use;
}

char *memory_text(const memory_use *use)
{
    const double mib = 1024.0 * 1024.0, total = (double)memory_total(use) / mib;
    char encoding[96] = "";
    if (memory_total(use) == use->encoding)
        snprintf(encoding, sizeof encoding, "%.1f MiB while texts and pictures are encoded, then ", total);
    return mem_printf(
        "%s%.1f MiB = weights %.1f + activations %.1f + texts %.1f + latents %.1f + graphs %.1f + adapter "
        "%.1f + optimizer %.1f",
        encoding,
        (double)(use->weights + use->activations + use->texts + use->latents + use->graphs + use->adapter +
                 use->optimizer) /
            mib,
        (double)use->weights / mib, (double)use->activations / mib, (double)use->texts / mib,
        (double)use->latents / mib, (double)use->graphs / mib, (double)use->adapter / mib,
        (double)use->optimizer / mib);
}

/* "images     12 in 3 sizes\n", or nothing where there are none. */
static void tell_images(const objective_list *o, char *out, size_t size)
{
    size_t photos = 0, sizes = 0;
    for (size_t i = 0; i < o->count; i++) {
        photos += o->item[i].source.photo_count;
        sizes += o->item[i].source.photo_count > 0;
    }
    *out = '\0';
    if (photos) snprintf(out, size, "images     %zu in %zu size%s\n", photos, sizes, sizes == 1 ? "" : "s");
}

/* Lines of who watches; mem_free it; NULL: out of memory. */
static char *observer_lines(const trainer *t)
{
    const observer *o = &t->observer;
    char *effect = o->meter ? effect_text(o->meter) : NULL, *drawn = o->previews ? previews_text(o->previews) : NULL;
    char *text = mem_printf("%s%s%s%s%s%s", effect ? "effect     " : "", effect ? effect : "", effect ? "\n" : "",
                            drawn ? "previews   " : "", drawn ? drawn : "", drawn ? "\n" : "");
    mem_free(effect);
    mem_free(drawn);
    return text;
}

/* What a step is made of: latents of denoising runs, or pictures where nothing is denoised. */
static void tell_samples(const trainer *t, char *out, size_t size)
{
    const objective_list *o = &t->objectives;
    const long long samples = (long long)t->config->samples_per_trajectory;
    const sampling how = trajectory_sampling(t->config);
    size_t with_photos = 0;
    for (size_t i = 0; i < o->count; i++) with_photos += o->item[i].source.photo_count > 0;
    if (with_photos < o->count)
        snprintf(out, size, "trains on %lld of each denoising run's %lld steps", samples,
                 (long long)sampling_runs(&how));
    else
        snprintf(out, size, "%lld for each noise that is added to pictures", samples);
}

static const char *prompt_of(const objective *o)
{
    return o->branches[0].prompt ? o->branches[0].prompt : o->source.photos[0].prompt;
}

/* mem_free it; NULL: out of memory. */
static char *adapter_text(const trainer *t)
{
    const trainable_options *o = &t->config->network;
    if (o->token) return mem_printf("embedding \"%s\" of %lld vectors", o->token, (long long)o->vectors);
    const size_t count = trainable_module_count(t->trainable);
    const trainable_module *first = trainable_module_at(t->trainable, 0);
    bool same = true;
    for (size_t i = 1; i < count; i++) {
        const trainable_module *m = trainable_module_at(t->trainable, i);
        same = same && m->rank == first->rank && m->alpha == first->alpha;
    }
    const char *kind = o->kind == &kind_lora ? "LoRA" : o->kind->name;
    if (!same) return mem_printf("%s of several ranks or alphas, %zu modules", kind, count);
    return mem_printf("%s rank %lld, alpha %g, %zu modules", kind, (long long)first->rank, (double)first->alpha, count);
}

char *trainer_summary(const trainer *t)
{
    const memory_use use = trainer_planned(t);
    const train_config *c = t->config;
    const objective_list *o = &t->objectives;
    const latent_size size = t->lessons[0].size;
    const long long factor = vae_factor(&t->frozen[0].model->vae);
    char *memory = memory_text(&use), *file = save_name(c), *adapter = adapter_text(t), *text = NULL;
    char *watching = observer_lines(t);
    char again[160] = "", images[80], samples[96], latents[48] = "";
    tell_samples(t, samples, sizeof samples);
    tell_images(o, images, sizeof images);
    if (c->accumulation > 1) snprintf(latents, sizeof latents, " of %lld latents each", (long long)c->accumulation);
    if (t->pool.recompute > 0)
        snprintf(
            again, sizeof again,
            "           to stay within the budget, %.0f%% of the blocks are computed again in each backward pass\n",
            100 * t->pool.recompute);
    if (memory && file && adapter && watching)
        text = mem_printf(
            "model      %s (%s, %s)\n"
            "adapter    %s, %lld parameters\n"
            "prompts    %zu (\"%s\"%s), %lldx%lld pixels, batch %lld\n"
            "%s"
            "training   %lld steps%s, lr %g; %s\n"
            "%s"
            "writes     %s\n"
            "memory     %s\n%s"
            "           not counted: what is used of the U-Net's file as it lies there (of %.1f MiB), which the system "
            "takes "
            "back where memory is short;\n"
            "           and what the program and its libraries take for themselves: some 50 MiB, more with a large "
            "model\n",
            c->model, dtype_name(t->device.compute), t->device.backend->name, adapter,
            (long long)trainable_parameters(t->trainable), o->count, prompt_of(&o->item[0]),
            o->count > 1 ? ", ..." : "", size.width * factor, size.height * factor, (long long)size.batch, images,
            (long long)c->iterations, latents, c->lr, samples, watching, file, memory, again,
            (double)use.mapped / (1024.0 * 1024.0));
    mem_free(memory);
    mem_free(file);
    mem_free(adapter);
    mem_free(watching);
    return text;
}
