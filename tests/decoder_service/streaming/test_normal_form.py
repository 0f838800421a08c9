"""Any DEM in windows and streams: probabilities over all of [0, 1], equal detectors, certain errors."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import stim
from hypothesis import given, settings
from hypothesis import strategies as st

from decoder_service.streaming import StreamDecoder
from global_decoders.windows import INNER_DECODERS, WindowedDecoder

LAYERS, SITES = 6, 2
Error = tuple[float, tuple[int, ...], bool]
"""Probability, detectors, of which two make a component, and whether the observable is flipped."""


def _dem(errors: list[Error], *, layers: int = LAYERS) -> stim.DetectorErrorModel:
    """Detector D is at site D % 2 of layer D // 2."""
    lines = [f"detector({d % SITES}, 0, {d // SITES}) D{d}" for d in range(SITES * layers)]
    for p, detectors, flips in errors:
        parts = [" ".join(f"D{d}" for d in detectors[k : k + 2]) for k in range(0, len(detectors), 2)] or [""]
        parts[0] += " L0" if flips else ""
        lines.append(f"error({p!r}) " + " ^ ".join(parts))
    return stim.DetectorErrorModel("\n".join([*lines, "logical_observable L0"]))


def _every_shot(num_detectors: int) -> np.ndarray:
    return np.array(list(itertools.product((0, 1), repeat=num_detectors)), dtype=np.uint8)


def _batch(decoder: WindowedDecoder, dem: stim.DetectorErrorModel, shots: np.ndarray) -> np.ndarray:
    packed = np.packbits(shots, axis=1, bitorder="little")
    compiled = decoder.compile_decoder_for_dem(dem=dem)
    return compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed)[:, 0] & 1


def _stream(decoder: WindowedDecoder, dem: stim.DetectorErrorModel, shots: np.ndarray) -> Iterator[int]:
    stream = StreamDecoder(
        dem, commit=decoder.commit, buffer=decoder.buffer, mode=decoder.mode, decoder=decoder.inner
    )
    for shot, bits in enumerate(shots.reshape(len(shots), -1, SITES)):
        stream.open(shot)
        for layer, row in enumerate(bits[:-1]):
            stream.push(layer, row)
        yield stream.finish(bits[-1]).frame[0] & 1


def _all_sets(errors: list[Error], num_detectors: int) -> Iterator[tuple[float, tuple[int, ...], int]]:
    """The probability, the detections and the flip of every set of errors."""
    for happened in itertools.product((False, True), repeat=len(errors)):
        likely, flips, shot = 1.0, 0, [0] * num_detectors
        for yes, (p, detectors, flipped) in zip(happened, errors, strict=True):
            likely *= p if yes else 1 - p
            if yes:
                flips ^= flipped
                for d in detectors:
                    shot[d] ^= 1
        yield likely, tuple(shot), flips


def _failures(errors: list[Error], answers: np.ndarray, shots: np.ndarray) -> float:
    """Probability that the answer to a shot's detections is wrong, summed over all sets of errors."""
    answer = {tuple(shot): int(flip) for shot, flip in zip(shots.tolist(), answers, strict=True)}
    sets = _all_sets(errors, shots.shape[1])
    return sum(likely * (answer[shot] != flips) for likely, shot, flips in sets)


def _best(errors: list[Error], shots: np.ndarray) -> float:
    """The least that any decoder fails."""
    classes = [_failures(errors, np.full(len(shots), flip), shots) for flip in (0, 1)]
    assert sum(classes) == pytest.approx(1)
    likely: dict[tuple[int, ...], list[float]] = {}
    for p, shot, flips in _all_sets(errors, shots.shape[1]):
        likely.setdefault(shot, [0.0, 0.0])[flips] += p
    return sum(min(pair) for pair in likely.values())


SMALL: list[Error] = [(0.1, (0, 2), False), (0.1, (2,), False)]
KNOWN: dict[str, list[Error]] = {
    "the likelier observables win": [(0.01, (0,), True), (0.2, (0,), False), *SMALL],
    "in the other order": [(0.2, (0,), False), (0.01, (0,), True), *SMALL],
    "above one half": [(0.9, (0,), True), (0.8, (0, 2), False), (0.1, (2,), False)],
    "certain": [(1.0, (0,), True), (0.1, (0, 2), False), (0.2, (2,), True)],
    "certain, listed twice": [(1.0, (0,), True), (1.0, (0,), True), (0.1, (0,), True), (0.2, (2,), False)],
    "no detector": [(0.9, (), True), (0.1, (0,), False), (0.1, (2,), False)],
}


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("inner", INNER_DECODERS)
@pytest.mark.parametrize(("commit", "buffer"), [(5, 5), (2, 1)])
def test_small_models_are_decoded_as_well_as_can_be(name: str, inner: str, commit: int, buffer: int) -> None:
    """Two layers of one detector each that has errors; the others have a rare error of their own."""
    errors = KNOWN[name]
    rare: list[Error] = [(1e-12, (d,), False) for d in range(SITES * 2)]
    dem = _dem([*errors, *rare], layers=2)
    shots = _every_shot(SITES * 2)
    decoder = WindowedDecoder(inner=inner, commit=commit, buffer=buffer)
    answers = _batch(decoder, dem, shots)
    assert _failures(errors, answers, shots) == pytest.approx(_best(errors, shots), abs=1e-9)
    assert list(_stream(decoder, dem, shots)) == answers.tolist()


