#!/bin/bash
# Folders that were saved with another scheduler: the noise in scheduler_config.json counts, and its spacing where
# something is drawn. What else it asks of a sampler stops nothing and is told of where something is drawn, once.
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
draw() { # NAME OPTION...
    local name=$1
    shift
    run 0 "$LECO" generate -m "$name/model" -p 'a star' -p 'a circle' --batch 1 --steps 2 --seed 3 --precision float32 -o "$name.png" "$@"
}

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
draw infinity
warnings 0
same plain-1.png infinity-1.png
same plain-2.png infinity-2.png
others infinity
same plain.loss infinity.loss
for name in linspace trailing; do
    draw $name
    warnings 0
    mv $name-1.png as-$name.png
    differ plain-1.png as-$name.png
    draw plain --spacing $name
    same plain-1.png as-$name.png
    draw plain
    draw $name --spacing leading # training's default, too
    same plain-1.png $name-1.png
    same plain-2.png $name-2.png
    others $name
    same plain.loss $name.loss
done

# Clipping is turned off by diffusers' pipeline, too.
saved clipped 's/"num_train/"clip_sample": true,\n  &/'
draw clipped
warnings 1
says 'key "clip_sample": true'
same plain-1.png clipped-1.png
others clipped
exists plain.loss

# Zero terminal SNR: for models that predict v; drawn with trailing spacing, whose first timestep is nothing but noise.
saved zero 's/"num_train/"rescale_betas_zero_snr": true,\n  &/'
run 1 "$LECO" inspect zero/model
says 'scheduler_config\.json: key "rescale_betas_zero_snr": true .*expected "prediction_type": "v_prediction"$'
saved zero 's/"num_train/"rescale_betas_zero_snr": true,\n  &/; s/"epsilon"/"v_prediction"/; s/"leading"/"trailing"/'
for scheduler in ddim ddpm lms euler euler_a dpmpp_2m dpmpp_2m_sde heun uni_pc; do
    draw zero --scheduler $scheduler
    warnings 0
    is_png zero-2.png
done
model=$PWD/zero/model config zero.yaml
run 0 "$LECO" train zero.yaml --set train.iterations=4 --set train.timestep_spacing=trailing --set "save.path=$work/zero-out" \
    --set train.samples_per_trajectory=2
exists zero-out/small.safetensors
says 'loss [0-9.]+ at first, [0-9.]+ at last'

# StableDiffusionPipeline takes a steps_offset of 1, whatever the folder says; and so are pictures drawn.
saved offset 's/"steps_offset": [^,]*/"steps_offset": 5/'
draw offset
warnings 0
same plain-1.png offset-1.png
saved offset '/"steps_offset"/d'
draw offset
same plain-1.png offset-1.png

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
