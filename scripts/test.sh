#!/usr/bin/env bash
# Installs qecpipe with its test tools into .venv and runs the tests; arguments are passed on to pytest.
# Without arguments, everything runs, slow tests included, on all cores.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh dev docs
if [ $# -eq 0 ]; then
    set -- -n auto --dist worksteal
fi
# One thread a process: the tests' processes share the cores.
OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} .venv/bin/python -m pytest "$@"
