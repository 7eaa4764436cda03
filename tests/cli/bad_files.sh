#!/bin/bash
# Files that are missing, cut short, or lie: exit status 1 and a sentence that names the file and what is wrong with it.
. "$(dirname "$0")/support.sh"

fails() { # PATTERN ARGUMENT...: the message holds the pattern; nothing is written
    local pattern=$1
    shift
    run 1 "$LECO" "$@"
    says "^leco: .*$pattern"
    silent stdout
    missing star.png out.safetensors
    rm -f star.png out.safetensors
}
draw_with() { # MODEL-FOLDER PATTERN
    fails "$2" generate -m "$1" -p 'a star' --steps 1 -o star.png
}

# ---- safetensors that lie, each read as a LoRA and looked at
lies() { # PATTERN: about lie.safetensors
    fails "lie\.safetensors.*$1" generate -m "$model" --lora lie.safetensors -p 'a star' --steps 1 -o star.png
    fails "lie\.safetensors.*$1" inspect lie.safetensors
}
f32() { printf '"%s":{"dtype":"F32","shape":%s,"data_offsets":[%s]}' "$1" "$2" "$3"; }
: >lie.safetensors && lies ''
printf 'abc' >lie.safetensors && lies ''
safetensors lie.safetensors '{}' 0 99999999 && lies 'header'
safetensors lie.safetensors '{}' 0 $((1 << 62)) && lies 'header'
safetensors lie.safetensors '{}' 0 -1 && lies 'header'
safetensors lie.safetensors "{$(f32 a '[2,2]' 0,16)" 16 && lies ''
safetensors lie.safetensors '[1,2,3]' 0 && lies ''
safetensors lie.safetensors "{$(f32 a '[2,2]' 0,16)}" 15 && lies '"?a"?'
safetensors lie.safetensors "{$(f32 a '[2,2]' 0,12)}" 12 && lies '"?a"?'
safetensors lie.safetensors "{$(f32 a '[2,2]' 16,0)}" 16 && lies '"?a"?'
safetensors lie.safetensors "{$(f32 a '[2,2]' -16,0)}" 16 && lies '"?a"?'
safetensors lie.safetensors "{$(f32 a '[2,2]' 1000,1016)}" 16 && lies '"?a"?'
safetensors lie.safetensors "{$(f32 a '[-2,-2]' 0,16)}" 16 && lies '"?a"?'
safetensors lie.safetensors "{$(f32 a '[4294967296,4294967296]' 0,0)}" 0 && lies '"?a"?'
safetensors lie.safetensors "{$(f32 a '[9223372036854775807]' 0,16)}" 16 && lies '"?a"?'
safetensors lie.safetensors "{$(f32 a '[1e3]' 0,4000)}" 4000 && lies '"?a"?'
safetensors lie.safetensors "{$(f32 a '"x"' 0,16)}" 16 && lies '"?a"?'
safetensors lie.safetensors "{$(f32 a '[2]' 0,8),$(f32 b '[2]' 4,12)}" 12 && lies '"?b"?'
safetensors lie.safetensors "{$(f32 a '[2]' 0,8),$(f32 b '[2]' 12,20)}" 20 && lies ''
safetensors lie.safetensors '{"a":{"dtype":"F32","data_offsets":[0,8]}}' 8 && lies '"?a"?'

# ---- LoRAs
draw_lora() { # PATTERN FILE
    fails "$1" generate -m "$model" --lora "$2" -p 'a star' --steps 1 -o star.png
}
draw_lora 'nowhere\.safetensors.*No such file' nowhere.safetensors
draw_lora 'folder' "$model"
head -c 5000 "$lora" >cut.safetensors
draw_lora 'cut\.safetensors: is incomplete: the header takes [0-9]+ bytes, of which 4992 are there' cut.safetensors
head -c $(($(stat -c %s "$lora") - 1)) "$lora" >cut.safetensors
draw_lora 'cut\.safetensors: tensor .*: the file is incomplete' cut.safetensors
echo 'a note of what this LoRA does' >note.safetensors
draw_lora 'note\.safetensors: is no safetensors file: this is a text' note.safetensors
cp "$lora" nan.safetensors && overwrite nan.safetensors -4 '\0377\0377\0377\0377'
draw_lora 'nan\.safetensors.*(NaN|finite)' nan.safetensors
draw_lora 'sd2-like/lora\.safetensors' "$fixtures/sd2-like/lora.safetensors"
says 'another|other model|does not fit|shape|not in this model|no such|has no|expected'
draw_lora 'unet\.safetensors' "$fixtures/sd1-like/unet.safetensors"
fails 'sd2-like/lora\.safetensors' run unet -m "$model" --in "$fixtures/sd1-like/lora_cases.safetensors" \
    --lora "$fixtures/sd2-like/lora.safetensors" --out out.safetensors

# ---- models
draw_with nowhere 'nowhere'
draw_with "$lora" 'lora\.safetensors'
mkdir empty && draw_with empty 'empty/model_index\.json: no such file: a model.s folder'
draw_with "$model/unet" 'sd1-like/unet: has no model_index\.json: it is one part of a model; give the whole, .*/sd1-like$'
fails 'it is one part of a model; give the whole, .*/sd1-like$' inspect "$model/scheduler/"
for part in unet/config.json unet/diffusion_pytorch_model.safetensors vae/diffusion_pytorch_model.safetensors \
    text_encoder/model.safetensors tokenizer/vocab.json tokenizer/merges.txt; do
    copy_model broken && rm "broken/$part" && draw_with broken "broken/${part%/*}"
    if [ "$part" = tokenizer/merges.txt ]; then continue; fi # without merges it is a tokenizer of single letters
    copy_model broken && : >"broken/$part" && draw_with broken "broken/$part"
    copy_model broken && truncate -s $(($(stat -c %s "broken/$part") * 6 / 10)) "broken/$part"
    draw_with broken "broken/$part"
