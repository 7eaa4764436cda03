#!/bin/bash
# A number that is none in a result: JSON has no word for it but null, and a document must not lose what goes with it.
. "$(dirname "$0")/support.sh"
safetensors odd.safetensors '{"lora_unet_x.lora_down.weight":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},"lora_unet_x.alpha":{"dtype":"F32","shape":[],"data_offsets":[4,8]}}' 8
overwrite odd.safetensors -4 '\x00\x00\xc0\x7f'
run 0 "$LECO" inspect odd.safetensors --json
prints '"modules": 1' '"alpha": null'
run 0 "$LECO" inspect odd.safetensors
prints 'alpha +none'
finish
