"""The windowed decoder as any other decoder: exact where it must be, and close elsewhere."""

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
import sinter
import stim

import _qecpipe
import qec
from global_decoders.windows import WindowedDecoder


def _tilted(shots):
    """The same shots with probabilities changed by up to 2 %: few matchings have exactly equal weights."""
    random = np.random.default_rng(1)
    tilted = stim.DetectorErrorModel()
    for op in shots.dem.flattened():
        assert isinstance(op, stim.DemInstruction)
        scale = 1 + 0.02 * random.random() if op.type == "error" else 1.0
        targets = [t for t in op.targets_copy() if isinstance(t, stim.DemTarget)]
        tilted.append(stim.DemInstruction(op.type, [scale * a for a in op.args_copy()], targets))
    return dataclasses.replace(shots, dem=tilted)


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("inner", ["pymatching", "pymatching-correlated"])
def test_a_window_that_covers_all_is_whole_decoding(sampled, inner, reset) -> None:
    shots = _tilted(sampled(distance=3, rounds=8, p=0.01, shots=2000, reset=reset))
    decoder = WindowedDecoder(inner=inner, commit=5, buffer=5)
    assert np.array_equal(shots.decoded_by(decoder), shots.whole(inner))


@pytest.mark.parametrize("mode", ["sliding", "parallel"])
@pytest.mark.parametrize(("basis", "reset"), [("x", True), ("z", True), ("x", False)])
def test_twice_the_buffer_agrees_with_whole_decoding(sampled, mode, basis, reset) -> None:
    shots = sampled(distance=3, rounds=60, p=0.003, shots=3000, basis=basis, reset=reset)
    shots = _tilted(shots)
    decoder = WindowedDecoder(commit=3, buffer=6, mode=mode)
    assert (shots.decoded_by(decoder) != shots.whole()).sum() <= 1


@pytest.mark.parametrize("mode", ["sliding", "parallel"])
def test_correlations_survive_windows(sampled, mode) -> None:
    """Correlated matching in windows is far better than uncorrelated whole decoding."""
    shots = sampled(distance=5, rounds=50, p=0.004, shots=2000)
    decoder = WindowedDecoder(inner="pymatching-correlated", commit=5, buffer=5, mode=mode)
    wrong = [(answer != shots.flips).sum() for answer in (shots.decoded_by(decoder), shots.whole())]
    assert wrong[0] < 0.8 * wrong[1]


@pytest.mark.parametrize("mode", ["sliding", "parallel"])
def test_a_batch_equals_its_single_shots(sampled, mode) -> None:
    shots = sampled(distance=3, rounds=20, p=0.01, shots=200)
    decoder = WindowedDecoder(commit=2, buffer=2, mode=mode).compile_decoder_for_dem(dem=shots.dem)
    batch = decoder.decode_shots_bit_packed(bit_packed_detection_event_data=shots.detections)
    singles = [
        decoder.decode_shots_bit_packed(bit_packed_detection_event_data=row[None])[0]
        for row in shots.detections
    ]
    assert np.array_equal(batch, singles)


@pytest.mark.parametrize("reset", [True, False])
def test_graphs_do_not_grow_with_the_experiment(memory, reset) -> None:
    counts = {
        len(
            WindowedDecoder(commit=3, buffer=3)
            .compile_decoder_for_dem(dem=memory(distance=3, rounds=r, p=0.01, reset=reset))
            .graphs
        )
        for r in (60, 600)
    }
    assert len(counts) == 1


def test_detectors_need_not_be_in_order_of_time() -> None:
    """Shuffled detector numbers give the same answers."""
    circuit = qec.memory_circuit(distance=3, rounds=15, basis="x", noise=qec.depolarizing(0.01))
    dem = circuit.detector_error_model(decompose_errors=True).flattened()
    bits, _, _ = dem.compile_sampler(seed=2).sample(300)
    order = np.random.default_rng(3).permutation(dem.num_detectors)  # detector d becomes order[d]
    shuffled = stim.DetectorErrorModel()
    for op in dem:
        assert isinstance(op, stim.DemInstruction)
        targets = [_renumbered(t, order) for t in op.targets_copy() if isinstance(t, stim.DemTarget)]
        shuffled.append(stim.DemInstruction(op.type, op.args_copy(), targets))
    moved = np.zeros_like(bits)
    moved[:, order] = bits
    decoder = WindowedDecoder(commit=3, buffer=3)
    answers = [
        decoder.compile_decoder_for_dem(dem=model).decode_shots_bit_packed(
            bit_packed_detection_event_data=np.packbits(shots, axis=1, bitorder="little")
        )
        for model, shots in ((dem, bits), (shuffled, moved))
    ]
    # Matchings of equal weight may differ between orders.
    assert (answers[0] != answers[1]).mean() < 0.02


def _renumbered(target: stim.DemTarget, order: np.ndarray) -> stim.DemTarget:
    if target.is_relative_detector_id():
        return stim.target_relative_detector_id(int(order[target.val]))
    return target


def test_a_repetition_code_runs_under_sinter() -> None:
    circuit = stim.Circuit.generated(
        "repetition_code:memory", distance=5, rounds=40, before_round_data_depolarization=0.05
    )
    (stats,) = sinter.collect(
        num_workers=1,
        tasks=[sinter.Task(circuit=circuit, decoder="windowed")],
        custom_decoders={"windowed": pickle.loads(pickle.dumps(WindowedDecoder(commit=5, buffer=5)))},
        max_shots=1000,
    )
    assert stats.shots == 1000
    assert 0 < stats.errors < 500


def test_shots_of_another_shape_are_named(memory) -> None:
    decoder = WindowedDecoder(commit=3, buffer=3).compile_decoder_for_dem(
        dem=memory(distance=3, rounds=5, p=0.01)
    )
    with pytest.raises(ValueError, match=r"shape \(2, 3\)"):
        decoder.decode_shots_bit_packed(bit_packed_detection_event_data=np.zeros((2, 3), dtype=np.uint8))


def test_an_inner_decoder_without_edges_is_refused() -> None:
    with pytest.raises(ValueError, match="inner='bp-osd'"):
        WindowedDecoder(inner="bp-osd")


def test_parallel_buffers_must_cover_what_components_span() -> None:
    dem = stim.DetectorErrorModel(
        "\n".join(f"detector(0, {t}) D{t}\nerror(0.1) D{t} L0\nerror(0.1) D{t} D{t + 2}" for t in range(20))
        + "\ndetector(0, 20) D20\ndetector(0, 21) D21"
    )
    with pytest.raises(ValueError, match="buffer=1 rounds, but a component of this DEM spans 2 rounds"):
        WindowedDecoder(commit=3, buffer=1, mode="parallel").compile_decoder_for_dem(dem=dem)


def test_a_batch_that_does_not_fit_is_refused() -> None:
    """These wrote behind the observables, or divided by 0."""
    given: dict[str, Any] = {"starts": [], "decoders": [], "num_sites": 1, "num_observables": 1}
    detectors = np.zeros((0, 2), dtype=np.int32)
    with pytest.raises(ValueError, match="observable 70 is certain"):
        _qecpipe.WindowBatch(**given, detectors=detectors, certain_observables=[70])
    batch = _qecpipe.WindowBatch(**given, detectors=detectors, certain_observables=[0])
    with pytest.raises(ValueError, match="layers of 0 logits"):
        batch.match_on([0], 0)
