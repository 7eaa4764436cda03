#!/bin/bash
# scripts/check-gpu with programs that stand in for a build on a machine with a card: its table, its deadline, its status.
. "$(dirname "$0")/support.sh"

check=$SOURCE/scripts/check-gpu
mkdir build
program() { # NAME: reads what it does
    { echo '#!/bin/bash'; cat; } >"build/$1"
    chmod +x "build/$1"
}
for name in op_cpu_ops parity_{unet,curve,lora,vae,text_encoder,modes,text_training} unit_recompute; do
    echo true | program "$name"
done
program leco <<'END'
case $* in
train*) echo the same >"$(sed 's/.*save\.path=//' <<<"$*")/erase_red.safetensors" ;;
bench*) printf '%s\n' "U-Net of $3 on a stand-in" 'matrix rate 1 TFLOP/s' 'a line' 'forward, batch 2' ;;
esac
END

run 0 "$check" --build "$PWD/build"
prints '^passed .*op_cpu_ops$' '^passed .*a training of 96 steps in float16, 2$' '^passed .*both gave the same bits$' \
    '^U-Net of sdxl on a stand-in$'
[ "$(grep -n '====' stdout | cut -d: -f1)" -lt "$(grep -n 'passed .*op_cpu_ops' stdout | tail -n 1 | cut -d: -f1)" ] ||
    complain 'the table is not last'
if grep -q 'FAILED\|left out' stdout; then complain 'nothing fails, and there is time'; fi

# What fails is shown, and the rest done all the same.
echo 'echo "LINE: Failure!"; exit 1' | program parity_vae
run 1 "$check" --build "$PWD/build"
prints '^FAILED .*parity_vae$' '^LINE: Failure!$' '^passed .*parity_modes$'
echo true | program parity_vae

# A card on which bfloat16 isn't to be had; two trainings of which one differs.
program leco <<'END'
case $* in
*--precision\ bfloat16*) echo 'it has float32, float16' >&2; exit 1 ;;
train*) echo $RANDOM$RANDOM >"$(sed 's/.*save\.path=//' <<<"$*")/erase_red.safetensors" ;;
esac
END
run 1 "$check" --build "$PWD/build"
prints '^none .*this card has no bfloat16$' '^FAILED .*both gave the same bits$'
if grep -q 'in bfloat16' stdout; then complain 'a precision is tried that the card lacks'; fi

# The deadline stops what runs, and leaves out what comes after it.
echo 'exec sleep 60' | program parity_unet
began=$SECONDS
run 3 "$check" --build "$PWD/build" --minutes 0.1
[ $((SECONDS - began)) -lt 30 ] || complain 'it goes on behind its deadline'
prints '^passed .*op_cpu_ops$' '^left out .*parity_unet$' '^left out .*a training of 96 steps in float32, 1$' \
    '^left out .*leco bench --preset sd15$'
if grep -q FAILED stdout; then complain 'what is left out has not failed'; fi
run 2 "$check" --minutes soon
says 'soon is no number'
run 2 "$check" --build
says 'wants a value'
finish
