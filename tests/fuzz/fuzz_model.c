/* A model's folder: model_index.json, the configs of the parts and the tokenizer, and whether they fit each other. */
#include "fuzz.h"

#include <string.h>

#include "model/model.h"

const char *const fuzz_words[] = {"=== model_index.json\n",
                                  "=== scheduler/scheduler_config.json\n",
                                  "=== text_encoder/config.json\n",
                                  "=== unet/config.json\n",
                                  "=== vae/config.json\n",
                                  "=== tokenizer/vocab.json\n",
                                  "=== tokenizer/merges.txt\n",
                                  "=== tokenizer/tokenizer_config.json\n",
                                  "\"StableDiffusionPipeline\"",
                                  "\"StableDiffusionXLPipeline\"",
                                  "\"text_encoder_2\": [\"transformers\", \"CLIPTextModel\"],\n",
                                  "\"text_encoder_2\": [null, null],\n",
                                  "\"hidden_size\": ",
                                  "\"cross_attention_dim\": ",
                                  "\"latent_channels\": ",
                                  "\"in_channels\": ",
                                  "\"vocab_size\": ",
                                  "\"max_position_embeddings\": ",
                                  "\"model_max_length\": ",
                                  NULL};

static const char *const names[] = {"model_index.json",
                                    "scheduler/scheduler_config.json",
                                    "text_encoder/config.json",
                                    "unet/config.json",
                                    "vae/config.json",
                                    "tokenizer/vocab.json",
                                    "tokenizer/merges.txt",
                                    "tokenizer/tokenizer_config.json",
                                    "tokenizer/special_tokens_map.json",
                                    NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    model *m = NULL;
    fuzz_part parts[FUZZ_MAX_PARTS];
    fuzz_accepted = false;
    fuzz_split(data, size, names, parts);
    if (fuzz_has_large_id(parts[5].data, parts[5].size)) return 0;
    leco_status status = model_open(fuzz_folder(names, parts), &m, &err);
    fuzz_accepted = status == LECO_OK;
    if (!fuzz_accepted) {
        FUZZ_REFUSED(status, &err);
        FUZZ_CHECK(!m);
        return 0;
    }
    FUZZ_CHECK(m->folder && m->tokenizer);
    FUZZ_CHECK(!m->weights[PART_UNET] && !m->weights[PART_TEXT_ENCODER] && !m->weights[PART_VAE]);
    FUZZ_CHECK(m->text.hidden_size == unet_context_width(&m->unet));
    FUZZ_CHECK(m->unet.in_channels == m->vae.latent_channels && m->unet.out_channels == m->vae.latent_channels);
    FUZZ_CHECK((int64_t)tokenizer_vocabulary(m->tokenizer) <= m->text.vocab_size);
    FUZZ_CHECK((int64_t)tokenizer_length(m->tokenizer) <= m->text.max_positions);
    /* Without weights nothing loads. */
    status = model_load(m, MODEL_ALL, &err);
    FUZZ_REFUSED(status, &err);
    model_close(m);
    return 0;
}

bool fuzz_seed(unsigned index, const char *path)
{
    static const char *const small[] = {
        "{\"_class_name\": \"StableDiffusionPipeline\", \"text_encoder_2\": [null, null]}\n",
        "{\"prediction_type\": \"v_prediction\"}\n",
        "{\"vocab_size\": 3,\n\"hidden_size\": 8,\n\"max_position_embeddings\": 5,\n\"num_hidden_layers\": 1\n}\n",
        "{\"_class_name\": \"UNet2DConditionModel\",\n\"block_out_channels\": [4],\n"
        "\"down_block_types\": [\"CrossAttnDownBlock2D\"],\n\"up_block_types\": [\"CrossAttnUpBlock2D\"],\n"
        "\"norm_num_groups\": 2,\n\"attention_head_dim\": 2,\n\"cross_attention_dim\": 8\n}\n",
        "{\"_class_name\": \"AutoencoderKL\",\n\"block_out_channels\": [4],\n\"norm_num_groups\": 2,\n"
        "\"down_block_types\": [\"DownEncoderBlock2D\"],\n\"up_block_types\": [\"UpDecoderBlock2D\"]\n}\n",
        "{\"<|startoftext|>\": 0, \"<|endoftext|>\": 1, \"a</w>\": 2}\n",
        "#version: 0.2\n",
        "{\"model_max_length\": 5}\n"};
    if (index > 0) return false;
    for (size_t i = 0; i < sizeof small / sizeof *small; i++) {
        fuzz_put(path, "=== ");
        fuzz_put(path, names[i]);
        fuzz_put(path, "\n");
        fuzz_put(path, small[i]);
    }
    return true;
}
