#!/bin/bash
# leco merge and leco extract: what can't be joined, taken or written is refused in one sentence, and nothing is written.
. "$(dirname "$0")/support.sh"
other=$fixtures/sd2-like
text=$model/lora_text.safetensors loha=$model/loha.safetensors
copy_model base # without the fixture's other files, which would be taken for checkpoints
rm -f base/*.safetensors

wrong() { # PATTERN ARGUMENT...: wrong usage
    local pattern=$1
    shift
    run 2 "$LECO" "$@"
    says "$pattern" "--help' tells more"
    silent stdout
}
fails() { # PATTERN ARGUMENT...
    local pattern=$1
    shift
    run 1 "$LECO" "$@" -q
    says "^leco: .*$pattern"
    [ "$(wc -l <stderr)" = 1 ] || complain 'not one sentence'
    silent stdout
    missing out.safetensors out
    [ -z "$(find . -name '.leco-*')" ] || complain "left behind: $(find . -name '.leco-*')"
}

# ---- what would replace a model's own weights ----
own=base/unet/diffusion_pytorch_model.safetensors
before=$(cksum <"$own")
fails "lies in the model's own folder" extract base "$model" --rank 2 -o "$own"
fails "lies in the model's own folder" extract "$model" base --rank 2 -o "$own"
fails "lies in the model's own folder" merge -m base "$lora" -o "$own"
config small.yaml
fails "lies in the model's own folder" train small.yaml --set pretrained_model=base --set save.path=base/unet --set save.name=diffusion_pytorch_model
[ "$(cksum <"$own")" = "$before" ] || complain "a model's weights were replaced"

# ---- usage ----
wrong 'a FILE is missing' merge -o out.safetensors
wrong 'where to\? Give -o FILE.safetensors' merge "$lora"
wrong 'where to\? Give -o FOLDER' merge "$lora" --into base
wrong 'call it something.safetensors' merge "$lora" -o out.ckpt
wrong 'the weight must be a number' merge "$lora:nan" -o out.safetensors
wrong 'the weight must be a number' merge "$lora:1e9" -o out.safetensors
wrong '--rank 0 is out of range' merge "$lora" --rank 0 -o out.safetensors
wrong '--rank is for a LoRA' merge "$lora" --rank 4 --into base -o out
wrong '--precision is for a LoRA' merge "$lora" --precision float32 --into base -o out
wrong 'leave --model out' merge "$lora" -m base --into base -o out
wrong "--precision takes one of float16, float32, bfloat16, not 'fp8'" merge "$lora" --precision fp8 -o out.safetensors
wrong 'it takes 2: MODEL; only 0 are given' extract --rank 4 -o out.safetensors
wrong 'it takes 2: MODEL; only 1 is given' extract base --rank 4 -o out.safetensors
wrong "it takes 2: MODEL; what is 'c' for" extract base b c --rank 4 -o out.safetensors
wrong 'Give --rank N' extract base base -o out.safetensors
wrong 'Give -o FILE' extract base base --rank 4
wrong "--part takes one of unet, text-encoder, both, not 'vae'" extract base base --rank 4 --part vae -o out.safetensors

# ---- LoRAs that can't be joined ----
fails 'nowhere\.safetensors.*No such file' merge "$lora" nowhere.safetensors -o out.safetensors
echo 'not a file of tensors' >text.safetensors
fails 'text\.safetensors' merge text.safetensors "$lora" -o out.safetensors
fails 'embedding\.safetensors.*"emb_params" is a textual-inversion embedding, not a LoRA' merge "$lora" "$model/embedding.safetensors" -o out.safetensors
fails 'unet.*safetensors.*not a LoRA with the keys of kohya' merge "$lora" "$model/unet/diffusion_pytorch_model.safetensors" -o out.safetensors
fails 'sd2-like/lora\.safetensors: this LoRA is for another model.* has shape' merge "$lora" "$other/lora.safetensors" -o out.safetensors
fails 'this LoRA is for another model' merge "$lora" "$other/lora.safetensors" -m base -o out.safetensors --rank 2
fails 'this LoRA is for another model' merge "$other/lora.safetensors" --into base -o out
fails 'loha\.safetensors.*part of no plain LoRA.*-m MODEL.*--rank N' merge "$lora" "$loha" -o out.safetensors
fails 'loha\.safetensors: holds a loha.*--rank' merge "$lora" "$loha" -m base -o out.safetensors
run 0 "$LECO" merge "$lora" --rank 99 -o whole/lora.safetensors
says '^a rank of 99 is above what there is, 4 at most in any layer: nothing is left out$'
rm -r whole
fails 'the weights add up to 0' merge "$lora:0" "$text:0" -o out.safetensors
fails 'the weights add up to 0' merge "$lora:0" --into base -o out
fails 'the weights add up to 0' merge "$lora" "$text:0.5" "$lora:-1" "$text:-0.5" -o out.safetensors
one() { printf '"%s":{"dtype":"%s","shape":%s,"data_offsets":[%s]}' "$@"; } # NAME DTYPE SHAPE FROM,TO
key=lora_unet_mid_block_attentions_0_proj_in
safetensors half.safetensors "{$(one $key.lora_up.weight F32 '[24,2]' 0,192)}" 192
fails "tensor \"$key\.lora_down\.weight\" is missing" merge half.safetensors "$lora" -o out.safetensors
safetensors none.safetensors "{$(one $key.lora_down.weight F32 '[2,0]' 0,0),$(one $key.lora_up.weight F32 '[24,2]' 0,192)}" 192
fails 'none\.safetensors' merge none.safetensors -o out.safetensors
safetensors flat.safetensors "{$(one $key.lora_down.weight F32 '[8]' 0,32),$(one $key.lora_up.weight F32 '[24,2]' 32,224)}" 224
fails 'flat\.safetensors' merge flat.safetensors -o out.safetensors
safetensors wide.safetensors "{$(one $key.lora_down.weight F32 '[2,24,5,5]' 0,4800),$(one $key.lora_up.weight F32 '[24,2,1,1]' 4800,4992)}" 4992
fails 'wide\.safetensors' merge wide.safetensors -o out.safetensors
safetensors second.safetensors "{$(one lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha F32 '[]' 0,4)}" 4
fails 'second\.safetensors.*second text encoder' merge second.safetensors -o out.safetensors
safetensors sgm.safetensors "{$(one lora_unet_input_blocks_1_0_strange.alpha F32 '[]' 0,4)}" 4
fails 'sgm\.safetensors.*block names of original checkpoints' merge sgm.safetensors -o out.safetensors
safetensors v1.safetensors "{\"__metadata__\":{\"ss_base_model_version\":\"sd_v1\"},$(one $key.lora_down.weight F32 '[2,24]' 0,192),$(one $key.lora_up.weight F32 '[24,2]' 192,384)}" 384
safetensors v2.safetensors "{\"__metadata__\":{\"ss_base_model_version\":\"sd_v2\"},$(one $key.lora_down.weight F32 '[2,24]' 0,192),$(one $key.lora_up.weight F32 '[24,2]' 192,384)}" 384
fails 'v1\.safetensors and v2\.safetensors are for different models.*sd_v1 and sd_v2' merge v1.safetensors v2.safetensors -o out.safetensors
cp "$lora" nan.safetensors
overwrite nan.safetensors -4 '\0\0\0300\0177'
fails 'nan\.safetensors.*not a finite number' merge nan.safetensors "$lora" -o out.safetensors
cp "$lora" large.safetensors
overwrite large.safetensors -4 '\0\0044\0164\0111' # 1e6
fails 'out\.safetensors: not written: tensor ".*" has a value that is not a finite float16' merge large.safetensors -o out.safetensors
run 0 "$LECO" merge large.safetensors -o fine.safetensors --precision float32
cp "$lora" in.safetensors
cp in.safetensors kept
ln in.safetensors linked.safetensors
for name in in linked ./in; do
    run 1 "$LECO" merge in.safetensors "$text" -o "$name.safetensors"
    says "$name\.safetensors: is one of the inputs"
    same in.safetensors kept
done

# ---- models that can't be written, or compared ----
fails 'out\.safetensors: the copy of a model.s folder is a folder' merge "$lora" --into base -o out.safetensors
fails 'nowhere.*there is no such file' merge "$lora" --into nowhere -o out
fails 'nowhere/out.*No such file' merge "$lora" --into base -o nowhere/out
mkdir full && echo kept >full/file
fails 'full: cannot write: there is a folder with something in it' merge "$lora" --into base -o full
[ "$(cat full/file)" = kept ] || complain 'a file in the way was changed'
fails 'full/file: cannot write: is there already, and not a folder' merge "$lora" --into base -o full/file
fails 'lies in the model.s own folder' merge "$lora" --into base -o base/out
fails 'lies in the model.s own folder' merge "$lora" --into base -o base
ln -s base alias
fails 'lies in the model.s own folder' merge "$lora" --into base -o alias/out
mkfifo base/pipe
fails 'base/pipe: is special' merge "$lora" --into base -o out
rm base/pipe
if [ -e "$SOURCE/models/shapes/unet/diffusion_pytorch_model.safetensors" ]; then
    fails 'are models of different shapes.*layer' extract base "$SOURCE/models/shapes" --rank 4 -o out.safetensors
fi
fails 'don.t differ in what a LoRA can hold' extract base base --rank 4 -o out.safetensors
fails 'a rank of 5000 is above what there is' extract base base --rank 5000 -o out.safetensors
fails 'nowhere.*there is no such file' extract base nowhere --rank 4 -o out.safetensors
fails 'lora\.safetensors.*this is a LoRA' extract base "$lora" --rank 4 -o out.safetensors
mkdir taken.safetensors
fails 'taken\.safetensors.*not a file' extract base base --rank 4 -o taken.safetensors

# A write that fails on the way (no file may grow beyond 16 KiB).
# shellcheck disable=SC2317 # run calls it
limited() { bash -c 'ulimit -f 16; trap "" XFSZ; exec "$@"' limited "$@"; }
run 1 limited "$LECO" merge "$lora" "$text" "$model/lora_c3lier.safetensors" -o out.safetensors
says '^leco: .*(File too large|cannot write)'
run 1 limited "$LECO" merge "$lora" --into base -o out
says '^leco: .*(File too large|cannot write)'
missing out out.safetensors
[ -z "$(find . -name '.leco-*')" ] || complain "left behind: $(find . -name '.leco-*')"

# ---- and what works, where it comes close ----
mkdir out
run 0 "$LECO" merge "$lora:-1" "$text:0" --into base -o out # an empty folder makes way
exists out/model_index.json out/unet/diffusion_pytorch_model.safetensors
same out/text_encoder/model.safetensors base/text_encoder/model.safetensors
prints '^out$' '^U-Net: 84 layers changed$'
touch out/old.ckpt out/unet/diffusion_pytorch_model.bin out/vae/kept.bin
run 0 "$LECO" merge "$lora" --into out -o again
says 'warning: out/old\.ckpt and 1 more files are not copied'
missing again/old.ckpt again/unet/diffusion_pytorch_model.bin
[ -e again/vae/kept.bin ] || complain 'a file of a part that stays was not copied'
finish
