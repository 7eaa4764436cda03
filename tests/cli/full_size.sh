#!/bin/bash
# What a training of a full-size Stable Diffusion 1.5 takes, asked before anything is taken: a dry run reads the files'
# headers, and no weights. The model is one of zeros in sparse files.
. "$(dirname "$0")/support.sh"

# The tokenizer's size is CLIP's: 256 bytes, alone and at the end of a word, 48894 merges, two special tokens.
tokenizer() { # FOLDER
    LC_ALL=C awk -v folder="$1" '
        function letter(point) { return point < 128 ? sprintf("%c", point) : sprintf("%c%c", 192 + int(point / 64), 128 + point % 64) }
        function token(text) {
            gsub(/["\\]/, "\\\\&", text)
            printf "%s\"%s\": %d", count ? ", " : "{", text, count > vocabulary
            count++
        }
        BEGIN {
            vocabulary = folder "/vocab.json"
            merges = folder "/merges.txt"
            print "#version: 0.2" > merges
            for (b = 0; b < 256; b++)
                if ((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174) byte[bytes++] = letter(b)
            for (extra = 256; bytes < 256; extra++) byte[bytes++] = letter(extra)
            for (i = 0; i < 256; i++) token(byte[i])
            for (i = 0; i < 256; i++) token(byte[i] "</w>")
            for (i = 0; i < 26; i++) made[i] = sprintf("%c", 97 + i)
            next_one = 0
            for (all = 26; count < 49406; next_one++)
                for (i = 0; i < 26 && count < 49406; i++) {
                    made[all] = made[next_one] sprintf("%c", 97 + i)
                    print made[next_one], sprintf("%c", 97 + i) > merges
                    token(made[all++])
                }
            token("<|startoftext|>")
            token("<|endoftext|>")
            print "}" > vocabulary
        }'
    cat >"$1/tokenizer_config.json" <<END
{"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>",
 "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}
END
}

mkdir -p full/unet full/text_encoder full/vae full/tokenizer full/scheduler
cp "$model/model_index.json" full
cp "$model/scheduler/scheduler_config.json" full/scheduler
cat >full/unet/config.json <<END
{"_class_name": "UNet2DConditionModel", "act_fn": "silu", "attention_head_dim": 8, "block_out_channels": [320, 640, 1280, 1280],
 "center_input_sample": false, "cross_attention_dim": 768, "downsample_padding": 1, "flip_sin_to_cos": true, "freq_shift": 0,
 "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
 "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
 "in_channels": 4, "layers_per_block": 2, "mid_block_scale_factor": 1, "norm_eps": 1e-05, "norm_num_groups": 32,
 "out_channels": 4, "sample_size": 64}
END
cat >full/text_encoder/config.json <<END
{"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", "vocab_size": 49408, "hidden_size": 768,
 "intermediate_size": 3072, "max_position_embeddings": 77, "num_hidden_layers": 12, "num_attention_heads": 12,
 "hidden_act": "quick_gelu", "layer_norm_eps": 1e-05, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
END
cat >full/vae/config.json <<END
{"_class_name": "AutoencoderKL", "act_fn": "silu", "block_out_channels": [128, 256, 512, 512], "in_channels": 3,
 "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
 "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
 "latent_channels": 4, "layers_per_block": 2, "norm_num_groups": 32, "out_channels": 3, "sample_size": 512}
END
tokenizer full/tokenizer
run 0 "$SPARSE_MODEL" full
[ "$(stat -c %s full/unet/diffusion_pytorch_model.safetensors)" -gt 1700000000 ] || complain 'the U-Net is too small'

config full.yaml
sed -i "s|$model|$work/full|; /precision/d; s/resolution: 32/resolution: 512/" full.yaml

number() { sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" stdout; }
for precision in float32 bfloat16; do
    begin=$(date +%s%N)
    run 0 "$LECO" train full.yaml --dry-run --json --set "train.precision=$precision"
    took=$((($(date +%s%N) - begin) / 1000000))
    planned=$(number planned_bytes) resident=$(number resident_bytes)
    echo "$precision: $((planned / 1048576)) MiB planned in $took ms, $((resident / 1048576)) MiB resident"
    [ "$planned" -gt 3000000000 ] || complain "only $planned bytes are planned"
    [ "$(number measured_bytes)" = 0 ] || complain 'a dry run takes memory'
    [ "$took" -lt 10000 ] || complain "planning took $took ms" # 300 where nothing else runs
    [ "$resident" -lt 200000000 ] || complain "planning took $resident bytes"

    # A budget that doesn't hold all activations: some are computed again.
    budget=$((planned * 19 / 20))
    run 0 "$LECO" train full.yaml --dry-run --json --set "train.precision=$precision" --memory "$budget"
    [ "$(number planned_bytes)" -le "$budget" ] || complain "$(number planned_bytes) bytes are planned within $budget"
    prints 'to stay within the budget, [0-9]+% of the blocks are computed again'
done

# Too small a budget is refused before anything is taken: in an address space that holds the mapped files, and no weights.
(ulimit -v 4000000 && exec "$LECO" train full.yaml --memory 1G --threads 2 --set train.precision=float32) >stdout 2>stderr </dev/null
status=$?
checks=$((checks + 1))
[ "$status" -eq 1 ] || complain "exit status $status, not 1"
says '^leco: .*the budget of 1024\.0 MiB is [0-9.]+ MiB too little: .*weights.*activations'
missing out
finish
