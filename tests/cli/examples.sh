#!/bin/bash
# Every example config: planned as it is, then trained for a few steps. What the whole of them is good for is in
# docs/article.md, measured by scripts/measure-article.
. "$(dirname "$0")/support.sh"
needs_shapes
cp -r "$SOURCE/examples" .
chmod -R u+w examples
ln -s "$SOURCE/models" models

# The pictures that two of them learn from, in fewer steps than people take.
printf '#!/bin/sh\nexec %s "$@" --steps 3\n' "$LECO" >hasty
chmod +x hasty
for what in hexagon sizes class; do LECO=$work/hasty run 0 examples/draw-photos "$what" "out/photos/$what" 2; done
exists out/photos/hexagon/{1,5}.png out/photos/hexagon/{1,5}.txt out/photos/class/{1,2}.png
exists out/photos/sizes/{1,8}/{small,large}/picture.png
is_png out/photos/class/2.png
run 2 examples/draw-photos nothing
says 'draw-photos hexagon'

names=()
for example in examples/*.yaml; do
    name=$(sed -n 's/^  name: //p' "$example")
    run 0 "$LECO" train "$example" --dry-run
    prints 'peak memory' "/$name\.safetensors"
    run 0 "$LECO" train "$example" -q --set train.iterations=3 --set train.max_denoising_steps=4 \
        --set train.samples_per_trajectory=3
    silent stderr
    exists "out/$name.safetensors"
    names+=("$name")
done
[ "${#names[@]}" -ge 16 ] || complain "only ${#names[@]} examples"
[ "$(printf '%s\n' "${names[@]}" | sort -u | wc -l)" = ${#names[@]} ] || complain 'two examples write the same file'

# Another word is one text; the classical way is two keys.
run 0 "$LECO" train examples/transplant.yaml -q --set train.iterations=1 --set save.name=gold \
    --set prompts.0.target='a {small|large} gold {circle|square|star} on a {white|black} background, flat style'
run 0 "$LECO" train examples/dreambooth.yaml -q --set train.iterations=1 --set save.name=classical --set preserve=null \
    --set images.regularisation='{path: ../out/photos/class, prompt: "a shape"}'

# What is made can be drawn with.
run 0 "$LECO" generate -m models/shapes --embedding out/mine.safetensors -p 'a mine' --steps 2 -q -o mine.png
run 0 "$LECO" generate -m models/shapes --embedding out/no-red.safetensors -p 'a star' -n 'no-red' --steps 2 -q -o star.png
run 0 "$LECO" generate -m models/shapes --lora out/distill.safetensors -p 'a star' --guidance-scale 1 --steps 2 -q -o one.png

# A teacher that is the model itself has nothing to teach.
run 0 "$LECO" train examples/transplant.yaml --json -q --set train.iterations=3 --set save.name=self \
    --set teachers.donor.name_or_path=../models/shapes --set prompts.0.trajectory=student --set preserve=null \
    --set train.precision=float32
prints '"first_loss": 0\.0,'
finish
