"""Names of cascades on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import stim

from global_decoders import CascadeDecoder, UnknownDecoderError
from global_decoders.adapters.pymatching import PyMatchingDecoder
from qec import LayoutError
from sims.decoders import build_decoder

from .conftest import RunCli


def test_a_name_says_both_decoders_and_what_is_doubtful(two_weights: tuple[Path, Path]) -> None:
    named = build_decoder("cascade:pymatching,pymatching-correlated@1.5%")
    cascade = named.decoder
    assert isinstance(cascade, CascadeDecoder)
    assert (cascade.first, cascade.second) == (PyMatchingDecoder(), PyMatchingDecoder(correlated=True))
    assert (cascade.fraction, cascade.threshold) == (pytest.approx(0.015), None)
    assert named.identity == {}
    by_gap = build_decoder("cascade:neural-matching,pymatching@2.5nats", weights=two_weights[0])
    assert isinstance(by_gap.decoder, CascadeDecoder)
    assert (by_gap.decoder.fraction, by_gap.decoder.threshold) == (None, 2.5)
    alone = build_decoder("neural-matching", weights=two_weights[0])
    assert by_gap.identity == alone.identity


@pytest.mark.parametrize(
    "name",
    [
        "cascade:pymatching@1%",
        "cascade:a,b,c@1%",
        "cascade:a,b",
        "cascade:a,b@1",
        "cascade:a,b@x%",
        "cascade:",
    ],
)
def test_other_names_are_refused_with_the_form_they_should_have(name: str) -> None:
    with pytest.raises(ValueError, match="is no cascade; write cascade:FIRST,SECOND@1% for the per cent of"):
        build_decoder(name)


def test_parts_and_numbers_are_checked() -> None:
    with pytest.raises(UnknownDecoderError, match="unknown decoder 'pymatchin'"):
        build_decoder("cascade:pymatchin,tesseract@1%")
    with pytest.raises(ValueError, match=r"fraction=1\.5 of doubtful shots is not between 0 and 1"):
        build_decoder("cascade:pymatching,fusion-blossom@150%")


def test_a_circuit_that_the_network_does_not_fit_is_said_with_the_cascade_that_does(
    two_weights: tuple[Path, Path],
) -> None:
    dem = stim.Circuit.generated(
        "repetition_code:memory", distance=5, rounds=3, before_round_data_depolarization=0.1
    ).detector_error_model()
    named = build_decoder("cascade:neural-matching,predecoder+pymatching@1%", weights=two_weights[0])
    with pytest.raises(LayoutError, match="--decoder cascade:pymatching,pymatching@1%"):
        named.compiled(dem)


def test_decode_takes_a_cascade(tmp_path: Path, run_cli: RunCli) -> None:
    circuit = stim.Circuit.generated(
        "surface_code:rotated_memory_z", distance=3, rounds=3, after_clifford_depolarization=0.01
    )
    circuit.to_file(tmp_path / "c.stim")
    shots = np.asarray(circuit.compile_detector_sampler(seed=1).sample(500, append_observables=True))
    stim.write_shot_data_file(
        data=shots, path=tmp_path / "s.01", format="01", num_detectors=24, num_observables=1
    )
    name = "cascade:pymatching,pymatching-correlated@5%"
    common = (
        "decode",
        "--circuit",
        tmp_path / "c.stim",
        "--shots",
        tmp_path / "s.01",
        "--append-observables",
    )
    code, text, err = run_cli(*common, "--decoder", name, "--confidence", tmp_path / "gaps.npy")
    assert (code, err) == (0, "")
    assert f"500 shots decoded with {name}" in text
