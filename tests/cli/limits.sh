#!/bin/bash
# Too little memory, by ulimit -v: whatever the limit, a command either does its work or ends with status 1 and one
# sentence. Below about 50 MB, or more where it has kernels for cards, not even the libraries load, which is for ld.so to say.
. "$(dirname "$0")/support.sh"
config small.yaml
ended=0 # runs that the limit ended

within() { # LIMIT-IN-KB ARGUMENT...
    local limit=$1
    shift
    checks=$((checks + 1))
    rm -rf out result.*
    (ulimit -c 0 -v "$limit" && exec "$LECO" "$@") >stdout 2>stderr </dev/null
    status=$?
    case $status in
    0) ;;
    1)
        ended=$((ended + 1))
        [ "$(grep -c '^leco: ' stderr)" = 1 ] || complain "no sentence within $limit kB: $*"
        says 'memory'
        missing result.*
        ;;
    *) complain "exit status $status within $limit kB: $*" ;;
    esac
    [ -z "$(find . -name '.leco-*')" ] || complain "a temporary file is left within $limit kB: $*"
}
# With a card's kernels in it the program itself takes more.
least=50
until (ulimit -v "${least}000" && exec "$LECO" --version) >/dev/null 2>&1; do least=$((least + 2)); done
more=$((least - 50))
for limit in 60 80 130 240; do
    within "$((limit + more))000" train small.yaml --set train.iterations=1
    within "$((limit + more - 5))000" generate -m "$model" -p 'a star' --steps 1 -o result.png
done
for limit in 55 75; do within "$((limit + more))000" run text-encoder -m "$model" -p 'a star' --out result.safetensors; done
within 160000 bench -m "$model" --width 32 --height 32 --precision float32
[ "$ended" -ge 5 ] || complain "only $ended runs had too little memory"

# More threads than there is room for.
run 1 bash -c 'ulimit -v 2000000; exec "$@"' limited "$LECO" generate -m "$model" -p 'a star' --steps 1 --threads 1000 -o result.png
says '^leco: .*could not start [0-9]+ threads: .*fewer'
missing result.png
finish
