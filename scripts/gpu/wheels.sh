#!/usr/bin/env bash
# Fetches into scripts/gpu/wheels what a machine with PyTorch, CUDA and the scientific packages lacks to run this project, for
# a machine without a network. Run it where there is one; check.sh and train.sh install what lies there.
#
#   scripts/gpu/wheels.sh [--python 3.12] [--extension PYTHON]
#
# --python is the version of the other machine's python3. --extension builds the extension too, with a Python of that version
# that is here; without it the other machine builds it, in a minute on 16 cores, if it has Python's headers.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=3.12 builder=''
while [ $# -gt 0 ]; do
    case $1 in
        --python) version=${2:?which version?}; shift ;;
        --extension) builder=${2:?which Python?}; shift ;;
        *) echo "unknown option: $1" >&2; exit 2 ;;
    esac
    shift
done
pip=.venv/bin/pip
wheels=scripts/gpu/wheels
pinned() { grep -i -E "^$1==" constraints.txt; }
rm -rf "$wheels"
mkdir -p "$wheels"
platforms=(--platform manylinux2014_x86_64)
for glibc in 17 27 28; do platforms+=(--platform "manylinux_2_${glibc}_x86_64"); done
# Compiled for the other machine; what is Python alone is built here, since not all of it comes as wheels.
$pip download --quiet --no-deps --only-binary=:all: --implementation cp --python-version "$version" "${platforms[@]}" \
    --dest "$wheels" "$(pinned stim)" "$(pinned pymatching)"
$pip wheel --quiet --no-deps --wheel-dir "$wheels" \
    "$(pinned sinter)" "$(pinned tyro)" "$(pinned docstring_parser)" "$(pinned typeguard)" "$(pinned nanobind)"
if [ -n "$builder" ]; then
    tools=build/gpu-tools
    "$builder" -m pip install --quiet --no-deps --no-index --target "$tools" --upgrade "$wheels"/nanobind-*.whl
    PATH=$PWD/.venv/bin:$PATH PYTHONPATH=$PWD/$tools scripts/build_native.sh --python "$builder" --place "$wheels/extension"
fi
du -sh "$wheels"
