#include "train/lesson.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"

typedef struct lesson_asked {
    const char *prompt; /* borrowed */
    size_t view;
} lesson_asked;

/* Predicts texts [first, first + count) of the lesson, in one batch. */
typedef struct lesson_teacher {
    denoiser *denoiser;
    const noise_schedule *schedule;
    size_t model; /* among the frozen ones */
    size_t first, count;
} lesson_teacher;

typedef struct lesson_student {
    denoiser *denoiser;
    conditioning text;
    size_t place[BRANCH_LISTS][TERMS_MAX]; /* of each term's prediction */
} lesson_student;

/* ---- getting ready ---- */

static leco_status latents_of(const training_setting *in, const objective *o, latent_size *out, leco_error *err)
{
    const model *m = in->frozen[0].model;
    const int64_t factor = vae_factor(&m->vae);
    const int64_t width = o->size.width ? o->size.width : m->unet.sample_width * factor;
    const int64_t height = o->size.height ? o->size.height : m->unet.sample_height * factor;
    if (width % factor || height % factor)
        return error_set(err, LECO_INVALID, "resolution: %lldx%lld is not a multiple of %lld pixels", (long long)width,
                         (long long)height, (long long)factor);
    *out = (latent_size){o->size.batch, height / factor, width / factor, m->unet.in_channels};
    return LECO_OK;
}

static leco_status allocate(lesson *l, const training_setting *in, leco_error *err)
{
    const objective *o = l->objective;
    size_t terms = 0;
    for (size_t i = 0; i < o->branch_count; i++)
        for (size_t k = 0; k < BRANCH_LISTS; k++) terms += branch_list(&o->branches[i], k)->count;
    l->teachers = mem_calloc(in->frozen_count, sizeof *l->teachers);
    l->students = mem_calloc(o->branch_count, sizeof *l->students);
    l->asked = mem_calloc(terms, sizeof *l->asked);
    if (!l->teachers || !l->students || !l->asked) return error_memory(err, terms * sizeof *l->asked, "an objective");
    return LECO_OK;
}

/* Which of this teacher's predictions is that of the prompt at the view; prediction_count where there is none yet. */
static size_t find(const lesson *l, const lesson_teacher *t, const term *of)
{
    size_t i = t->first;
    while (i < l->prediction_count && (strcmp(l->asked[i].prompt, of->prompt) != 0 || l->asked[i].view != of->view))
        i++;
    return i;
}

/* Gives each term of one model its place among the predictions, equal ones the same. */
static void place_list(lesson *l, const lesson_teacher *t, size_t which, const term_list *terms, size_t *place)
{
    for (size_t k = 0; k < terms->count; k++) {
        const term *one = &terms->item[k];
        if (one->model != which) continue;
        place[k] = find(l, t, one);
        if (place[k] == l->prediction_count) l->asked[l->prediction_count++] = (lesson_asked){one->prompt, one->view};
    }
}

static leco_status place_terms(lesson *l, const training_setting *in, size_t which, leco_error *err)
{
    lesson_teacher *t = &l->teachers[l->teacher_count];
    t->first = l->prediction_count;
    for (size_t i = 0; i < l->objective->branch_count; i++)
        for (size_t k = 0; k < BRANCH_LISTS; k++)
            place_list(l, t, which, branch_list(&l->objective->branches[i], k), l->students[i].place[k]);
    t->count = l->prediction_count - t->first;
    if (t->count == 0) return LECO_OK;
    t->model = which;
    t->schedule = in->frozen[which].schedule;
    latent_size size = l->size;
    size.batch *= (int64_t)t->count;
    l->teacher_count++;
    return setting_denoiser(in, which, size, 0, false, &t->denoiser, err);
}

static leco_status plan(lesson *l, const training_setting *in, leco_error *err)
{
    const objective *o = l->objective;
    LECO_TRY(latents_of(in, o, &l->size, err));
    LECO_TRY(allocate(l, in, err));
    LECO_TRY(o->source.row->create(in, &o->source, l->size, &l->source[0], err));
    if (o->also) LECO_TRY(o->also->row->create(in, o->also, l->size, &l->source[1], err));
    for (size_t i = 0; i < in->frozen_count; i++) LECO_TRY(place_terms(l, in, i, err));
    for (size_t i = 0; i < o->branch_count; i++)
        LECO_TRY(setting_denoiser(in, 0, l->size, o->branches[i].multiplier, true, &l->students[i].denoiser, err));
    return LECO_OK;
}

