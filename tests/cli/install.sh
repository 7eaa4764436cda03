#!/bin/bash
# What is installed works from where it is: the program, the library with pkg-config, man pages, docs and examples.
. "$(dirname "$0")/support.sh"
build=$(dirname "$LECO")
root=$work/root prefix=$work/root/opt/leco
if [ ! -e "$build/leco.pc" ]; then
    echo 'this build is not one to install'
    exit 77
fi
run 0 env DESTDIR="$root" cmake --install "$build" --prefix /opt/leco
[ "$(ls "$root")" = opt ] || complain "installed outside of the prefix: $(ls "$root")"
[ -z "$(find "$root" -name '*.md' -prune -o -type f -perm /022 -print)" ] || complain 'others may write to what is installed'

# ---- the library ----
doc=$prefix/share/doc/leco pc=$(find "$prefix" -name leco.pc)
export PKG_CONFIG_PATH=${pc%/*}
libraries=$(dirname "$PKG_CONFIG_PATH") version=$("$LECO" --version)
run 0 pkg-config --modversion leco
prints "^${version#leco }$"
{
    echo '#include <stdio.h>'
    echo '#include <leco/leco.h>'
    echo '/* Names of the library that are a program'"'"'s own here. */'
    for name in mem_calloc mem_free error_set file_exists session_run model_open rng_seed; do
        echo "int $name(void); int $name(void) { fputs(\"the program's $name was called\", stderr); return 1; }"
    done
    echo 'int main(void) {'
    sed -n '/^ \* Example:/,/^ \* Compile/s/^ \*     //p' "$prefix/include/leco/leco.h"
    echo 'return err.status != LECO_OK; }'
} >demo.c
grep -q 'leco_generate(model' demo.c || complain 'there is no example at the top of leco.h'
sed -i 's/^leco_error err;/leco_error err = {0};/; s/^o.prompt_count = 1;/& o.seed = 7, o.steps = 2;/' demo.c
mkdir models
ln -s "$model" models/shapes
ln -s "$lora" erase_red.safetensors

export OMP_WAIT_POLICY=passive
flags=(-std=c17 -Wall -Wextra -Werror -rdynamic) # -rdynamic: the program's names come before the shared library's
# shellcheck disable=SC2207,SC2046 # lists of words
{
    libs=($(pkg-config --libs --static leco))
    run 0 "${CC:-cc}" "${flags[@]}" demo.c -o shared $(pkg-config --cflags --libs leco)
    run 0 "${CC:-cc}" "${flags[@]}" demo.c -o with_static $(pkg-config --cflags --libs --static leco)
    run 0 "${CC:-cc}" "${flags[@]}" demo.c -o static $(pkg-config --cflags leco) "${libs[@]/#-lleco/-l:libleco.a}"
}
for kind in shared with_static static; do
    rm -f star.png
    run 0 env LD_LIBRARY_PATH="$libraries" "./$kind"
    silent stderr
    is_png star.png
    mv star.png "$kind.png"
done
same shared.png static.png
run 0 env -u LD_LIBRARY_PATH ./static
run 0 sh -c 'readelf -d shared static'
prints "libleco\.so\.${version#leco }|libleco\.so\.[0-9]"
[ "$(grep -c 'NEEDED.*libleco' stdout)" = 1 ] || complain 'the static program needs libleco.so, or the shared one does not'
run 0 nm -D --defined-only "$libraries/libleco.so"
[ -z "$(awk '$3 !~ /^leco_/' stdout)" ] || complain 'libleco.so shows more than leco_*'
run 0 nm -g --defined-only "$libraries/libleco.a"
[ -z "$(awk 'NF == 3 && $3 !~ /^leco_/' stdout)" ] || complain 'libleco.a shows more than leco_*'
declared=$(grep -ohE 'leco_[a-z_]+\(' "$prefix"/include/leco/*.h | sort -u | wc -l)
[ "$(awk 'NF == 3' stdout | wc -l)" -gt 20 ] || complain "libleco.a shows little of the $declared functions"
if command -v c++ >/dev/null; then
    echo '#include <leco/leco.h>' >header.cc
    run 0 c++ -std=c++17 -Wall -Werror -fsyntax-only -I"$prefix/include" header.cc
fi

# ---- the program, its help and man pages ----
leco=$prefix/bin/leco
if [ "$build/../../docs" -ef "$SOURCE/docs" ]; then
    run 0 "$LECO" train --help
    prints "docs/, examples/ and models/ are in $(realpath "$SOURCE")\$"
fi
run 0 "$leco" --version
run 0 "$leco" train --help
prints "docs/, examples/ and models/ are in $doc\$"
for file in docs/config.md docs/map.md examples/README.md README.md LICENSE models/shapes/model_index.json; do exists "$doc/$file"; done
check_page() { # NAME COMMAND...: every option and heading of its help is in the man page
    local page=$prefix/share/man/man1/$1.1 word
    shift
    exists "$page"
    "$@" --help >help
    run 0 sed 's/\\\(.\)/\1/g' "$page"
    while read -r word; do
        grep -qF -- "$word" stdout || complain "$page lacks $word"
    done < <(grep -oE -- '--[a-z-]+' help)
    prints '^\.TH ' '^\.SH NAME' '^\.SH SYNOPSIS' '^\.SH EXAMPLES' '^\.SH FILES' '^\.SH SEE ALSO' 'fBleco'
    if grep -q -- '/share/doc\|cp.*-r' stdout; then complain "$page knows where it is installed"; fi
    if command -v man >/dev/null && [ -x "$(command -v groff)" ]; then
        run 0 env LC_ALL=C.UTF-8 MANWIDTH=100 man --warnings=w -l "$page"
        silent stderr
        prints '^NAME' '^EXAMPLES'
    fi
}
check_page leco "$leco"
check_page leco-probe "$prefix/bin/leco-probe"
for command in $("$LECO" --help | sed -n '/^Commands/,/^$/s/^  \([a-z]*\) .*/\1/p'); do check_page "leco-$command" "$leco" "$command"; done

for command in '' generate; do
    try_examples "$leco" $command
    (cd empty && PATH=$prefix/bin:$PATH bash -e <(grep -m1 '^leco generate.*shapes -p' ../examples; echo : )) || complain 'an example fails'
done
is_png empty/star.png
run 0 env -C / "$prefix/bin/leco-probe" -m "$doc/models/shapes" --count 2 --guidance-scale 4 -q # its probe lies in $doc
prints 'color as asked'

# ---- docs and examples ----
while IFS=: read -r file link; do
    checks=$((checks + 1))
    [ -e "$(dirname "$file")/${link%%#*}" ] || complain "$file points to $link, which is not there"
done < <(grep -roE --include='*.md' '\]\([^)#][^)]*\)' "$doc" | sed 's/\](\(.*\))$/\1/' | grep -v ':https\?:')
# Copied, as examples/README.md says; two of them learn from pictures, which are drawn first (here in fewer steps).
mkdir copy
cp -r "$doc/examples" "$doc/models" copy
printf '#!/bin/sh\nexec %s "$@" --steps 2\n' "$leco" >hasty
chmod +x hasty
for what in hexagon sizes; do LECO=$work/hasty run 0 copy/examples/draw-photos "$what"; done
for example in copy/examples/*.yaml; do
    run 0 "$leco" train "$example" --dry-run
    prints 'peak memory'
done
finish
