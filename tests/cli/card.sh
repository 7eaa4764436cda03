#!/bin/bash
# A card, emulated on the host: which precisions it has, by its kind, and which the processor hasn't; what is left where it
# is lost; what is said where its memory is too small, and where it can't be used.
. "$(dirname "$0")/support.sh"
card=${LECO_EMULATED:?the program with an emulated card}
export OMP_NUM_THREADS=1 SOURCE_DATE_EPOCH=1700000000
cat >small.yaml <<END
prompts:
  - {target: "a red circle", positive: red, neutral: "a circle", resolution: 16}
pretrained_model: {name_or_path: "$model"}
network: {rank: 2, include: [mid_block]}
train: {iterations: 3, max_denoising_steps: 2, lr: 1e-3, samples_per_trajectory: 2}
save: {name: small, path: "$work/out", per_steps: 0}
END
generate=(generate -m "$model" -p star --width 16 --height 16 --steps 1 -o star.png)

# Turing computes in float16, Ampere and later in bfloat16; where a config asks for what isn't there, another is taken.
run 0 "$card" train small.yaml --device cuda --dry-run
prints '\(bfloat16, cuda\)'
LECO_EMULATED_CAPABILITY=75 run 0 "$card" train small.yaml --device cuda --dry-run
prints '\(float16, cuda\)'
LECO_EMULATED_CAPABILITY=75 run 0 "$card" train small.yaml --device cuda --dry-run --set train.precision=bfloat16
prints '\(float16, cuda\)'
says 'train\.precision: device "cuda" can.t compute in bfloat16 on this machine; it has float32, float16; using float16'
run 0 "$card" train small.yaml --device cpu --dry-run --set train.precision=float16
says 'train\.precision: device "cpu" can.t compute in float16 .*; using (bfloat16|float32)'

# Who asks by an option gets that, or nothing.
run 1 "$card" "${generate[@]}" --device cpu --precision float16
says 'device "cpu" can.t compute in float16 on this machine; it has float32'
LECO_EMULATED_CAPABILITY=75 run 1 "$card" "${generate[@]}" --device cuda --precision bfloat16
says 'device "cuda" can.t compute in bfloat16 on this machine; it has float32, float16'
missing star.png

# The VAE, whose activations may be beyond float16, computes in float32.
run 0 "$card" "${generate[@]}" --device cuda --precision float16 --verbose
says 'the U-Net: [0-9]+ nodes in float16' 'the decoder: [0-9]+ nodes in float32'
is_png star.png

# A card that can't be used is passed over where nobody asked for it, with one line that says why.
export LECO_EMULATED_CUBLASLT=0
run 0 "$card" "${generate[@]}" --verbose
says '^warning: device "cuda" is not used: cuBLASLt is not installed$' 'device cpu: '
is_png star.png
run 0 "$card" train small.yaml --dry-run
[ "$(grep -c cuBLASLt stderr)" = 1 ] || complain "the warning doesn't come once"
run 1 "$card" "${generate[@]}" --device cuda
says 'device "cuda": cuBLASLt is not installed$'
run 0 "$card" "${generate[@]}" --device cpu
if grep -q cuBLASLt stderr; then complain "a card is asked for that nobody wants"; fi
unset LECO_EMULATED_CUBLASLT
rm star.png

# A card that is lost while it trains: status 1, what was trained is saved, and what is said then goes on from there.
train=(train small.yaml --device cuda)
run 0 "$card" "${train[@]}"
mv out/small.safetensors whole.safetensors
for ((call = 450; call < 3000; call += 40)); do
    LECO_EMULATED_FAILS_AT=$call "$card" "${train[@]}" >stdout 2>stderr && break
    [ -s stdout ] && break
done
LECO_EMULATED_FAILS_AT=$call run 1 "$card" "${train[@]}"
says 'an emulated card: computing: the card is lost; what was trained in [12] of 3 steps is saved as .*/out/small_00000[12]\.safetensors; --resume goes on from .*/out/small\.state\.safetensors$' \
    '^To go on from there: leco train small\.yaml --device cuda --resume$'
exists "$(cat stdout)" out/small.state.safetensors
run 0 "$card" "${train[@]}" --resume
same out/small.safetensors whole.safetensors
missing out/small.state.safetensors
LECO_EMULATED_FAILS_AT=9 run 1 "$card" "${train[@]}"
says 'the card is lost$'
silent stdout

# Where its memory is too small: what is missing, what is free, what was planned, and what helps.
LECO_EMULATED_MEMORY=200000 run 1 "$card" "${train[@]}"
says 'out of memory: could not allocate [0-9.]+ MiB of the device.s memory for .*, [0-9.]+ MiB of it are free.*planned to take .*MiB = weights .*--memory'
LECO_EMULATED_MEMORY=200000 run 1 "$card" "${generate[@]}" --device cuda
says 'out of memory: could not allocate [0-9.]+ MiB of the device.s memory for .*, [0-9.]+ MiB of it are free; smaller pictures and batches take less; this drawing was planned to take [0-9.]+ MiB = weights [0-9.]+ \+ activations [0-9.]+ \+ graphs [0-9.]+$'
LECO_EMULATED_MEMORY=200000 run 1 "$card" grid -m "$model" -p star --lora "$lora" --weights 0,1 --width 16 --height 16 --steps 1 -o star.png --device cuda
says 'MiB of it are free.*; this drawing was planned to take [0-9.]+ MiB = weights'
LECO_EMULATED_MEMORY=20000 run 1 "$card" run text-encoder -m "$model" -p star --out states.safetensors --device cuda
says 'MiB of it are free.*; a module was planned to take [0-9.]+ MiB = weights'
LECO_EMULATED_MEMORY=200000 run 1 "$card" bench -m "$model" --width 16 --height 16 --device cuda
says 'MiB of it are free.*; the U-Net was planned to take [0-9.]+ MiB = weights'
missing star.png states.safetensors
finish
