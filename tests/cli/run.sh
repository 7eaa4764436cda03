#!/bin/bash
# leco run: each module, on the inputs of the parity fixtures (whose numbers tests/parity compares).
. "$(dirname "$0")/support.sh"
cases=$fixtures/sd1-like

run 0 "$LECO" run text-encoder -m "$model" --in "$cases/text.safetensors" --out hidden.safetensors
prints '^hidden\.safetensors$'
run 0 "$LECO" inspect hidden.safetensors
prints 'last_hidden_state' '3.*77.*24'
run 0 "$LECO" run text-encoder -m "$model" -p 'a red circle' --out hidden.safetensors --json
prints '"file": "hidden\.safetensors"'
run 0 "$LECO" run unet -m "$model" --in "$cases/lora_cases.safetensors" --out base.safetensors
run 0 "$LECO" inspect base.safetensors
prints 'noise_pred'
run 0 "$LECO" run unet -m "$model" --in "$cases/lora_cases.safetensors" --lora "$lora" --out with.safetensors
differ base.safetensors with.safetensors
run 0 "$LECO" run unet -m "$model" --in "$cases/lora_cases.safetensors" --lora "$lora:-0.7" --lora "$cases/lora2.safetensors:0.4" --out both.safetensors
differ with.safetensors both.safetensors

# PyTorch's files: a LoRA as Concept Sliders saves it is the same as .safetensors.
run 0 "$LECO" run unet -m "$model" --in "$cases/lora_cases.safetensors" --lora "$fixtures/torch/lora.safetensors" --out tensors.safetensors
run 0 "$LECO" run unet -m "$model" --in "$cases/lora_cases.safetensors" --lora "$fixtures/torch/lora.pt" --out pickled.safetensors
same tensors.safetensors pickled.safetensors
differ base.safetensors pickled.safetensors
run 0 "$LECO" run text-encoder -m "$model" --embedding "$fixtures/torch/embedding.pt" -p 'an embedding' --out word.safetensors

run 0 "$LECO" run unet -m "$model" --device ref --precision float32 --in "$cases/lora_cases.safetensors" --out ref.safetensors
exists ref.safetensors
safetensors latents.safetensors '{"latents":{"dtype":"F32","shape":[2,4,6,8],"data_offsets":[0,1536]}}' 1536
run 0 "$LECO" run vae-decoder -m "$model" --in latents.safetensors --out sample.safetensors
run 0 "$LECO" inspect sample.safetensors
prints 'sample' '2.*3.*24.*32'
run 0 "$LECO" run vae-encoder -m "$model" --in sample.safetensors --out moments.safetensors
run 0 "$LECO" inspect moments.safetensors
prints 'latent_mean' 'latent_logvar' '2.*4.*6.*8'
finish
