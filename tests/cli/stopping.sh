#!/bin/bash
# What isn't Ctrl-C: a connection that is lost, a reader that goes away, a terminal that takes nothing any more. None of
# them may cost what was trained.
. "$(dirname "$0")/support.sh"
set -m # each in a process group of its own, with its signals as a person's shell leaves them
config small.yaml
long=(train small.yaml --set train.iterations=100000 --set train.max_denoising_steps=2)

# started FILE: waits until training writes there, at most half a minute.
started() {
    local i
    for ((i = 0; i < 300; i++)); do
        if compgen -G "$1" >/dev/null; then return; fi
        sleep 0.1
    done
    complain "nothing was written to $1"
}
# ended PID: its exit status in $status; killed after half a minute.
ended() {
    local i
    for ((i = 0; i < 300; i++)); do kill -0 "$1" 2>/dev/null && sleep 0.1; done
    kill -KILL "$1" 2>/dev/null && complain 'still running half a minute after the signal'
    wait "$1"
    status=$?
    checks=$((checks + 1))
}

# A lost connection, told twice as shells and the system do it: the step is finished and saved, and the JSON is valid
# although no last tenth was trained.
"$LECO" "${long[@]}" --set save.per_steps=5 --json >stdout 2>stderr </dev/null &
pid=$!
started out/small_000005.safetensors
kill -HUP "$pid"
kill -HUP "$pid" 2>/dev/null
ended "$pid"
[ "$status" = 130 ] || complain "exit status $status after a lost connection, not 130"
prints '"file": ".*/out/small_[0-9]+\.safetensors"' '"last_loss": null' '"first_loss": [0-9.e-]+' '^}$'
says 'stopped after [0-9]+ of 100000 steps' '^The connection is lost\. Stopping after this step, and saving\.$'
grep -q 'Ctrl-C' stderr && complain 'nobody pressed Ctrl-C'
grep -qi 'nan' stdout stderr && complain 'a number that is none is shown'
saved=$(sed -n 's/.*"file": "\(.*\)",/\1/p' stdout)
exists "$saved"
run 0 "$LECO" inspect "$saved"
rm -r out

# SIGTERM; and where it is sent twice, nothing is waited for.
"$LECO" "${long[@]}" --set save.per_steps=5 >stdout 2>stderr </dev/null &
pid=$!
started out/small_000005.safetensors
kill -TERM "$pid"
ended "$pid"
[ "$status" = 130 ] || complain "exit status $status after SIGTERM, not 130"
says 'Stopping after this step, and saving\. A second SIGTERM ends at once'
exists "$(cat stdout)"
grep -qi 'nan' stderr && complain 'a loss that is none is shown'
rm -r out

# Two that come together are one: timeout(1) signals a process, and then its group.
"$LECO" "${long[@]}" --set save.per_steps=5 >stdout 2>stderr </dev/null &
pid=$!
started out/small_000005.safetensors
kill -TERM "$pid"
kill -TERM "$pid" 2>/dev/null
ended "$pid"
[ "$status" = 130 ] || complain "exit status $status after two SIGTERMs at once, not 130"
exists "$(cat stdout)"
rm -r out

# Where nothing would be lost, the first one ends it as if leco weren't there, and nothing is left behind.
at_once() { # SIGNAL STATUS ARGUMENT...
    local signal=$1 wanted=$2 caught i number
    number=$(kill -l "$1")
    shift 2
    "$LECO" "$@" >stdout 2>stderr </dev/null &
    pid=$!
    for ((i = 0; i < 100; i++)); do # until it catches that signal
        caught=0
        if [ "/proc/$pid/exe" -ef "$LECO" ]; then # not the shell's own child any more, which catches it, too
            caught=$(sed -n 's/^SigCgt:[^0-9a-f]*//p' "/proc/$pid/status" 2>/dev/null)
        fi
        if ((16#${caught:-0} >> (number - 1) & 1)); then break; fi
        sleep 0.1
    done
    kill "-$signal" "$pid"
    ended "$pid"
    [ "$status" = "$wanted" ] || complain "exit status $status after $signal, not $wanted: $*"
    silent stdout
    says '^leco: stopped'
    for left in *.png .leco-*; do [ ! -e "$left" ] || complain "$left was left behind"; done
}
at_once INT 130 generate -m "$model" -p 'a star' --steps 900 --width 256 --height 256 -o one.png
at_once TERM 130 generate -m "$model" -p 'a star' --steps 900 --width 256 --height 256 -o one.png
at_once TERM 130 bench --preset sd15
at_once INT 130 bench --preset sd15

# Limits of the shell: CPU time that is spent ends as SIGTERM does, a file that may not grow is told so.
(ulimit -S -t 2 && exec "$LECO" "${long[@]}") >stdout 2>stderr </dev/null
status=$?
[ "$status" = 130 ] || complain "exit status $status where the CPU time is spent, not 130"
says '^The CPU time that this process may use is spent\. Stopping' 'stopped after'
exists "$(cat stdout)"
rm -r out
(ulimit -f 8 && exec "$LECO" train small.yaml --set train.iterations=1) >stdout 2>stderr </dev/null
status=$?
[ "$status" = 1 ] || complain "exit status $status where files may not grow, not 1"
says '^leco: .*out/small\.safetensors: cannot write: File too large$'
for left in out/* out/.leco-*; do [ ! -e "$left" ] || complain "$left was left behind"; done
rm -rf out

# nohup: told of a lost connection, it goes on.
nohup "$LECO" train small.yaml --set train.iterations=60 --set save.per_steps=5 >stdout 2>stderr </dev/null &
pid=$!
started out/small_000005.safetensors
kill -HUP "$pid" 2>/dev/null
ended "$pid"
[ "$status" = 0 ] || complain "exit status $status under nohup"
exists out/small.safetensors
rm -r out

# A reader that has seen enough (| head -1), and a terminal that takes nothing: training goes on to its end.
{ "$LECO" train small.yaml --set train.iterations=60 --set save.per_steps=2 2>&1 >stdout; echo "$?" >status; } </dev/null | head -1 >stderr
[ "$(cat status)" = 0 ] || complain "exit status $(cat status) where nobody reads the progress"
says 'saved .*out/small_000002'
exists out/small.safetensors "$(cat stdout)"
: >stderr
"$LECO" train small.yaml --set save.name=full >stdout 2>/dev/full </dev/null || complain 'a full terminal ends the training'
exists out/full.safetensors
{ "$LECO" train small.yaml --set save.name=unread 2>stderr; echo "$?" >status; } </dev/null | true
[ "$(cat status)" = 1 ] || complain "exit status $(cat status) where the result is lost"
says 'cannot write to standard output'
exists out/unread.safetensors
finish
