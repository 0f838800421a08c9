"""Shots that are sampled once and sent over and over, and what a stream must answer to each."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import stim

from decoder_service.session import StreamShape
from decoder_service.streaming import Commit, Result, StreamDecoder
from global_decoders.windows import Mode, layers_of

__all__ = ["Answer", "ShotSet", "StreamOptions", "sample_shots"]


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """How a stream decodes: the options of `StreamDecoder`, and of OPEN.

    Attributes:
        commit, buffer, mode: of its windows, in rounds.
        decoder: inside the windows.
        predecoder: weights of a network, a shipped name or a path; None for none.
        device: where that runs, in this process; a service chooses its own.
        gap: results say how sure the last window is.
    """

    commit: int
    buffer: int
    mode: Mode = "sliding"
    decoder: str = "pymatching"
    predecoder: str | Path | None = None
    device: str = "auto"
    gap: bool = False

    def build(self, circuit: stim.Circuit) -> StreamDecoder:
        """A decoder in this process that takes measurements."""
        return StreamDecoder(circuit, **self.fields, device=self.device)

    @property
    def fields(self) -> dict[str, Any]:
        """As keywords of OPEN, those that are None left out."""
        named = {
            "commit": self.commit,
            "buffer": self.buffer,
            "mode": self.mode,
            "decoder": self.decoder,
            "predecoder": None if self.predecoder is None else str(self.predecoder),
            "gap": self.gap or None,
        }
        return {name: value for name, value in named.items() if value is not None}


class Answer(NamedTuple):
    """An output of a stream, a COMMIT or (`final`) a RESULT, without what depends on time.

    `frame` are the flips of the observables, `readout` the observables as measured and corrected (of a
    RESULT), both packed bits, LSB first. `gap` is that of a RESULT, where streams have gaps, in nats, as a
    float32.
    """

    final: bool
    upto_round: int
    frame: bytes
    readout: bytes
    gap: float | None = None


@dataclass(frozen=True, eq=False)
class ShotSet:
    """Sampled shots and the outputs of a stream that gets them one round at a time.

    Attributes:
        shape: of every shot.
        rows: per shot its packed rows, LSB first, the last the final one.
        answers: per shot the outputs, in order.
        allowed: per shot and output the row that allows it.
        model: id of the model.
        weights: SHA-256 of the network's weights, empty without a network.
    """

    shape: StreamShape
    rows: tuple[tuple[bytes, ...], ...]
    answers: tuple[tuple[Answer, ...], ...]
    allowed: tuple[tuple[int, ...], ...]
    model: str
    weights: str

    @property
    def rows_per_shot(self) -> int:
        """Rounds of a shot, the final one included."""
        return self.shape.rounds + 1

    def index(self, stream: int, epoch: int) -> int:
        """Which shot a stream sends as its `epoch`-th: no two streams the same at the same time."""
        return (stream + epoch) % len(self.rows)


def sample_shots(
    circuit: stim.Circuit, options: StreamOptions, *, rows: int, seed: int, rounds: int | None = None
) -> ShotSet:
    """Sample shots and decode each in this process, one round at a time.

    Args:
        circuit: a memory experiment of which every round is measured.
        options: of the stream.
        rows: how many different ones, the final ones included, rounded up to whole shots.
        seed: of the sampler.
        rounds: of a shot, before the final one; by default those of the circuit.

    Raises:
        ValueError: shots of so many rounds have other measurements than the circuit, or no gap.
    """
    decoder = options.build(circuit)
    layers = _rounds_of(circuit) if rounds is None else rounds
    shape = _shape(decoder, layers, num_observables=circuit.num_observables, commit=options.commit)
    edges = np.cumsum([0, *(shape.bits(sequence) for sequence in range(shape.rounds + 1))])
    if edges[-1] != circuit.num_measurements:
        raise ValueError(
            f"shots of {shape.rounds} rounds have {edges[-1]} measurements, the circuit has "
            f"{circuit.num_measurements}; give a circuit with as many rounds as a shot"
        )
    shots = -(-rows // (shape.rounds + 1))
    measured = circuit.compile_sampler(seed=seed).sample(shots).astype(np.uint8)
    decoder.warm(rounds=shape.rounds)
    if options.gap:
        decoder.require_gap(rounds=shape.rounds)
    answers, allowed = zip(*(_decode(decoder, shot, edges) for shot in measured), strict=True)
    packed = [np.packbits(measured[:, a:b], axis=1, bitorder="little") for a, b in itertools.pairwise(edges)]
    sent = tuple(tuple(column[shot].tobytes() for column in packed) for shot in range(shots))
    return ShotSet(shape, sent, tuple(answers), tuple(allowed), decoder.model, decoder.weights)


def answers_of(outputs: list[Commit] | Result) -> list[Answer]:
    """What `StreamDecoder` gave back, in the order of the wire."""
    commits = outputs.commits if isinstance(outputs, Result) else outputs
    found = [Answer(False, commit.upto_round, commit.frame, b"") for commit in commits]
    if isinstance(outputs, Result):
        gap = None if outputs.gap is None else float(np.float32(outputs.gap))  # as on the wire
        found.append(Answer(True, outputs.rounds, outputs.frame, outputs.readout or b"", gap))
    return found


def _decode(
    decoder: StreamDecoder, measured: np.ndarray, edges: np.ndarray
) -> tuple[tuple[Answer, ...], tuple[int, ...]]:
    """The outputs of one shot, and the row that allows each."""
    decoder.open(0)
    last = len(edges) - 2
    answers: list[Answer] = []
    allowed: list[int] = []
    for row, (start, stop) in enumerate(itertools.pairwise(edges)):
        bits = measured[start:stop]
        found = answers_of(decoder.finish(bits) if row == last else decoder.push(row, bits))
        answers += found
        allowed += [row] * len(found)
    return tuple(answers), tuple(allowed)


def _rounds_of(circuit: stim.Circuit) -> int:
    """Rounds before the final one, where every round ends with its detectors."""
    coordinates = circuit.get_detector_coordinates()
    return int(layers_of([coordinates[k] for k in range(circuit.num_detectors)]).max(initial=-1))


def _shape(decoder: StreamDecoder, rounds: int, *, num_observables: int, commit: int) -> StreamShape:
    widths = [decoder.width(round) for round in range(rounds)]
    runs = tuple((len(list(run)), bits) for bits, run in itertools.groupby(widths))
    return StreamShape(
        layers=runs,
        final_bits=decoder.width(rounds, final=True),
        num_observables=num_observables,
        commit=commit,
    )
