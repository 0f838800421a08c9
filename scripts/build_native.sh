#!/usr/bin/env bash
# Builds the extension module of this working tree in place: _qecpipe*.so and _qecpipe.pyi beside the packages.
# What is already built is kept in build/native-*, so that a changed file costs one compilation.
#
#   scripts/build_native.sh                                  -O3, as it is installed
#   scripts/build_native.sh --debug                          -O1 -g and assertions: fast to compile
#   scripts/build_native.sh --sanitize address,undefined     for scripts/test_sanitizers.sh: -O1 -g1
#   scripts/build_native.sh --place FOLDER                   elsewhere than in place
#   scripts/build_native.sh --python PATH                    for that Python, which has nanobind, and not .venv's
set -euo pipefail
cd "$(dirname "$0")/.."

type=Release sanitize='' place=$PWD debug='-O1 -g' python=$PWD/.venv/bin/python other=''
while [ $# -gt 0 ]; do
    case $1 in
        --debug) type=Debug ;;
        --sanitize) sanitize=${2:?which sanitizers?} type=Debug debug='-O1 -g1'; shift ;;  # lines, no variables
        --python)
            python=${2:?which Python?}
            other=-$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
            shift
            ;;
        --place) place=$(realpath -m "${2:?which folder?}"); shift ;;
        *) echo "unknown option: $1" >&2; exit 2 ;;
    esac
    shift
done
bin=$(dirname "$python")
if ! "$python" -c 'import nanobind' 2>/dev/null; then
    echo "nanobind is missing; run: scripts/setup.sh dev" >&2
    exit 2
fi
build=build/native-$(echo "$type" | tr '[:upper:]' '[:lower:]')${sanitize:+-${sanitize//,/-}}$other
export PATH=$bin:$PATH
# Where there is ccache, other working trees of the same sources compile nothing again.
launcher=$(command -v ccache || true)
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
if [ ! "$build/build.ninja" -nt scripts/build_native.sh ]; then
    cmake -S native -B "$build" -G Ninja --log-level=WARNING \
        -DCMAKE_BUILD_TYPE="$type" -DCMAKE_CXX_FLAGS_DEBUG="$debug" -DQECPIPE_SANITIZE="$sanitize" \
        -DCMAKE_CXX_COMPILER_LAUNCHER="$launcher" -DPython_EXECUTABLE="$python" \
        -Dnanobind_DIR="$("$python" -m nanobind --cmake_dir)" >/dev/null
fi
nice ninja -C "$build" --quiet
mkdir -p "$place"
for file in "$build"/_qecpipe*.so "$build/_qecpipe.pyi"; do
    # Replaced, not overwritten: processes that have loaded it keep what they loaded.
    cmp -s "$file" "$place/${file##*/}" && continue
    cp "$file" "$place/.${file##*/}.new"
    mv "$place/.${file##*/}.new" "$place/${file##*/}"
done