def test_errors_that_are_edges_are_not_decomposed() -> None:
    """`PAULI_CHANNEL_2`: D0 D2 as a whole is one edge, whatever its suggested parts are."""
    dem = _dem([(0.05, (1,), False), (0.05, (3,), False)], layers=2)
    dem += stim.DetectorErrorModel("error(0.2) D0 L0 ^ D2 L0\nerror(0.01) D0 L0\nerror(0.01) D2 L0")
    decoder = WindowedDecoder(commit=2, buffer=2)
    shots = np.array([[1, 0, 1, 0], [1, 0, 0, 0]], dtype=np.uint8)
    assert _batch(decoder, dem, shots).tolist() == list(_stream(decoder, dem, shots)) == [0, 1]


def _random_errors(seed: int) -> list[Error]:
    """Edges of every kind that windows of 6 layers cut, at least one for each detector, and hyperedges."""
    random = np.random.default_rng(seed)
    edges = [(d,) for d in range(SITES * LAYERS)]
    edges += [(d, d + SITES) for d in range(SITES * (LAYERS - 1))]
    edges += [(d, d + 1) for d in range(0, SITES * LAYERS, SITES)]
    edges += [(d, d + SITES, d + 1) for d in range(0, SITES * (LAYERS - 1), SITES)]
    return [(float(random.uniform(0.02, 0.4)), edge, bool(random.integers(2))) for edge in edges]


SIZES = [
    *(("sliding", 1, 0), ("sliding", 2, 1), ("sliding", 3, 2)),
    *(("parallel", 1, 1), ("parallel", 2, 1)),
]


SIZES = [
    *(("sliding", 1, 0), ("sliding", 2, 1), ("sliding", 3, 2)),
    *(("parallel", 1, 1), ("parallel", 2, 1)),
]


@pytest.mark.parametrize("inner", INNER_DECODERS)
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.sampled_from(SIZES),
    flipped=st.sets(st.integers(0, 32), min_size=1, max_size=8),
)
def test_an_error_above_one_half_always_happened_and_another_may_have(inner, seed, sizes, flipped) -> None:
    """Replacing p by 1 - p is a change of every shot and every answer: whatever windows cut through."""
    mode, commit, buffer = sizes
    decoder = WindowedDecoder(inner=inner, commit=commit, buffer=buffer, mode=mode)
    errors = _random_errors(seed)
    turned = [(1 - p, d, f) if k in flipped else (p, d, f) for k, (p, d, f) in enumerate(errors)]
    shots = np.random.default_rng(seed).integers(0, 2, (12, SITES * LAYERS), dtype=np.uint8)
    always, answer = np.zeros(SITES * LAYERS, dtype=np.uint8), 0
    for k in flipped & set(range(len(errors))):
        _, detectors, flips = errors[k]
        always[list(detectors)] ^= 1
        answer ^= flips
    expected = _batch(decoder, _dem(errors), shots ^ always) ^ answer
    assert _batch(decoder, _dem(turned), shots).tolist() == expected.tolist()
    assert list(_stream(decoder, _dem(turned), shots)) == expected.tolist()


@pytest.mark.parametrize("inner", INNER_DECODERS)
@pytest.mark.parametrize("seed", range(8))
def test_certain_errors_of_a_new_model_begin_where_it_takes_over(inner: str, seed: int) -> None:
    """Windows that commit from layer 2 on have the new model: what it calls certain before was decided."""
    errors = _random_errors(seed)
    before = {k for k, (_, detectors, _) in enumerate(errors) if min(detectors) < 2 * SITES}
    after = [k for k, (_, detectors, _) in enumerate(errors) if min(detectors) >= 3 * SITES]
    random = np.random.default_rng(seed)
    flipped = before | set(random.choice(after, 4, replace=False).tolist())
    turned = [(1 - p, d, f) if k in flipped else (p, d, f) for k, (p, d, f) in enumerate(errors)]
    always, answer = np.zeros(SITES * LAYERS, dtype=np.uint8), 0
    for k in flipped - before:
        always[list(errors[k][1])] ^= 1
        answer ^= errors[k][2]
    found = []
    for new, more, flips in ((turned, 0 * always, 0), (errors, always, answer)):
        for bits in np.random.default_rng(seed).integers(0, 2, (8, SITES * LAYERS), dtype=np.uint8) ^ more:
            stream = StreamDecoder(_dem(errors), commit=2, buffer=1, decoder=inner)
            stream.open(0)
            stream.reload(_dem(new), at_round=2)
            for layer, row in enumerate(bits.reshape(-1, SITES)[:-1]):
                stream.push(layer, row)
            found.append((stream.finish(bits[-SITES:]).frame[0] & 1) ^ flips)
    assert found[:8] == found[8:]
