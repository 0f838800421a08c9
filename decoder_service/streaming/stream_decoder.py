"""Decoding a stream of rounds in this process: push rounds, get commits."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import stim

from decoder_service.streaming.commits import Commit, Flag, Result
from decoder_service.streaming.erasures import build_erasures
from decoder_service.streaming.layer_source import Input, LayerSource, checked_bits, checked_input
from decoder_service.streaming.model import StreamModel
from decoder_service.streaming.predecoder_stage import PredecoderStage
from decoder_service.streaming.reload import ModelSchedule, check_fits
from decoder_service.streaming.rounds import RoundMap, round_dem
from decoder_service.streaming.shot import ShotState
from global_decoders.windows import INNER_DECODERS, LayeredDem, Mode, WindowedDecoder, WindowSizes, shortened
from predecoder import automatic_policy

__all__ = ["StreamDecoder"]


class StreamDecoder:
    """Windowed decoding of one stream of shots, each of any number of rounds.

    A shot is `open`, `push` for rounds 0, 1, ..., then `finish` with the last, destructive round.
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
        input: Input | None = None,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        """Reads the experiment; `warm` builds its graphs.

        Args:
            circuit_or_dem: a memory experiment of some rounds; where its layers repeat, shots may
                have more or fewer rounds than it has.
            commit, buffer, mode: see `WindowedDecoder`.
            decoder: 'pymatching' or 'pymatching-correlated'.
            predecoder: weights of a network, a shipped name or a path, that removes local errors
                before windows see them. A layer then waits for those its moves depend on, half the
                network's receptive field, and for clusters of moves to end. Its policy is 'threshold',
                before 'pymatching-correlated' 'complete'; the others need whole shots.
            input: 'measurements' (needs a circuit, whose default it is) or 'detectors'.
            clock: gives ns for the commits' times.

        Raises:
            ValueError: naming what does not fit.
        """
        self.input = checked_input(input, circuit_or_dem)
        self.sizes, self._decoder, self._clock = WindowSizes(commit, buffer, mode), decoder, clock
        short = None
        dem = circuit_or_dem
        if isinstance(dem, stim.Circuit):
            short = shortened(dem)
            dem = round_dem(dem)
        layers = LayeredDem.from_dem(dem, correlated=not WindowedDecoder(inner=decoder).independent_edges)
        self._predecoder_stage = None
        if predecoder is not None:
            self._predecoder_stage = PredecoderStage.load(
                predecoder,
                dem,
                layers=layers,
                tile=max(1, commit // 2),
                policy=automatic_policy(WindowedDecoder(inner=decoder), stream=True),
            )
        model = self._build(dem, layers)
        measured = short if self.input == "measurements" else None
        rounds = None if measured is None else RoundMap.from_circuit(measured, layers=layers)
        self._source = LayerSource(layers, model.open_layers, rounds)
        self._models = ModelSchedule(model)
        self._state: ShotState | None = None

    @property
    def model(self) -> str:
        """Id of the model that the next window uses."""
        return self._model_of_window().id if self._state else self._models.current.id

    @property
    def weights(self) -> str:
        """SHA-256 of the network's weights, empty without a network."""
        return "" if self._predecoder_stage is None else self._predecoder_stage.sha256

    def warm(self, *, erasures: bool = True, rounds: int | None = None) -> int:
        """Builds and warms the graphs of all windows of a long experiment; returns how many there are.

        Args:
            erasures: also those with one erased round, as `warm_erasures`.
            rounds: pushed in every shot, if that is known: fewer graphs do then.
        """
        if self._predecoder_stage is not None:
            self._predecoder_stage.warm()
        model = self._models.current
        num_layers = None if rounds is None else rounds + 1
        model.warm(num_layers)
        if erasures:
            collections.deque(self.warm_erasures(rounds=rounds), maxlen=0)
        return len(model.graphs)

    def warm_erasures(
        self,
        model: StreamModel | None = None,
        *,
        rounds: int | None = None,
        throttle: Callable[[], None] = lambda: None,
    ) -> Iterator[None]:
        """Builds the graphs with one erased round, one a step, those of the most frequent windows first.

        Not more than `MOST_ERASED_BYTES` allows. All others, those of two in a window among them, are
        built when they are needed, from the window's graph, and kept as long as there is room.
        May run in another thread than the one that decodes.

        Args:
            model: prepared; by default the one in use.
            rounds: pushed in every shot, if that is known: endings then have theirs too.
            throttle: called every few edges of a graph.
        """
        num_layers = None if rounds is None else rounds + 1
        return build_erasures(
            self._source, model or self._models.current, num_layers=num_layers, throttle=throttle
        )

    def open(self, shot: int) -> None:
        """Begins a shot. Raises ValueError while another is open."""
        if self._state is not None:
            raise ValueError(
                f"shot {shot} cannot open: shot {self._state.shot} is open; finish() or reset() it"
            )
        self._models.next_shot()
        self._state = ShotState(
            shot=shot,
            windows=self.sizes.windows(self._source.open_layers.num_layers),
            num_observables=self._source.layers.num_observables,
            certain_observables=self._models.current.layers.certain_observables,
            stream=None if self._predecoder_stage is None else self._predecoder_stage.begin(),
        )

    def width(self, round: int, *, final: bool = False) -> int:
        """Bits of a round: measurements or detectors.

        Raises:
            ValueError: an experiment cannot have, or end after, this round.
        """
        if final:
            return self._source.width(round, self._source.ending_with(round))
        return self._source.open_width(round)

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
        state = self._opened()
        if round != state.pushed:
            raise ValueError(
                f"round {round} was pushed but round {state.pushed} is due; "
                "push a lost round with erased=True"
            )
        width = self._source.open_width(round)
        known = None if erased else checked_bits(bits, round=round, width=width)
        layers = self._source.open_layers
        if known is None:
            state.flags |= Flag.DEGRADED
            state.erased[round] = self._source.lost(round, layers=layers)
        self._take(state, known, layers, final=False)
        commits = []
        while state.window.stop + self._model_of_window().slack <= state.received + 1:
            commits += self._decode_next(state, self._model_of_window().open_layers, time_in=time_in)
        return commits

    def finish(self, final_bits: np.ndarray) -> Result:
        """Takes the last round, decodes what is left and closes the shot.

        Args:
            final_bits: 0/1, the data qubits' measurements or the last layer's detectors.

        Raises:
            ValueError: no shot is open, the experiment cannot end here, or the bits do not fit: the
                shot stays open. Or no errors explain the detections of a window: the shot is closed.
        """
        time_in = self._clock()
        state = self._opened()
        last = state.pushed
        layers = self._source.ending_with(last)
        bits = checked_bits(final_bits, round=last, width=self._source.width(last, layers))
        self._take(state, bits, layers, final=True)
        state.replan(self.sizes.windows(layers.num_layers))
        # Near the end there are detectors less: some edges now end at the boundary.
        state.erased = {r: self._source.lost(r, layers=layers) for r in state.erased}
        commits: list[Commit] = []
        while state.upto < layers.num_layers:
            model = self._model_of_window()
            cut_from = model.layers_for(state.window, layers.num_layers)
            commits += self._decode_next(state, cut_from, time_in=time_in)
        self._state = None
        readout = self._source.readout(bits, state.frame)
        return Result(
            state.shot, layers.num_layers, state.packed_frame(), readout, tuple(commits), state.flags
        )

    def reset(self) -> None:
        """Forgets the open shot, if there is one; graphs stay warm."""
        self._state = None

    def reload(self, dem: stim.DetectorErrorModel, at_round: int = 0) -> str:
        """`prepare` and `adopt` in one, here and now; returns the model's id."""
        model = self.prepare(dem)
        self.adopt(model, at_round)
        return model.id

    def prepare(
        self, dem: stim.DetectorErrorModel, *, erasures: bool = True, rounds: int | None = None
    ) -> StreamModel:
        """Builds and warms the model of another DEM of the same detectors; nothing here changes.

        It is the windows' model: the pre-decoder keeps the noise features that it has.

        May run in another thread than the one that decodes.

        Args:
            dem: of the experiment.
            erasures, rounds: as of `warm`.

        Raises:
            ValueError: a DEM that windows cannot use, with other detectors or observables, without
                experiments of all lengths, or that cannot explain what the stream's model does.
        """
        layers = LayeredDem.from_dem(dem, correlated=INNER_DECODERS[self._decoder])
        model = self._build(dem, layers)
        num_layers = None if rounds is None else rounds + 1
        check_fits(self._models.current, model, num_layers=num_layers)
        model.warm(num_layers)
        if erasures:
            collections.deque(self.warm_erasures(model, rounds=rounds), maxlen=0)
        return model

    def adopt(self, model: StreamModel, at_round: int = 0) -> None:
        """Decodes with a prepared model: windows that commit from `at_round` on, and all later shots.

        A later call wins for the windows that both are meant for.
        """
        self._models.adopt(model, at_round)
        if self._state is None:
            self._models.next_shot()

    def _build(self, dem: stim.DetectorErrorModel, layers: LayeredDem) -> StreamModel:
        return StreamModel.build(
            dem, layers=layers, sizes=self.sizes, decoder=self._decoder, weights=self.weights
        )

    def _opened(self) -> ShotState:
        if self._state is None:
            raise ValueError("no shot is open; call open(shot) first")
        return self._state

    def _take(self, state: ShotState, bits: np.ndarray | None, layers: LayeredDem, *, final: bool) -> None:
        """The next round's layer, to the windows or to the pre-decoder before them."""
        round = state.pushed
        detections = self._source.detections(round, bits, state.recent, layers=layers)
        cells = None if self._predecoder_stage is None else self._predecoder_stage.cells(round, layers)
        state.add_layer(detections, cells, layers, final=final)

    def _model_of_window(self) -> StreamModel:
        """The model of the next window."""
        return self._models.of_window(self._opened().window.lo)

    def _decode_next(self, state: ShotState, layers: LayeredDem, *, time_in: int) -> list[Commit]:
        model, window = self._model_of_window(), state.window
        if model is not self._models.current:
            state.flags |= Flag.RELOADED
        try:
            state.decode(model.graphs.matcher(layers, window, erased=state.edges_in(window)))
        except ValueError as error:
            self._state = None
            raise ValueError(
                f"shot {state.shot} is closed: layers {window.start} to {window.stop - 1} cannot be "
                f"decoded: {error}"
            ) from error
        if not state.advance():
            return []
        frame = state.packed_frame()
        return [Commit(state.shot, state.upto, frame, state.flags, model.id, time_in, self._clock())]
