#!/bin/bash
# leco inspect, on everything that it knows.
. "$(dirname "$0")/support.sh"

run 0 "$LECO" inspect "$model"
prints 'unet|U-Net' 'vae|VAE'
run 0 "$LECO" inspect "$model" --json
prints '^\{'
run 0 "$LECO" inspect "$lora"
prints 'rank' 'ss_network_dim'
run 0 "$LECO" inspect "$fixtures/sd1-like/loha.safetensors"
prints '^kind +loha' 'rank +2'
run 0 "$LECO" inspect "$fixtures/sd1-like/lokr.safetensors"
prints '^kind +lokr' 'modules 129' 'rank 2'
run 0 "$LECO" inspect "$fixtures/sd1-like/dora.safetensors"
prints '^kind +dora' 'modules 129' 'rank 1'
run 0 "$LECO" inspect "$fixtures/sd1-like/generate.safetensors"
prints 'final_latents' 'F32|float32' '1.*4.*8.*12'
run 0 "$LECO" generate -m "$model" -p 'a star' -n 'a moon' --steps 1 -o star.png
run 0 "$LECO" inspect star.png
prints 'a star' 'Negative prompt: a moon' 'Steps: 1'
run 0 "$LECO" inspect star.png --json
prints '^\{'
# LoRAs of every layout, embeddings and VAEs are told as what they are.
for file in 'peft/diffusers:lora:71, rank 4, alpha 6, text_encoder yes, keys PEFT' 'peft/old:lora:keys diffusers' \
    'lycoris/tucker:loha:modules 6, rank 2' 'lycoris/full:lora:modules 3, rank 24' 'lycoris/small:lora:rank 2, alpha 1.5' \
    'lycoris/biases:lora:modules 15' 'lycoris/oft:oft:modules 4' 'lycoris/glora:glora:modules 4, rank 2' \
    'lycoris/glora_old:glora:modules 2, rank 2' 'lycoris/ia3:ia3:modules 5' 'lycoris/boft:oft:modules 4' 'peft-oft/oft/adapter_model:oft:modules 4, text_encoder no, keys PEFT' 'peft-oft/boft/adapter_model:oft:modules 4, text_encoder no, keys PEFT' 'lycoris/text:lora:modules 6, rank 24, text_encoder yes' \
    'sdxl-like/embedding:embedding:vectors 3, width \[16, 24\], token <thing>'; do
    IFS=: read -r name kind told <<<"$file"
    run 0 "$LECO" inspect "$fixtures/$name.safetensors"
    prints "^kind *$kind\$" "$told"
done
run 0 "$LECO" inspect "$fixtures/torch/embedding.pt"
prints '^kind *embedding$' 'vectors 2, width 24'
run 0 "$LECO" inspect "$fixtures/torch/learned_embeds.bin"
prints '^kind *embedding$' 'token <mine>'
run 0 "$LECO" inspect "$fixtures/vae-mid/vae/diffusion_pytorch_model.safetensors"
prints '^kind *vae$'
run 0 "$LECO" inspect "$fixtures/torch/lora.pt"
prints '^kind +lora' 'rank +4'
run 0 "$LECO" inspect "$fixtures/torch/checkpoint.ckpt"
prints 'transposed' '8.*6'
run 1 "$LECO" inspect nowhere
says 'nowhere.*[Nn]o such file'
echo hello >text
run 1 "$LECO" inspect text
says 'text'
finish
