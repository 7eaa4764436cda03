#!/bin/bash
# Models by the names that they have in Hugging Face's cache: every command finds them alike, and what a broken download
# left is told.
. "$(dirname "$0")/support.sh"

hub=$work/home/hub
repo=$hub/models--me--small
mkdir -p "$repo/refs" "$repo/snapshots/abc"
copy_model "$repo/blobs"
for folder in tokenizer scheduler text_encoder unet vae; do # as huggingface_hub keeps them, files are links
    mkdir "$repo/snapshots/abc/$folder"
    for file in "$repo/blobs/$folder"/*; do ln -s "../../../blobs/$folder/${file##*/}" "$repo/snapshots/abc/$folder/"; done
done
ln -s ../../blobs/model_index.json "$repo/snapshots/abc/"
printf abc >"$repo/refs/main"
export HF_HOME=$work/home

# All that take a model.
run 0 "$LECO" inspect me/small
prints '^family *sd1$'
run 0 "$LECO" generate -m me/small -p red --steps 1 -o one.png
is_png one.png
run 0 "$LECO" grid -m me/small -p red --steps 1 --lora "$lora" --weights 0,1 -o sheet.png
is_png sheet.png
run 0 "$LECO" erase -m me/small red -o erased.safetensors
exists erased.safetensors
run 0 "$LECO" convert me/small -o converted
exists converted/model_index.json
run 0 "$LECO" merge "$lora" --into me/small -o merged
exists merged/model_index.json
run 0 "$LECO" extract me/small merged --rank 2 -o extracted.safetensors
exists extracted.safetensors

# A config in another folder than the working directory: trained, with a closed form first, previews, and a teacher.
mkdir configs
printf 'pretrained_model: {name_or_path: me/small}\nprompts: [{target: red}]\n' >configs/two.yaml
run 0 "$LECO" train configs/two.yaml --dry-run
sets=(--set train.iterations=1 --set train.max_denoising_steps=2 --set train.precision=float32 --set network.rank=2)
run 0 "$LECO" train configs/two.yaml "${sets[@]}" --set network.init=erase --set logging.prompts=red --set logging.steps=1 \
    --set save.path=out --set save.name=two
exists configs/out/two.safetensors
cat >configs/teacher.yaml <<'END'
pretrained_model: {name_or_path: me/small}
teachers: {other: {name_or_path: me/small}}
prompts: [{target: red, positive: blue, action: distill, teacher: other, resolution: 32}]
END
run 0 "$LECO" train configs/teacher.yaml --dry-run
printf 'pretrained_model: {name_or_path: me/nothing}\nprompts: [{target: red}]\nnetwork: {init: erase}\n' >configs/none.yaml
run 1 "$LECO" train configs/none.yaml
says 'none\.yaml:1: pretrained_model\.name_or_path: there is no configs/me/nothing, .*Hugging Face.s cache'
run 1 "$LECO" inspect me/nothing
says '^leco: me/nothing: no such file, nor is a model of that name in Hugging Face.s cache'

# A VAE: a repository of one, or a folder in a model's.
mkdir -p "$hub/models--me--vae/snapshots/ghi"
cp "$model"/vae/* "$hub/models--me--vae/snapshots/ghi/"
for vae in me/vae me/small/vae; do
    run 0 "$LECO" generate -m me/small --vae "$vae" -p red --steps 1 -o other.png
    cmp -s <(tail -c 200 one.png) <(tail -c 200 other.png) || complain "another picture with --vae $vae"
    run 0 "$LECO" train configs/two.yaml --dry-run --set "pretrained_model.vae=$vae"
done
run 1 "$LECO" generate -m me/small --vae me/nothing -p red
says '^leco: me/nothing: there is no such file, nor is a model of that name in Hugging Face.s cache'
run 1 "$LECO" train configs/two.yaml --dry-run --set pretrained_model.vae=me/nothing
says 'pretrained_model\.vae: there is no configs/me/nothing'

# One file of a repository, and a repository of one file. These are refused for what they lack, after they were found.
one=$hub/models--me--one/snapshots/def
mkdir -p "$one"
header='{"model.diffusion_model.input_blocks.0.0.weight":{"dtype":"F16","shape":[8,4,1,1],"data_offsets":[0,64]}}'
safetensors "$one/small_v5.safetensors" "$header" 64
cp "$lora" "$one/a_lora.safetensors"
for name in me/one me/one/small_v5.safetensors "$one"; do
    run 1 "$LECO" generate -m "$name" -p red
    says '^leco: .*/snapshots/def/small_v5\.safetensors: is a checkpoint of'
    run 1 "$LECO" inspect "$name"
    says '^leco: .*/snapshots/def/small_v5\.safetensors: is a checkpoint of'
done
run 0 "$LECO" inspect me/one/a_lora.safetensors
prints '^kind *lora$'
run 1 "$LECO" generate -m me/one/other.safetensors -p red
says 'me/one/other\.safetensors: there is no such file, nor is it in Hugging Face.s cache of that repository'
cp "$one/small_v5.safetensors" "$one/small_v4.safetensors"
run 1 "$LECO" generate -m me/one -p red
says 'def: has no model_index\.json, but 2 checkpoints, small_v4\.safetensors and small_v5\.safetensors: give one of these'

# A download that was broken off.
rm "$repo/blobs/unet/diffusion_pytorch_model.safetensors"
run 1 "$LECO" generate -m me/small -p red
says 'unet/diffusion_pytorch_model\.safetensors: is a link to \.\./\.\./\.\./blobs/.*, which isn.t there: that download was never'
rm "$repo/blobs/model_index.json"
run 1 "$LECO" inspect me/small
says 'abc/model_index\.json: is a link to \.\./\.\./blobs/model_index\.json, which isn.t there'
rm "$one/small_v4.safetensors" "$one/small_v5.safetensors"
ln -s ../../blobs/gone "$one/small_v5.safetensors"
for name in me/one me/one/small_v5.safetensors; do
    run 1 "$LECO" generate -m "$name" -p red
    says 'small_v5\.safetensors: is a link to \.\./\.\./blobs/gone, which isn.t there'
    run 1 "$LECO" inspect "$name"
    says 'small_v5\.safetensors: is a link to \.\./\.\./blobs/gone, which isn.t there'
done
finish
