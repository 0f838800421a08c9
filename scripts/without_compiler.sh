#!/usr/bin/env bash
# Runs a command where the machine's C++ compilers are not found: `pip install` then builds with zig, which it fetches.
#
#   scripts/without_compiler.sh python -m pip install .
set -euo pipefail
hidden='*++*|cc|gcc*|*-gcc*|clang*|cpp*|*-cpp*'
links=$(mktemp -d)
trap 'rm -rf "$links"' EXIT
path=
IFS=: read -ra folders <<<"$PATH"
shopt -s nullglob extglob
for at in "${!folders[@]}"; do
    folder=${folders[at]}
    found=("$folder"/@($hidden))
    if [ ${#found[@]} -gt 0 ]; then
        # Links to all else in this folder take its place.
        mkdir "$links/$at"
        rest=("$folder"/!($hidden))
        [ ${#rest[@]} -eq 0 ] || ln -s "${rest[@]}" "$links/$at"
        folder=$links/$at
    fi
    path+=${path:+:}$folder
done
unset CC CXX
PATH=$path "$@"
