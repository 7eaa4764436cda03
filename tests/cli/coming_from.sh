#!/bin/bash
# The configs of other trainers, with the commands that their READMEs give (docs/coming-from.md).
. "$(dirname "$0")/support.sh"
cp -r "$model" small

trained() { # FILE-THAT-IS-WRITTEN ARGUMENT...
    local file=$1
    shift
    run 0 "$LECO" train "$@"
    exists "$file"
    [ "$(cat stdout)" = "$file" ] || complain "$(cat stdout) is printed, not $file"
}

# p1atdev's LECO: python ./train_lora.py --config_file "./examples/config.yaml"
mkdir examples
cat >examples/config.yaml <<'E'
prompts_file: "./examples/prompts.yaml"

pretrained_model:
  name_or_path: "./small" # you can also use .ckpt or .safetensors models
  v2: false # true if model is v2.x
  v_pred: false # true if model uses v-prediction

network:
  type: "lierla" # or "c3lier"
  rank: 4
  alpha: 1.0
  training_method: "full"

train:
  precision: "float16"
  noise_scheduler: "ddim" # or "ddpm", "lms", "euler_a"
  iterations: 4
  batch_size: 2
  lr: 1e-4
  optimizer: "AdamW"
  lr_scheduler: "constant"
  max_denoising_steps: 4

save:
  name: "van_gogh"
  path: "./output"
  per_steps: 200
  precision: "bfloat16"

logging:
  use_wandb: false
  verbose: false

other:
  use_xformers: true
E
cat >examples/prompts.yaml <<'E'
- target: "van gogh" # what word for erasing the positive concept from
  positive: "van gogh" # concept to erase
  unconditional: "" # word to take the difference from the positive concept
  neutral: "" # starting point for conditioning the target
  action: "erase" # erase or enhance
  guidance_scale: 1.0
  resolution: 32
  dynamic_resolution: true
  dynamic_crops: false
  batch_size: 2
E
trained output/van_gogh.safetensors --config_file ./examples/config.yaml
says 'train\.precision: device "cpu" can.t compute in float16'
trained output/van_gogh.safetensors --config_file=examples/config.yaml

# Sizes change from step to step, and a run that was stopped goes on with the same.
export SOURCE_DATE_EPOCH=1700000000
short() { run 0 "$LECO" train examples/config.yaml --threads 1 --set train.batch_size=1 "$@"; }
short --set save.path=whole
short --set save.path=half --set train.iterations=2 --set save.keep_state=true
short --set save.path=half --resume
same whole/van_gogh.safetensors half/van_gogh.safetensors

# Concept Sliders: python trainscripts/textsliders/train_lora.py --attributes 'male, female' --name 'ageslider' ...
sed -e 's/"float16"/"bfloat16"/' -e 's/dynamic_resolution: true/dynamic_resolution: false/' -i examples/*.yaml
trained output/ageslider.safetensors --attributes 'male, female' --name 'ageslider' --rank 3 --alpha 2 \
    --config_file 'examples/config.yaml'
run 0 "$LECO" inspect output/ageslider.safetensors
prints 'rank.* 3'
prints '{male\|female}'
cp examples/prompts.yaml other.yaml
sed -i 's/van gogh/monet/' other.yaml
trained output/van_gogh.safetensors examples/config.yaml --prompts_file other.yaml
run 0 "$LECO" inspect output/van_gogh.safetensors
prints monet
run 1 "$LECO" train examples/config.yaml --rank many
says 'network\.rank: expected a whole number, found "many"'

# laksjdjf's leco.py: negative, and erasing by a guidance_scale below 0.
echo '- {target: "van gogh", negative: "a photo", guidance_scale: -1, resolution: 32}' >other.yaml
trained output/van_gogh.safetensors examples/config.yaml --prompts_file other.yaml
run 0 "$LECO" inspect output/van_gogh.safetensors
prints enhance
echo '- {target: "van gogh", guidance_scale: -2, resolution: 32}' >other.yaml
trained output/van_gogh.safetensors examples/config.yaml --prompts_file other.yaml
says 'other\.yaml:1: erase, .* is enhance; to erase write 2'

# Beside an entry with negative, one without it is laksjdjf's, too.
cat >other.yaml <<'E'
- {target: "van gogh", negative: "a photo", guidance_scale: -1, resolution: 32}
- &monet {target: "monet", guidance_scale: -1, resolution: 32}
- {<<: *monet, target: "picasso"}
E
trained output/van_gogh.safetensors examples/config.yaml --prompts_file other.yaml
run 0 "$LECO" inspect output/van_gogh.safetensors
prints picasso enhance
if grep -q erase stdout; then complain "an entry without negative erases"; fi

# sd-scripts: prompts in TOML.
cat >slider.toml <<'E'
guidance_scale = 2.0
resolution = 32

[[targets]]
target_class = "person"
positive = "smiling person"
negative = "sad person"
neutral_prompt_file = "neutral.txt"
E
printf 'a photo\na painting\n' >neutral.txt
trained output/van_gogh.safetensors examples/config.yaml --prompts_file slider.toml
run 0 "$LECO" inspect output/van_gogh.safetensors
prints '{a photo\|a painting}'
prints 'smiling person'
cat >prompts.toml <<'E'
[[prompts]]
target = "van gogh"
resolution = [32, 48]
E
trained output/van_gogh.safetensors examples/config.yaml --prompts_file prompts.toml
printf '[[prompts]]\ntarget = "van gogh\n' >prompts.toml
run 1 "$LECO" train examples/config.yaml --prompts_file prompts.toml
says 'prompts\.toml:2: not valid TOML'

# Prompts that a language model wrote for Concept Sliders, with keys that it doesn't read; and NovelAI's braces.
printf -- '- target: "{masterpiece} person"\n  neutral: "person"\n  guidance: 2\n  rank: 4\n  resolution: 32\n' >gpt.yaml
trained output/van_gogh.safetensors examples/config.yaml --prompts_file gpt.yaml
says '^gpt\.yaml:3: guidance and rank of an entry are left out, as Concept Sliders does'
says '^warning: gpt\.yaml:1: prompts\.target: \{masterpiece\} is a choice of one'
printf -- '- target: [person]\n  neutral: [a man]\n  resolution: 32\n' >one.yaml # lists of one text, which has no braces
trained output/van_gogh.safetensors examples/config.yaml --prompts_file one.yaml
grep -q 'choice of one' stderr && complain 'a list of one text is warned of'
run 2 "$LECO" train --network_module networks.lora --pretrained_model_nam x
says 'what other trainers. options are here says docs/coming-from\.md'

# A size that leaves no other.
sed -i 's/resolution: 32/resolution: 8/; s/dynamic_resolution: false/dynamic_resolution: true/' examples/prompts.yaml
run 1 "$LECO" train examples/config.yaml
says 'prompts\.yaml:1: dynamic_resolution: 8x8 pixels leave no'
finish
