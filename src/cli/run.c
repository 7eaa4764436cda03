/* leco run: one module of a model on tensors, to compare with other programs. */
#include <stdio.h>
#include <string.h>

#include "cli/common.h"

typedef struct run_args {
    const char *in, *out, *prompt;
} run_args;

#define ARG(field) .offset = offsetof(run_args, field)
static const option_spec run_options[] = {
    {"in", 0, OPTION_TEXT, "FILE.safetensors", ARG(in), .help = "the module's inputs"},
    {"prompt", 'p', OPTION_PROMPT, "PROMPT", ARG(prompt), .help = "for text-encoder, in place of --in"},
    {"out", 0, OPTION_TEXT, "FILE.safetensors", ARG(out), .help = "where its outputs go"},
    {0},
};

static int check(const char *program, const char *module, const run_args *args, const model_args *model)
{
    const char *known[16];
    size_t count = 0;
    bool found = false;
    for (; count < sizeof known / sizeof *known && (known[count] = leco_module_name(count)); count++)
        found = found || strcmp(module, known[count]) == 0;
    if (!found) {
        const char *nearest = leco_suggest(module, known, count);
        if (nearest) return options_mistake(program, "there is no module '%s'; did you mean %s?", module, nearest);
        char all[256];
        option_choices_text(&(option_spec){.choice_at = leco_module_name}, all, sizeof all);
        return options_mistake(program, "there is no module '%s'; there are %s", module, all);
    }
    const bool text = strncmp(module, "text-encoder", 12) == 0;
    if (args->prompt && !text) return options_mistake(program, "--prompt is for text-encoder; %s reads --in", module);
    if (args->prompt && args->in)
        return options_mistake(program, "--in and --prompt are two ways to say the same: give one");
    if (!args->in && !args->prompt)
        return options_mistake(program, "%s needs its inputs: --in FILE.safetensors%s", module,
                               text ? " or --prompt" : "");
    if (!args->out) return options_mistake(program, "where shall the outputs go? --out FILE.safetensors");
    int status = model_args_check(program, model);
    return status == OPTIONS_READY ? output_check(program, args->out, false) : status;
}

static int run(int argc, char **argv)
{
    run_args args;
    model_args model_choice;
    general_args general;
    const char *module = NULL;
    const option_group groups[] = {{"Tensors", run_options, &args},
                                   {"With which model", model_options, &model_choice},
                                   {"Besides", general_options, &general},
                                   {0}};
    const command_line line = {
        .program = "leco run",
        .summary = "runs one module of a model on tensors, to compare with other programs",
        .usage = "text-encoder|text-encoder-2|unet|vae-encoder|vae-decoder -m MODEL --in FILE --out FILE [options]",
        .details = "Names, shapes (NCHW) and types are those of diffusers:\n"
                   "text-encoder: input_ids [B,77] (or --prompt) -> last_hidden_state [B,77,D]\n"
                   "text-encoder-2: the same of SDXL's second\n"
                   "unet: sample [B,4,h,w], timestep [B] or scalar, encoder_hidden_states [B,77,D] -> noise_pred;\n"
                   "of SDXL also text_embeds [B,P], time_ids [B,6]\n"
                   "vae-encoder: sample [B,3,H,W] in [-1,1] -> latent_mean, latent_logvar [B,4,h,w]\n"
                   "vae-decoder: latents [B,4,h,w], unscaled -> sample [B,3,H,W]",
        .examples = "  leco run text-encoder -m models/shapes -p \"a red star\" --out hidden.safetensors\n" EXAMPLE_LORA
                    "  leco run unet -m models/shapes --lora out/erase_red.safetensors:0.5 --in in.safetensors --out "
                    "out.safetensors\n",
        .groups = groups,
        .operand = "MODULE",
    };
    int status = options_read(&line, argc, argv, &module);
    if (status == OPTIONS_READY) status = check(line.program, module, &args, &model_choice);
    if (status != OPTIONS_READY) return status;
    progress bar;
    general_begin(&general, &bar, WORK_UNSEEN);
    leco_error err = {0};
    leco_model *model = NULL;
    leco_status result = model_args_open(&model_choice, &model, &err);
    if (result == LECO_OK) result = leco_run(model, module, args.in, args.prompt, args.out, &err);
    progress_end(&bar, false);
    leco_model_close(model);
    if (result != LECO_OK) return report_failure(result, &err);
    if (general.json)
        print_json(json_pack("{s:o}", "file", json_text(args.out)));
    else
        printf("%s\n", args.out);
    return EXIT_DONE;
}

const command command_run = {"run", "run one module on tensors, to compare with other programs", run};
