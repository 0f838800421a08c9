#!/usr/bin/env bash
# Formats the C++ in native/ and the kernels in cuda/ as .clang-format says; with --check it changes nothing and fails where something differs.
set -euo pipefail
cd "$(dirname "$0")/.."
options=(-i)
[ "${1:-}" = --check ] && options=(--dry-run -Werror)
find native cuda \( -name '*.cpp' -o -name '*.cu' -o -name '*.h' \) -print0 | xargs -0 .venv/bin/clang-format "${options[@]}"
# Comments are prose, which it leaves alone.
if grep -rnE --include='*.cpp' --include='*.cu' --include='*.h' '^.{111}' native cuda; then
    echo "these lines of C++ have more than 110 characters" >&2
    exit 1
fi
