#!/bin/bash
# Names that other programs use: what leco calls it is suggested, and nothing where nothing is near.
. "$(dirname "$0")/support.sh"

wrong() { # PATTERN ARGUMENT...
    local pattern=$1
    shift
    run 2 "$LECO" "$@"
    says "$pattern"
    silent stdout
}
wrong 'no option --cfg; did you mean --guidance-scale\?' generate --cfg 4
wrong 'no option --negative_prompt; did you mean --negative\?' generate --negative_prompt=x
wrong 'no option --num_inference_steps; did you mean --steps\?' generate --num_inference_steps 3
wrong 'no option --zzz$' generate --zzz
wrong 'no option --ckpt; did you mean --model\?' bench --ckpt x
wrong "no command 'txt2img'; did you mean 'generate'\?" txt2img
wrong "no command 'trian'; did you mean 'train'\?" trian
wrong "no command 'xyz'$" xyz

config small.yaml
run 1 "$LECO" train small.yaml --set network.dim=4
says '^leco: --set network\.dim=4: network\.dim is not a known key; did you mean "rank"\?'
run 1 "$LECO" train small.yaml --set learning_rate=1e-4
says 'learning_rate is not a known key; did you mean "train\.lr"\?'
missing out
finish
