"""A stream gives the answers of whole shots in windows, bit for bit, however long, lossy or reloaded."""

import itertools
from typing import Any, Literal

import numpy as np
import pytest
import stim

import _qecpipe
from decoder_service.streaming.commits import Commit
from decoder_service.streaming.stream_decoder import StreamDecoder
from global_decoders.windows import WindowedDecoder

Mode = Literal["sliding", "parallel"]


SIZES: list[tuple[Mode, int, int]] = [
    ("sliding", 3, 3),
    ("sliding", 2, 1),
    ("parallel", 3, 3),
    ("parallel", 1, 2),
]


@pytest.mark.parametrize(
    ("inner", "mode", "commit", "buffer", "reset"),
    [
        *((inner, *sizes, True) for inner in ("pymatching", "pymatching-correlated") for sizes in SIZES),
        ("pymatching-correlated", "sliding", 3, 3, False),
        ("pymatching", "sliding", 1, 0, False),  # wrong results reach beyond all that is read
        ("pymatching", "parallel", 1, 2, False),  # and over what a window commits
    ],
)
def test_streams_of_any_length_equal_whole_shots(
    kit, inner: str, mode: Mode, commit: int, buffer: int, reset: bool
) -> None:
    """One decoder, made from a circuit of 30 rounds, for measurements of 4 to 47 rounds."""
    circuit = kit.circuit(30, reset=reset)
    decoder = StreamDecoder(circuit, commit=commit, buffer=buffer, mode=mode, decoder=inner)
    windowed = WindowedDecoder(inner=inner, commit=commit, buffer=buffer, mode=mode)
    for rounds in (4, 5, 12, 13, 14, 47) if reset else (6, 13):
        experiment = kit.experiment(rounds, shots=20, reset=reset)
        expected = kit.whole(experiment.dem, experiment.detections, windowed)
        for bits, answer, flips in zip(experiment.measurements, expected, experiment.flips, strict=True):
            result, _ = kit.stream(decoder, bits, rounds)
            assert result.frame == answer.tobytes()
            assert result.readout == np.packbits(flips ^ (answer[0] & 1), bitorder="little").tobytes()


@pytest.mark.parametrize("mode", ["sliding", "parallel"])
def test_detectors_and_measurements_give_the_same_commits(kit, mode: Mode) -> None:
    experiment = kit.experiment(25, shots=20)
    measured = StreamDecoder(experiment.circuit, commit=3, buffer=3, mode=mode, clock=lambda: 0)
    detected = StreamDecoder(experiment.dem, commit=3, buffer=3, mode=mode, clock=lambda: 0)
    for bits, detections in zip(experiment.measurements, experiment.detections, strict=True):
        (a, early_a), (b, early_b) = kit.stream(measured, bits, 25), kit.stream(detected, detections, 25)
        assert [(c.upto_round, c.frame) for c in early_a] == [(c.upto_round, c.frame) for c in early_b]
        assert (a.frame, a.rounds) == (b.frame, b.rounds)
        assert b.readout is None


@pytest.mark.parametrize("mode", ["sliding", "parallel"])
def test_commits_advance_to_the_end_and_come_early(kit, mode: Mode) -> None:
    experiment = kit.experiment(60, shots=1)
    times = iter(range(10**6))
    decoder = StreamDecoder(experiment.circuit, commit=3, buffer=3, mode=mode, clock=lambda: next(times))
    rows, final = kit.rows(decoder, experiment.measurements[0], 60)
    decoder.open(7)
    commits: list[Commit] = []
    for r, row in enumerate(rows):
        commits += decoder.push(r, row)
        committed = commits[-1].upto_round if commits else 0
        assert r + 1 - committed <= 3 + 3 + 1 + (2 * 3 if mode == "parallel" else 0)
    result = decoder.finish(final)
    commits += result.commits
    upto = [c.upto_round for c in commits]
    assert upto == sorted(set(upto))
    assert upto[-1] == result.rounds == 61
    assert commits[-1].frame == result.frame
    assert all(c.shot == 7 and c.model == decoder.model and c.time_in < c.time_out for c in commits)


