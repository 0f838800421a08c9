"""Layers of a shortened DEM equal those of the explicit one, and windows cut from either are equal."""

import numpy as np
import pytest
import stim

import qec
from global_decoders.windows import LayeredDem, cut, cut_key, windows_of


@pytest.mark.parametrize(("basis", "reset"), [("x", True), ("z", True), ("z", False)])
@pytest.mark.parametrize("mode", ["sliding", "parallel"])
def test_windows_of_a_few_periods_equal_those_of_the_explicit_dem(memory, basis, reset, mode) -> None:
    explicit, short = (
        LayeredDem.from_dem(memory(distance=3, rounds=r, p=0.004, basis=basis, reset=reset).flattened())
        for r in (50, 9)
    )
    stretched = short.with_layers(explicit.num_layers)
    assert len(explicit.source) == 51
    assert len(stretched.source) == 10
    for window in windows_of(51, commit=3, buffer=3, mode=mode):
        assert cut(stretched, window) == cut(explicit, window)


def test_a_long_repeat_is_never_unrolled(memory) -> None:
    layers = LayeredDem.from_dem(memory(distance=3, rounds=10**5, p=0.004))
    assert layers.num_layers == 10**5 + 1
    assert len(layers.source) < 25


def test_shortened_repeat_keeps_detector_numbers(memory) -> None:
    dem = memory(distance=3, rounds=60, p=0.004)
    folded, flat = LayeredDem.from_dem(dem), LayeredDem.from_dem(dem.flattened())
    assert len(folded.source) < len(flat.source) == folded.num_layers
    for layer in range(61):
        assert np.array_equal(folded.detectors(layer), flat.detectors(layer))
        assert folded.kind(layer) == flat.kind(layer)


def test_layers_can_be_left_out(memory) -> None:
    short = LayeredDem.from_dem(memory(distance=3, rounds=6, p=0.004).flattened())
    long = LayeredDem.from_dem(memory(distance=3, rounds=30, p=0.004).flattened()).with_layers(7)
    assert [long.kind(t) for t in range(7)] == [short.kind(t) for t in range(7)]
    assert np.array_equal(long.detector_order(), short.detector_order())


@pytest.mark.parametrize("basis", ["x", "z"])
def test_without_reset_wrong_results_span_three_layers(memory, basis) -> None:
    """Layers repeat one by one, though Stim's probabilities of odd and even rounds differ in a last digit."""
    layers = LayeredDem.from_dem(memory(distance=3, rounds=30, p=0.008, basis=basis, reset=False))
    assert (layers.cycle, layers.span, layers.reach) == (1, 2, 2)
    bulk = layers.kind(15)
    results = [m for m in bulk.known_mechanisms if any(c.detectors[-1][0] == 2 for c in m.components)]
    assert len(results) == len(bulk.sites) == 8
    assert {m.components[0].detectors for m in results} == {((0, site), (2, site)) for site in bulk.sites}


def test_probabilities_on_two_sides_of_a_half_are_one() -> None:
    """Neighbours in floating point, of which one is rounded up to twelve digits and the other down."""
    up = 0.001234567890125
    down = np.nextafter(up, 0)
    while f"{down:.12g}" == f"{up:.12g}":
        up, down = np.nextafter(up, 1), up
    lines = []
    for t in range(12):
        flipped = f"D{t}" if t == 11 else f"D{t} D{t + 1}"
        lines += [f"detector(0, 0, {t}) D{t}", f"error({float(down if t % 3 else up)!r}) {flipped} L0"]
    dem = stim.DetectorErrorModel("\n".join(lines))
    layers = LayeredDem.from_dem(dem)
    assert layers.cycle == 1
    assert len(layers.kinds) == 2


def test_equal_windows_have_equal_keys_and_dems(memory) -> None:
    layers = LayeredDem.from_dem(memory(distance=3, rounds=60, p=0.004))
    windows = list(windows_of(61, commit=3, buffer=3, mode="sliding"))
    assert len({cut_key(layers, w) for w in windows}) == len({cut(layers, w) for w in windows}) == 4


@pytest.mark.parametrize("task", ["surface_code:rotated_memory_z", "repetition_code:memory"])
def test_stim_generated_circuits_shorten(task) -> None:
    """Stim decomposes the rounds of its rotated code in two ways that alternate: a cycle of two layers."""
    circuit = stim.Circuit.generated(
        task, distance=3, rounds=60, after_clifford_depolarization=0.01, before_measure_flip_probability=0.01
    )
    dem = circuit.detector_error_model(decompose_errors=True)
    folded, flat = LayeredDem.from_dem(dem), LayeredDem.from_dem(dem.flattened())
    assert len(folded.source) < 40
    assert [folded.kind(t) for t in range(61)] == [flat.kind(t) for t in range(61)]


def test_too_few_rounds_cannot_be_stretched() -> None:
    circuit = qec.memory_circuit(distance=3, rounds=2, basis="x", noise=qec.depolarizing(0.004))
    layers = LayeredDem.from_dem(circuit.detector_error_model(decompose_errors=True))
    with pytest.raises(ValueError, match=r"num_layers=9 .*more rounds"):
        layers.with_layers(9)


def test_a_detector_without_coordinates_is_named() -> None:
    dem = stim.DetectorErrorModel("detector(0, 0, 0) D0\nerror(0.1) D0 D1")
    with pytest.raises(ValueError, match="D1 has no coordinates"):
        LayeredDem.from_dem(dem)
