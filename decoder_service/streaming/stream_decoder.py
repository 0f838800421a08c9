"""Decoding a stream of rounds in this process: push rounds, get commits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import stim

from _qecpipe import Stream, StreamStatus
from decoder_service.streaming.commits import Commit, Flag, Result
from decoder_service.streaming.layer_source import Input, checked_bits, checked_input, round_source
from decoder_service.streaming.model import StreamModel
from decoder_service.streaming.predecoder_stage import PredecoderStage, StagedShot
from decoder_service.streaming.prepared import PreparedStream
from decoder_service.streaming.reload import check_fits
from decoder_service.streaming.rounds import RoundMap, round_dem
from decoder_service.streaming.serialized_model import SerializedModel
from global_decoders.matching import GAP_SCALE
from global_decoders.windows import (
    INNER_DECODERS,
    LayeredDem,
    Mode,
    Window,
    WindowedDecoder,
    WindowSizes,
    shortened,
)
from predecoder import NEURAL_MATCHING, automatic_policy
from predecoder.inference import check_device

__all__ = ["StreamDecoder"]


class StreamDecoder:
    """Windowed decoding of one stream of shots, each of any number of rounds.

    A shot is `open`, `push` or `push_rounds` for rounds 0, 1, ..., then `finish` with the last, destructive
    round. The work is done in `_qecpipe.Stream`; here are what the experiment looks like, and its models.
    Commits are those of `WindowedDecoder` on the whole shot, bit for bit, as soon as they can be
    known; with a pre-decoder, those of `PredecodedDecoder(WindowedDecoder(...))`.
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
            gap: results say how sure the last window is (`Result.gap`), which takes a second matching of it.
                There is none behind a pre-decoder that removes errors, where the last window of parallel ones
                leaves something to another, of more observables than one, and of 'pymatching' where Y errors
                are edges of their own, which close cycles that flip the observable: at the corners of a
                surface code's patch.
            clock: gives ns for the commits' times.

        Raises:
            ValueError: naming what does not fit.
        """
        check_device(device)
        self.input: Input = checked_input(input, circuit_or_dem)
        self.sizes, self._decoder, self._clock = WindowSizes(commit, buffer, mode), decoder, clock
        short = None
        dem = circuit_or_dem
        if isinstance(dem, stim.Circuit):
            short = shortened(dem)
            dem = round_dem(dem)
        layers = self._layers_of(dem)
        neural = decoder == NEURAL_MATCHING
        self._stage = None
        if predecoder is not None or neural:
            policy = None if neural else automatic_policy(WindowedDecoder(inner=decoder), stream=True)
            self._stage = PredecoderStage.load(
                predecoder or "default",
                dem,
                layers=layers,
                tile=max(1, commit // 2),
                policy=policy,
                device=device,
            )
        measured = short if self.input == "measurements" else None
        rounds = None if measured is None else RoundMap.from_circuit(measured, layers=layers)
        self._short = self._build(dem, layers, None) if neural else None
        self._begin(layers, rounds, self._build(dem, layers, self._stage), gap=gap)

    @classmethod
    def of(
        cls, prepared: PreparedStream, *, gap: bool = False, clock: Callable[[], int] = time.perf_counter_ns
    ) -> StreamDecoder:
        """The decoder that `prepared` was made of, in any process; it adopts models, and prepares none."""
        decoder = cls.__new__(cls)
        model = prepared.model.build()
        decoder.input = prepared.input
        decoder.sizes, decoder._decoder, decoder._clock = model.sizes, prepared.model.decoder, clock
        decoder._stage = decoder._short = None
        decoder._begin(model.layers, prepared.rounds, model, gap=gap)
        return decoder

    def prepared(self, *, rounds: int) -> PreparedStream:
        """What `of` needs, for shots of so many rounds, whose windows' graphs are built: see `warm`.

        Raises ValueError for a decoder with a network, which does not travel.
        """
        if self._stage is not None:
            raise ValueError("a decoder with a network is built where it decodes")
        return PreparedStream(SerializedModel.of(self._model), self._rounds, self.input, rounds)

    def _begin(self, layers: LayeredDem, rounds: RoundMap | None, model: StreamModel, *, gap: bool) -> None:
        self._layers, self._rounds, self._model = layers, rounds, model
        self._source = round_source(layers, rounds)
        self._models = {model.native.serial: model for model in (self._model, self._short) if model}
        short = None if self._short is None else self._short.native
        self._stream = Stream(
            self._source, self._model.native, short_model=short, gap_scale=self._gap_scale if gap else 0.0
        )
        self._shot: int | None = None
        self._staged: StagedShot | None = None

    @property
    def model(self) -> str:
        """Id of the model that the next window uses."""
        return self._stream.model

    @property
    def weights(self) -> str:
        """SHA-256 of the network's weights, empty without a network."""
        return "" if self._stage is None else self._stage.sha256

    @property
    def rounds_compared(self) -> int:
        """How many rounds back detectors look: 1, or 2 without mid-circuit reset; 0 where they are pushed."""
        return 0 if self._rounds is None else self._rounds.depth

    @property
    def device(self) -> str | None:
        """Where the network runs, None without a network."""
        return None if self._stage is None else self._stage.predecoder.device

    @property
    def fell_back(self) -> bool:
        """Whether `device='auto'` is the CPU for want of a GPU, and not because a GPU takes longer."""
        return (
            self._stage is not None
            and self._stage.device == "auto"
            and self.device == "cpu"
            and not self.native
        )

    def warm(self, *, rounds: int | None = None) -> int:
        """Builds the graphs of all windows of a long experiment; returns how many there are.

        Those of windows with erased rounds are built when they are needed, which is quick, and kept as
        long as there is room.

        Args:
            rounds: pushed in every shot, if that is known: fewer graphs do then.
        """
        if self._stage is not None:
            self._stage.warm()
        self._model.warm(None if rounds is None else rounds + 1)
        return len(self._model.graphs)

    def require_gap(self, *, rounds: int) -> None:
        """Raise ValueError, naming why, where the result of a shot of so many rounds has no `gap`.

        Otherwise it has one, as long as no lost round closes cycles of edges in the last window, and no model
        is adopted that has none.
        """
        self.width(rounds, final=True)
        stage, model = self._stage, self._model
        if stage is not None and stage.policy is not None:
            raise ValueError(
                f"gap=True with a predecoder before decoder={self._decoder!r}: its moves are committed without "
                "a gap; leave the predecoder out, or use decoder='neural-matching'"
            )
        if self._layers.num_observables != 1:
            raise ValueError(
                f"gap=True with {self._layers.num_observables} observables: a stream has gaps of a single one"
            )
        if self._short is not None and stage is not None and rounds < stage.predecoder.min_rounds:
            model = self._short
        if not model.has_classes(rounds + 1):
            raise ValueError(
                f"gap=True with decoder={self._decoder!r}, which has no gap in the last window of shots of "
                f"{rounds} rounds: a cycle of edges between detectors flips the observable, as Y errors at a "
                "patch's corners do where they are edges; 'pymatching-correlated' and 'neural-matching' have "
                "one on surface codes"
            )

    def open(self, shot: int) -> None:
        """Begins a shot. Raises ValueError while another is open."""
        if self._shot is not None:
            raise ValueError(f"shot {shot} cannot open: shot {self._shot} is open; finish() or reset() it")
        self._shot = shot
        if self._model.stage is not None:
            self._stage = self._model.stage
        self._stream.open()
        self._forget_models()
        if self._stage is not None and self._stream.needs_logits:
            self._staged = StagedShot(self._stage, self._layers)

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
        self._require_due(round)
        width = self._stream.width(round, False)
        if erased:
            return self._push(np.zeros((1, -(-width // 8)), dtype=np.uint8), _ERASED, time_in=time_in)
        row = np.packbits(checked_bits(bits, round=round, width=width), bitorder="little")
        return self._push(row[None], None, time_in=time_in)

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
        self._require_due(first_round)
        rows = np.ascontiguousarray(packed_rows)
        if rows.dtype != np.uint8 or rows.ndim != 2:
            raise ValueError(
                f"packed_rows of {rows.dtype} and shape {rows.shape}; uint8 (rounds, bytes) are due"
            )
        flags = None if erased is None else np.asarray(erased, dtype=bool).view(np.uint8)
        if flags is not None and flags.shape != rows.shape[:1]:
            raise ValueError(f"erased has shape {flags.shape}; one flag for each of {len(rows)} rounds")
        return self._push(rows, flags, time_in=time_in)

    def finish(self, final_bits: np.ndarray) -> Result:
        """Takes the last round, decodes what is left and closes the shot.

        Args:
            final_bits: 0/1, the data qubits' measurements or the last layer's detectors.

        Raises:
            ValueError: no shot is open, the experiment cannot end here, or the bits do not fit: the
                shot stays open. Or no errors explain the detections of a window: the shot is closed.
        """
        time_in = self._clock()
        shot, stream = self._opened(), self._stream
        last = stream.pushed
        bits = checked_bits(final_bits, round=last, width=stream.width(last, True))
        status, found = stream.finish(np.packbits(bits, bitorder="little"))
        if self._staged is not None:
            status, found = stream.give_logits(self._staged.logits(stream, num_layers=last + 1))
        if stream.was_short:
            self.warn_of_short(last)
        commits = self._complete(status, found, time_in=time_in)
        self._shot = self._staged = None
        readout = stream.readout if self.input == "measurements" else None
        gap = None if math.isnan(stream.gap) else stream.gap
        return Result(shot, last + 1, stream.frame, readout, tuple(commits), Flag(stream.flags), gap)

    def reset(self) -> None:
        """Forgets the open shot, if there is one; graphs stay warm."""
        self._shot = self._staged = None
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
        layers = self._layers_of(dem)
        stage = None if self._stage is None else self._stage.with_dem(dem, layers)
        model = self._build(dem, layers, stage)
        num_layers = None if rounds is None else rounds + 1
        check_fits(self._model, model, num_layers=num_layers)
        model.warm(num_layers)
        return model

    def adopt(self, model: StreamModel, at_round: int = 0) -> None:
        """Decodes with a prepared model: windows that commit from `at_round` on, and all later shots.

        A later call wins for the windows that both are meant for.
        """
        self._models[model.native.serial] = self._model = model
        self._stream.adopt(model.native, at_round)
        self._forget_models()

    @property
    def native(self) -> Stream | None:
        """The stream itself, if nothing else is needed to decode with it but `build_missing`: no torch.

        Whoever drives it leaves `open` to `adopt` of this object alone, and says `expect` before it adopts.
        """
        return None if self._stream.needs_logits else self._stream

    def expect(self, model: StreamModel) -> None:
        """`native` is going to adopt this model by itself: it is the one of later shots."""
        self._forget_models()
        self._models[model.native.serial] = self._model = model

    def warn_of_short(self, rounds: int) -> None:
        """Say, for the first time only, if shots of so many rounds are too short for the network."""
        if self._stage is not None and rounds < self._stage.predecoder.min_rounds:
            self._stage.predecoder.warn_of_short(rounds + 1)

    def build_missing(self) -> None:
        """Builds the graph of the window that the stream waits for (`StreamStatus.MISSING`).

        Raises:
            ValueError: it cannot be built.
        """
        serial, (start, lo, hi, stop, *closed), num_layers = self._stream.missing()
        window = Window(start=start, lo=lo, hi=hi, stop=stop, past_closed=closed[0], future_closed=closed[1])
        model = self._models[serial]
        model.graphs.graph(model.layers_of(num_layers), window)

    def _forget_models(self) -> None:
        serials = set(self._stream.serials)
        self._models = {serial: model for serial, model in self._models.items() if serial in serials}

    def _layers_of(self, dem: stim.DetectorErrorModel) -> LayeredDem:
        if self._decoder not in (*INNER_DECODERS, NEURAL_MATCHING):
            WindowedDecoder(inner=self._decoder)  # says what it may be
        return LayeredDem.from_dem(dem, correlated=INNER_DECODERS.get(self._decoder, False))

    def _build(
        self, dem: stim.DetectorErrorModel, layers: LayeredDem, stage: PredecoderStage | None
    ) -> StreamModel:
        decoder = "pymatching" if self._decoder == NEURAL_MATCHING and stage is None else self._decoder
        return StreamModel.build(
            dem, layers=layers, sizes=self.sizes, decoder=decoder, weights=self.weights, stage=stage
        )

    @property
    def _gap_scale(self) -> float:
        """That of the decoder of whole shots."""
        if self._decoder in INNER_DECODERS or self._stage is None:
            return GAP_SCALE[INNER_DECODERS.get(self._decoder, False)]
        return self._stage.bundle.policies.gap_scale

    def _opened(self) -> int:
        if self._shot is None:
            raise ValueError("no shot is open; call open(shot) first")
        return self._shot

    def _require_due(self, round: int) -> None:
        self._opened()
        if round != self._stream.pushed:
            raise ValueError(
                f"round {round} was pushed but round {self._stream.pushed} is due; "
                "push a lost round with erased=True"
            )

    def _push(self, rows: np.ndarray, erased: np.ndarray | None, *, time_in: int) -> list[Commit]:
        stream, commits = self._stream, []
        step = len(rows) if self._staged is None else 1
        start = 0
        while start < len(rows):
            part = slice(start, start + step)
            taken, status, found = stream.push(rows[part], None if erased is None else erased[part])
            if self._staged is not None:
                status, found = stream.give_logits(self._staged.logits(stream, num_layers=None))
            commits += self._complete(status, found, time_in=time_in)
            start += taken
        return commits

    def _complete(
        self, status: StreamStatus, found: list[tuple[int, bytes, int, str]], *, time_in: int
    ) -> list[Commit]:
        """Commits of a call, and of those that go on with it where a window had no graph yet."""
        commits = self._commits(found, time_in)
        while status is not StreamStatus.DONE:
            try:
                if status is StreamStatus.UNEXPLAINED:
                    raise ValueError("no set of edges explains the detections")
                self.build_missing()
            except ValueError as error:
                (start, _, _, stop, *_), shot = self._stream.missing()[1], self._shot
                self.reset()
                raise ValueError(
                    f"shot {shot} is closed: layers {start} to {stop - 1} cannot be decoded: {error}"
                ) from error
            status, found = self._stream.resume()
            commits += self._commits(found, time_in)
        return commits

    def _commits(self, found: list[tuple[int, bytes, int, str]], time_in: int) -> list[Commit]:
        shot = self._opened()
        return [
            Commit(shot, upto, frame, Flag(flags), model, time_in, self._clock())
            for upto, frame, flags, model in found
        ]


_ERASED = np.ones(1, dtype=np.uint8)
