#!/bin/bash
# leco generate and leco grid, on a whole (if meaningless) model.
. "$(dirname "$0")/support.sh"
draw=("$LECO" generate -m "$model" --steps 3 --precision float32)

# One picture; the same again; another seed; another prompt.
run 0 "${draw[@]}" -p 'a red circle' --seed 5 -o a.png
prints '^a\.png$'
is_png a.png
run 0 "${draw[@]}" --prompt='a red circle' --seed=5 --output=b.png
same a.png b.png
run 0 "${draw[@]}" -p 'a red circle' --seed 6 -ob.png
differ a.png b.png
run 0 "${draw[@]}" -p 'a red circle' --seed 5 --rng cuda -o b.png
differ a.png b.png
run 0 "${draw[@]}" -p 'a red circle' --seed 5 --threads 1 -o b.png
run 0 "${draw[@]}" -p 'a red circle' --seed 5 -n blue -o b.png
differ a.png b.png
run 0 "${draw[@]}" -p '' -o empty.png
is_png empty.png

# Every scheduler, spacing and Karras' sigmas: each draws something else, and says so as A1111 does.
for scheduler in ddim ddpm lms euler euler_a dpmpp_2m dpmpp_2m_sde heun uni_pc; do
    run 0 "${draw[@]}" -p 'a red circle' --seed 5 --scheduler $scheduler -o $scheduler.png
    is_png $scheduler.png
    sha256sum <$scheduler.png >>pictures
    case $scheduler in
    dd*)
        run 1 "${draw[@]}" -p 'a red circle' --seed 5 --scheduler $scheduler --karras -o karras.png
        says "scheduler \"$scheduler\" steps on timesteps"
        missing karras.png
        ;;
    *)
        run 0 "${draw[@]}" -p 'a red circle' --seed 5 --scheduler $scheduler --karras -o $scheduler-karras.png
        sha256sum <$scheduler-karras.png >>pictures
        ;;
    esac
done
[ "$(sort -u pictures | wc -l)" -eq 16 ] || complain 'not 16 different pictures'
same a.png ddim.png
run 0 "$LECO" inspect dpmpp_2m_sde-karras.png
prints 'Sampler: DPM\+\+ 2M SDE Karras,'
run 0 "$LECO" inspect euler_a.png
prints 'Sampler: Euler a,'
run 0 "${draw[@]}" -p 'a red circle' --seed 5 --spacing leading -o b.png
same a.png b.png
run 0 "${draw[@]}" -p 'a red circle' --seed 5 --spacing trailing -o b.png
differ a.png b.png
run 1 "${draw[@]}" -p 'a red circle' --steps 1000 --scheduler dpmpp_2m --spacing linspace -o c.png
says '1000 denoising steps with "linspace" spacing visit timestep [0-9]+ twice'

# Several: their names, their seeds, and that computing them together or apart makes no difference to speak of.
run 0 "${draw[@]}" -p 'a red circle' -p 'a blue square' --count 2 --seed 4 --batch 3 -o many.png
exists many-1.png many-2.png many-3.png many-4.png
missing many.png
[ "$(cat stdout)" = "$(printf 'many-%d.png\n' 1 2 3 4)" ] || complain 'not the names of four pictures'
run 0 "$LECO" inspect many-2.png
prints 'a red circle' 'Seed: 5'

# What a picture says about itself.
run 0 "$LECO" inspect a.png
prints 'a red circle' 'Steps: 3' 'Seed: 5' 'CFG scale: 7.5'
run 0 "${draw[@]}" -p 'a star' --json -o a.png
prints '"file": "a\.png"' '"parameters": "a star'

# Sizes.
run 0 "${draw[@]}" -p 'a star' --width 48 --height 32 -o wide.png
[ "$(png_size wide.png)" = 48x32 ] || complain "wide.png is $(png_size wide.png)"

# LoRAs: at 0 nothing changes, at 1 and -1 something does; names may hold colons.
run 0 "${draw[@]}" -p 'a star' -o plain.png
run 0 "${draw[@]}" -p 'a star' --lora "$lora" -o one.png
run 0 "${draw[@]}" -p 'a star' --lora "$lora:1" -o also.png
run 0 "${draw[@]}" -p 'a star' --lora "$lora:-1" -o minus.png
differ plain.png one.png
differ one.png minus.png
cp "$lora" 'odd:name:7.safetensors'
run 0 "${draw[@]}" -p 'a star' --lora 'odd:name:7.safetensors:0.5' --lora "$fixtures/sd1-like/lora2.safetensors:-.4" -o two.png
differ one.png two.png

# Embeddings: the file's name in a prompt, with hashes in what is told; what isn't named changes nothing.
cp "$fixtures/sd1-like/embedding.safetensors" my-dot.safetensors
run 0 "${draw[@]}" -p 'a my-dot star' -o plain.png
run 0 "${draw[@]}" -p 'a my-dot star' --embedding my-dot.safetensors -o one.png
differ plain.png one.png
says 'stands for 3 vectors'
run 0 "${draw[@]}" -p 'a embedding:My-Dot star' --embedding my-dot.safetensors -o also.png
if grep -q 'taken literally' stderr; then complain 'a loaded embedding was called literal text'; fi
run 0 "$LECO" inspect also.png
prints 'TI hashes: "my-dot: [0-9a-f]{12}"'
run 0 "${draw[@]}" -p 'a star' -o plain.png
run 0 "${draw[@]}" -p 'a star' --embedding my-dot.safetensors -o one.png
same plain.png one.png
run 0 "${draw[@]}" -p 'a star' -n my-dot --embedding my-dot.safetensors -o one.png
differ plain.png one.png
run 1 "${draw[@]}" -p 'a star' --embedding "$lora" -o none.png
says 'this is a LoRA, which --lora loads'
run 0 "$LECO" inspect my-dot.safetensors
prints '^kind +embedding' 'vectors 3, width 24'

# From given noise.
run 0 "${draw[@]}" -p 'a star' --latents "$fixtures/sd1-like/generate.safetensors" --width 48 --height 32 -o latents.png
is_png latents.png

# Nobody watches: progress in plain lines; --quiet: nothing at all.
run 0 "${draw[@]}" -p 'a star' -o a.png
says '1/1'
run 0 "${draw[@]}" -p 'a star' -q -o a.png
silent stderr

# A sheet: two prompts down, three weights across.
run 0 "$LECO" grid -m "$model" --steps 2 -p 'a red circle' -p 'a blue square' --lora "$lora" --weights -1,0,1 -o sheet.png
prints '^sheet\.png$'
is_png sheet.png
run 0 "$LECO" grid -m "$model" --steps 2 -p 'a red circle' --lora "$lora" --weights=0 --json -o sheet.png
prints '"file": "sheet\.png"'
finish
