/* Each mode is a list of branches and the trajectories that x_t comes from; g is the entry's guidance_scale:
 *
 *     erase     target <- neutral - g (positive - unconditional)
 *     enhance   target <- neutral + g (positive - unconditional)
 *     slider    enhance at the multiplier, and erase at minus the multiplier, on the same x_t
 *     distill   target <- (1 - g) unconditional + g positive
 *     transplant   target <- positive, and at 1 - 1 / g of the weight unconditional <- unconditional, on the same x_t
 *     terms     target <- as they say
 *     preserve  p <- p, at the multipliers that the entries have
 *
 * With keep_above, target <- target at timesteps from there on (after Li et al., "Set you straight: auto-steering
 * denoising trajectories to sidestep unwanted concepts", 2025).
 *
 *     slider of pairs of pictures   two branches at the multiplier m and at -m, with the same noise n at the same t:
 *         student(x_after;  m) <- frozen(x_after)  + g (frozen(x_before) - frozen(x_after))
 *         student(x_before; -m) <- frozen(x_before) + g (frozen(x_after) - frozen(x_before))
 *         where x_after = sqrt(a) after + sqrt(1 - a) n, and x_before likewise, all on the target
 *
 * The last is ADDifT of TrainTrain (hako-mikan), with a g of 1 and there 0.25 for m. Why it works: where there is much
 * noise, the frozen model sees the same clean picture c in both, and what it says of the noise is (x - sqrt(a) c) /
 * sqrt(1 - a). A student that says of x_after what the frozen one says of x_before takes c + after - before for the
 * clean picture: the difference of the two was added to what it draws; at -m it is taken away.
 *
 * Terms are predicted by the entry's teacher, where it has one. x_t is from a trajectory of the student on the target,
 * or whose the entry says; a slider and what is preserved beside it take those of both multipliers by turns. Sources:
 * Gandikota et al., "Erasing concepts from diffusion models" (2023), equation 7; Gandikota et al., "Concept sliders"
 * (2023), equation 7. */
#include "train/modes.h"

#include <string.h>

#include "train/source.h"

/* ---- pieces ---- */

static leco_status no_memory(leco_error *err)
{
    return error_memory(err, 0, "the objectives");
}

/* o gets `count` branches on one prompt, the first two at the multiplier and at minus that, without terms yet. */
static branch *add_branches(objective *o, arena *memory, const char *prompt, double factor, double multiplier,
                            size_t count)
{
    branch *b = arena_alloc(memory, count, sizeof *b);
    for (size_t i = 0; b && i < count; i++)
        b[i] = (branch){.weight = factor, .multiplier = i == 0 ? multiplier : -multiplier, .prompt = prompt};
    o->branches = b;
    o->branch_count = count;
    return b;
}

static const term_list *one_term(arena *memory, size_t which, const char *prompt)
{
    term_list *list = arena_alloc(memory, 1, sizeof *list);
    if (list) terms_add(list, 1, which, prompt);
    return list;
}

/* The branches of an entry, on its target, with what it says of what they are pulled to whatever the mode. */
static branch *entry_branches(objective *o, arena *memory, const train_prompt *p, size_t count)
{
    branch *b = add_branches(o, memory, p->target, p->weight, p->multiplier, count);
    const term_list *like = p->norm_match ? one_term(memory, p->teacher, p->neutral) : NULL;
    const term_list *own = p->keep_above > 0 ? one_term(memory, 0, p->target) : NULL;
    if ((p->norm_match && !like) || (p->keep_above > 0 && !own)) return NULL;
    for (size_t i = 0; b && i < count; i++) {
        b[i].like = like;
        b[i].early = own;
        b[i].early_from = (double)p->keep_above;
    }
    return b;
}

/* What pulls apart: neutral + scale (positive - unconditional). */
static void add_guidance(term_list *terms, const train_prompt *p, double scale)
{
    terms_add(terms, 1, p->teacher, p->neutral);
    terms_add(terms, scale, p->teacher, p->positive);
    terms_add(terms, -scale, p->teacher, p->unconditional);
}

