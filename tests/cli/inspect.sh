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
