"""Every decoder on DEMs of any probabilities, against all errors enumerated."""

import itertools

import numpy as np
import pytest
import stim
from hypothesis import given, settings
from hypothesis import strategies as st

from global_decoders import decoder_names, is_available, make_decoder

from ..all_errors import joint

DETECTORS, OBSERVABLES = 4, 2
BOUNDS = "detector D3\nlogical_observable L1\n"
MATCHERS = ("pymatching", "pymatching-correlated", "fusion-blossom")


def predicted(name: str, dem: stim.DetectorErrorModel, syndromes: np.ndarray) -> np.ndarray:
    """Observables, as one number, that a decoder predicts of syndromes, as one number each."""
    bits = (syndromes[:, None] >> np.arange(dem.num_detectors)) & 1
    packed = np.packbits(bits.astype(np.uint8), axis=1, bitorder="little")
    compiled = make_decoder(name).compile_decoder_for_dem(dem=dem)
    flips = compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    unpacked = np.unpackbits(flips, axis=1, count=dem.num_observables, bitorder="little")
    return unpacked @ (1 << np.arange(dem.num_observables))


def error_rates(name: str, dem: stim.DetectorErrorModel) -> tuple[float, float]:
    """The decoder's logical error rate, and that of maximum likelihood."""
    truth = joint(dem)
    syndromes = np.flatnonzero(truth.sum(axis=0) > 0)
    right = truth[predicted(name, dem, syndromes), syndromes].sum()
    return 1 - right, 1 - truth.max(axis=0).sum()


def available(name: str) -> str:
    if not is_available(name):
        pytest.skip(f"{name}: package not installed")
    return name


# Maximum likelihood is what every decoder reaches on these.
OPTIMA = {
    "likelier observables named last": (
        "error(.01) D0 L0\nerror(.2) D0\nerror(.1) D0 D1\nerror(.1) D1",
        0.010,
    ),
    "likelier observables named first": (
        "error(.2) D0\nerror(.01) D0 L0\nerror(.1) D0 D1\nerror(.1) D1",
        0.010,
    ),
    "likelier than not": ("error(.9) D0 L0\nerror(.8) D0 D1\nerror(.1) D1", 0.046),
    "certain": ("error(1) D0 L0\nerror(1) D0 D1\nerror(.1) D1\nerror(.1) D0 D1", 0.0),
    "certain twice": ("error(1) D0 L0\nerror(1) D0 L0\nerror(.1) D0", 0.0),
    "certain three times": ("error(1) D0 L0\nerror(1) D0 L0\nerror(1) D0 L0\nerror(.1) D0 D1", 0.0),
    "no detector sees it": ("error(.9) L0\nerror(.1) D0", 0.1),
    "no detectors": ("error(.9) L0", 0.1),
    "even odds": ("error(.5) D0 L0\nerror(.1) D0 D1\nerror(.1) D1", 0.1),
    "even odds and no detector": ("error(.5) L0\nerror(.5) D0", 0.5),
    "never": ("error(0) D0 L0\nerror(.1) D0", 0.0),
    "several observables": (
        "error(.6) D0 L1\nerror(.3) D0 D1 L0\nerror(.2) D1 L0 L1\nerror(.05) D1",
        0.05,
    ),
    "targets twice": ("error(.2) D0 L0 ^ D1 ^ L0\nerror(.1) D0 D0 D1 L0 D1\nerror(.02) D1", 0.1),
    "no errors": ("detector D1\nlogical_observable L0", 0.0),
    "nothing at all": ("", 0.0),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("text", "optimum"), OPTIMA.values(), ids=OPTIMA)
@pytest.mark.parametrize("name", decoder_names())
def test_optimum(name, text, optimum):
    found, best = error_rates(available(name), stim.DetectorErrorModel(text))
    assert best == pytest.approx(optimum, abs=1e-9)
    assert found == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("name", decoder_names())
@pytest.mark.parametrize("pauli", range(15))
def test_edges_that_stim_takes_apart(name, pauli):
    """One two-qubit Pauli channel: every shot can be decoded."""
    rates = ",".join("0.18" if k == pauli else "0" for k in range(15))
    circuit = stim.Circuit(f"""
        RX 0
        R 1
        CX 0 1
        PAULI_CHANNEL_2({rates}) 0 1
        MPP X0*X1 Z0*Z1
        DETECTOR rec[-1]
        DETECTOR rec[-2]
        OBSERVABLE_INCLUDE(0) rec[-1]
    """)
    dem = circuit.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)
    assert error_rates(available(name), dem)[0] == pytest.approx(0, abs=1e-9)


HERALDS = stim.Circuit("""
    R 0 1
    HERALDED_ERASE(0.1) 0
    DETECTOR rec[-1]
    HERALDED_PAULI_CHANNEL_1(0.02, 0.1, 0.03, 0.04) 1
    DETECTOR rec[-1]
    DEPOLARIZE1(0.05) 0 1
    CX 0 2 1 2
    X_ERROR(0.02) 2
    MR 2
    DETECTOR rec[-1]
    X_ERROR(0.03) 0 1
    M 0 1
    DETECTOR rec[-1] rec[-2] rec[-3]
    OBSERVABLE_INCLUDE(0) rec[-1]
""")