/* Another source besides the objective's, by turns. */
static leco_status add_source(objective *o, const source_spec *s, arena *memory, leco_error *err)
{
    source_spec *also = arena_alloc(memory, 1, sizeof *also);
    if (!also) return no_memory(err);
    *also = *s;
    o->also = also;
    return LECO_OK;
}

/* The entry's source; a teacher's trajectory is one without adapter, on what the teacher knows. */
static leco_status begin(const train_prompt *p, arena *memory, objective *out, leco_error *err)
{
    const source_spec student = {.row = &source_trajectory,
                                 .multiplier = p->trajectory == TRAJECTORY_FROZEN ? 0 : p->multiplier,
                                 .prompt = p->target,
                                 .unconditional = p->unconditional,
                                 .guidance_scale = p->trajectory_guidance_scale};
    const source_spec nobody = {.row = &source_noise};
    source_spec teacher = student;
    teacher.model = p->teacher;
    teacher.multiplier = 0;
    teacher.prompt = p->positive;
    *out = (objective){.place = p->place,
                       .source = p->trajectory == TRAJECTORY_TEACHER ? teacher
                                 : p->trajectory == TRAJECTORY_NONE  ? nobody
                                                                     : student,
                       .size = {p->batch_size, p->height, p->width},
                       .crops = p->dynamic_crops,
                       .dynamic = p->dynamic_resolution};
    return p->trajectory == TRAJECTORY_BOTH ? add_source(out, &teacher, memory, err) : LECO_OK;
}

/* ---- modes ---- */

static leco_status guide(const train_prompt *p, double scale, arena *memory, objective *out, leco_error *err)
{
    LECO_TRY(begin(p, memory, out, err));
    branch *b = entry_branches(out, memory, p, 1);
    if (!b) return no_memory(err);
    add_guidance(&b->terms, p, scale);
    return LECO_OK;
}

static leco_status erase(const train_prompt *p, arena *memory, objective *out, leco_error *err)
{
    return guide(p, -p->guidance_scale, memory, out, err);
}

static leco_status enhance(const train_prompt *p, arena *memory, objective *out, leco_error *err)
{
    return guide(p, p->guidance_scale, memory, out, err);
}

/* x_t is from the pairs, which whoever finds them fills in (train/albums.h). */
static leco_status slide_pictures(const train_prompt *p, arena *memory, objective *out, leco_error *err)
{
    *out = (objective){
        .place = p->place, .source = {.row = &source_photographs}, .size = {p->batch_size, p->height, p->width}};
    branch *b = entry_branches(out, memory, p, 2);
    if (!b) return no_memory(err);
    for (size_t i = 0; i < 2; i++) {
        b[i].view = 1 - i;
        terms_add_seen(&b[i].terms, 1 - p->guidance_scale, 0, p->target, 1 - i);
        terms_add_seen(&b[i].terms, p->guidance_scale, 0, p->target, i);
    }
    return LECO_OK;
}

static leco_status slide(const train_prompt *p, arena *memory, objective *out, leco_error *err)
{
    if (p->before) return slide_pictures(p, memory, out, err);
    LECO_TRY(begin(p, memory, out, err));
    if (p->trajectory != TRAJECTORY_NONE)
        out->source.unconditional = ""; /* else one end of the slider would be what trajectories steer away from */
    branch *b = entry_branches(out, memory, p, 2);
    if (!b) return no_memory(err);
    add_guidance(&b[0].terms, p, p->guidance_scale);
    add_guidance(&b[1].terms, p, -p->guidance_scale);
    if (p->trajectory != TRAJECTORY_STUDENT) return LECO_OK;
    source_spec mirrored = out->source;
    mirrored.multiplier = -p->multiplier;
    return add_source(out, &mirrored, memory, err);
}

static leco_status distill(const train_prompt *p, arena *memory, objective *out, leco_error *err)
{
    LECO_TRY(begin(p, memory, out, err));
    branch *b = entry_branches(out, memory, p, 1);
    if (!b) return no_memory(err);
    terms_add(&b->terms, 1 - p->guidance_scale, p->teacher, p->unconditional);
    terms_add(&b->terms, p->guidance_scale, p->teacher, p->positive);
    return LECO_OK;
}