leco_status lesson_create(const training_setting *in, const objective *o, lesson *out, leco_error *err)
{
    lesson l = {.objective = o, .config = in->config, .schedule = in->frozen[0].schedule};
    leco_status status = plan(&l, in, err);
    if (status != LECO_OK) {
        lesson_free(&l);
        return error_prefix(err, status, "%s", o->place);
    }
    *out = l;
    return LECO_OK;
}

static leco_status condition(lesson *l, const training_setting *in, leco_error *err)
{
    const objective *o = l->objective;
    for (size_t i = 0; i < l->teacher_count; i++) {
        const lesson_teacher *t = &l->teachers[i];
        for (size_t k = t->first; k < t->first + t->count; k++)
            LECO_TRY(setting_condition(in, t->model, l->asked[k].prompt, l->size, &l->texts[k], err));
    }
    for (size_t i = 0; i < o->branch_count; i++)
        if (o->branches[i].prompt)
            LECO_TRY(setting_condition(in, 0, o->branches[i].prompt, l->size, &l->students[i].text, err));
    return LECO_OK;
}

static leco_status prepare(lesson *l, const training_setting *shared, leco_error *err)
{
    training_setting own = *shared, *in = &own;
    own.phrases = l->phrases = phrases_create();
    if (!l->phrases) return error_memory(err, 0, "an objective's prompts");
    const size_t count = latent_count(l->size), all = l->prediction_count * count;
    const size_t wanted = l->objective->branch_count * count;
    for (size_t i = 0; i < 2; i++)
        if (l->source[i]) LECO_TRY(l->source[i]->row->prepare(l->source[i], in, err));
    l->texts = mem_calloc(l->prediction_count, sizeof *l->texts);
    l->input = mem_calloc(all, sizeof *l->input);
    l->predictions = mem_calloc(all, sizeof *l->predictions);
    l->wanted = mem_calloc(wanted, sizeof *l->wanted);
    if (!l->texts || !l->input || !l->predictions || !l->wanted)
        return error_memory(err, (2 * all + wanted) * sizeof(float), "an objective's latents");
    return condition(l, in, err);
}

leco_status lesson_prepare(lesson *l, const training_setting *in, leco_error *err)
{
    leco_status status = prepare(l, in, err);
    return status == LECO_OK ? LECO_OK : error_prefix(err, status, "%s", l->objective->place);
}

void lesson_free(lesson *l)
{
    for (size_t i = 0; i < 2; i++)
        if (l->source[i]) l->source[i]->row->destroy(l->source[i]);
    phrases_destroy(l->phrases);
    mem_free(l->teachers);
    mem_free(l->students);
    mem_free(l->asked);
    mem_free(l->texts);
    mem_free(l->input);
    mem_free(l->predictions);
    mem_free(l->wanted);
    *l = (lesson){0};
}

size_t lesson_bytes(const lesson *l)
{
    const size_t branches = l->objective->branch_count;
    size_t sources = 0;
    for (size_t i = 0; i < 2; i++) sources += l->source[i] ? l->source[i]->row->bytes(l->source[i]) : 0;
    return sizeof *l + sources + l->teacher_count * sizeof *l->teachers + branches * sizeof *l->students +
           l->prediction_count * (sizeof *l->texts + sizeof *l->asked) +
           (2 * l->prediction_count + branches) * latent_count(l->size) * sizeof(float);
}

/* ---- learning ---- */

static leco_status teach(lesson *l, const float *x, double timestep, leco_error *err)
{
    const size_t count = latent_count(l->size), batch = (size_t)l->size.batch;
    for (size_t i = 0; i < l->teacher_count; i++) {
        const lesson_teacher *t = &l->teachers[i];
        for (size_t k = 0; k < t->count; k++) {
            for (size_t b = 0; b < batch; b++)
                denoiser_set_context(t->denoiser, (int64_t)(k * batch + b), &l->texts[t->first + k]);
            memcpy(l->input + k * count, x + l->asked[t->first + k].view * count, count * sizeof *x);
        }
        const double own = schedule_same_noise(l->schedule, t->schedule, timestep);
        const double alpha_bar = schedule_alpha_bar(t->schedule, own);
        float *said = l->predictions + t->first * count;
        LECO_TRY(denoiser_run(t->denoiser, l->input, own, said, err));
        for (size_t k = 0; k < t->count; k++)
            prediction_convert(t->schedule->prediction, l->schedule->prediction, alpha_bar, l->input + k * count,
                               said + k * count, count);
    }
    return LECO_OK;
}

