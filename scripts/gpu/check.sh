#!/usr/bin/env bash
# All checks that need a GPU, in one run of less than 8 minutes, on a machine with PyTorch and no network. See README.md.
#
#   scripts/gpu/check.sh [--device cuda|cpu] [--small] [--seconds 420] [--only NAME ...]
set -uo pipefail
. "$(dirname "$0")/prepare.sh"
"$python" -m scripts.gpu.check --out "$OUT" "$@" 2>&1 | tee "$OUT/check.log"
exit "${PIPESTATUS[0]}"
