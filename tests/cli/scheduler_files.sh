#!/bin/bash
# Folders that were saved with another scheduler: the noise in scheduler_config.json counts, what it asks of a sampler
# stops nothing and is told of where something is drawn, once.
. "$(dirname "$0")/support.sh"
cases=$fixtures/sd1-like

# saved NAME SED-SCRIPT: the model, its scheduler_config.json edited; in a folder NAME, so that pictures say the same.
saved() {
    mkdir -p "$1"
    copy_model "$1/model"
    sed -i "$2" "$1/model/scheduler/scheduler_config.json"
}
warnings() { # COUNT
    [ "$(grep -c '^warning: ' stderr)" -eq "$1" ] || complain "not $1 warnings"
}
draw() { run 0 "$LECO" generate -m "$1/model" -p 'a star' -p 'a circle' --batch 1 --steps 2 --seed 3 --precision float32 -o "$1.png"; }

# Everything else works, and says nothing of it.
others() {
    run 0 "$LECO" run text-encoder -m "$1/model" -p 'a star' --out "$1.safetensors"
    warnings 0
    run 0 "$LECO" run unet -m "$1/model" --in "$cases/lora_cases.safetensors" --out "$1.safetensors"
    warnings 0
    run 0 "$LECO" inspect "$1/model"
    warnings 0
    model=$PWD/$1/model config "$1.yaml"
    run 0 "$LECO" train "$1.yaml" --set train.iterations=1 --set "save.path=$work/$1-out"
    warnings 0
    exists "$1-out/small.safetensors"
    grep -o 'loss .* at last' stderr >"$1.loss"
}

saved plain ''
draw plain
warnings 0
others plain

# As diffusers saves DPM++ 2M: -Infinity is no number of JSON's.
saved infinity 's/PNDMScheduler/DPMSolverMultistepScheduler/; s/"num_train/"lambda_min_clipped": -Infinity,\n  &/'
saved linspace 's/PNDMScheduler/EulerDiscreteScheduler/; s/"leading"/"linspace"/'
saved trailing 's/"leading"/"trailing"/'
for name in infinity linspace trailing; do
    draw $name
    if [ $name = infinity ]; then
        warnings 0
    else
        warnings 1
        says "^warning: $name/model/scheduler/scheduler_config\.json: key \"timestep_spacing\": \"$name\""
    fi
    same plain-1.png $name-1.png
    same plain-2.png $name-2.png
    others $name
    same plain.loss $name.loss
done
run 0 "$LECO" grid -m linspace/model -p 'a star' -p 'a circle' --lora "$lora" --weights 0,1 --steps 1 -o grid.png
warnings 1

# Clipping is turned off by diffusers' pipeline, too.
saved clipped 's/"num_train/"clip_sample": true,\n  &/'
draw clipped
warnings 1
says 'key "clip_sample": true'
same plain-1.png clipped-1.png
others clipped
exists plain.loss

# A number that no machine holds spoils no other one.
saved huge 's/"num_train/"thresholding_limit": 1e400,\n  "sample_limit": 1000000000000000000000000000000,\n  &/'
run 0 "$LECO" inspect huge/model
saved huge 's/"steps_offset": [^,]*/"steps_offset": 1000000000000000000000000000000/'
run 1 "$LECO" inspect huge/model
says 'scheduler_config\.json: key "steps_offset": expected a whole number .*, found 1000000000000000000000000000000$'

# Where leco needs the number, it says what stands there.
saved broken 's/"beta_start": [^,]*/"beta_start": NaN/'
run 1 "$LECO" inspect broken/model
says 'scheduler_config\.json: key "beta_start": expected a number, found NaN'
saved broken 's/"beta_start": [^,]*/"beta_start": 1.4142/'
run 1 "$LECO" inspect broken/model
says 'scheduler_config\.json: keys "beta_start" and "beta_end".* 1\.4142 and 0\.012'
finish