/* What one student is asked with, and pulled to: *wanted [B,h,w,C]. */
static void instruct(lesson *l, size_t which, const source *s, int64_t kept, double timestep, float *wanted)
{
    const branch *b = &l->objective->branches[which];
    const lesson_student *student = &l->students[which];
    const size_t count = latent_count(l->size), list = b->early && timestep >= b->early_from ? 1 : 0;
    terms_sum(branch_list(b, list), student->place[list], l->predictions, wanted, count);
    if (b->like)
        match_moments(wanted, l->predictions + student->place[2][0] * count, (size_t)l->size.batch,
                      latent_stride(l->size));
    if (b->added_noise) s->row->add_noise(s, kept, b->view, wanted);
    for (int64_t k = 0; k < l->size.batch; k++)
        denoiser_set_context(student->denoiser, k, b->prompt ? &student->text : s->row->text(s, (size_t)k));
}

size_t lesson_latents(const lesson *l, const source_pass *pass)
{
    return l->source[pass->source]->views * latent_count(l->size);
}

/* At the end of a schedule with zero terminal SNR latents are noise alone: a teacher that predicts noise, and knows no
 * such latents, can't be asked there what v is. */
static bool is_out_of_reach(const lesson *l, double timestep)
{
    const noise_schedule *own = l->schedule;
    const double a = schedule_alpha_bar(own, timestep);
    for (size_t i = 0; i < l->teacher_count; i++) {
        const noise_schedule *s = l->teachers[i].schedule;
        if (s->prediction != own->prediction && own->alpha_bar[own->train_timesteps - 1] == 0 &&
            a < (double)s->alpha_bar[s->train_timesteps - 1])
            return true;
    }
    return false;
}

/* min-SNR (Hang et al., "Efficient diffusion training via min-SNR weighting strategy", 2023): min(SNR, gamma) / SNR for
 * a model that predicts noise, / (SNR + 1) for one that predicts v; 1 without gamma. SNR = a / (1 - a). */
static double weight_at(const lesson *l, double timestep)
{
    const double gamma = l->config->min_snr_gamma;
    if (is_out_of_reach(l, timestep)) return 0;
    if (gamma == 0) return 1;
    const double a = schedule_alpha_bar(l->schedule, timestep), snr = a / (1 - a), least = snr < gamma ? snr : gamma;
    if (l->schedule->prediction == PREDICT_V) return least / (snr + 1);
    return snr > 0 ? least / snr : 1;
}

/* Where huber turns from squares to lines: sd-scripts' huber_schedule. */
static double huber_at(const lesson *l, double timestep)
{
    const train_config *o = l->config;
    const double c = o->huber_c, a = schedule_alpha_bar(l->schedule, timestep);
    if (o->huber_schedule == HUBER_EXPONENTIAL) return pow(c, timestep / (double)l->schedule->train_timesteps);
    if (o->huber_schedule == HUBER_SNR) return (1 - c) / pow(1 + sqrt((1 - a) / a), 2) + c;
    return c;
}

leco_status lesson_learn(lesson *l, const source_pass *pass, size_t index, const float *x, trainable *t, float *sum,
                         double *loss, gradients_of_step *out, leco_error *err)
{
    const objective *o = l->objective;
    const size_t count = latent_count(l->size), values = trainable_count(t);
    const float *grads = trainable_grads(t);
    const source *s = l->source[pass->source];
    const double timestep = s->row->timestep(s, pass->kept[index]), huber = huber_at(l, timestep);
    const double counts = weight_at(l, timestep) / (l->config->loss == LOSS_SMOOTH_L1 ? huber : 1);
    assert(o->branch_count == 1 || sum);
    LECO_TRY(teach(l, x, timestep, err));
    *loss = 0;
    for (size_t i = 0; i < o->branch_count; i++) {
        const branch *b = &o->branches[i];
        const float factor = (float)(b->weight * counts), *seen = x + b->view * count;
        float *wanted = l->wanted + i * count;
        double part;
        instruct(l, i, s, pass->kept[index], timestep, wanted);
        if (l->config->loss != LOSS_MSE) denoiser_set_huber(l->students[i].denoiser, huber);
        LECO_TRY(denoiser_run_training(l->students[i].denoiser, seen, timestep, wanted, &part, err));
        *loss += (double)factor * part;
        *out = (gradients_of_step){grads, factor};
        if (o->branch_count == 1) break;
        for (size_t k = 0; k < values; k++) sum[k] = (i == 0 ? 0 : sum[k]) + factor * grads[k];
        *out = (gradients_of_step){sum, 1.0f};
    }
    return LECO_OK;
}
