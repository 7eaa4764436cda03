#!/bin/bash
# Tensors of types that leco can't read, files of other programs, and names that would reach into the user's terminal: as
# LoRA, as weights, as input, and looked at.
. "$(dirname "$0")/support.sh"

one() { printf '"%s":{"dtype":"%s","shape":%s,"data_offsets":[%s]}' "$@"; } # NAME DTYPE SHAPE FROM,TO
fails() {                                                                   # PATTERN ARGUMENT...: and nothing is written
    local pattern=$1
    shift
    run 1 "$LECO" "$@"
    says "^leco: .*$pattern"
    silent stdout
    missing out.safetensors star.png
}
unet_with() { fails "$1" run unet -m "$model" --in "$fixtures/sd1-like/lora_cases.safetensors" --lora "$2" --out out.safetensors; }

# ---- LoRAs
key=lora_unet_mid_block_attentions_0_proj_in
down=$(one $key.lora_down.weight F32 '[2,24]' 0,192) up=$(one $key.lora_up.weight F32 '[24,2]' 192,384)
safetensors f8.safetensors "{$(one $key.lora_down.weight F8_E4M3 '[2,24]' 0,48),$(one $key.lora_up.weight F8_E4M3 '[24,2]' 48,96)}" 96
safetensors e8.safetensors "{$(one $key.lora_down.weight F8_E8M0 '[2,24]' 0,48),$(one $key.lora_up.weight F8_E8M0 '[24,2]' 48,96)}" 96
unet_with "e8\.safetensors.*\"$key\.lora_(down|up)\.weight\" is F8_E8M0" e8.safetensors
safetensors alpha.safetensors "{$down,$up,$(one $key.alpha BOOL '[]' 384,385)}" 385
unet_with "\"$key\.alpha\" is BOOL" alpha.safetensors
safetensors boft.safetensors "{$down,$up,$(one $key.boft_blocks F32 '[8]' 384,416)}" 416
unet_with '\.boft_blocks" is part of a BOFT.*only lora_down\.weight, lora_up\.weight,.* and alpha' boft.safetensors
printf 'PK\3\4\0\0\10\10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\20\0\0\0archive/data.pkl' >slider.pt
unet_with 'slider\.pt: is a zip archive whose end is missing' slider.pt
fails 'slider\.pt: is a zip archive whose end is missing' inspect slider.pt
fails 'slider\.pt.*PyTorch' run unet -m "$model" --in slider.pt --out out.safetensors
fails 'slider\.pt: is a zip archive whose end is missing' generate -m slider.pt -p 'a star' --steps 1 -o star.png
fails 'slider\.pt.*PyTorch' generate -m "$model" -p 'a star' --latents slider.pt --steps 1 -o star.png


# ---- weights
for part in unet/diffusion_pytorch_model vae/diffusion_pytorch_model text_encoder/model; do
    copy_model broken
    file=broken/$part.safetensors
    sed -i 's/"dtype":"F32"/"dtype":"F9X"/g' "$file"
    fails "\" is F9X, which leco can't read yet" generate -m broken -p 'a star' --steps 1 -o star.png
    run 0 "$LECO" inspect broken
    prints 'F9X'
done

# ---- inputs
safetensors in.safetensors "{$(one latents F8_E4M3 '[1,4,8,8]' 0,256)}" 256
fails '"latents" is of type F8_E4M3' run vae-decoder -m "$model" --in in.safetensors --out out.safetensors
fails '"latents" is of type F8_E4M3' generate -m "$model" -p 'a star' --steps 1 --latents in.safetensors -o star.png
safetensors in.safetensors "{$(one input_ids I16 '[1,77]' 0,154)}" 154
fails '"input_ids" is of type I16' run text-encoder -m "$model" --in in.safetensors --out out.safetensors
safetensors in.safetensors "{$(one sample F32 '[1,4,8,8]' 0,1024),$(one timestep U8 '[1]' 1024,1025)}" 1025
fails '"timestep" is of type U8' run unet -m "$model" --in in.safetensors --out out.safetensors
safetensors in.safetensors "{$(one sample F32 '[1,4,8,8]' 0,1024)}" 1024
fails 'no tensor "timestep"' run unet -m "$model" --in in.safetensors --out out.safetensors

# ---- what leco inspect tells
run 0 "$LECO" inspect f8.safetensors
prints "$key\.lora_down\.weight .*F8_E4M3.*\[2, 24\]" 'parameters +96' 'modules 1' 'rank 2'
run 0 "$LECO" inspect f8.safetensors --json
prints '"dtype": "F8_E4M3"'
safetensors i64.safetensors "{$down,$up,$(one $key.alpha I64 '[]' 384,392)}" 392
overwrite i64.safetensors -8 '\003'
run 0 "$LECO" inspect i64.safetensors
prints 'alpha 3'
safetensors many.safetensors "{$(one a F9X '[9223372036854775807]' 0,1),$(one b F9X '[9223372036854775807]' 1,2)}" 2
run 0 "$LECO" inspect many.safetensors
prints 'parameters +9223372036854775807'

# ---- names that would reach into the terminal
tame() { # the output of the last command has no control characters, in either spelling, and the line of a name is one
    if LC_ALL=C grep -qP '[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]|\xe2\x81[\xa6-\xa9]' "$1"; then
        complain "$1 has control characters"
    fi
}
nasty='\u001b[2Jred\u009b31m\u202etxt'
safetensors nasty.safetensors "{\"__metadata__\":{\"$nasty\":\"$nasty\"},$(one "$nasty\\nforged" "F\\u001b[1m" '[4]' 0,4)}" 4
run 0 "$LECO" inspect nasty.safetensors
tame stdout
prints 'metadata +\?\[2Jred\?31m\?txt \?\[2Jred' '\?\[2Jred\?31m\?txt forged' 'dtype F\?\[1m'
run 0 "$LECO" inspect nasty.safetensors --json
prints '"\\u001B\[2Jred.*forged": \{' '"F\\u001B\[1m"' # exact
unet_with 'nasty\.safetensors.*\?\[2Jred\?31m\?txt forged' nasty.safetensors
tame stderr
run 0 "$LECO" generate -m "$model" -p $'a \e[31mred\302\233 star' --steps 1 -o star.png
run 0 "$LECO" inspect star.png
tame stdout
prints 'a \?\[31mred\? star' '^Steps: 1'
config prompt.yaml
sed -i 's/target: .*/target: "a \\e[31mred\\N star"/' prompt.yaml # \N is U+0085
run 0 "$LECO" train prompt.yaml --dry-run
tame stdout
prints 'a \?\[31mred\? star'
finish
