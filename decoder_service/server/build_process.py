"""Models for a running stream, built in a process of their own, not in the one that decodes.

The other process is `decoder_service.server.prepare`. What is left for the worker is to put the graphs
together from arrays of edges.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Literal

import msgspec
import stim

from decoder_service.streaming import SerializedModel, StreamModel, check_fits, round_dem
from global_decoders.windows import INNER_DECODERS, LayeredDem, WindowSizes

Kind = Literal["circuit", "dem"]
MODULE = "decoder_service.server.prepare"


class Model(msgspec.Struct, frozen=True):
    """A circuit or detector error model."""

    text: str
    kind: Kind

    def dem(self) -> stim.DetectorErrorModel:
        """As windows use it. Raises ValueError where the text does not parse."""
        if self.kind == "dem":
            return stim.DetectorErrorModel(self.text)
        return round_dem(stim.Circuit(self.text))


class Request(msgspec.Struct, frozen=True):
    """A model that is to take over from another one.

    Attributes:
        old, new: the two.
        sizes: of the windows.
        decoder: name of the windows' decoder.
        weights: hash of the pre-decoder's network, or empty.
        rounds: pushed in every shot.
    """

    old: Model
    new: Model
    sizes: WindowSizes
    decoder: str
    weights: str
    rounds: int


class Answer(msgspec.Struct, frozen=True):
    """An encoded `SerializedModel`, or why there is none."""

    error: str = ""
    serialized: bytes = b""


class BuildProcess:
    """Has models built in processes that end with the thread that asked for them, or with `close`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def prepare(self, request: Request) -> StreamModel:
        """The new model, warm, for this process. To be called in a thread of its own.

        Raises:
            ValueError: as `StreamDecoder.prepare`, or the process that builds it ended, as by `close`.
        """
        with self._start() as process:
            data, _ = process.communicate(msgspec.msgpack.encode(request))
        if process.returncode:
            raise ValueError(f"the process that was to build the model ended with {process.returncode}")
        answer = msgspec.msgpack.decode(data, type=Answer)
        if answer.error:
            raise ValueError(answer.error)
        serialized = SerializedModel.decode(answer.serialized)
        self._check()
        return serialized.build()

    def close(self) -> None:
        """Ends what is being built, and lets nothing more be. May be called in any thread."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()  # it may ignore SIGTERM: it began with the handlers of a worker

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", MODULE, str(os.getpid())]
        with self._lock:
            self._check()
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            return self._process

    def _check(self) -> None:
        if self._closed:
            raise ValueError("the stream of the model has ended")


def serialized_for(request: Request) -> SerializedModel:
    """Builds and compares both models. Raises ValueError as `StreamDecoder.prepare`."""
    old, new = (_built(model.dem(), request) for model in (request.old, request.new))
    check_fits(old, new, num_layers=request.rounds + 1)
    new.warm(request.rounds + 1)
    return SerializedModel.of(new)


def _built(dem: stim.DetectorErrorModel, request: Request) -> StreamModel:
    return StreamModel.build(
        dem,
        layers=LayeredDem.from_dem(dem, correlated=INNER_DECODERS[request.decoder]),
        sizes=request.sizes,
        decoder=request.decoder,
        weights=request.weights,
    )
