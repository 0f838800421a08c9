"""Decoding a stream of rounds in this process: push rounds, get commits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import numpy as np
import stim

from decoder_service.commits import Commit, Flag, Result
from decoder_service.model import StreamModel, WindowSizes
from decoder_service.rounds import RoundMap, shortened_circuit
from decoder_service.shot import Edges, ShotState, seen_by
from global_decoders.windows import Component, LayeredDem, Mechanism, Mode

__all__ = ["StreamDecoder"]

Input = Literal["measurements", "detectors"]


class StreamDecoder:
    """Windowed decoding of one stream of shots, each of any number of rounds.

    A shot is `open`, `push` for rounds 0, 1, ..., then `finish` with the last, destructive round.
    Commits are those of `WindowedDecoder` on the whole shot, bit for bit, as soon as they can be known.
    """

    def __init__(
        self,
        circuit_or_dem: stim.Circuit | stim.DetectorErrorModel,
        *,
        commit: int,
        buffer: int,
        mode: Mode = "sliding",
        decoder: str = "pymatching",
        predecoder: str | None = None,
        input: Input | None = None,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        """Reads the experiment; `warm` builds its graphs.

        Args:
            circuit_or_dem: a memory experiment of some rounds; where its layers repeat, shots may
                have more or fewer rounds than it has.
            commit, buffer, mode: see `WindowedDecoder`.
            decoder: 'pymatching' or 'pymatching-correlated'.
            predecoder: no network runs in windows yet, so only None.
            input: 'measurements' (needs a circuit, whose default it is) or 'detectors'.
            clock: gives ns for the commits' times.

        Raises:
            ValueError: naming what does not fit.
        """
        if predecoder is not None:
            raise ValueError(
                f"predecoder={predecoder!r} with mode={mode!r}: a stream does not run networks yet; "
                "leave it out, or decode whole shots with PredecodedDecoder(WindowedDecoder(...))"
            )
        is_circuit = isinstance(circuit_or_dem, stim.Circuit)
        self.input: Input = input or ("measurements" if is_circuit else "detectors")
        if self.input not in ("measurements", "detectors") or (
            self.input == "measurements" and not is_circuit
        ):
            raise ValueError(
                f"input={input!r} with a {type(circuit_or_dem).__name__}: use 'detectors', "
                "or 'measurements' with a circuit"
            )
        self._sizes, self._decoder, self._clock = WindowSizes(commit, buffer, mode), decoder, clock
        self._rounds: RoundMap | None = None
        if isinstance(circuit_or_dem, stim.Circuit):
            short = shortened_circuit(circuit_or_dem)
            dem = short.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)
            # Flat, so that the layers that are read are the circuit's rounds, one by one.
            self._model = StreamModel.build(dem.flattened(), sizes=self._sizes, decoder=decoder)
            if self.input == "measurements":
                self._rounds = RoundMap.from_circuit(short, layers=self._model.layers)
        else:
            self._model = StreamModel.build(circuit_or_dem, sizes=self._sizes, decoder=decoder)
        # What rounds look like; `_rounds` counts in its layers, whatever model is loaded later.
        self._shape = self._model
        self._next_model: tuple[int, StreamModel] | None = None
        self._state: ShotState | None = None

    @property
    def model(self) -> str:
        """Id of the model that new windows use."""
        return self._model.id

    def warm(self, *, erasures: bool = True) -> int:
        """Builds and warms the graphs of all windows of a long experiment; returns how many there are.

        Args:
            erasures: also those with one erased round. Two in one window build theirs when they happen.
        """
        return self._warm(self._model, erasures=erasures)

    def open(self, shot: int) -> None:
        """Begins a shot. Raises ValueError while another is open."""
        if self._state is not None:
            raise ValueError(
                f"shot {shot} cannot open: shot {self._state.shot} is open; finish() or reset() it"
            )
        if self._next_model is not None:
            self._model, self._next_model = self._next_model[1], None
        self._state = ShotState(
            shot=shot,
            windows=self._sizes.windows(self._shape.open_layers.num_layers),
            num_observables=self._shape.layers.num_observables,
        )

    def width(self, round: int, *, final: bool = False) -> int:
        """Bits of a round: measurements or detectors.

        Raises:
            ValueError: an experiment cannot have, or end after, this round.
        """
        layers = self._layers_of_end(round) if final else self._shape.open_layers
        if not final and round >= layers.num_layers - 1:
            raise ValueError(
                f"round {round} cannot be pushed: the experiment has {layers.num_layers} rounds and does not "
                "repeat, so its last one belongs to finish()"
            )
        if self._rounds is not None:
            return self._rounds.widths[layers.source_layer(round)[0]]
        return len(layers.kind(round).sites)

    def push(self, round: int, bits: np.ndarray | None, erased: bool | None = None) -> list[Commit]:
        """Takes a round and returns what it allows to commit: nothing, or one or more windows.

        Args:
            round: 0, 1, 2, ... without gaps.
            bits: 0/1 of shape (width(round),); None only where erased.
            erased: the round carries no information. Of measurements, their last known values stand
                in, and the two detectors of each are joined by an edge of weight 0. Of detectors,
                each gets such an edge to the boundary, which loses far more: prefer measurements.

        Raises:
            ValueError: no shot is open, another round was due, or the bits do not fit.
        """
        time_in = self._clock()
        state = self._opened()
        self._check_round(round)
        detections = self._detections(round, bits, bool(erased), layers=self._shape.open_layers, final=False)
        state.add_layer(detections)
        commits = []
        while state.window.stop + self._model_of_window().slack <= state.received + 1:
            commits += self._decode_next(self._model_of_window().open_layers, time_in=time_in)
        return commits

    def finish(self, final_bits: np.ndarray) -> Result:
        """Takes the last round, decodes what is left and closes the shot.

        Args:
            final_bits: 0/1, the data qubits' measurements or the last layer's detectors.

        Raises:
            ValueError: no shot is open, the experiment cannot end here, or the bits do not fit;
                the shot stays open.
        """
        time_in = self._clock()
        state = self._opened()
        layers = self._layers_of_end(state.received)
        detections = self._detections(state.received, final_bits, False, layers=layers, final=True)
        state.add_layer(detections)
        state.replan(self._sizes.windows(layers.num_layers))
        # Near the end there are detectors less: some edges now end at the boundary.
        state.erased = {r: self._lost(r, layers=layers) for r in state.erased}
        commits: list[Commit] = []
        while state.upto < layers.num_layers:
            ending = self._model_of_window().layers.with_layers(layers.num_layers)
            commits += self._decode_next(ending, time_in=time_in)
        readout = None
        if self._rounds is not None:
            corrected = self._rounds.readout(np.asarray(final_bits, dtype=np.uint8)) ^ state.frame
            readout = np.packbits(corrected, bitorder="little").tobytes()
        self._state = None
        return Result(
            state.shot, layers.num_layers, state.packed_frame(), readout, tuple(commits), state.flags
        )

    def reset(self) -> None:
        """Forgets the open shot, if there is one; graphs stay warm."""
        self._state = None

    def reload(self, dem: stim.DetectorErrorModel, at_round: int = 0) -> str:
        """Decodes with another DEM of the same detectors; returns its model id.

        It is built and warmed here and now, and used by windows that commit from `at_round` on, and
        by all later shots. Where it does not fit, nothing changes.

        Raises:
            ValueError: a DEM with other detectors or observables, or one that windows cannot use.
        """
        model = StreamModel.build(dem, sizes=self._sizes, decoder=self._decoder)
        _check_same_detectors(self._shape.layers, model.layers)
        self._warm(model, erasures=True)
        if self._state is None:
            self._model, self._next_model = model, None
        else:
            self._next_model = (at_round, model)
        return model.id

    def _opened(self) -> ShotState:
        if self._state is None:
            raise ValueError("no shot is open; call open(shot) first")
        return self._state

    def _check_round(self, round: int) -> None:
        if round != self._opened().received:
            raise ValueError(
                f"round {round} was pushed but round {self._opened().received} is due; "
                "push a lost round with erased=True"
            )

    def _layers_of_end(self, last: int) -> LayeredDem:
        try:
            return self._shape.layers.with_layers(last + 1)
        except ValueError as error:
            raise ValueError(f"the experiment cannot end with round {last}: {error}") from None

    def _detections(
        self, round: int, bits: np.ndarray | None, erased: bool, *, layers: LayeredDem, final: bool
    ) -> np.ndarray:
        """uint8 0/1 of the round's detector layer; notes what is erased."""
        state, width = self._opened(), self.width(round, final=final)
        if not erased:
            bits = _checked(bits, round=round, width=width)
        else:
            state.flags |= Flag.DEGRADED
            state.erased[round] = self._lost(round, layers=layers)
            bits = np.zeros(width, dtype=np.uint8)
        if self._rounds is None:
            return bits
        if erased and state.recent and len(state.recent[-1]) == width:
            bits = state.recent[-1]
        state.recent.append(bits)
        del state.recent[: -self._rounds.depth - 1]
        return self._rounds.detections(layers.source_layer(round)[0], state.recent)

    def _lost(self, round: int, *, layers: LayeredDem) -> Edges:
        """The edges of weight 0 that an erased round adds to an experiment of these layers."""
        if self._rounds is not None:
            edges = self._rounds.erasures[layers.source_layer(round)[0]]
            return tuple((round + offset, edge) for offset, edge in edges)
        sites = layers.kind(round).sites
        return tuple((round, Mechanism(0.5, (Component(((0, site),), ()),))) for site in sites)

    def _model_of_window(self) -> StreamModel:
        """The model of the next window."""
        if self._next_model is not None and self._opened().window.lo >= self._next_model[0]:
            return self._next_model[1]
        return self._model

    def _decode_next(self, layers: LayeredDem, *, time_in: int) -> list[Commit]:
        state, model = self._opened(), self._model_of_window()
        if model is not self._model:
            state.flags |= Flag.RELOADED
        state.decode(model.graphs.matcher(layers, state.window, more=state.edges_in(state.window)))
        if not state.advance():
            return []
        frame = state.packed_frame()
        return [Commit(state.shot, state.upto, frame, state.flags, model.id, time_in, self._clock())]

    def _warm(self, model: StreamModel, *, erasures: bool) -> int:
        for window in model.bulk_windows():
            model.graphs.matcher(model.open_layers, window)
            for round in range(max(0, window.start - 1), window.stop) if erasures else ():
                lost = seen_by(window, self._lost(round, layers=self._shape.open_layers))
                model.graphs.matcher(model.open_layers, window, more=lost)
        for layers, window in model.endings():
            model.graphs.matcher(layers, window)
        return len(model.graphs)