done

unet=broken/unet/config.json
swap() { # FILE KEY VALUE: puts another value at a key that stands on one line
    sed -i "s|\"$2\": [^,]*|\"$2\": $3|" "$1"
    grep -q "\"$2\": $3" "$1" || complain "could not put $3 at $2 in $1"
}
copy_model broken && swap $unet cross_attention_dim 32 && draw_with broken 'cross_attention_dim 32'
copy_model broken && swap $unet time_cond_proj_dim 7 && draw_with broken 'time_cond_proj_dim'
copy_model broken && swap broken/vae/config.json sample_size '"big"' && draw_with broken 'vae/config\.json.*sample_size'
copy_model broken && cp "$fixtures/odd/unet/diffusion_pytorch_model.safetensors" broken/unet/ &&
    draw_with broken 'diffusion_pytorch_model\.safetensors.*(shape|expected|missing|lacks)'
copy_model broken && swap $unet act_fn '"mish"' && draw_with broken 'config\.json.*act_fn.*mish'
copy_model broken && swap $unet in_channels 9 && draw_with broken 'takes 9 channels'
copy_model broken && swap $unet in_channels 0 && draw_with broken 'config\.json.*in_channels'
copy_model broken && swap $unet in_channels -4 && draw_with broken 'config\.json.*in_channels'
copy_model broken && swap $unet layers_per_block 1000000000 && draw_with broken 'config\.json.*layers_per_block'
copy_model broken && swap $unet norm_num_groups 0 && draw_with broken 'config\.json.*norm_num_groups'
copy_model broken && swap $unet norm_num_groups 3 && draw_with broken '(norm_num_groups|groups)'
copy_model broken && swap broken/vae/config.json scaling_factor 0 && draw_with broken 'vae/config\.json.*scaling_factor'
copy_model broken && swap broken/text_encoder/config.json num_attention_heads 0 && draw_with broken 'text_encoder/config\.json.*num_attention_heads'
copy_model broken && echo '{"truncated": ' >$unet && draw_with broken 'unet/config\.json'
copy_model broken && sed -i 's/DownBlock2D/ResnetDownsampleBlock2D/' $unet && draw_with broken 'ResnetDownsampleBlock2D'

# Weights that aren't numbers are noticed, at the latest in what they make.
copy_model broken && overwrite broken/unet/diffusion_pytorch_model.safetensors -4 '\0377\0377\0377\0377' && draw_with broken '(NaN|finite)'
copy_model broken && overwrite broken/vae/diffusion_pytorch_model.safetensors -4 '\0377\0377\0377\0377' && draw_with broken '(NaN|finite)'
copy_model broken && overwrite broken/text_encoder/model.safetensors -4 '\0377\0377\0377\0377' && draw_with broken '(NaN|finite)'

# ---- inputs of leco run, and noise for leco generate
fails 'sample' run unet -m "$model" --in "$lora" --out out.safetensors
fails 'nowhere\.safetensors' run unet -m "$model" --in nowhere.safetensors --out out.safetensors
safetensors in.safetensors '{"input_ids":{"dtype":"I64","shape":[1,78],"data_offsets":[0,624]}}' 624
fails 'input_ids' run text-encoder -m "$model" --in in.safetensors --out out.safetensors
safetensors in.safetensors '{"input_ids":{"dtype":"I64","shape":[1,77],"data_offsets":[0,616]}}' 616
overwrite in.safetensors -8 '\0377\0377\0377\0177'
fails 'input_ids' run text-encoder -m "$model" --in in.safetensors --out out.safetensors
safetensors in.safetensors "{$(f32 latents '[1,5,8,8]' 0,1280)}" 1280
fails 'latents' run vae-decoder -m "$model" --in in.safetensors --out out.safetensors
fails 'latents' generate -m "$model" -p 'a star' --steps 1 --latents in.safetensors -o star.png
safetensors in.safetensors "{$(f32 sample '[1,3,33,32]' 0,12672)}" 12672
fails 'sample' run vae-encoder -m "$model" --in in.safetensors --out out.safetensors

# ---- sizes that the model can't be
fails 'a width of 63 pixels: expected a multiple of 4 from 8 to 8192' generate -m "$model" -p 'a star' --width 63 --steps 1 -o star.png
fails 'a height of 63 pixels: expected a multiple of 4 from 8 to 4096' bench -m "$model" --height 63
run 2 "$LECO" generate -m "$model" -p 'a star' --width 0 -o star.png
says 'from 8 to 8192'
run 2 "$LECO" bench -m "$model" --width 0
says 'from 8 to 4096'
run 1 "$LECO_PROBE" -m "$model" --probe nowhere
says '^leco-probe: unable to open nowhere/config\.json: No such file or directory$'
fails 'width|height|size|multiple' generate -m "$model" -p 'a star' --width 33 --steps 1 -o star.png
finish
