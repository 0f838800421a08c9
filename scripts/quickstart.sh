#!/usr/bin/env bash
# Installs qecpipe into .venv and runs a small sweep that ends in a table and two plots.
# Arguments are passed on to `qecpipe sweep` in place of the small sweep's.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
if [ $# -eq 0 ]; then
    set -- --distance 3 5 --p 0.003 0.006 --max-shots 20000 --out out/quickstart
fi
.venv/bin/qecpipe sweep "$@"
