/* Every mode trained from a config, against fixtures (mode_*.safetensors). */
#include "mode_support.h"

static const mode_case cases[] = {
    {"sd1-like", "mode_transplant", false}, /* a teacher that predicts v; its own trajectory */
    {"sd1-like", "mode_transplant_guided", true},
    {"sd2-like", "mode_transplant_guided", true}, /* the other way round */
    {"sd1-like", "mode_distill", true},
    {"sd1-like", "mode_slider", false},
    {"sd1-like", "mode_slider_attributes", true}, /* each of three before all texts */
    {"sd1-like", "mode_preserve", true},
    {"sd1-like", "mode_preserve_both", true}, /* at two multipliers, beside a slider */
    {"sd1-like", "mode_embedding", true},
    {"sd1-like", "mode_negative", true},
    {"sd1-like", "mode_text", true}, /* a LoRA of the text encoder, too */
    {"sdxl-like", "mode_text", true},
    {"sdxl-like", "mode_embedding", true}, /* rows for both text encoders */
    /* erase_from; terms, of a frozen trajectory; enhance, of noise alone */
    {"sd1-like", "mode_entries", true},
};

int main(int argc, char **argv)
{
    return mode_run_all("parity/modes", cases, sizeof cases / sizeof *cases, argc, argv);
}
