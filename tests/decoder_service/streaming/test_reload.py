"""Another model takes over between two windows, or not at all."""

import re
from collections.abc import Callable
from typing import Literal

import pytest
import stim

import qec
from decoder_service.streaming.commits import Commit, Flag
from decoder_service.streaming.stream_decoder import StreamDecoder

Mode = Literal["sliding", "parallel"]


@pytest.mark.parametrize("mode", ["sliding", "parallel"])
def test_reload_takes_over_at_a_window_boundary(kit, mode: Mode) -> None:
    experiment = kit.experiment(40, shots=1)
    decoder = StreamDecoder(experiment.circuit, commit=3, buffer=3, mode=mode)
    old = decoder.model
    rows, final = kit.rows(decoder, experiment.measurements[0], 40)
    decoder.open(0)
    commits: list[Commit] = []
    for r, row in enumerate(rows):
        if r == 10:
            new = decoder.reload(kit.dem(kit.circuit(40, p=0.001)), at_round=20)
        commits += decoder.push(r, row)
    decoder.finish(final)
    models = [c.model for c in commits]
    assert models == sorted(models, key=[old, new].index)
    assert set(models) == {old, new}
    assert all((c.model == new) == (Flag.RELOADED in c.flags) for c in commits)
    decoder.open(1)
    assert decoder.model == new


def test_reloading_the_same_model_changes_no_answer(kit) -> None:
    experiment = kit.experiment(30, shots=10)
    plain, reloaded = (StreamDecoder(experiment.circuit, commit=3, buffer=3) for _ in range(2))
    reloaded.reload(kit.dem(kit.circuit(50)))
    for bits in experiment.measurements:
        assert kit.stream(plain, bits, 30)[0].frame == kit.stream(reloaded, bits, 30)[0].frame


def test_a_model_that_does_not_fit_changes_nothing(kit) -> None:
    decoder = StreamDecoder(kit.circuit(20), commit=3, buffer=3)
    before = decoder.model
    with pytest.raises(ValueError, match="other detectors than the stream in layer 0"):
        decoder.reload(kit.dem(kit.circuit(20, distance=5)))
    assert decoder.model == before


def test_the_last_of_several_reloads_wins_where_both_are_due(kit) -> None:
    experiment = kit.experiment(40, shots=1)
    decoder = StreamDecoder(experiment.circuit, commit=3, buffer=3)
    names = [decoder.model]
    rows, final = kit.rows(decoder, experiment.measurements[0], 40)
    decoder.open(0)
    commits: list[Commit] = []
    for r, row in enumerate(rows):
        if r == 5:
            names += [decoder.reload(kit.dem(kit.circuit(20, p=p)), at_round=a) for p, a in SWAPS]
        commits += decoder.push(r, row)
    commits += decoder.finish(final).commits
    old, first, second, third = names
    for commit in commits[:-1]:
        began = commit.upto_round - 3
        expected = third if began >= 24 else second if began >= 21 else first if began >= 12 else old
        assert commit.model == expected
    decoder.open(1)
    assert decoder.model == third


