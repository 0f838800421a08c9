"""The decoder behind a stream: packed rows in, outcomes out, models prepared off the hot path."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import stim

from decoder_service.protocol import Flag, Open
from decoder_service.server.build_process import BuildProcess, Kind, Model, Request
from decoder_service.session import Outcome, StreamShape
from decoder_service.streaming import Commit, StreamDecoder, StreamModel
from decoder_service.streaming import Flag as CommitFlag
from global_decoders.windows import INNER_DECODERS, layers_of

LISTED_ROUNDS = 4096
"""Widths of this many rounds are asked for; a longer shot must have come to one width by then."""
STEADY_ROUNDS = 64
_COUNTED_DETECTORS = 1_000_000


class RoundDecoder(Protocol):
    """What the worker asks of a decoder. A ValueError of any method fails the shot, not the stream."""

    shape: StreamShape

    @property
    def model_id(self) -> bytes:
        """8 bytes that name the model of new windows."""
        ...

    def open(self, epoch: int) -> None:
        """Begins a shot, whatever state the one before was in."""
        ...

    def push(self, sequence: int, bits: bytes, erased: bool, arrived: int) -> list[Outcome]:
        """A round, packed LSB-first."""
        ...

    def finish(self, bits: bytes, arrived: int) -> list[Outcome]:
        """The last row of the shot; the last outcome is the result."""
        ...

    def prepare(self, text: str, kind: Kind, *, separate_process: bool) -> Any:
        """Builds and warms another model, beside decoding, in a thread; `complete` is for that one then.

        Args:
            text, kind: of the model.
            separate_process: do it, as far as that goes, in another process too: this one is decoding.
        """
        ...

    def complete(self) -> bool:
        """Builds some more of what is not needed for every shot; False if that was all.

        Runs beside decoding, in the thread of `prepare`.
        """
        ...

    def adopt(self, prepared: Any, at_round: int) -> None:
        """Decodes windows that commit from `at_round` on with a prepared model."""
        ...

    def close(self) -> None:
        """Ends what `prepare` still does, which raises ValueError then; nothing follows."""
        ...


def load_factory(name: str) -> Callable[[Open, str], RoundDecoder]:
    """The function behind 'module:function'."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def build_decoder(options: Open, text: str) -> RoundDecoder:
    """A warm decoder of a stream.

    Raises:
        ValueError: the text does not parse, or what it says and the options do not fit each other.
    """
    return ServedDecoder(options, text)


def _parse(text: str, kind: Kind) -> stim.Circuit | stim.DetectorErrorModel:
    return stim.Circuit(text) if kind == "circuit" else stim.DetectorErrorModel(text)


