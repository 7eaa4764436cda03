#!/bin/bash
# Configs that are wrong: exit status 1, a sentence that names file, line and key; nothing is trained or written.
. "$(dirname "$0")/support.sh"

fails() { # PATTERN ARGUMENT...: of leco train
    local pattern=$1
    shift
    run 1 "$LECO" train "$@"
    says "^leco: .*$pattern"
    silent stdout
    missing out
}
changed() { # SED-SCRIPT PATTERN...
    local script=$1 pattern
    shift
    config changed.yaml
    sed -i "$script" changed.yaml
    for pattern; do fails "$pattern" changed.yaml; done
}

fails 'nowhere\.yaml.*No such file' nowhere.yaml
fails 'folder|directory' "$model"
printf 'prompts: [unclosed' >broken.yaml && fails 'broken\.yaml' broken.yaml
: >broken.yaml && fails 'broken\.yaml.*(prompt|empty)' broken.yaml
head -c 3000 /dev/urandom >broken.yaml && fails 'broken\.yaml' broken.yaml
printf 'a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f]\n' >broken.yaml
fails 'broken\.yaml' broken.yaml

# Keys that there are not, with a hint; keys of p1atdev's LECO that leco doesn't have yet.
changed 's/iterations: 4/iteratoins: 4/' 'changed\.yaml:[0-9]+.*iteratoins.*iterations'
changed 's/^network:/netwrok:/' 'changed\.yaml:[0-9]+.*netwrok.*network'
changed 's/    neutral:/    neutrall:/' 'changed\.yaml:[0-9]+.*neutrall.*neutral'
changed 's/lr: 1e-3/lr: 1e-3\n  optimizer: DAdaptSGD/' 'optimizer.*DAdaptSGD'
config small.yaml
fails 'bogus' small.yaml --set train.bogus=1

# Values.
changed 's/iterations: 4/iterations: 0/' 'changed\.yaml:[0-9]+.*iterations'
changed 's/iterations: 4/iterations: -5/' 'iterations'
changed 's/iterations: 4/iterations: 99999999999999999999/' 'iterations'
changed 's/iterations: 4/iterations: many/' 'iterations.*many'
changed 's/lr: 1e-3/lr: .nan/' 'lr'
changed 's/lr: 1e-3/lr: -1e-3/' 'lr'
changed 's/lr: 1e-3/lr: inf/' 'lr'
changed 's/rank: 2/rank: 0/' 'rank'
changed 's/rank: 2/rank: 1000000000000/' 'rank'
changed 's/type: lierla/type: locon/' 'type.*locon'
changed 's/precision: float32/precision: float8/' 'precision.*float8'
changed 's/max_denoising_steps: 4/max_denoising_steps: 0/' 'max_denoising_steps'
changed 's/resolution: 32/resolution: 0/' 'resolution'
changed 's/resolution: 32/resolution: -64/' 'resolution'
changed 's/resolution: 32/resolution: 33/' 'resolution|size|multiple'
changed 's/resolution: 32/resolution: 1000000000/' 'resolution'
changed 's/action: erase/action: remove/' 'action.*remove'
changed 's/guidance_scale: 1.0/guidance_scale: strong/' 'guidance_scale.*strong'
changed 's/  name: small/  name: "..\/small"/' 'save\.name'

changed 's/resolution: 32/resolution: 32\n    keep_above: 1000/' 'changed\.yaml:[0-9]+: prompts\.keep_above: 1000 is not one of the model.s 1000 timesteps'
changed 's/iterations: 4/iterations: 4\n  trajectory_guidance_interval: [1000, 1200]/' \
    'changed\.yaml:[0-9]+: train\.trajectory_guidance_interval: 1000 is not one of the model.s 1000 timesteps'
changed 's/rank: 2/rank: 2\n  start_from: nothere/' 'changed\.yaml:[0-9]+: network\.start_from: there is no nothere$'
changed 's/^network:/  vae: nothere\nnetwork:/' 'changed\.yaml:[0-9]+: pretrained_model\.vae: there is no nothere$'
changed 's/iterations: 4/iterations: 4\n  snr_gamma: 5/' 'train\.snr_gamma is not a known key; did you mean "min_snr_gamma"'
printf 'pretrained_model: %s\n\n# caf\xe9\nprompts: [{target: red}]\n' "$model" >latin.yaml
fails 'latin\.yaml:3: not valid YAML: .*UTF-8' latin.yaml # of another encoding, before anything was parsed