@pytest.mark.parametrize("mode", ["sliding", "parallel"])
@pytest.mark.parametrize("inner", ["pymatching", "pymatching-correlated"])
def test_rounds_may_come_in_blocks(kit, mode: Mode, inner: str) -> None:
    """Also erased ones, and of other widths; each block gives the commits of its rounds."""
    experiment = kit.experiment(37, shots=6)
    options: dict[str, Any] = {"commit": 3, "buffer": 3, "mode": mode, "decoder": inner, "clock": lambda: 0}
    random = np.random.default_rng(3)
    for given, shots in (
        (experiment.circuit, experiment.measurements),
        (experiment.dem, experiment.detections),
    ):
        one, blocks = (StreamDecoder(given, **options) for _ in range(2))
        for bits in shots.astype(np.uint8):
            lost = random.random(37) < 0.1
            expected, early = kit.stream(one, bits, 37, erased=frozenset(np.flatnonzero(lost).tolist()))
            widths = [blocks.width(r) for r in range(37)]
            edges = np.cumsum([0, *widths])
            rows = np.zeros((37, -(-max(widths) // 8)), dtype=np.uint8)
            for r, (start, stop) in enumerate(itertools.pairwise(edges)):
                row = np.packbits(bits[start:stop], bitorder="little")
                rows[r, : len(row)] = row
            blocks.open(0)
            commits: list[Commit] = []
            for start, stop in itertools.pairwise([0, 1, 3, 20, 37]):
                commits += blocks.push_rounds(start, rows[start:stop], lost[start:stop])
            assert commits == early
            assert blocks.finish(bits[edges[-1] :]) == expected


def test_blocks_that_do_not_fit_change_nothing(kit) -> None:
    decoder = StreamDecoder(kit.circuit(20), commit=3, buffer=3)
    decoder.open(0)
    decoder.push_rounds(0, np.zeros((4, 1), dtype=np.uint8))
    wide = np.zeros((3, 2), dtype=np.uint8)
    wide[2, 1] = 1
    for rows, erased, named in (
        (np.zeros(4, dtype=np.uint8), None, r"packed_rows of uint8 and shape \(4,\)"),
        (np.zeros((2, 1), dtype=np.int64), None, "packed_rows of int64"),
        (np.zeros((2, 0), dtype=np.uint8), None, "round 4 has 0 bytes; 1 are due for its 8 bits"),
        (np.zeros((2, 1), dtype=np.uint8), np.zeros(3, dtype=bool), r"erased has shape \(3,\)"),
        (wide, None, "round 6 has bits set behind its 8"),
    ):
        with pytest.raises(ValueError, match=named):
            decoder.push_rounds(4, rows, erased)
    with pytest.raises(ValueError, match="round 3 was pushed but round 4 is due"):
        decoder.push_rounds(3, wide[:2])
    wide[2, 1] = 0
    assert [c.upto_round for c in decoder.push_rounds(4, wide)] == [3]
    assert decoder.push_rounds(7, wide[:0]) == []


def test_memory_of_a_shot_is_bounded(kit) -> None:
    decoder = StreamDecoder(kit.circuit(20), commit=2, buffer=2)
    decoder.warm()
    graphs = decoder.warm()
    decoder.open(0)
    for r in range(3000):
        decoder.push(r, np.zeros(decoder.width(r), dtype=np.uint8))
    assert decoder._stream.held_layers <= 8
    decoder.reset()
    assert decoder.warm() == graphs


def test_reset_forgets_the_shot(kit) -> None:
    experiment = kit.experiment(20, shots=1)
    fresh, used = (StreamDecoder(experiment.circuit, commit=3, buffer=3, clock=lambda: 0) for _ in range(2))
    used.open(0)
    for r in range(9):
        used.push(r, np.ones(used.width(r), dtype=np.uint8))
    used.reset()
    bits = experiment.measurements[0]
    assert kit.stream(used, bits, 20) == kit.stream(fresh, bits, 20)


def test_errors_name_what_is_wrong(kit) -> None:
    decoder = StreamDecoder(kit.circuit(20), commit=3, buffer=3)
    with pytest.raises(ValueError, match="no shot is open"):
        decoder.push(0, np.zeros(8))
    decoder.open(3)
    with pytest.raises(ValueError, match="shot 4 cannot open: shot 3 is open"):
        decoder.open(4)
    with pytest.raises(ValueError, match=r"round 0 has bits of shape \(9,\); 8 are due"):
        decoder.push(0, np.zeros(9, dtype=np.uint8))
    with pytest.raises(ValueError, match="round 0 has values 0 to 7"):
        decoder.push(0, np.arange(8, dtype=np.uint8))
    with pytest.raises(ValueError, match="round 0 has bits of shape"):
        decoder.push(0, None)
    decoder.push(0, np.zeros(8, dtype=np.uint8))
    with pytest.raises(ValueError, match="round 2 was pushed but round 1 is due"):
        decoder.push(2, np.zeros(8, dtype=np.uint8))
    with pytest.raises(ValueError, match="cannot end with round 1"):
        decoder.finish(np.zeros(9, dtype=np.uint8))


def test_a_failed_push_changes_nothing(kit) -> None:
    experiment = kit.experiment(20, shots=1)
    decoder = StreamDecoder(experiment.circuit, commit=3, buffer=3, clock=lambda: 0)
    expected = kit.stream(decoder, experiment.measurements[0], 20)
    rows, final = kit.rows(decoder, experiment.measurements[0], 20)
    decoder.open(0)
    commits = []
    for r, row in enumerate(rows):
        with pytest.raises(ValueError, match="bits of shape"):
            decoder.push(r, np.zeros(99, dtype=np.uint8))
        commits += decoder.push(r, row)
    with pytest.raises(ValueError, match="bits of shape"):
        decoder.finish(np.zeros(99, dtype=np.uint8))
    assert (decoder.finish(final), commits) == expected


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"mode": "tumbling"}, "mode='tumbling'"),
        ({"commit": 0}, "commit=0"),
        ({"decoder": "bp-osd"}, "inner='bp-osd'"),
        ({"predecoder": "no-such"}, "weights 'no-such' are neither"),
        ({"input": "photons"}, "input='photons'"),
    ],
)
def test_bad_options_are_named(kit, options: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        StreamDecoder(kit.circuit(10), **({"commit": 3, "buffer": 3} | options))  # type: ignore[arg-type]


def test_measurements_need_a_circuit(kit) -> None:
    with pytest.raises(ValueError, match="input='measurements' with a DetectorErrorModel"):
        StreamDecoder(kit.dem(kit.circuit(10)), commit=3, buffer=3, input="measurements")


def test_a_shot_that_cannot_be_decoded_is_closed(kit) -> None:
    """Detections in two layers that nothing connects and no boundary explains."""
    lines = [f"detector(0, 0, {t}) D{2 * t}\ndetector(1, 0, {t}) D{2 * t + 1}" for t in range(12)]
    lines += [f"error(0.1) D{2 * t} D{2 * t + 1} L0" for t in range(12)]
    decoder = StreamDecoder(stim.DetectorErrorModel("\n".join(lines)), commit=2, buffer=1)
    decoder.open(4)
    decoder.push(0, np.array([1, 0]))
    decoder.push(1, np.array([1, 1]))
    with pytest.raises(ValueError, match="shot 4 is closed: layers 0 to 2 cannot be decoded"):
        decoder.push(2, np.array([0, 0]))
    decoder.open(5)


@pytest.mark.parametrize("rounds", [998, 999, 1000, 1001])
def test_long_circuits_of_any_length_are_read_from_a_few_rounds(kit, rounds: int) -> None:
    """Stim decomposes the mechanisms of odd and even rounds of its own circuits differently."""
    circuit = stim.Circuit.generated(
        "surface_code:rotated_memory_x", distance=3, rounds=rounds, after_clifford_depolarization=0.003
    )
    decoder = StreamDecoder(circuit, commit=3, buffer=3)
    decoder.warm(rounds=rounds)
    result, _ = kit.stream(decoder, circuit.compile_sampler(seed=rounds).sample(1)[0], rounds)
    assert result.rounds == rounds + 1


def test_a_stream_that_was_given_nothing_has_nothing_to_show(kit) -> None:
    """These read memory that was not there."""
    stream = StreamDecoder(kit.circuit(20), commit=3, buffer=3)._stream
    assert stream.missing()[0] == -1
    with pytest.raises(ValueError, match="nothing was measured"):
        _ = stream.readout
    with pytest.raises(ValueError, match="no shot with a stage"):
        _ = stream.detections
    stream.open()
    with pytest.raises(ValueError, match="nothing was measured"):
        _ = stream.readout
    with pytest.raises(ValueError, match="no shot with a stage"):
        stream.give_logits(np.zeros((1, 0), dtype=np.float32))


def test_a_decoder_of_rows_has_the_observables_of_its_stream(kit) -> None:
    stream = StreamDecoder(kit.circuit(20), commit=3, buffer=3)._stream
    with pytest.raises(ValueError, match="num_observables: 200, but the stream has 1"):
        _qecpipe.StreamRowDecoder(stream, layers=[(20, 8)], final_bits=9, num_observables=200, measured=True)
