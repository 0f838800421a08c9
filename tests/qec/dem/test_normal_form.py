"""The normal form of any DEM has the statistics of that DEM, by enumeration of all its errors."""

import re

import numpy as np
import pytest
import stim
from hypothesis import example, given
from hypothesis import strategies as st

import qec
from qec import normal_form

from ... import all_errors

DETECTORS, OBSERVABLES = 4, 2
TARGETS = [*(f"D{k}" for k in range(DETECTORS)), *(f"L{k}" for k in range(OBSERVABLES)), "^"]
PROBABILITIES = st.one_of(st.sampled_from([0.0, 0.5, 1.0, 0.9, 0.1]), st.floats(0, 1))
ERRORS = st.lists(
    st.tuples(PROBABILITIES, st.lists(st.sampled_from(TARGETS), min_size=1, max_size=7)), max_size=7
)


def dem_of(errors) -> stim.DetectorErrorModel:
    return all_errors.dem_of(errors, detectors=DETECTORS, observables=OBSERVABLES)


def unpacked(bits: np.ndarray, count: int) -> int:
    return int(np.unpackbits(bits, count=count, bitorder="little") @ (1 << np.arange(count)))


@given(ERRORS)
def test_statistics_are_those_of_the_dem_and_the_certain_flips(errors):
    dem = dem_of(errors)
    normal = normal_form(dem)
    detectors = unpacked(normal.detector_flips, DETECTORS)
    flips = unpacked(normal.observable_flips, OBSERVABLES)
    states = np.arange(1 << (DETECTORS + OBSERVABLES))
    expected = all_errors.joint(dem).ravel()[states ^ (detectors | flips << DETECTORS)]
    np.testing.assert_allclose(all_errors.joint(normal.exact_dem).ravel(), expected, atol=1e-12)
    of_detectors = expected.reshape(1 << OBSERVABLES, -1).sum(axis=0)
    np.testing.assert_allclose(all_errors.joint(normal.dem).sum(axis=0), of_detectors, atol=1e-12)
    certain = all_errors.joint(normal.certain + stim.DetectorErrorModel(f"detector D{DETECTORS - 1}"))
    assert certain.max() == 1


@given(ERRORS)
def test_what_decoders_see(errors):
    dem = dem_of(errors)
    normal = normal_form(dem)
    flips_of: dict[tuple[int, ...], set] = {}
    for seen in (normal.dem, normal.matching_dem, normal.correlated_dem):
        assert (seen.num_detectors, seen.num_observables) == (dem.num_detectors, dem.num_observables)
        labels: dict[tuple[int, ...], set] = {}
        for mechanism in qec.mechanisms(seen):
            assert 0 < mechanism.probability <= 0.5
            assert all(detectors for detectors, _ in mechanism.components) or len(mechanism.components) == 1
            for detectors, observables in mechanism.components:
                labels.setdefault(detectors, set()).add(observables)
            if seen is normal.dem:
                assert len(mechanism.components) == 1 or len(mechanism.symptoms[0]) > 2
                flips_of.setdefault(mechanism.symptoms[0], set()).add(mechanism.symptoms[1])
        if seen is not normal.dem:
            assert all(len(found) == 1 for detectors, found in labels.items() if detectors)
    assert all(len(found) == 1 for detectors, found in flips_of.items() if detectors)
    for decomposed, seen in ((False, normal.correlated_dem), (True, normal.decomposed_dem)):
        assert list(normal.matched(decomposed=decomposed)) == list(qec.mechanisms(seen))
    again = normal_form(normal.dem)
    assert again.dem is normal.dem
    assert not again.has_certain_flips


@given(ERRORS.filter(lambda errors: len(errors) > 1))
@example([(0.5, ["L0"]), (0.5, ["L0", "L1"]), (0.5, ["L1"])])
def test_the_likelier_observables_win(errors):
    """All errors flip D0: the label is the likeliest by enumeration."""
    errors = [(p, ["D0", *(t for t in targets if t[0] == "L")]) for p, targets in errors]
    dem = stim.DetectorErrorModel(f"detector D0\nlogical_observable L{OBSERVABLES - 1}")
    dem += dem_of(errors)[2:]
    normal = normal_form(dem)
    if not len(normal.hyperedges):
        return
    by_class = all_errors.joint(normal.exact_dem)[:, 1]
    mask = int(normal.hyperedges.observable_flips[0] @ (1 << np.arange(OBSERVABLES)))
    assert by_class[mask] == pytest.approx(by_class.max(), abs=1e-12)
    assert normal.hyperedges.probabilities[0] == pytest.approx(by_class.sum())


