"""Our decoders under sinter: by Python and by sinter's own command line."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import sinter
import stim

from global_decoders import decoder_names, is_available
from predecoder import WeightsError, shipped_weights
from sims import make_decoder, sinter_decoders
from sims.decoders import build_decoder

CIRCUIT = stim.Circuit.generated(
    "surface_code:rotated_memory_x", distance=3, rounds=3, after_clifford_depolarization=0.01
)
needs_weights = pytest.mark.skipif(not shipped_weights(), reason="no weights in predecoder/weights")


@needs_weights
def test_names_are_the_command_lines() -> None:
    plain = {name for name in decoder_names() if is_available(name)}
    decoders = sinter_decoders()
    assert set(decoders) == plain | {f"predecoder+{name}" for name in plain} | {
        "neural-matching",
        "neural-ensemble",
    }
    for decoder in decoders.values():
        pickle.dumps(decoder)


@needs_weights
@pytest.mark.slow
def test_sinter_collect_command_line(tmp_path: Path) -> None:
    CIRCUIT.to_file(tmp_path / "c.stim")
    script = (
        "import sys; from sinter._command._main import main; sys.exit(main(command_line_args=sys.argv[1:]))"
    )
    arguments = (
        "collect --circuits c.stim --processes 1 --quiet --max_shots 300 --save_resume_filepath out.csv "
        "--custom_decoders_module_function sims:sinter_decoders "
        "--decoders predecoder+pymatching neural-matching pymatching-correlated"
    )
    subprocess.run([sys.executable, "-c", script, *arguments.split()], cwd=tmp_path, check=True)
    stats = sinter.read_stats_from_csv_files(tmp_path / "out.csv")
    assert {one.decoder: one.shots for one in stats} == {
        "predecoder+pymatching": 300,
        "neural-matching": 300,
        "pymatching-correlated": 300,
    }


def test_a_predecoded_decoder_knows_its_weights_and_device(two_weights: tuple[Path, Path]) -> None:
    one, two = (
        build_decoder("predecoder+pymatching", weights=path, device="cpu", threads=1) for path in two_weights
    )
    assert one.identity["device"] == "cpu"
    assert one.identity["weights"] != two.identity["weights"]
    assert (one.identity["policy"], one.identity["precision"]) == ("threshold", "float32")
    half = build_decoder("neural-matching", weights=two_weights[0], device="cpu", precision="bfloat16")
    assert half.identity["precision"] == "bfloat16"
    with pytest.raises(ValueError, match="needs a quantized network"):
        build_decoder("neural-matching", weights=two_weights[0], precision="int8")
    assert "policy" not in build_decoder("neural-matching", weights=two_weights[0]).identity
    assert build_decoder("pymatching").identity == {}


def test_a_decoder_by_name_is_that_of_the_door(two_weights: tuple[Path, Path]) -> None:
    decoder = make_decoder("predecoder+pymatching", weights=two_weights[0], policy="complete")
    assert (decoder.weights_path, decoder.policy) == (two_weights[0], "complete")  # pyright: ignore
    with pytest.raises(ValueError, match=r"unknown decoder 'neural'.*neural-ensemble, predecoder\+NAME"):
        make_decoder("neural")


def test_opinions_are_of_the_ensemble_and_in_its_identity(two_weights: tuple[Path, Path]) -> None:
    one, two = two_weights
    asked = build_decoder("neural-ensemble", weights=one, opinions=[two], device="cpu")
    sha256 = hashlib.sha256(two.read_bytes()).hexdigest()
    assert f"two@{sha256[:8]}" in asked.identity["policy"]
    assert asked.identity != build_decoder("neural-ensemble", weights=one, device="cpu").identity
    assert make_decoder("neural-ensemble", weights=one, opinions=[two]).opinions[0].path == two  # pyright: ignore
    with pytest.raises(WeightsError, match="absent"):
        make_decoder("neural-ensemble", weights=one, opinions=["absent.safetensors"])


def test_the_weights_of_all_decoders_can_be_chosen(two_weights: tuple[Path, Path]) -> None:
    decoders = sinter_decoders(weights=two_weights[1])
    for name in ("neural-matching", "predecoder+pymatching"):
        assert decoders[name].weights_path == two_weights[1]  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.slow
def test_sinter_collects_a_predecoded_decoder(two_weights: tuple[Path, Path]) -> None:
    decoder = build_decoder("predecoder+pymatching", weights=two_weights[0]).decoder
    (stats,) = sinter.collect(
        num_workers=1,
        tasks=[sinter.Task(circuit=CIRCUIT, decoder="ours")],
        custom_decoders={"ours": decoder},
        max_shots=200,
    )
    assert stats.shots == 200