# Prompts: none, none named, twice.
changed '1i prompts: []
/^prompts:/,/resolution/d' '(empty|prompts)'
changed '/^prompts:/,/resolution/d' 'prompts'
changed 's/- target:.*/- positive: "a red circle"/' 'target'
changed '1i prompts_file: nowhere.yaml' '(prompts_file|prompts)'
changed '1i prompts_file: nowhere.yaml
/^prompts:/,/resolution/d' 'nowhere\.yaml'

# Keys that say nothing to what is trained, and what would be ignored.
config small.yaml
fails 'network\.vectors: a lora has none' small.yaml --set network.vectors=3
fails 'network\.rank: an embedding has none' small.yaml --set 'network={type: embedding, token: "<x>", rank: 16}' --set prompts.0.target='<x>'
fails 'expected another number than 0' small.yaml --set 'prompts=[{target: red, terms: [{prompt: blue, weight: 0}]}]'
fails 'expected a text' small.yaml --set 'prompts=[{target: [null]}]'
fails 'nothing would be trained' small.yaml --set 'prompts=[{target: red, terms: [{prompt: " Red"}]}]'
fails 'the same text to the model' small.yaml --set 'prompts=[{target: "", action: distill, guidance_scale: 3}]'
fails 'erase_from goes without neutral' small.yaml --set 'prompts=[{target: red, erase_from: a star, neutral: blue}]'
fails 'erase_from says nothing to an entry that is to slider' small.yaml --set 'prompts=[{target: red, erase_from: a star, action: slider}]'
fails 'leave 1 of the 10 denoising steps, too few for samples_per_trajectory 2' small.yaml --set train.min_timestep=900 \
    --set train.samples_per_trajectory=2 --set train.max_denoising_steps=10
fails 'expected the lower timestep first' small.yaml --set 'train.trajectory_guidance_interval=[800, 200]'
fails 'two timesteps' small.yaml --set train.trajectory_guidance_interval=200
fails 'of a transplant it is that of the pictures' small.yaml --set "teachers={d: {name_or_path: $model}}" \
    --set 'prompts=[{target: red, teacher: d, guidance_scale: 0.5}]'
changed 's/    target: /    target: {small|large} /; s/- target: .*/- target: {small|large} star/' 'not valid YAML.*wants quotes'
changed 's/- target: .*/- target: "a \\{x\\} star"/' 'not valid YAML.*unknown escape.*take single quotes'
run 0 "$LECO" train small.yaml --dry-run --set "teachers={idle: {name_or_path: $model}}"
says 'warning: .*teachers\.idle: no entry names it'
run 0 "$LECO" train small.yaml --dry-run --set save.name=x.safetensors
prints 'x\.safetensors$'

# No trajectory, another text to erase from, an early and a late part: they train.
run 0 "$LECO" train small.yaml -q --set train.iterations=2 --set save.path=refined --set train.min_snr_gamma=5 \
    --set 'prompts=[{target: red, erase_from: a red star, keep_above: 500, norm_match: true, trajectory: none}]'
exists refined/small.safetensors
rm -r refined

# What the text encoder sees decides what trains nothing: "Red " has the tokens of "red".
changed 's/target:.*/target: red\n    positive: "Red "/; s/action: erase/action: enhance/; /neutral:/d' 'nothing would be trained.*same tokens'

# The model.
changed 's|name_or_path:.*|name_or_path: nowhere|' 'nowhere'
changed '/^pretrained_model:/,/name_or_path/d' 'name_or_path'
copy_model broken && overwrite broken/unet/diffusion_pytorch_model.safetensors -4 '\0377\0377\0377\0377'
changed 's|name_or_path:.*|name_or_path: broken|' '(NaN|finite)'

# Memory: a budget that is too small says by how much.
config small.yaml
fails '(memory|budget)' small.yaml --memory 64K
fails '(memory|budget)' small.yaml --memory 64K --dry-run
finish