class ServedDecoder:
    """A StreamDecoder in rows of the wire; a `RoundDecoder`."""

    def __init__(self, options: Open, text: str) -> None:
        if options.commit is None or options.buffer is None:
            raise ValueError("commit and buffer are missing; d rounds each suit a code of distance d")
        if options.predecoder is not None:
            _check_shipped(options.predecoder)
        self._options, self._model = options, Model(text, options.kind)
        self._build_process = BuildProcess()
        model = _parse(text, options.kind)
        self._inner = StreamDecoder(
            model,
            commit=options.commit,
            buffer=options.buffer,
            mode=options.mode,
            decoder=options.decoder,
            predecoder=options.predecoder,
            input=options.input if isinstance(model, stim.Circuit) else "detectors",
        )
        rounds = options.rounds or _layers_in(model) - 1
        self.shape = StreamShape(
            layers=_layers(self._inner, rounds),
            final_bits=self._inner.width(rounds, final=True),
            num_observables=model.num_observables,
            commit=options.commit,
        )
        self._inner.warm(rounds=rounds)
        self._model_id = bytes.fromhex(self._inner.model)

    @property
    def model_id(self) -> bytes:
        return self._model_id

    def open(self, epoch: int) -> None:
        self._inner.reset()
        self._inner.open(epoch)

    def push(self, sequence: int, bits: bytes, erased: bool, arrived: int) -> list[Outcome]:
        row = None if erased else _unpacked(bits, self.shape.bits(sequence))
        return _outcomes(self._inner.push(sequence, row, erased), arrived)

    def finish(self, bits: bytes, arrived: int) -> list[Outcome]:
        result = self._inner.finish(_unpacked(bits, self.shape.final_bits))
        outcomes = _outcomes(result.commits, arrived)
        last = outcomes[-1]._replace(frame_bits=result.frame, readout=result.readout or b"")
        return [*outcomes, last]

    def prepare(self, text: str, kind: Kind, *, separate_process: bool) -> tuple[Model, StreamModel]:
        new, rounds = Model(text, kind), self.shape.rounds
        # Graphs of moves are built here, with the network.
        if separate_process and self._options.decoder in INNER_DECODERS:
            model = self._build_process.prepare(
                Request(
                    old=self._model,
                    new=new,
                    sizes=self._inner.sizes,
                    decoder=self._options.decoder,
                    weights=self._inner.weights,
                    rounds=rounds,
                )
            )
        else:
            model = self._inner.prepare(new.dem(), rounds=rounds)
        return new, model

    def adopt(self, prepared: tuple[Model, StreamModel], at_round: int) -> None:
        self._model, model = prepared
        self._inner.adopt(model, at_round)
        self._model_id = bytes.fromhex(model.id)

    def complete(self) -> bool:
        return False  # graphs of erased rounds are built when they are needed

    def close(self) -> None:
        self._build_process.close()


def _check_shipped(name: str) -> None:
    """A client must not have the server read a file of its choice."""
    from predecoder import shipped_weights  # it loads torch

    if name not in ("default", *shipped_weights()):
        raise ValueError(f"predecoder={name!r} is none of the server's: {', '.join(shipped_weights())}")


def _unpacked(row: bytes, bits: int) -> np.ndarray:
    return np.unpackbits(np.frombuffer(row, dtype=np.uint8), count=bits, bitorder="little")


def _outcomes(commits: Sequence[Commit], arrived: int) -> list[Outcome]:
    done = time.monotonic_ns()
    return [
        Outcome(
            upto_round=commit.upto_round,
            frame_bits=commit.frame,
            model=bytes.fromhex(commit.model),
            time_in=arrived,
            time_out=done,
            flags=_WIRE_FLAGS[int(commit.flags)],
        )
        for commit in commits
    ]


_WIRE_FLAGS = [
    int((flags & CommitFlag.DEGRADED and Flag.DEGRADED) | (flags & CommitFlag.RELOADED and Flag.RELOADED))
    for flags in range(4)
]
"""The wire's flags by those of a Commit."""


def _layers_in(model: stim.Circuit | stim.DetectorErrorModel) -> int:
    """Detector layers of the model as it is written."""
    if model.num_detectors > _COUNTED_DETECTORS:
        raise ValueError(
            f"the model has {model.num_detectors} detectors; say how many rounds a shot has, "
            "and let the model itself be short: its rounds repeat"
        )
    coordinates = model.get_detector_coordinates()
    return int(layers_of([coordinates[k] for k in range(model.num_detectors)]).max(initial=-1)) + 1


def _layers(decoder: StreamDecoder, rounds: int) -> tuple[tuple[int, int], ...]:
    """Runs of (rounds, bits of each)."""
    widths = [decoder.width(round) for round in range(min(rounds, LISTED_ROUNDS))]
    runs = [(len(list(run)), bits) for bits, run in groupby(widths)]
    more = rounds - len(widths)
    if more and runs[-1][0] < STEADY_ROUNDS:
        raise ValueError(f"shots of {rounds} rounds need rounds of one width; the last have {widths[-4:]}")
    runs[-1] = (runs[-1][0] + more, runs[-1][1])
    return tuple(runs)