/* What is drawn with guidance g is g c - (g - 1) u, u being predicted for `unconditional`. For both to draw the same,
 * the student's u has to be the teacher's, too, where these pictures come by: a u that doesn't know what is brought in
 * takes it for something else, and guidance goes on away from that. Of what is drawn c has g parts and u g - 1. */
static leco_status transplant(const train_prompt *p, arena *memory, objective *out, leco_error *err)
{
    if (p->guidance_scale < 1)
        return error_set(err, LECO_INVALID,
                         "%s: guidance_scale: of a transplant it is that of the pictures that will be drawn, 1 or more",
                         p->place);
    const double part = 1 - 1 / p->guidance_scale;
    LECO_TRY(begin(p, memory, out, err));
    branch *b = entry_branches(out, memory, p, part > 0 ? 2 : 1);
    if (!b) return no_memory(err);
    terms_add(&b[0].terms, 1, p->teacher, p->positive);
    if (part == 0) return LECO_OK;
    b[1] = (branch){.weight = p->weight * part, .multiplier = p->multiplier, .prompt = p->unconditional};
    terms_add(&b[1].terms, 1, p->teacher, p->unconditional);
    return LECO_OK;
}

/* So that as the negative prompt of pictures of scale g it takes positive away and leaves neutral:
 *     (1 - g) target + g positive = (1 - g) unconditional + g neutral.
 * The trajectories are those of such pictures. */
static leco_status negate(const train_prompt *p, arena *memory, objective *out, leco_error *err)
{
    const double g = p->guidance_scale;
    if (g <= 1)
        return error_set(
            err, LECO_INVALID,
            "%s: guidance_scale: a negative prompt does something above 1 only; give the scale that pictures "
            "will be drawn with",
            p->place);
    LECO_TRY(begin(p, memory, out, err));
    if (p->trajectory != TRAJECTORY_NONE) out->source.prompt = p->positive, out->source.unconditional = p->target;
    branch *b = entry_branches(out, memory, p, 1);
    if (!b) return no_memory(err);
    terms_add(&b->terms, 1, p->teacher, p->unconditional);
    terms_add(&b->terms, g / (g - 1), p->teacher, p->positive);
    terms_add(&b->terms, -g / (g - 1), p->teacher, p->neutral);
    return LECO_OK;
}

static leco_status spell_out(const train_prompt *p, arena *memory, objective *out, leco_error *err)
{
    LECO_TRY(begin(p, memory, out, err));
    branch *b = entry_branches(out, memory, p, 1);
    if (!b) return no_memory(err);
    for (size_t i = 0; i < p->term_count; i++)
        terms_add(&b->terms, p->term[i].weight, p->term[i].teacher, p->term[i].prompt);
    return LECO_OK;
}

/* ---- rows ---- */

static const char *guided_remedy(const train_prompt *p, bool *meant)
{
    *meant = p->guidance_scale == 0;
    if (*meant) return "a guidance_scale of 0 holds it still; another value changes it";
    if (strcmp(p->positive, p->unconditional) == 0)
        return "positive and unconditional are the same text to the model, so that nothing is taken away or added; "
               "give another positive";
    return "it is pulled to what the model predicts for it anyway; give a larger guidance_scale (2, for instance), a "
           "neutral, or another positive";
}

static const char *distilled_remedy(const train_prompt *p, bool *meant)
{
    *meant = false;
    if (p->guidance_scale != 1)
        return "positive and unconditional are the same text to the model: there is nothing to guide it by; give a "
               "prompt";
    return "a guidance_scale of 1 is no guidance; give that of the pictures it is to look like (7.5, for instance)";
}

static const char *other_remedy(const train_prompt *p, bool *meant)
{
    (void)p;
    *meant = false;
    return "it is pulled to what the model predicts for it anyway; give other terms";
}

const train_mode mode_erase = {
    .name = "erase", .help = "takes the concept away", .make = erase, .remedy = guided_remedy};
const train_mode mode_enhance = {.name = "enhance", .help = "strengthens it", .make = enhance, .remedy = guided_remedy};
static const train_mode mode_slider = {
    .name = "slider",
    .help = "learns both at once: more of it at a positive LoRA weight, less at a negative one",
    .make = slide,
    .remedy = guided_remedy,
    .mirrored = true,
    .pictures = true};