@pytest.mark.parametrize("basis", ["x", "z"])
@pytest.mark.parametrize("distance", [3, 5])
def test_normal_dems_stay_as_they_are(basis, distance):
    """Undecomposed circuits' DEMs are normal; decomposed ones have edges that Stim takes apart."""
    circuit = qec.stim_memory_circuit(distance=distance, rounds=20, basis=basis, p=0.006)
    whole = circuit.detector_error_model()
    assert normal_form(whole).dem is whole
    decomposed = circuit.detector_error_model(decompose_errors=True)
    normal = normal_form(decomposed)
    assert [e.symptoms for e in qec.mechanisms(decomposed)] == [
        (tuple(normal.tables.detectors[:, [k]].indices), tuple(normal.tables.observables[:, [k]].indices))
        for k in range(normal.tables.num_mechanisms)
    ]
    assert normal.exact_dem == decomposed


def test_long_repeat_blocks_are_not_unrolled():
    rounds = 10**6
    circuit = stim.Circuit.generated(
        "surface_code:rotated_memory_z", distance=3, rounds=rounds, after_clifford_depolarization=0.01
    )
    dem = circuit.detector_error_model(decompose_errors=True)
    normal = normal_form(dem)
    assert len(normal.dem) < 1000
    assert normal.num_detectors == dem.num_detectors
    likely = normal_form(
        stim.DetectorErrorModel(re.sub(r"(repeat .*\n\s*error)\([^)]*\)", r"\1(0.75)", str(dem)))
    )
    assert len(likely.dem) < 1000
    assert np.unpackbits(likely.detector_flips).sum() >= 2


def test_certain_errors_of_a_repeat_block_add_up():
    dem = stim.DetectorErrorModel(
        "repeat 5 {\n error(0.9) D0 D1 L0\n error(1) L1\n shift_detectors 1\n}\nerror(0.75) D0"
    )
    normal, flat = normal_form(dem), normal_form(dem.flattened())
    assert any(isinstance(line, stim.DemRepeatBlock) for line in normal.dem)
    assert np.unpackbits(normal.detector_flips, count=6, bitorder="little").tolist() == [1, 0, 0, 0, 0, 0]
    assert normal.observable_flips.tolist() == [0b11]
    np.testing.assert_array_equal(normal.detector_flips, flat.detector_flips)
    np.testing.assert_array_equal(normal.observable_flips, flat.observable_flips)


@pytest.mark.parametrize(
    ("text", "unrolled"),
    [
        ("repeat 4 {\n error(0.1) D0\n error(0.2) D1 L0\n shift_detectors 1\n}", True),
        ("repeat 4 {\n error(0.1) D0\n error(0.2) D1\n shift_detectors 1\n}", False),
        ("repeat 4 {\n error(0.1) D0\n error(0.2) D1 L0\n shift_detectors 2\n}", False),
        ("repeat 4 {\n error(0.1) D0\n shift_detectors 1\n}\nerror(0.2) D0 L0", False),
        ("error(0.2) D3 L0\nrepeat 4 {\n error(0.1) D0\n shift_detectors 1\n}", True),
        ("repeat 2 {\n repeat 3 {\n error(0.1) D0\n error(0.2) D2 L0\n shift_detectors 2\n}\n}", True),
    ],
)
def test_blocks_are_unrolled_only_where_iterations_contradict_each_other(text, unrolled):
    dem = stim.DetectorErrorModel(text)
    normal, flat = normal_form(dem), normal_form(dem.flattened())
    assert all(isinstance(line, stim.DemInstruction) for line in normal.dem) == unrolled
    assert normal.hyperedges.detectors == flat.hyperedges.detectors
    by_detectors = {m.symptoms[0]: m.symptoms[1] for m in qec.mechanisms(flat.dem)}
    assert all(by_detectors[m.symptoms[0]] == m.symptoms[1] for m in qec.mechanisms(normal.dem))
