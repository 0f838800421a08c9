"""The models that a running stream decodes with: now, and in shots to come."""

from __future__ import annotations

import stim

from _qecpipe import Stream
from decoder_service.streaming.model import StreamModel
from decoder_service.streaming.predecoder_stage import StagedShot
from decoder_service.streaming.prepared import PreparedStream
from decoder_service.streaming.reload import check_fits
from decoder_service.streaming.serialized_model import SerializedModel
from decoder_service.streaming.setup import StreamSetup
from global_decoders.windows import Window

__all__ = ["StreamModels"]


class StreamModels:
    """A native stream and the models that it may ask for a window of.

    Whoever drives `stream` by itself, as data planes do, leaves its `open` to `adopt` of a `StreamDecoder`
    alone, says `expect` before it adopts a model, and `build_missing` where it waits for a window.

    Args:
        setup: of the stream.
        gap: whether results say how sure the last window is.

    Attributes:
        latest: the model of shots to come.
        stage: the pre-decoder of the shot at hand; None without one.
    """

    def __init__(self, setup: StreamSetup, *, gap: bool) -> None:
        self.setup, self.latest, self.stage = setup, setup.model, setup.model.stage
        short = setup.short_model
        self._by_serial = {model.native.serial: model for model in (setup.model, short) if model}
        self.stream = Stream(
            setup.source,
            setup.model.native,
            short_model=None if short is None else short.native,
            gap_scale=setup.gap_scale if gap else 0.0,
        )

    @property
    def native(self) -> Stream | None:
        """The stream, if nothing else is needed to decode with it but `build_missing`: no torch."""
        return None if self.stream.needs_logits else self.stream

    @property
    def device(self) -> str | None:
        """Where the network runs, None without a network."""
        return None if self.stage is None else self.stage.predecoder.device

    @property
    def fell_back(self) -> bool:
        """Whether `device='auto'` is the CPU for want of a GPU, and not because a GPU takes longer."""
        automatic = self.stage is not None and self.stage.device == "auto"
        return automatic and self.device == "cpu" and self.stream.needs_logits

    def open(self) -> StagedShot | None:
        """Begins a shot; its logits, where the stream has no network of its own and needs them."""
        if self.latest.stage is not None:
            self.stage = self.latest.stage
        self.stream.open()
        self._forget()
        if self.stage is None or not self.stream.needs_logits:
            return None
        return StagedShot(self.stage, self.setup.layers)

    def warm(self, *, rounds: int | None) -> int:
        """Builds the graphs of all windows; see `StreamDecoder.warm`."""
        if self.stage is not None:
            self.stage.warm()
        self.latest.warm(None if rounds is None else rounds + 1)
        return len(self.latest.graphs)

    def prepared(self, *, rounds: int) -> PreparedStream:
        """What `StreamDecoder.of` needs; see `StreamDecoder.prepared`."""
        if self.stage is not None:
            raise ValueError("a decoder with a network is built where it decodes")
        setup = self.setup
        return PreparedStream(SerializedModel.of(self.latest), setup.rounds, setup.input, rounds)

    def prepare(self, dem: stim.DetectorErrorModel, *, rounds: int | None) -> StreamModel:
        """Builds the model of another DEM of the same detectors; see `StreamDecoder.prepare`."""
        model = self.setup.model_of(dem, self.stage)
        num_layers = None if rounds is None else rounds + 1
        check_fits(self.latest, model, num_layers=num_layers)
        model.warm(num_layers)
        return model

    def adopt(self, model: StreamModel, at_round: int) -> None:
        """Decodes with a prepared model; see `StreamDecoder.adopt`."""
        self._by_serial[model.native.serial] = self.latest = model
        self.stream.adopt(model.native, at_round)
        self._forget()

    def expect(self, model: StreamModel) -> None:
        """The stream is going to adopt this model by itself: it is the one of later shots."""
        self._forget()
        self._by_serial[model.native.serial] = self.latest = model

    def build_missing(self) -> None:
        """Builds the graph of the window that the stream waits for (`StreamStatus.MISSING`).

        Raises:
            ValueError: it cannot be built.
        """
        serial, (start, lo, hi, stop, *closed), num_layers = self.stream.missing()
        window = Window(start=start, lo=lo, hi=hi, stop=stop, past_closed=closed[0], future_closed=closed[1])
        model = self._by_serial[serial]
        model.graphs.graph(model.layers_of(num_layers), window)

    def is_short(self, rounds: int) -> bool:
        """Whether shots of so many rounds are too short for the network."""
        return self.stage is not None and rounds < self.stage.predecoder.min_rounds

    def warn_of_short(self, rounds: int) -> None:
        """Say, for the first time only, if shots of so many rounds are too short for the network."""
        if self.stage is not None and self.is_short(rounds):
            self.stage.predecoder.warn_of_short(rounds + 1)

    def require_gap(self, *, rounds: int) -> None:
        """Raise ValueError where shots of so many rounds have no gap; see `StreamDecoder.require_gap`."""
        setup, short = self.setup, self.setup.short_model
        if self.stage is not None and self.stage.policy is not None:
            raise ValueError(
                f"gap=True with a predecoder before decoder={setup.decoder!r}: its moves are committed "
                "without a gap; leave the predecoder out, or use decoder='neural-matching'"
            )
        if setup.layers.num_observables != 1:
            raise ValueError(
                f"gap=True with {setup.layers.num_observables} observables: a stream has gaps of a single one"
            )
        model = short if short is not None and self.is_short(rounds) else self.latest
        if not model.has_classes(rounds + 1):
            raise ValueError(
                f"gap=True with decoder={setup.decoder!r}, which has no gap in the last window of shots of "
                f"{rounds} rounds: a cycle of edges between detectors flips the observable, as Y errors at a "
                "patch's corners do where they are edges; 'pymatching-correlated' and 'neural-matching' have "
                "one on surface codes"
            )

    def _forget(self) -> None:
        """Models that no window is left for."""
        serials = set(self.stream.serials)
        self._by_serial = {serial: model for serial, model in self._by_serial.items() if serial in serials}
