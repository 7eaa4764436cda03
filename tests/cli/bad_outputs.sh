#!/bin/bash
# Where nothing can be written: exit status 1, the path and the reason; and what was there stays as it was.
. "$(dirname "$0")/support.sh"
config small.yaml
echo 'kept' >file

fails() { # PATTERN ARGUMENT...
    local pattern=$1
    shift
    run 1 "$LECO" "$@"
    says "^leco: .*$pattern"
    silent stdout
}
generate=(generate -m "$model" -p 'a star' --steps 1)
fails 'file/star\.png.*(Not a directory|cannot)' "${generate[@]}" -o file/star.png
fails 'file/deeper/star\.png.*Not a directory' "${generate[@]}" -o file/deeper/star.png
fails '/proc/star\.png' "${generate[@]}" -o /proc/star.png
mkdir folder.png
fails 'folder\.png.*not a file' "${generate[@]}" -o folder.png
ln -s /dev/full full.png
fails 'full\.png.*not a file' "${generate[@]}" -o full.png
[ -c /dev/full ] || complain '/dev/full is gone'
fails 'file/out\.safetensors' run text-encoder -m "$model" -p 'a star' --out file/out.safetensors
fails '/dev/full.*not a file' run text-encoder -m "$model" -p 'a star' --out /dev/full
fails 'file/sheet\.png' grid -m "$model" -p 'a star' --steps 1 --lora "$lora" -o file/sheet.png

# Training finds out before it trains.
fails 'file' train small.yaml --set "save.path=$work/file/deeper"
fails '/proc' train small.yaml --set save.path=/proc/leco
fails 'file' train small.yaml --set "save.path=$work/file"
[ "$(cat file)" = kept ] || complain 'a file in the way was changed'

# A write that fails on the way (no file may grow beyond 16 KiB): the old file stays, nothing else is left.
mkdir old && echo 'the old one' >old/small.safetensors
run 1 bash -c 'ulimit -f 16; trap "" XFSZ; exec "$@"' limited "$LECO" train small.yaml --set "save.path=$work/old" --set network.rank=16
says '^leco: .*(File too large|cannot write)'
[ "$(cat old/small.safetensors)" = 'the old one' ] || complain 'the old file was damaged'
[ "$(find old -type f | wc -l)" = 1 ] || complain "left behind: $(find old -type f)"
run 1 bash -c "\"$LECO\" inspect \"$model\" >/dev/full"
says 'cannot write to standard output'
finish
