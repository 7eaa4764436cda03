#!/bin/bash
# In an environment whose numbers have a comma, the commands read and write them with a point as ever.
. "$(dirname "$0")/support.sh"
mkdir comma # a locale of glibc: C.UTF-8's LC_NUMERIC with a comma in place of the point
printf '\x14\x11\x03\x20\x06\0\0\0\x20\0\0\0\x22\0\0\0\x23\0\0\0\x24\0\0\0\x28\0\0\0\x2c\0\0\0,\0\0\0,\0\0\0\0\0\0\0UTF-8\0' >comma/LC_NUMERIC
comma=(env "LOCPATH=$work" LC_NUMERIC=comma)
if [ "$("${comma[@]}" printf '%.1f' 1,5)" != 1,5 ]; then
    echo 'this C library takes no locale from LOCPATH'
    exit 77
fi

draw=("$LECO" generate -m "$model" --lora "$lora:0.5" -p 'a red circle' --steps 1 --guidance-scale 1.5 --precision float32)
run 0 "${draw[@]}" -o plain.png
run 0 "${comma[@]}" "${draw[@]}" -o comma.png
same plain.png comma.png
run 0 "${comma[@]}" "$LECO" inspect comma.png
prints '<lora:lora:0\.5>' 'CFG scale: 1\.5,'
run 2 "${comma[@]}" "${draw[@]}" --guidance-scale 1,5
says "not '1,5'"

config small.yaml
run 0 "${comma[@]}" "$LECO" train small.yaml --dry-run --set network.alpha=0.5
prints 'alpha 0\.5' 'lr 0\.001' 'peak memory: [0-9]+\.[0-9] MiB'
finish
