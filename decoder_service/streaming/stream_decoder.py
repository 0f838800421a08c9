"""Decoding a stream of rounds in this process: push rounds, get commits."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import stim

from decoder_service.streaming.commits import Commit, Result
from decoder_service.streaming.layer_source import Input, checked_bits, checked_rows
from decoder_service.streaming.model import StreamModel
from decoder_service.streaming.models import StreamModels
from decoder_service.streaming.open_shot import OpenShot
from decoder_service.streaming.prepared import PreparedStream
from decoder_service.streaming.setup import StreamSetup
from global_decoders.windows import Mode, WindowSizes
from predecoder.inference import check_device

__all__ = ["StreamDecoder"]

_ERASED = np.ones(1, dtype=np.uint8)


class StreamDecoder:
    """Windowed decoding of one stream of shots, each of any number of rounds.

    A shot is `open`, `push` or `push_rounds` for rounds 0, 1, ..., then `finish` with the last, destructive
    round. The work is done in `_qecpipe.Stream`. Commits are those of `WindowedDecoder` on the whole shot,
    bit for bit, as soon as they can be known; with a pre-decoder, those of
    `PredecodedDecoder(WindowedDecoder(...))`.

    Attributes:
        models: that it decodes with, for whoever drives the native stream by itself.
    """

    def __init__(
        self,
        circuit_or_dem: stim.Circuit | stim.DetectorErrorModel,
        *,
        commit: int,
        buffer: int,
        mode: Mode = "sliding",
        decoder: str = "pymatching",
        predecoder: str | Path | None = None,
        device: str = "auto",
        input: Input | None = None,
        gap: bool = False,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        """Reads the experiment; `warm` builds its graphs.

        Args:
            circuit_or_dem: a memory experiment of some rounds; where its layers repeat, shots may
                have more or fewer rounds than it has.
            commit, buffer, mode: see `WindowedDecoder`.
            decoder: 'pymatching' or 'pymatching-correlated'; or 'neural-matching': windows are matched on the
                network's logits, and shots too short for the network by PyMatching.
            predecoder: weights of a network, a shipped name or a path, that removes local errors
                before windows see them. A layer then waits for those its moves depend on, half the
                network's receptive field, and for clusters of moves to end. Its policy is 'threshold',
                before 'pymatching-correlated' 'complete'; the others need whole shots. 'neural-matching'
                has the default network without it.
            device: where the network runs; see `predecoder.StreamPredecoder`.
            input: 'measurements' (needs a circuit, whose default it is) or 'detectors'.
            gap: results say how sure the last window is (`Result.gap`), whose matching then finds both
                classes and takes longer. There is none behind a pre-decoder that removes errors, where the
                last window of parallel ones leaves something to another, of more observables than one, and of
                'pymatching' where Y errors are edges of their own, which close cycles that flip the
                observable: at the corners of a surface code's patch.
            clock: gives ns for the commits' times.

        Raises:
            ValueError: naming what does not fit.
        """
        check_device(device)
        setup = StreamSetup.read(
            circuit_or_dem,
            sizes=WindowSizes(commit, buffer, mode),
            decoder=decoder,
            predecoder=predecoder,
            device=device,
            input=input,
        )
        self._begin(setup, gap=gap, clock=clock)

    @classmethod
    def of(
        cls, prepared: PreparedStream, *, gap: bool = False, clock: Callable[[], int] = time.perf_counter_ns
    ) -> StreamDecoder:
        """The decoder that `prepared` was made of, in any process; it adopts models, and prepares none."""
        decoder = cls.__new__(cls)
        decoder._begin(StreamSetup.of(prepared), gap=gap, clock=clock)
        return decoder

    def prepared(self, *, rounds: int) -> PreparedStream:
        """What `of` needs, for shots of so many rounds, whose windows' graphs are built: see `warm`.

        Raises ValueError for a decoder with a network, which does not travel.
        """
        return self.models.prepared(rounds=rounds)

    def _begin(self, setup: StreamSetup, *, gap: bool, clock: Callable[[], int]) -> None:
        self.models = StreamModels(setup, gap=gap)
        self._stream, self._clock = self.models.stream, clock
        self._shot: OpenShot | None = None

    @property
    def input(self) -> Input:
        """What is pushed."""
        return self.models.setup.input

    @property
    def model(self) -> str:
        """Id of the model that the next window uses."""
        return self._stream.model

    @property
    def weights(self) -> str:
        """SHA-256 of the network's weights, empty without a network."""
        return "" if self.models.stage is None else self.models.stage.sha256

    @property
    def device(self) -> str | None:
        """Where the network runs, None without a network."""
        return self.models.device

    def warm(self, *, rounds: int | None = None) -> int:
        """Builds the graphs of all windows of a long experiment; returns how many there are.

        Those of windows with erased rounds are built when they are needed, which is quick, and kept as
        long as there is room.

        Args:
            rounds: pushed in every shot, if that is known: fewer graphs do then.
        """
        return self.models.warm(rounds=rounds)

    def require_gap(self, *, rounds: int) -> None:
        """Raise ValueError, naming why, where the result of a shot of so many rounds has no `gap`.

        Otherwise it has one, as long as no lost round closes cycles of edges in the last window, and no model
        is adopted that has none.
        """
        self.width(rounds, final=True)
        self.models.require_gap(rounds=rounds)

    def open(self, shot: int) -> None:
        """Begins a shot. Raises ValueError while another is open."""
        if self._shot is not None and self._stream.is_open:
            raise ValueError(
                f"shot {shot} cannot open: shot {self._shot.number} is open; finish() or reset() it"
            )
        self._shot = OpenShot(shot, self.models, self._clock)

    def width(self, round: int, *, final: bool = False) -> int:
        """Bits of a round: measurements or detectors.

        Raises:
            ValueError: an experiment cannot have, or end after, this round.
        """
        return self._stream.width(round, final)

    def push(self, round: int, bits: np.ndarray | None, erased: bool | None = None) -> list[Commit]:
        """Takes a round and returns what it allows to commit: nothing, or one or more windows.

        Args:
            round: 0, 1, 2, ... without gaps.
            bits: 0/1 of shape (width(round),); None only where erased.
            erased: the round carries no information. Of measurements, their last known values stand
                in, and the two detectors of each are joined by an edge of weight 0. Of detectors,
                each gets such an edge to the boundary, which loses far more: prefer measurements.

        Raises:
            ValueError: no shot is open, another round was due, or the bits do not fit: nothing has
                changed. Or no errors explain the detections of a window: the shot is closed.
        """
        time_in = self._clock()
        shot = self._due(round)
        width = self._stream.width(round, False)
        if erased:
            return shot.push(np.zeros((1, -(-width // 8)), dtype=np.uint8), _ERASED, time_in=time_in)
        row = np.packbits(checked_bits(bits, round=round, width=width), bitorder="little")
        return shot.push(row[None], None, time_in=time_in)

    def push_rounds(
        self, first_round: int, packed_rows: np.ndarray, erased: np.ndarray | None = None
    ) -> list[Commit]:
        """Takes consecutive rounds at once and returns all that they allow to commit; as `push` of each.

        Args:
            first_round: the one that is due.
            packed_rows: uint8 (rounds, bytes), little-endian bits, with zeros behind a round's own bits.
            erased: bool (rounds,): rounds that carry no information; their rows are not looked at.

        Raises:
            ValueError: as `push`; nothing has changed, or the shot is closed.
        """
        time_in = self._clock()
        shot = self._due(first_round)
        return shot.push(*checked_rows(packed_rows, erased), time_in=time_in)

    def finish(self, final_bits: np.ndarray) -> Result:
        """Takes the last round, decodes what is left and closes the shot.

        Args:
            final_bits: 0/1, the data qubits' measurements or the last layer's detectors.

        Raises:
            ValueError: no shot is open, the experiment cannot end here, or the bits do not fit: the
                shot stays open. Or no errors explain the detections of a window: the shot is closed.
        """
        time_in = self._clock()
        shot, last = self._opened(), self._stream.pushed
        bits = checked_bits(final_bits, round=last, width=self._stream.width(last, True))
        return shot.finish(np.packbits(bits, bitorder="little"), time_in=time_in)

    def reset(self) -> None:
        """Forgets the open shot, if there is one; graphs stay warm."""
        self._shot = None
        self._stream.close()

    def reload(self, dem: stim.DetectorErrorModel, at_round: int = 0) -> str:
        """`prepare` and `adopt` in one, here and now; returns the model's id."""
        model = self.prepare(dem)
        self.adopt(model, at_round)
        return model.id

    def prepare(self, dem: stim.DetectorErrorModel, *, rounds: int | None = None) -> StreamModel:
        """Builds the model of another DEM of the same detectors; nothing here changes.

        The pre-decoder has its noise features and thresholds from the next shot on.

        May run in another thread than the one that decodes.

        Args:
            dem: of the experiment.
            rounds: as of `warm`.

        Raises:
            ValueError: a DEM that windows cannot use, with other detectors or observables, without
                experiments of all lengths, or that cannot explain what the stream's model does.
        """
        return self.models.prepare(dem, rounds=rounds)

    def adopt(self, model: StreamModel, at_round: int = 0) -> None:
        """Decodes with a prepared model: windows that commit from `at_round` on, and all later shots.

        A later call wins for the windows that both are meant for.
        """
        self.models.adopt(model, at_round)

    def _opened(self) -> OpenShot:
        if self._shot is None or not self._stream.is_open:
            raise ValueError("no shot is open; call open(shot) first")
        return self._shot

    def _due(self, round: int) -> OpenShot:
        shot = self._opened()
        if round != self._stream.pushed:
            raise ValueError(
                f"round {round} was pushed but round {self._stream.pushed} is due; "
                "push a lost round with erased=True"
            )
        return shot
