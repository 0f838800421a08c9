#!/usr/bin/env bash
# Formats the C++ in native/ as .clang-format says; with --check it changes nothing and fails where something differs.
set -euo pipefail
cd "$(dirname "$0")/.."
options=(-i)
[ "${1:-}" = --check ] && options=(--dry-run -Werror)
find native \( -name '*.cpp' -o -name '*.h' \) -print0 | xargs -0 .venv/bin/clang-format "${options[@]}"
# Comments are prose, which it leaves alone.
if grep -rnE --include='*.cpp' --include='*.h' '^.{111}' native; then
    echo "these lines of C++ have more than 110 characters" >&2
    exit 1
fi
