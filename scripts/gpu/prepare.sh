# Sourced by check.sh and train.sh: `python` runs with this project and what it needs, whatever the machine has.
#
# In a checkout with .venv that is used. Elsewhere python3 is (one with PyTorch), with the wheels of scripts/gpu/wheels, and the
# extension that lies there, or else one that is built now.
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export OUT=${OUT:-$PWD/out/gpu} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
mkdir -p "$OUT"
started=$SECONDS
if [ -x .venv/bin/python ]; then
    python=.venv/bin/python
    export PYTHONPATH=$PWD
else
    python=$(command -v python3)
    site=$PWD/build/gpu-site
    if [ ! -e "$site/.complete" ]; then
        "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" \
            scripts/gpu/wheels/*.whl && touch "$site/.complete" || echo "wheels could not be installed; going on" >&2
    fi
    export PYTHONPATH=$PWD:$site
    cp scripts/gpu/wheels/extension/_qecpipe* . 2>/dev/null || true
fi
if ! "$python" -c 'import _qecpipe' 2>/dev/null; then
    echo "building the extension for $("$python" --version)"
    scripts/build_native.sh --python "$python" || echo "the extension could not be built" >&2
fi
echo "prepared in $((SECONDS - started)) s: $("$python" --version), results in $OUT"
