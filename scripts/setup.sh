#!/usr/bin/env bash
# Creates .venv beside this folder and installs qecpipe into it, at the versions in constraints.txt.
# The service, the CUDA packages and the optional decoders come with it; developers add more extras:
# scripts/setup.sh dev docs
set -euo pipefail
cd "$(dirname "$0")/.."

python=$(command -v python3.11 || command -v python3 || true)
if [ -z "$python" ] || ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "qecpipe needs Python 3.11 or newer, found: ${python:-none}; on Debian: apt-get install python3 python3-venv" >&2
    exit 2
fi
if [ ! -x .venv/bin/pip ]; then
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        # Debian ships venv apart from Python.
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null
        else
            echo "Python has no ensurepip; on Debian: sudo apt-get install python3-venv, then run this again" >&2
            exit 2
        fi
    fi
    echo "creating .venv with $("$python" --version)"
    "$python" -m venv .venv
fi

extras=$(IFS=,; set -- service cuda decoders "$@"; echo "$*")
wanted=$(cat pyproject.toml constraints.txt | sha256sum | cut -c1-16)
stamp=".venv/qecpipe-$extras-$wanted"
# The extension is part of what is installed, and stands in this folder.
sources=$(find native cuda/qecpipe/kernels -type f ! -name '*.pyc' ! -name '*.md' | LC_ALL=C sort | xargs cat | sha256sum | cut -c1-16)
built=".venv/qecpipe-native"
is_built() { [ "$(cat "$built" 2>/dev/null)" = "$sources" ] && ls _qecpipe*.so >/dev/null 2>&1; }

# pip builds in an environment of its own, for which older versions of it read the first, newer ones the second.
install() {
    PIP_CONSTRAINT=$PWD/constraints.txt PIP_BUILD_CONSTRAINT=$PWD/constraints.txt \
        .venv/bin/pip install --quiet --disable-pip-version-check "$@"
}
if [ ! -e "$stamp" ]; then
    echo "installing qecpipe[$extras] and building its extension (a few minutes the first time)"
    install --editable ".[$extras]"
    touch "$stamp"
    echo "$sources" >"$built"
elif ! is_built; then
    echo "building the extension"
    if command -v c++ >/dev/null && .venv/bin/python -c 'import nanobind' 2>/dev/null; then
        scripts/build_native.sh  # knows what has changed
    else
        install --no-deps --editable .
    fi
    echo "$sources" >"$built"
fi
