#!/bin/bash
# What OpenMP's environment gives must be what is computed with: fewer threads than asked for once drew garbage, with
# exit status 0. And the same config gives the same file.
. "$(dirname "$0")/support.sh"
unset OMP_NUM_THREADS OMP_THREAD_LIMIT OMP_DYNAMIC OMP_NESTED OMP_MAX_ACTIVE_LEVELS OMP_PROC_BIND OMP_PLACES
export SOURCE_DATE_EPOCH=1700000000
config train.yaml

# compute NAME ARGUMENTS... [VARIABLE=VALUE...]: a picture, text states and an adapter as NAME.*
compute() {
    local name=$1 arguments=() settings=() word
    shift
    for word; do
        if [[ $word == *=* ]]; then settings+=("$word"); else arguments+=("$word"); fi
    done
    run 0 env "${settings[@]}" "$LECO" generate -m "$model" -p 'a red circle' --steps 2 --precision float32 \
        --width 64 --height 64 -q "${arguments[@]}" -o picture.png
    mv picture.png "$name.png"
    run 0 env "${settings[@]}" "$LECO" run text-encoder -m "$model" -p 'a red circle' --precision float32 \
        "${arguments[@]}" --out states.safetensors
    mv states.safetensors "$name.states"
    run 0 env "${settings[@]}" "$LECO" train train.yaml -q "${arguments[@]}"
    mv out/small.safetensors "$name.lora"
}
like() { # NAME REFERENCE
    same "$1.png" "$2.png"
    same "$1.states" "$2.states"
    same "$1.lora" "$2.lora"
}

for threads in 1 2 3; do compute "$threads" --threads "$threads"; done

compute x OMP_THREAD_LIMIT=1
like x 1
compute x OMP_NUM_THREADS=1
like x 1
compute x OMP_MAX_ACTIVE_LEVELS=0
like x 1
compute x OMP_NUM_THREADS=3,2
like x 3
compute x --threads 3 OMP_THREAD_LIMIT=2
like x 2
says 'warning: 2 threads instead of 3'
compute x --threads 2 OMP_THREAD_LIMIT=2
like x 2
silent stderr
compute x --threads 3 OMP_NESTED=true OMP_NUM_THREADS=2
like x 3
compute x --threads 3 OMP_PROC_BIND=true
like x 3

# With OMP_DYNAMIC a team shrinks on a machine that is busy, or has fewer processors than were asked for.
cpu=$(taskset -cp $$ | sed 's/.*: *\([0-9]*\).*/\1/')
for word in 1 2; do
    compute x --threads 3 OMP_DYNAMIC=true
    like x 3
done
run 0 taskset -c "$cpu" env OMP_DYNAMIC=true "$LECO" train train.yaml -q --threads 3
same out/small.safetensors 3.lora

# leco starts itself anew unless OMP_WAIT_POLICY is set: it must not take the first of OpenMP's places for all there are.
threads_of() { # VARIABLE=VALUE: how many threads leco computes with by default
    run 0 env -u OMP_WAIT_POLICY -u GOMP_SPINCOUNT "$1" "$LECO" run text-encoder -m "$model" -p x --out x.states -v
    sed -n 's/.*computing with \([0-9]*\) thread.*/\1/p' stderr
}
cores=$(threads_of OMP_DYNAMIC=false)
[ "${cores:-0}" -ge 1 ] || complain "leco does not tell with how many threads it computes"
for setting in OMP_PROC_BIND=true OMP_PLACES=threads; do
    bound=$(threads_of "$setting")
    [ "$bound" = "$cores" ] || complain "$setting: $bound threads instead of $cores"
done

# The date of a file.
grep -q '"modelspec.date":"2023-11-14T22:13:20Z"' 1.lora || complain 'the date is not that of SOURCE_DATE_EPOCH'
rm -f out/small.safetensors
for bad in '' ' ' yesterday 1e9 -1 17.5 '1 ' 253402300800 99999999999999999999999; do
    run 1 env SOURCE_DATE_EPOCH="$bad" "$LECO" train train.yaml -q
    says '^leco: .*SOURCE_DATE_EPOCH is "'"$bad"'": expected the seconds since 1970'
    missing out/small.safetensors
done
run 0 env SOURCE_DATE_EPOCH=253402300799 "$LECO" train train.yaml -q
grep -q '"modelspec.date":"9999-12-31T23:59:59Z"' out/small.safetensors || complain 'the last date there is'
run 0 env -u SOURCE_DATE_EPOCH "$LECO" train train.yaml -q
grep -q "\"modelspec.date\":\"$(date -u +%Y-)" out/small.safetensors || complain 'today is not in the file'
finish