@pytest.mark.parametrize("mode", ["sliding", "parallel"])
def test_models_without_windows_to_come_are_forgotten_in_mid_shot(kit, mode: Mode) -> None:
    """A shot may have no end: every model of it was kept until it had one."""
    experiment = kit.experiment(60, shots=1)
    decoder = StreamDecoder(experiment.circuit, commit=3, buffer=3, mode=mode)
    models = [decoder.prepare(kit.dem(kit.circuit(20, p=p))) for p in (0.001, 0.002)]
    rows, final = kit.rows(decoder, experiment.measurements[0], 60)
    decoder.open(0)
    commits: list[Commit] = []
    for r, row in enumerate(rows):
        if r % 3 == 0:
            decoder.adopt(models[r // 3 % 2], at_round=r)
        commits += decoder.push(r, row)
        assert len(decoder._stream.serials) <= 12
        assert len(decoder.models._by_serial) <= 3
    commits += decoder.finish(final).commits
    assert {commit.model for commit in commits} == {model.id for model in models}


SWAPS = [(0.001, 12), (0.002, 21), (0.003, 24)]


def test_preparing_changes_nothing_and_adopting_builds_nothing(kit) -> None:
    experiment = kit.experiment(30, shots=1)
    decoder = StreamDecoder(experiment.circuit, commit=3, buffer=3)
    before = decoder.model
    expected, _ = kit.stream(decoder, experiment.measurements[0], 30)
    prepared = decoder.prepare(kit.dem(kit.circuit(20, p=0.001)))
    built = len(prepared.graphs)
    again, _ = kit.stream(decoder, experiment.measurements[0], 30)
    assert decoder.model == before
    assert again.frame == expected.frame
    decoder.adopt(prepared)
    assert decoder.model == prepared.id != before
    kit.stream(decoder, experiment.measurements[0], 30)
    assert len(prepared.graphs) == built


def test_detectors_elsewhere_do_not_fit(kit) -> None:
    """As many detectors in every layer, of the other basis."""
    decoder = StreamDecoder(kit.circuit(20), commit=3, buffer=3)
    other = qec.memory_circuit(distance=3, rounds=20, basis="z", noise=qec.depolarizing(0.008))
    with pytest.raises(ValueError, match="other detectors than the stream in layer 0"):
        decoder.prepare(kit.dem(other))


def test_a_model_without_all_lengths_does_not_fit(kit) -> None:
    """Another probability in every round: nothing repeats."""
    decoder = StreamDecoder(kit.circuit(20), commit=3, buffer=3)
    with pytest.raises(ValueError, match="the DEM does not repeat"):
        decoder.prepare(_rescaled(kit.dem(kit.circuit(20)), lambda k, p: p * (1 - 1e-6 * k)))


def test_a_model_that_cannot_explain_a_detection_does_not_fit(kit) -> None:
    decoder = StreamDecoder(kit.circuit(20), commit=3, buffer=3)
    before = decoder.model
    with pytest.raises(ValueError, match="no mechanism of the DEM explains a detection at"):
        decoder.prepare(_rescaled(kit.dem(kit.circuit(20)), lambda k, p: 0.0))
    assert decoder.model == before


@pytest.mark.parametrize("rounds", [20, None])
def test_a_model_that_cannot_explain_the_end_of_a_shot_does_not_fit(rounds: int | None) -> None:
    """Windows that see no end were compared alone, and shots with an error of the readout failed."""
    silent = {"before_round_data_depolarization": 0.02}
    decoder = StreamDecoder(_stim(20, **silent, before_measure_flip_probability=0.02), commit=3, buffer=3)
    with pytest.raises(ValueError, match="no mechanism of the DEM explains a detection at"):
        decoder.prepare(_stim(20, **silent).detector_error_model(decompose_errors=True), rounds=rounds)


def test_detectors_in_another_order_do_not_fit() -> None:
    """Each layer's were in the same order, but another site came first: erased rounds ended the worker."""
    circuit = _stim(20, before_round_data_depolarization=0.02, before_measure_flip_probability=0.02)
    dem = circuit.detector_error_model(decompose_errors=True).flattened()
    first, second = ([k for k, at in dem.get_detector_coordinates().items() if at[2] == t] for t in (0, 1))
    swapped = {old: new for new, old in enumerate([*second, *first])}
    lines = [
        re.sub(r"D(\d+)", lambda found: f"D{swapped.get(int(found[1]), int(found[1]))}", line)
        for line in str(dem).splitlines()
    ]
    decoder = StreamDecoder(circuit, commit=3, buffer=3)
    with pytest.raises(ValueError, match="the detectors of layer 0, or of one before it, in another order"):
        decoder.prepare(stim.DetectorErrorModel("\n".join(lines)))


def _stim(rounds: int, **noise: float) -> stim.Circuit:
    return stim.Circuit.generated("surface_code:rotated_memory_x", distance=3, rounds=rounds, **noise)


def _rescaled(dem: stim.DetectorErrorModel, rule: Callable[[int, float], float]) -> stim.DetectorErrorModel:
    """Every probability changed by `rule(number of the mechanism, probability)`."""
    new = stim.DetectorErrorModel()
    flat = dem.flattened()
    for k in range(len(flat)):
        op = flat[k]
        assert isinstance(op, stim.DemInstruction)
        arguments = [rule(k, p) for p in op.args_copy()] if op.type == "error" else op.args_copy()
        targets = [t for t in op.targets_copy() if isinstance(t, stim.DemTarget)]
        new.append(stim.DemInstruction(op.type, arguments, targets))
    return new
