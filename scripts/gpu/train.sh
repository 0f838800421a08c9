#!/usr/bin/env bash
# Trains configs/accurate-gpu.toml from the best weights for some minutes; the state is in $OUT every minute. See README.md.
#
#   scripts/gpu/train.sh [--device cuda|cpu] [--small] [--minutes 6.5] [--init NAME|FILE] [--resume FILE]
set -uo pipefail
. "$(dirname "$0")/prepare.sh"
"$python" -m scripts.gpu.train --out "$OUT" "$@" 2>&1 | tee "$OUT/train.log"
exit "${PIPESTATUS[0]}"
