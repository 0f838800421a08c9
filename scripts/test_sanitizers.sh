#!/usr/bin/env bash
# Builds the extension with AddressSanitizer and UBSan and runs the tests of its rooms with it; of `streams`, whose tests
# take long, one for each thing that it does.
#
#   scripts/test_sanitizers.sh          # what CI runs
#   scripts/test_sanitizers.sh --all    # all fast tests of packages that stand on the extension, many minutes
#
# Other arguments replace the tests to run and are passed on to pytest.
#
# What a sanitizer finds ends the test process with a report that names the line. To debug one test:
#   scripts/test_sanitizers.sh tests/native/core/test_arrays.py -k refused -s
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v c++ >/dev/null; then
    echo "sanitizers: skipped, as there is no C++ compiler (on Debian: apt-get install g++)"
    exit 0
fi
place=$PWD/build/sanitized
probe=$(mktemp -d)
trap 'rm -rf "$probe"' EXIT
echo 'int main() {}' >"$probe/probe.cpp"
if ! c++ -fsanitize=address,undefined -o "$probe/probe" "$probe/probe.cpp" 2>/dev/null || ! "$probe/probe"; then
    echo "sanitizers: skipped, as $(command -v c++) has none (GCC's are in libasan and libubsan)"
    exit 0
fi
scripts/build_native.sh --sanitize address,undefined --place "$place"

# The interpreter is built without sanitizers, so their libraries have to be loaded before anything else.
preload=()
for name in libasan.so libubsan.so libclang_rt.asan-x86_64.so libclang_rt.asan-aarch64.so; do
    path=$(c++ -print-file-name="$name")
    [ "$path" != "$name" ] && preload+=("$(realpath "$path")")
done
case ${1-} in
    '')
        streaming=tests/decoder_service/streaming
        set -- -m "not slow" tests/native --ignore tests/native/build tests/global_decoders/matching \
            tests/predecoder/correction/test_residual.py tests/predecoder/inference/test_{int8,dense_int8}.py \
            tests/cuda/test_{blocked_input,correct,quantize_moves,launch_on_cpu}.py \
            tests/decoder_service/session \
            $streaming/test_predecoder_stage.py::test_erased_rounds_and_a_reload_go_through \
            $streaming/test_gap.py::test_one_window_{has_the_gap_of_the_whole_shot,of_logits_has_the_gap_of_the_whole_shot} \
            "$streaming/test_stream_decoder.py::test_rounds_may_come_in_blocks[pymatching-correlated-parallel]" \
            $streaming/test_stream_decoder.py::test_a_decoder_of_rows_has_the_observables_of_its_stream \
            "$streaming/test_reload.py::test_models_without_windows_to_come_are_forgotten_in_mid_shot[sliding]" \
            $streaming/test_erasures.py::test_threads_that_build_the_same_windows_at_once_share_them
        ;;
    --all)
        shift
        set -- -m "not slow" tests/native --ignore tests/native/build tests/global_decoders/{matching,windows} \
            tests/global_decoders/test_trellis.py tests/predecoder/{correction,inference,network} \
            tests/decoder_service/{session,streaming} \
            tests/decoder_service/server/test_{native_decoder,blocks,client_session,open_streams}.py \
            tests/cuda/test_{blocked_input,correct,quantize_moves,launch_on_cpu}.py "$@"
        ;;
esac
# Python itself never frees all it has, and its allocator hides from the sanitizer what it hands out again.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
# -P, as the extension beside the packages would be found first.
export PYTHONMALLOC=malloc OMP_NUM_THREADS=1 PYTHONPATH="$place:$PWD"
run() { LD_PRELOAD=$(IFS=:; echo "${preload[*]}") .venv/bin/python -P "$@"; }
run -c 'import _qecpipe as q; print("sanitizers:", q.__file__); assert q.SANITIZERS == "address,undefined", q.SANITIZERS'
run -m pytest -q -p no:cacheprovider "$@"