@pytest.mark.parametrize("name", decoder_names())
def test_heralds_are_detectors_like_others(name):
    """Without what they tell, 11 % of the shots are wrong, where 6.9 % is the least."""
    dem = HERALDS.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)
    found, best = error_rates(available(name), dem)
    assert found < 1.15 * best


PROBABILITIES = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1))
EDGES = st.lists(
    st.tuples(
        PROBABILITIES,
        st.sets(st.integers(0, DETECTORS - 1), max_size=2),
        st.sets(st.integers(0, OBSERVABLES - 1)),
    ),
    max_size=9,
)


def least_weights(dem: stim.DetectorErrorModel) -> np.ndarray:
    """float64 (2**observables, 2**detectors): the largest probability of a set of edges that happened.

    Errors with the same detectors are one edge: it was flipped or not, and of what it then may have flipped
    besides, the likeliest counts. By enumeration of all errors of an edge.
    """
    by_detectors: dict[int, list[tuple[float, int]]] = {}
    for instruction in dem:
        if isinstance(instruction, stim.DemInstruction) and instruction.type == "error":
            targets = [t for group in instruction.target_groups() for t in group]
            detectors = sum(1 << t.val for t in targets if t.is_relative_detector_id())
            flips = sum(1 << t.val for t in targets if t.is_logical_observable_id())
            by_detectors.setdefault(detectors, []).append((instruction.args_copy()[0], flips))
    best = np.zeros((1 << OBSERVABLES, 1 << DETECTORS))
    best[0, 0] = 1
    flips, syndromes = np.indices(best.shape)
    for detectors, errors in by_detectors.items():
        classes = np.zeros((2, 1 << OBSERVABLES))
        for happened in itertools.product((0, 1), repeat=len(errors)):
            p = float(np.prod([p if h else 1 - p for h, (p, _) in zip(happened, errors, strict=True)]))
            flipped = 0
            for h, (_, f) in zip(happened, errors, strict=True):
                flipped ^= f * h
            classes[sum(happened) % 2, flipped] += p
        if detectors == 0:  # nothing is seen either way
            classes = np.stack([classes.sum(axis=0), np.zeros(1 << OBSERVABLES)])
        # Of equally likely classes a decoder may take any.
        options = [
            classes[parity].sum() * best[flips ^ flipped, syndromes ^ (detectors * parity)]
            for parity in (0, 1)
            for flipped in np.flatnonzero(classes[parity] >= classes[parity].max() * (1 - 1e-9))
        ]
        best = np.max(options, axis=0)
    return best


@settings(max_examples=60, deadline=None)
@given(EDGES)
@pytest.mark.parametrize("name", [*MATCHERS, "mwpf"])
def test_exact_decoders_find_the_likeliest_edges(name, edges):
    """On errors of at most two detectors, all probabilities from 0 to 1.

    Not so Tesseract, whose search may stop early: by its beam it misses some at probabilities near 1/2.
    """
    text = BOUNDS + "\n".join(
        f"error({p}) " + " ".join([*(f"D{d}" for d in detectors), *(f"L{o}" for o in flips)])
        for p, detectors, flips in edges
        if detectors or flips
    )
    dem = stim.DetectorErrorModel(text)
    best = least_weights(dem)
    syndromes = np.flatnonzero(best.max(axis=0) > 1e-9)
    found = predicted(available(name), dem, syndromes)
    # Weights are rounded, and ties may be broken either way.
    assert (best[found, syndromes] >= best[:, syndromes].max(axis=0) * (1 - 0.01) - 1e-12).all()


@settings(max_examples=30, deadline=None)
@given(EDGES, st.randoms(use_true_random=False))
@pytest.mark.parametrize("name", decoder_names())
def test_another_way_to_write_a_dem_changes_no_prediction(name, edges, random):
    """Errors above 1/2 for those below and a certain one, in several pieces, with targets that cancel."""
    plain, other = stim.DetectorErrorModel(BOUNDS), stim.DetectorErrorModel(BOUNDS)
    used: set[frozenset[int]] = set()
    shift = flip = 0
    for p, detectors, flips in edges:
        p = min(p, 1 - p)
        if not detectors or frozenset(detectors) in used or not 0.01 < p < 0.49:
            continue
        used.add(frozenset(detectors))
        targets = " ".join([*(f"D{d}" for d in detectors), *(f"L{o}" for o in flips)])
        plain += stim.DetectorErrorModel(f"error({p}) {targets}")
        if random.random() < 0.5:
            p = 1 - p
            shift ^= sum(1 << d for d in detectors)
            flip ^= sum(1 << o for o in flips)
        text = f"error({p}) {targets} D3 D3"
        if random.random() < 0.3:
            text += f"\nerror(0) {targets} L0\nerror(1) {targets}\nerror(1) {targets}"
        other += stim.DetectorErrorModel(text)
    syndromes = np.flatnonzero(joint(plain).sum(axis=0) > 0)
    expected = predicted(available(name), plain, syndromes)
    np.testing.assert_array_equal(predicted(name, other, syndromes ^ shift) ^ flip, expected)
