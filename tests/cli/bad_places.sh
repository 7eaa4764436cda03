#!/bin/bash
# Outputs in odd places: links, protected files, names that are too long, and what a killed run left there.
. "$(dirname "$0")/support.sh"
encode=("$LECO" run text-encoder -m "$model" -p 'a star' --out)
draw=("$LECO" generate -m "$model" -p 'a star' --steps 1 -o)

# A link is followed, to a file that is there and to one that isn't yet.
mkdir far
echo old >far/there.safetensors
ln -s far/there.safetensors link.safetensors
ln -s far/new.safetensors second.safetensors
ln -s second.safetensors first.safetensors
ln -s nowhere/new.safetensors lost.safetensors
ln -s loop.safetensors loop.safetensors
run 0 "${encode[@]}" link.safetensors
run 0 "${encode[@]}" first.safetensors
for link in link first second; do [ -L $link.safetensors ] || complain "the link $link was replaced"; done
same far/there.safetensors far/new.safetensors
run 1 "${encode[@]}" lost.safetensors
says '^leco: lost\.safetensors: .*No such file'
run 1 "${encode[@]}" loop.safetensors
says '^leco: loop\.safetensors: .*symbolic links'

# A file that is replaced keeps its permissions.
echo old >private.safetensors
chmod 600 private.safetensors
run 0 "${encode[@]}" private.safetensors
[ "$(stat -c %a private.safetensors)" = 600 ] || complain "permissions became $(stat -c %a private.safetensors)"
before=$(umask)
umask 077
run 0 "${encode[@]}" new.safetensors
umask "$before"
[ "$(stat -c %a new.safetensors)" = 600 ] || complain "permissions beyond the umask: $(stat -c %a new.safetensors)"

# Found out before any work is done: a name that is too long, a pipe, a device.
long=$(printf 'a%.0s' {1..300})
run 1 "${draw[@]}" "$long.png"
says '^leco: a.*cannot write.*too long'
run 1 "${encode[@]}" "$long.safetensors"
says '^leco: a.*cannot write.*too long'
mkfifo pipe.safetensors
run 1 timeout 20 "${encode[@]}" pipe.safetensors
says '^leco: pipe\.safetensors: .*not a file'
run 1 "${encode[@]}" /dev/stdin
says '^leco: /dev/stdin: .*not a file'
run 1 "${encode[@]}" far/
says '^leco: far/: .*not a file'

# A run that was killed while it wrote leaves a temporary file; the next one clears it away, and no other.
touch '.leco-1-0@elsewhere.tmp' ".leco-1-0@$(uname -n).tmp"
run 0 "${encode[@]}" done.safetensors
missing ".leco-1-0@$(uname -n).tmp"
[ -e '.leco-1-0@elsewhere.tmp' ] || complain 'the temporary file of another host was taken away'

# Protected files, and folders. Root may write to all: then as somebody else.
as_user=()
if [ "$(id -u)" = 0 ]; then
    as_user=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    "${as_user[@]}" test -r "$model/model_index.json" -a -x "$LECO" || finish
    chmod 755 "$work" && mkdir theirs && chown 65534:65534 theirs && cd theirs || exit 1
fi
echo kept >protected.safetensors
[ "$(id -u)" = 0 ] && chown 65534:65534 protected.safetensors
chmod 444 protected.safetensors
run 1 "${as_user[@]}" "${encode[@]}" protected.safetensors
says '^leco: protected\.safetensors: cannot write: Permission denied'
[ "$(cat protected.safetensors)" = kept ] || complain 'a protected file was replaced'
mkdir sealed && chmod 555 sealed
run 1 "${as_user[@]}" "${encode[@]}" sealed/new.safetensors
says '^leco: sealed/new\.safetensors: cannot write: .*Permission denied'
run 0 "${as_user[@]}" "${encode[@]}" fine.safetensors
finish
