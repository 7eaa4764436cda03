/* Training on photographs from a config, against fixtures (photo*.safetensors): the VAE and x_t, too. */
#include "mode_support.h"

static const mode_case cases[] = {
    {"sd1-like", "photos", false}, /* captions of their own, and the config's */
    {"sd2-like", "photos", true},  /* v */
    {"sd1-like", "photo_pairs", true},
    /* As examples/dreambooth.yaml: without a prompt, too; "" preserved; the text encoder; min-SNR */
    {"sd1-like", "photo_guided", true},
    {"sd1-like", "photo_regularisation", true},
    {"sd1-like", "photo_embedding", true},
};

int main(int argc, char **argv)
{
    return mode_run_all("parity/photo_curve", cases, sizeof cases / sizeof *cases, argc, argv);
}
