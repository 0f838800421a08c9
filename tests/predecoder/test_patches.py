"""Networks on even and rectangular patches: errors against PyMatching, whole shots and streams."""

import numpy as np
import pytest
import stim
import torch

import qec
from global_decoders import make_decoder
from global_decoders.windows import LayeredDem
from predecoder import NeuralMatchingDecoder, PredecodedDecoder, load_bundle
from predecoder.correction import ClusterDecision, ResidualNetwork, StreamPredecoder, ThresholdPolicy
from predecoder.inference import EngineOptions
from qec import BASES, ORIENTATIONS, Basis, DecodingProblem, Orientation

SHOTS = 1500
CPU = torch.device("cpu")


def _failures(circuit: stim.Circuit) -> dict[str, int]:
    """Wrong shots of each decoder, all on the same shots."""
    dem = circuit.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)
    packed, truth = circuit.compile_detector_sampler(seed=7).sample(
        SHOTS, separate_observables=True, bit_packed=True
    )
    plain = make_decoder("pymatching")
    decoders = {
        "pymatching": plain,
        "predecoder": PredecodedDecoder(plain, weights="fast", device="cpu", on_mismatch="fail"),
        "neural-matching": NeuralMatchingDecoder(weights="fast", device="cpu", on_mismatch="fail"),
    }
    return {
        name: int(
            (
                decoder.compile_decoder_for_dem(dem=dem).decode_shots_bit_packed(
                    bit_packed_detection_event_data=packed
                )
                != truth
            )
            .any(axis=1)
            .sum()
        )
        for name, decoder in decoders.items()
    }


def _check(circuit: stim.Circuit) -> None:
    failures = _failures(circuit)
    plain = failures.pop("pymatching")
    assert plain > 10
    # Paired on the same shots; a wrong layout fails about ten times as often.
    assert max(failures.values()) < 1.2 * plain + 2 * plain**0.5, (plain, failures)


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("distance", [4, (3, 4)])
def test_a_network_is_not_worse_than_matching(
    distance: int | tuple[int, int], basis: Basis, orientation: Orientation
) -> None:
    _check(
        qec.memory_circuit(
            distance=distance,
            rounds=5,
            basis=basis,
            orientation=orientation,
            noise=qec.depolarizing(0.006),
        )
    )


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("distance", [4, 6])
def test_stims_even_patches(basis: Basis, distance: int) -> None:
    _check(qec.stim_memory_circuit(distance=distance, rounds=distance, basis=basis, p=0.006))


@pytest.mark.parametrize(("basis", "orientation"), [("x", "XV"), ("z", "XV"), ("x", "ZH"), ("z", "XH")])
@pytest.mark.parametrize(("distance", "colour"), [(4, ""), ((3, 4), ", 2")])
def test_streams_are_whole_shots(
    distance: int | tuple[int, int], basis: Basis, orientation: Orientation, colour: str
) -> None:
    """With plain coordinates and with a fourth one, which is an annotation."""
    circuit = qec.memory_circuit(
        distance=distance, rounds=22, basis=basis, orientation=orientation, noise=qec.depolarizing(0.006)
    )
    lines = [
        line.replace(")", f"{colour})", 1) if "DETECTOR" in line else line
        for line in str(circuit).splitlines()
    ]
    dem = stim.Circuit("\n".join(lines)).detector_error_model(decompose_errors=True)
    problem, network, policy = DecodingProblem.from_dem(dem), load_bundle("fast").network, ThresholdPolicy()
    packed = dem.compile_sampler(seed=3).sample(8, bit_packed=True)[0]
    whole = ResidualNetwork(problem, network, EngineOptions(CPU))
    residual, flips = whole.residuals(packed, [ClusterDecision(problem, policy)])[0]
    layout = problem.layout
    stream_of = StreamPredecoder(
        problem, network, policy=policy, layers=LayeredDem.from_dem(dem.flattened()), device=CPU, min_rounds=1
    )
    at = [np.flatnonzero(layout.voxels[:, 0] == t) for t in range(layout.layers)]
    cells = layout.flat_voxels % int(np.prod(layout.shape[1:]))
    bits, left = (
        np.unpackbits(rows, axis=1, count=layout.num_detectors, bitorder="little")
        for rows in (packed, residual)
    )
    for shot, expected, flipped in zip(bits, left, flips, strict=True):
        stream = stream_of.begin()
        done = [layer for here in at[:-1] for layer in stream.add(shot[here], cells[here])]
        done += stream.end(shot[at[-1]], cells[at[-1]])
        assert np.array_equal(np.concatenate([layer.bits for layer in done]), expected[np.concatenate(at)])
        assert np.bitwise_xor.reduce([layer.flips for layer in done])[0] == flipped[0] & 1