def _checked(bits: np.ndarray | None, *, round: int, width: int) -> np.ndarray:
    array = np.asarray(bits)
    if bits is None or array.shape != (width,):
        raise ValueError(
            f"round {round} has bits of shape {array.shape}; {width} are due, one number 0 or 1 each"
        )
    if array.dtype.kind not in "biu" or (width and (array.max() > 1 or array.min() < 0)):
        raise ValueError(
            f"round {round} has values {array.min()} to {array.max()} of {array.dtype}; "
            "bits are integers 0 or 1, not packed"
        )
    return array.astype(np.uint8)


def _check_same_detectors(old: LayeredDem, new: LayeredDem) -> None:
    """Raises ValueError unless both have the same sites in every layer, and as many observables."""
    if new.num_observables != old.num_observables:
        raise ValueError(f"the DEM has {new.num_observables} observables, the stream {old.num_observables}")
    longer, other = (new, old) if new.num_layers >= old.num_layers else (old, new)
    other = other.with_layers(longer.num_layers)
    for layer in range(longer.num_layers):
        if longer.kind(layer).sites != other.kind(layer).sites:
            raise ValueError(
                f"the DEM has other detectors than the stream in layer {layer}: "
                f"{len(new.kind(min(layer, new.num_layers - 1)).sites)} of them, or elsewhere"
            )
