#!/bin/bash
# scripts/check-sizes, check-docs and check-registers notice what they are there for.
. "$(dirname "$0")/support.sh"

function_of() { # LINES: a function with this many, its head and braces counted
    echo 'int f(int a,'
    echo '      int b)'
    echo '{'
    yes '    g();' | head -n "$(($1 - 4))"
    echo '}'
}
{
    echo 'static const int table[] = {'
    yes '    1,' | head -n 100
    echo '};'
    function_of 60
} >short.c
run 0 "$SOURCE/scripts/check-sizes" short.c
(cat short.c && echo && function_of 61) >long.c
run 1 "$SOURCE/scripts/check-sizes" short.c long.c
prints '^long.c:164: a function of 61 lines, more than 60$'
[ "$(wc -l <stdout)" = 1 ] || complain 'more is found than there is'
yes | head -n 501 >many.h
run 1 "$SOURCE/scripts/check-sizes" many.h short.c
prints '^many.h: 501 lines, more than 500$'

there=docs/a gone=docs/b # written without .md: these pages are none of ours
mkdir -p tree/docs tree/src/base tree/examples
touch tree/src/base/error.c tree/examples/{README.md,one.yaml}
# shellcheck disable=SC2016 # backticks
echo 'See `src/base/error.c`, `base/error.c`, `error.c`, `NAME.c`, `leco train examples/one.yaml` and `out/x.md`.' >tree/README.md
echo "[here]($there.md#part)" >>tree/README.md
echo text >"tree/$there.md"
run 0 "$SOURCE/scripts/check-docs" tree
breaks() { # WHAT COMPLAINT
    cp tree/README.md kept
    echo "$1" >>tree/README.md
    run 1 "$SOURCE/scripts/check-docs" tree
    prints "$2"
    mv kept tree/README.md
}
# shellcheck disable=SC2016
{
    breaks '`src/base/gone.c`' '^README.md: src/base/gone.c is not there$'
    breaks '`gone.h`' '^README.md: gone.h is not there$'
    breaks '`leco train examples/two.yaml -q`' '^README.md: examples/two.yaml is not there$'
    breaks "[there]($gone.md)" "^README.md: the link to $gone.md leads nowhere\$"
    breaks "$(printf '%0121d' 0)" '^README.md:3: 121 columns, more than 120$'
}
echo "/* $gone.md says why. */" >tree/src/base/error.c
run 1 "$SOURCE/scripts/check-docs" tree
prints "^src/base/error.c: $gone.md is not there\$"

mkdir built
run 77 "$SOURCE/scripts/check-registers" built
prints 'built has no kernels'
printf '%s\n' 'sm_75 60 0 _Z1fv' 'sm_90 64 12 _Z1fv' >built/window.cu.o.registers
printf '%s\n' 'sm_75 255 64 _Z1gv' 'sm_90 250 0 _Z1gv' >built/narrow.cu.o.registers
run 0 "$SOURCE/scripts/check-registers" built
prints '^sm_90 +64 registers, 12 bytes spilled: ' '^most registers +sm_75 +sm_90 +may be +kernels$' '^window +60 +64 +64 +1$' \
    '^narrow +255 +250 +255 +1$'
echo 'sm_90 65 0 _Z1hv' >>built/window.cu.o.registers
run 1 "$SOURCE/scripts/check-registers" built
prints '^sm_90 +65 registers, more than the 64 of window\.cu: ' '^1 take more registers than they may$'
echo 'sm_90 64 68 _Z1hv' >built/window.cu.o.registers
run 1 "$SOURCE/scripts/check-registers" built
prints '^1 spill more than 64 bytes$'
rm built/window.cu.o.registers
echo 'sm_90 8 0 _Z1hv' >built/another.cu.o.registers
run 1 "$SOURCE/scripts/check-registers" built
prints 'more than the 0 of another\.cu'
finish
