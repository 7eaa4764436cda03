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

# Both are trained, too: a LoRA, planned, and gone on with to the same file.
sed 's/rank: 2/rank: 2, text_encoder: true/' xl.yaml >text.yaml
run 0 "$LECO" train text.yaml --dry-run
prints 'LoRA rank 2, alpha 2, 236 modules' 'layers\.0\.mlp\.fc1 .* of text_encoder$' 'layers\.0\.mlp\.fc1 .* of text_encoder_2$'
run 0 "$LECO" train text.yaml --set save.name=both --set save.per_steps=2
run 0 "$LECO" inspect both.safetensors
prints 'modules 236' 'text_encoder'
for key in lora_te1_text_model_encoder_layers_2_mlp_fc2 lora_te2_text_model_encoder_layers_3_mlp_fc2; do
    grep -q "$key.lora_up.weight" both.safetensors || complain "no $key"
done
run 0 "${draw[@]}" --lora both.safetensors -o both.png
differ plain.png both.png
safetensors word.safetensors "{$(tensor emb_params 1,16 0,64)}" 64
run 1 "$LECO" generate -m "$xl" -p x --embedding word.safetensors -o x.png
says '^leco: word\.safetensors: .*for two text encoders has the tensors "clip_l" and "clip_g"'
# And words.
sed 's/network: .*/network: {type: embedding, token: <new>, init: red, vectors: 2}/; s/a red circle/a <new> circle/; s/neutral/positive: red, neutral/' xl.yaml >word.yaml
run 0 "$LECO" train word.yaml --dry-run
prints 'embedding "<new>" of 2 vectors, 80 parameters'
run 0 "$LECO" train word.yaml --set save.name=new
run 0 "$LECO" inspect new.safetensors
prints 'clip_l' 'clip_g' '<new>' 'stable-diffusion-xl-v1-base/textual-inversion'
draw[5]='a <new>'
run 0 "${draw[@]}" -o without.png
run 0 "${draw[@]}" --embedding new.safetensors -o with.png
says '"<new>" in a prompt stands for 2 vectors'
differ without.png with.png
run 1 "$LECO" generate -m "$model" -p x --embedding new.safetensors -o x.png
says '^leco: new\.safetensors: .*for one with two text encoders'

run 1 "$LECO" run text-encoder-2 -m "$model" -p x --out x.safetensors
says '^leco: .*has no text-encoder-2'
run 0 "$LECO" inspect states.safetensors
prints 'last_hidden_state' '1.*77.*24'
run 1 "$LECO" run unet -m "$xl" --in "$fixtures/sd1-like/lora_cases.safetensors" --out x.safetensors
says '^leco: .*encoder_hidden_states'
run 0 "$LECO" run unet -m "$xl" --in "$xl/lora_cases.safetensors" --out noise.safetensors
missing x.safetensors x.png
finish
