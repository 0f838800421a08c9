"""Shot files: each format against Stim's reader and writer, chunks, device data, files that do not fit."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stim
from hypothesis import given, settings
from hypothesis import strategies as st

from qec import shot_pieces
from qec.circuits.memory import memory_circuit
from qec.circuits.noise import depolarizing
from qec.shots import (
    SHOT_FORMATS,
    ShotFileError,
    ShotFormat,
    detections_from_measurements,
    iter_shots,
    write_shots,
)

KINDS = ("num_measurements", "num_detectors", "num_observables")
formats = st.sampled_from(SHOT_FORMATS)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of 64 shots, so that small files are cut many times."""
    monkeypatch.setattr(shot_pieces, "_PIECE_BYTES", 512)


@st.composite
def shot_tables(draw: st.DrawFn, *, multiple: int = 1) -> tuple[np.ndarray, dict[str, int]]:
    """(bool (shots, bits), how many bits of each kind), from nearly empty to nearly full."""
    bits = st.integers(1, 300)
    counts = draw(st.tuples(bits, st.just(0), st.just(0)) | st.tuples(st.just(0), bits, st.integers(0, 9)))
    number = multiple * draw(st.integers(0, 300 // multiple))
    density = draw(st.sampled_from([0.0, 0.003, 0.1, 0.5, 1.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return rng.random((number, sum(counts))) < density, dict(zip(KINDS, counts, strict=True))


def pack(table: np.ndarray) -> np.ndarray:
    return np.packbits(table, axis=1, bitorder="little")


def joined(chunks: Iterator[np.ndarray], *, bits: int) -> np.ndarray:
    return np.concatenate([np.zeros((0, (bits + 7) // 8), dtype=np.uint8), *chunks])


def read_or_error(
    path: Path, *, format: ShotFormat, num_detectors: int
) -> tuple[np.ndarray, ShotFileError | None]:
    """All shots that could be read, and what stopped the reading."""
    chunks = [np.zeros((0, (num_detectors + 7) // 8), dtype=np.uint8)]
    try:
        chunks.extend(iter_shots(path, format=format, num_detectors=num_detectors, chunk_shots=1))
    except ShotFileError as error:
        return np.concatenate(chunks), error
    return np.concatenate(chunks), None


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("format", SHOT_FORMATS)
@settings(deadline=None, max_examples=40)
@given(data=st.data(), chunk=st.integers(1, 400))
def test_reads_what_stim_writes_whatever_the_chunk(
    tmp_path_factory: pytest.TempPathFactory, format: ShotFormat, data: st.DataObject, chunk: int
) -> None:
    table, counts = data.draw(shot_tables(multiple=64 if format == "ptb64" else 1))
    path = tmp_path_factory.getbasetemp() / f"read.{format}"
    stim.write_shot_data_file(data=table, path=path, format=format, **counts)  # pyright: ignore[reportArgumentType]
    chunks = list(iter_shots(path, format=format, chunk_shots=chunk, **counts))
    assert all(len(c) == chunk for c in chunks[:-1])
    assert all(0 < len(c) <= chunk for c in chunks)
    assert np.array_equal(joined(iter(chunks), bits=table.shape[1]), pack(table))


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("format", SHOT_FORMATS)
@settings(deadline=None, max_examples=40)
@given(data=st.data(), cuts=st.lists(st.integers(0, 300), max_size=4))
def test_stim_reads_what_is_written(
    tmp_path_factory: pytest.TempPathFactory, format: ShotFormat, data: st.DataObject, cuts: list[int]
) -> None:
    table, counts = data.draw(shot_tables(multiple=64 if format == "ptb64" else 1))
    path = tmp_path_factory.getbasetemp() / f"write.{format}"
    parts = np.split(pack(table), sorted(cuts))
    assert write_shots(path, parts, format=format, **counts) == len(table)
    options: dict[str, Any] = {"path": path, "format": format, **counts}
    assert np.array_equal(stim.read_shot_data_file(**options), table)


@pytest.mark.parametrize("format", SHOT_FORMATS)
def test_large_file_is_read_in_pieces(tmp_path: Path, format: ShotFormat) -> None:
    table = np.random.default_rng(1).random((6400, 3001)) < 0.02
    path = tmp_path / "large"
    write_shots(path, pack(table), format=format, num_detectors=3001)
    pieces: list[int] = []

    class Counting(shot_pieces.ShotRecord):
        def decode(self, piece: bytes, scratch: Path) -> np.ndarray:
            pieces.append(len(piece))
            return super().decode(piece, scratch)

    record = Counting(format, 0, 3001, 0)
    read = np.concatenate(list(shot_pieces.decoded_pieces(path, record)))
    assert np.array_equal(read, pack(table))
    assert len(pieces) >= 3
    assert sum(pieces) == path.stat().st_size


def test_reading_does_not_wait_for_the_end(tmp_path: Path) -> None:
    path = tmp_path / "broken_at_the_end.01"
    path.write_bytes(b"0110\n" * 2_000_000 + b"011")
    chunks = iter_shots(path, format="01", num_detectors=4, chunk_shots=10)
    assert next(chunks).tolist() == [[0b0110]] * 10
    with pytest.raises(ShotFileError, match=r"broken_at_the_end.01 \(10000003 bytes\).*4 bits"):
        list(chunks)


@pytest.mark.parametrize("format", SHOT_FORMATS)
@settings(deadline=None)
@given(data=st.data())
def test_truncated_file_is_an_error(
    tmp_path_factory: pytest.TempPathFactory, format: ShotFormat, data: st.DataObject
) -> None:
    table = np.random.default_rng(5).random((64, 37)) < 0.3
    path = tmp_path_factory.getbasetemp() / f"cut.{format}"
    write_shots(path, pack(table), format=format, num_detectors=37)
    whole = path.read_bytes()
    kept = data.draw(st.integers(1, len(whole) - 1))
    path.write_bytes(whole[:kept])
    read, error = read_or_error(path, format=format, num_detectors=37)
    assert np.array_equal(read, pack(table)[: len(read)])
    if error is not None:
        assert all(part in str(error) for part in (str(path), f"{kept} bytes", "37 bits", "check the format"))
    else:  # cut between two shots
        assert format != "ptb64"


@settings(deadline=None)
@given(format=formats, content=st.binary(max_size=200), bits=st.integers(1, 30))
def test_garbage_is_read_or_named(
    tmp_path_factory: pytest.TempPathFactory, format: ShotFormat, content: bytes, bits: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage"
    path.write_bytes(content)
    read, error = read_or_error(path, format=format, num_detectors=bits)
    assert not np.unpackbits(read, axis=1, bitorder="little")[:, bits:].any()
    if error is not None:
        assert str(path) in str(error)
        assert "\n" not in str(error)


def test_file_of_another_circuit_names_both_numbers(tmp_path: Path) -> None:
    path = tmp_path / "shots.b8"
    path.write_bytes(bytes(35))
    with pytest.raises(ShotFileError, match=r"shots.b8 \(35 bytes\).*24 bits.*multiple of 3 bytes"):
        list(iter_shots(path, format="b8", num_detectors=24))
    with pytest.raises(ShotFileError, match=r"24 bits.*multiple of 192 bytes, which hold 64"):
        list(iter_shots(path, format="ptb64", num_detectors=24))


@pytest.mark.parametrize("good", [0, 5, 70_000])
@pytest.mark.parametrize(
    ("format", "shot", "bad", "why"),
    [
        ("01", b"010110\n", b"01x110\n", "Unexpected character"),
        ("01", b"010110\n", b"01011\n", "ended in middle of record at byte position 5"),
        ("hits", b"1,3\n", b"1,6\n", "hit index is too large"),
        ("dets", b"shot D1\n", b"shot D1 D6\n", "Got D6"),
        ("dets", b"shot D1\n", b"shot D1", "the last line has no end"),
        ("r8", b"\x01\x04", b"\x01\x05", "jumps past the end"),
        ("r8", b"\x01\x04", b"\x01", "5 positions before the end"),
    ],
)
def test_the_bad_shot_is_counted_from_the_beginning_of_the_file(
    tmp_path: Path, good: int, format: ShotFormat, shot: bytes, bad: bytes, why: str
) -> None:
    """Files are read in pieces of 2^20 packed bytes, but for r8, where they are smaller."""
    path = tmp_path / "shots"
    path.write_bytes(good * shot + bad)
    with pytest.raises(ShotFileError, match=rf"{why}.*\(in shot {good}, counted from 0\)"):
        list(iter_shots(path, format=format, num_detectors=6, chunk_shots=1000))


def test_a_pipe_that_ends_within_a_shot_says_in_which(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(bytes(3 * 7 + 2),))
    writer.start()
    with pytest.raises(ShotFileError, match=r"a stream.*\(in shot 7, counted from 0\)"):
        list(iter_shots(pipe, format="b8", num_detectors=24))
    writer.join()


def test_empty_file_has_no_shots(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    for format in SHOT_FORMATS:
        assert list(iter_shots(path, format=format, num_detectors=3)) == []  # pyright: ignore[reportArgumentType]


def test_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        next(iter_shots(tmp_path / "nowhere", format="b8", num_detectors=3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "b9", "num_detectors": 1}, "format='b9' is unknown; use one of 01, b8"),
        ({"format": "b8"}, "num_observables=0 is no shot; give"),
        ({"format": "b8", "num_detectors": -8, "num_observables": 9}, "num_detectors=-8"),
        ({"format": "b8", "num_measurements": 8, "num_detectors": 9}, "num_measurements=8, num_detectors=9"),
        ({"format": "b8", "num_detectors": 1, "chunk_shots": 0}, "chunk_shots=0"),
    ],
)
def test_bad_argument_is_named_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ShotFileError, match=message):
        iter_shots("unused", **options)


# Writing


def test_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "predictions.01"
    path.write_text("1\n")

    def failing() -> Iterator[np.ndarray]:
        yield np.ones((100_000, 1), dtype=np.uint8)
        raise RuntimeError("decoder failed")

    with pytest.raises(RuntimeError, match="decoder failed"):
        write_shots(path, failing(), format="01", num_observables=1)
    assert path.read_text() == "1\n"
    with pytest.raises(RuntimeError, match="decoder failed"):
        write_shots(tmp_path / "new.01", failing(), format="01", num_observables=1)
    assert [p.name for p in tmp_path.iterdir()] == ["predictions.01"]


def test_ptb64_needs_whole_groups(tmp_path: Path) -> None:
    with pytest.raises(ShotFileError, match=r"65 shots, but ptb64 holds multiples of 64; use b8"):
        write_shots(tmp_path / "a", np.zeros((65, 1), dtype=np.uint8), format="ptb64", num_observables=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "array", [np.zeros((4, 2), np.uint8), np.zeros((4, 3), np.bool_), np.zeros((3,), np.uint8)]
)
def test_arrays_that_do_not_fit_are_named(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(ShotFileError, match=r"shots of 24 bits; pack them into uint8 of shape \(shots, 3\)"):
        write_shots(tmp_path / "a", array, format="b8", num_observables=24)
    assert not list(tmp_path.iterdir())


def test_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "predictions.dets"
    for table in ([[1], [0]], [[0], [1], [1]]):
        write_shots(path, np.array(table, dtype=np.uint8), format="dets", num_observables=1)
    assert path.read_text() == "shot\nshot L0\nshot L0\n"


# Measurements to detections


@pytest.mark.parametrize("experiment", ["r05", "r11"])
def test_sycamore_detections_are_googles(sycamore: Path, experiment: str) -> None:
    folder = sycamore / experiment
    circuit = stim.Circuit.from_file(folder / "circuit_ideal.stim")
    converted = detections_from_measurements(
        circuit, folder / "measurements.b8", format="b8", sweep=folder / "sweep.b8", chunk_shots=4099
    )
    theirs = iter_shots(
        folder / "detection_events.b8", format="b8", num_detectors=circuit.num_detectors, chunk_shots=4099
    )
    flipped = iter_shots(folder / "obs_flips_actual.01", format="01", num_observables=1, chunk_shots=4099)
    shots = 0
    for (detections, flips), events, observed in zip(converted, theirs, flipped, strict=True):
        assert np.array_equal(detections, events)
        assert np.array_equal(flips, observed)
        shots += len(detections)
    assert shots == 50_000


@pytest.mark.parametrize("chunk", [1, 64, 1000])
def test_conversion_equals_stims_in_one_go(tmp_path: Path, chunk: int) -> None:
    circuit = memory_circuit(distance=3, rounds=3, noise=depolarizing(0.02), basis="z")
    measurements = circuit.compile_sampler(seed=4).sample_bit_packed(500)
    path = tmp_path / "measurements.r8"
    write_shots(path, measurements, format="r8", num_measurements=circuit.num_measurements)
    events, flips = circuit.compile_m2d_converter().convert(
        measurements=measurements, separate_observables=True, bit_packed=True
    )
    chunks = list(detections_from_measurements(circuit, path, format="r8", chunk_shots=chunk))
    assert np.array_equal(np.concatenate([c[0] for c in chunks]), events)
    assert np.array_equal(np.concatenate([c[1] for c in chunks]), flips)
    assert events.any()
    assert flips.any()


def test_sweep_bits_have_to_match(tmp_path: Path) -> None:
    plain = stim.Circuit("M 0\nDETECTOR rec[-1]")
    swept = stim.Circuit("CX sweep[0] 0\nM 0\nDETECTOR rec[-1]")
    measured, sweep, short = (tmp_path / name for name in ("m.b8", "s.b8", "short.b8"))
    measured.write_bytes(b"\1\0\1\0")
    sweep.write_bytes(b"\1\0\0\1")
    short.write_bytes(b"\1\0\0")
    with pytest.raises(ShotFileError, match="has 1 sweep bits and no sweep file was given; add it"):
        detections_from_measurements(swept, measured, format="b8")
    with pytest.raises(ShotFileError, match=r"has 0 sweep bits and .*s.b8 was given; leave out it"):
        detections_from_measurements(plain, measured, format="b8", sweep=sweep)
    chunks = list(detections_from_measurements(swept, measured, format="b8", sweep=sweep))
    assert chunks[0][0].tolist() == [[0], [0], [1], [1]]
    for chunk in (1, 2, 3, 100):
        with pytest.raises(ShotFileError, match=r"only one of .*m.b8 and .*short.b8 ends after 3 shots"):
            list(detections_from_measurements(swept, measured, format="b8", sweep=short, chunk_shots=chunk))
