#!/bin/bash
# A model with two text encoders (Stable Diffusion XL): trained, drawn with, inspected; parity tests compare its numbers.
. "$(dirname "$0")/support.sh"
xl=$fixtures/sdxl-like

run 0 "$LECO" inspect "$xl"
prints '^family *sdxl$' '^text_encoder_2'
cat >xl.yaml <<END
prompts: [{target: "a red circle", neutral: "a circle", resolution: [64, 80]}]
pretrained_model: {name_or_path: $xl}
network: {rank: 2}
train: {iterations: 3, lr: 1e-2, precision: float32, max_denoising_steps: 10}
save: {name: xl, path: .}
END
run 0 "$LECO" train xl.yaml
run 0 "$LECO" inspect xl.safetensors
prints 'ss_base_model_version *sdxl_base_v1-0' 'modules 194'
grep -q lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.alpha xl.safetensors || complain 'not the names of sd-scripts'
grep -q lora_unet_down_blocks xl.safetensors && complain 'names of diffusers'
draw=("$LECO" generate -m "$xl" -p 'a red circle' --steps 3 --width 80 --height 64 --precision float32)
run 0 "${draw[@]}" -o plain.png
run 0 "${draw[@]}" --lora xl.safetensors -o lora.png
differ plain.png lora.png

# Told of crops it learns something else; a model that isn't told of any says so.
run 0 "$LECO" train xl.yaml --set prompts.0.dynamic_crops=true --set save.name=cropped --set train.seed=1
run 0 "$LECO" train xl.yaml --set save.name=whole --set train.seed=1
differ cropped.safetensors whole.safetensors
run 0 "$LECO" train xl.yaml --set prompts.0.dynamic_crops=true --set "pretrained_model.name_or_path=$model" --dry-run
says 'dynamic_crops is for Stable Diffusion XL'

# LoRAs of the text encoders, as sd-scripts calls them; joined, they keep their names.
layer=text_model_encoder_layers_0_self_attn_q_proj
tensor() { printf '"%s":{"dtype":"F32","shape":[%s],"data_offsets":[%s]}' "$@"; }
safetensors text.safetensors "{$(tensor lora_te1_$layer.lora_down.weight 1,16 0,64),$(tensor lora_te1_$layer.lora_up.weight 16,1 64,128),$(
    tensor lora_te2_$layer.lora_down.weight 1,24 128,224
),$(tensor lora_te2_$layer.lora_up.weight 24,1 224,320)}" 320
encode=("$LECO" run text-encoder-2 -m "$xl" -p 'a star' --out)
run 0 "${encode[@]}" states.safetensors
run 0 "${encode[@]}" zero.safetensors --lora text.safetensors # made of zeros
same states.safetensors zero.safetensors
run 0 "$LECO" merge text.safetensors xl.safetensors -o joined.safetensors
grep -q "lora_te1_$layer.lora_up" joined.safetensors || complain 'the first text encoder lost its name'
grep -q "lora_te2_$layer.lora_up" joined.safetensors || complain 'the second text encoder lost its name'
grep -q lora_unet_input_blocks_4_1_ joined.safetensors || complain "the U-Net's layers lost their names"
run 0 "${draw[@]}" --lora joined.safetensors -o joined.png

# Erased without training: the states of both encoders change hands.
run 0 "$LECO" erase -m "$xl" red -o erased.safetensors --json
prints '"concept": "red"'
grep -q lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.alpha erased.safetensors || complain 'not the names of sd-scripts'
run 0 "${draw[@]}" --lora erased.safetensors -o erased.png
differ plain.png erased.png
run 0 "$LECO" train xl.yaml --set network.init=erase --set save.name=begun

# Words: one vector list for each encoder.
draw[5]='a red <thing>'
run 0 "${draw[@]}" -o without.png
run 0 "${draw[@]}" --embedding "$xl/embedding.safetensors" -o with.png
says '"<thing>" in a prompt stands for 3 vectors'
differ without.png with.png

# What isn't there for them yet says so.
sed 's/rank: 2/rank: 2, text_encoder: true/' xl.yaml >text.yaml
run 1 "$LECO" train text.yaml
says "^leco: .*sdxl-like: .*text encoder.*can't be trained"
safetensors word.safetensors "{$(tensor emb_params 1,16 0,64)}" 64
run 1 "$LECO" generate -m "$xl" -p x --embedding word.safetensors -o x.png
says '^leco: word\.safetensors: .*for two text encoders has the tensors "clip_l" and "clip_g"'
sed 's/network: .*/network: {type: embedding, token: <new>, init: red}/' xl.yaml >word.yaml
run 1 "$LECO" train word.yaml
says '^leco: .*two text encoders: leco trains no embeddings'
run 1 "$LECO" run text-encoder-2 -m "$model" -p x --out x.safetensors
says '^leco: .*has no text-encoder-2'
run 0 "$LECO" inspect states.safetensors
prints 'last_hidden_state' '1.*77.*24'
run 1 "$LECO" run unet -m "$xl" --in "$fixtures/sd1-like/lora_cases.safetensors" --out x.safetensors
says '^leco: .*encoder_hidden_states'
run 0 "$LECO" run unet -m "$xl" --in "$xl/lora_cases.safetensors" --out noise.safetensors
missing x.safetensors x.png
finish