static const train_mode mode_distill = {
    .name = "distill",
    .help = "bakes classifier-free guidance into the adapter, and `unconditional` with it as the negative prompt: "
            "pictures are then drawn at guidance scale 1, in about half the time",
    .make = distill,
    .remedy = distilled_remedy,
    .no_neutral = true,
    .unguided = true};
const train_mode mode_negative = {
    .name = "negative",
    .help = "trains an embedding that, as the negative prompt, takes `positive` away and leaves `neutral`",
    .make = negate,
    .remedy = other_remedy,
    .negative = true};
const train_mode mode_transplant = {
    .name = "transplant",
    .help = "brings in what the teacher draws for `positive`, and is the default where there is one",
    .make = transplant,
    .remedy = other_remedy,
    .no_neutral = true,
    .of_teacher = true};
const train_mode mode_terms = {.name = "terms", .make = spell_out, .remedy = other_remedy};

const train_mode *const train_modes[] = {&mode_erase,    &mode_enhance,    &mode_slider, &mode_distill,
                                         &mode_negative, &mode_transplant, NULL};

/* ---- what is preserved ---- */

/* The largest multiplier that any entry has, and the smallest, a slider's mirrored one among them; pictures are learnt
 * at 1. */
static void multipliers_of(const train_config *c, double *high, double *low)
{
    *high = *low = c->images.path ? 1 : c->prompt[0].multiplier;
    for (size_t i = 0; i < c->prompt_count; i++) {
        const double m = c->prompt[i].multiplier, other = c->prompt[i].action->mirrored ? -m : m;
        if (m > *high || other > *high) *high = m > other ? m : other;
        if (m < *low || other < *low) *low = m < other ? m : other;
    }
}

static leco_status preserve(const train_config *c, arena *memory, objective *out, leco_error *err)
{
    const preserve_config *p = &c->preserve;
    double high, low;
    multipliers_of(c, &high, &low);
    *out = (objective){.place = p->place,
                       .source = {.row = &source_trajectory,
                                  .multiplier = high,
                                  .prompt = p->prompt,
                                  .unconditional = "",
                                  .guidance_scale = c->trajectory_guidance_scale},
                       .size = {p->batch_size, p->height, p->width}};
    branch *b = add_branches(out, memory, p->prompt, p->weight, high, high == low ? 1 : 2);
    if (!b) return no_memory(err);
    for (size_t i = 0; i < out->branch_count; i++) terms_add(&b[i].terms, 1, 0, p->prompt);
    if (high == low) return LECO_OK;
    b[1].multiplier = low;
    source_spec other = out->source;
    other.multiplier = low;
    return add_source(out, &other, memory, err);
}

/* ---- all of a config ---- */

leco_status entry_join_attributes(train_prompt *p, arena *memory, leco_error *err)
{
    const char **const texts[] = {&p->target, &p->positive, &p->unconditional, &p->neutral};
    for (size_t i = 0; p->attributes && i < sizeof texts / sizeof *texts; i++) {
        const char *joined = arena_printf(memory, "%s%s%s", p->attributes, **texts[i] ? " " : "", *texts[i]);
        if (!joined) return no_memory(err);
        *texts[i] = joined;
    }
    p->attributes = NULL;
    return LECO_OK;
}

leco_status objectives_of_config(const train_config *config, arena *memory, objective_list *out, leco_error *err)
{
    const size_t pairs = config->prompt_count, held = config->preserve.prompt ? 1 : 0;
    objective *made = arena_alloc(memory, pairs + held + 1, sizeof *made); /* where there are none, too */
    if (!made) return no_memory(err);
    for (size_t i = 0; i < pairs; i++) {
        train_prompt p = config->prompt[i];
        LECO_TRY(entry_join_attributes(&p, memory, err));
        LECO_TRY(p.action->make(&p, memory, &made[i], err));
        made[i].tickets = p.tickets;
    }
    if (held) LECO_TRY(preserve(config, memory, &made[pairs], err));
    *out = (objective_list){.item = made, .count = pairs + held, .held = held, .held_share = config->preserve.share};
    return LECO_OK;
}
