#!/bin/bash
# Help, version, and what is said to people who are just trying.
. "$(dirname "$0")/support.sh"

run 0 "$LECO" --version
prints '^leco [0-9]+\.[0-9]+\.[0-9]+$'
run 0 "$LECO" --help
prints '^Usage: leco COMMAND' '^Examples'
silent stderr
for command in train generate grid merge extract convert run inspect bench; do
    run 0 "$LECO" --help
    prints "^  $command "
    run 0 "$LECO" "$command" --help
    prints "^leco $command: " "^Usage: leco $command " '^Examples' "^  leco $command " '--threads N'
    silent stderr
    awk 'length > 120 && !/^  cp -r/ { exit 1 }' stdout || complain "leco $command --help has lines of more than 120 columns"
    cp stdout asked
    run 0 "$LECO" help "$command"
    same asked stdout
    run 0 "$LECO" "$command" -h
    same asked stdout
done
run 0 "$LECO_PROBE" --help
prints '^Usage: leco-probe '
[ "$(grep -c 'leco-probe .*-m models/shapes' stdout)" = "$(grep -c -- '--guidance-scale 4' stdout)" ] || complain 'an example without guidance 4'

# The paths in the examples: in the source tree they are there, elsewhere they have to be copied.
try_examples "$LECO"
try_examples "$LECO" generate
try_examples "$LECO_PROBE"
run 0 env -C "$SOURCE" "$LECO" --help
prints '^Examples'
if grep -q '^  cp -r' stdout; then complain 'files of the folder that leco is started in are to be copied'; fi

run 2 "$LECO"
says '^Usage: leco COMMAND'
silent stdout
run 2 "$LECO" generat
says "there is no command 'generat'; did you mean 'generate'\?"
run 2 "$LECO" help trian
says "did you mean 'train'\?"
run 2 "$LECO" --verbose
says 'a command comes first'
run 1 bash -c "\"$LECO\" --help >/dev/full"
says 'cannot write to standard output: No space left on device'
finish
