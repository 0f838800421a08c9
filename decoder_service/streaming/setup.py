"""What a stream decodes with, read from an experiment before any round comes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import stim

from _qecpipe import RoundSource
from decoder_service.streaming.layer_source import Input, checked_input, round_source
from decoder_service.streaming.model import StreamModel
from decoder_service.streaming.predecoder_stage import PredecoderStage
from decoder_service.streaming.prepared import PreparedStream
from decoder_service.streaming.rounds import RoundMap, round_dem
from global_decoders.matching import GAP_SCALE
from global_decoders.windows import INNER_DECODERS, LayeredDem, WindowedDecoder, WindowSizes, shortened
from predecoder import NEURAL_MATCHING, automatic_policy

__all__ = ["StreamSetup"]


@dataclass(frozen=True, eq=False, kw_only=True)
class StreamSetup:
    """An experiment, its windows and their decoder.

    Attributes:
        input: what is pushed.
        layers: of the experiment as it was given.
        rounds: how detectors follow from measurements; None where detectors are pushed.
        sizes: of the windows.
        decoder: inside them; see `StreamDecoder`.
        model: of the first shot, with the pre-decoder before the windows, if there is one.
        short_model: of shots too short for a network whose logits windows are matched on; None without one.
    """

    input: Input
    layers: LayeredDem
    rounds: RoundMap | None
    sizes: WindowSizes
    decoder: str
    model: StreamModel
    short_model: StreamModel | None = None

    @classmethod
    def read(
        cls,
        circuit_or_dem: stim.Circuit | stim.DetectorErrorModel,
        *,
        sizes: WindowSizes,
        decoder: str,
        predecoder: str | Path | None,
        device: str,
        input: Input | None,
    ) -> StreamSetup:
        """Read the experiment; the arguments are those of `StreamDecoder`.

        Raises:
            ValueError: naming what does not fit.
        """
        pushed = checked_input(input, circuit_or_dem)
        dem, short = circuit_or_dem, None
        if isinstance(dem, stim.Circuit):
            short = shortened(dem)
            dem = round_dem(dem)
        layers = _layers_of(dem, decoder)
        stage = _stage_of(dem, layers, decoder=decoder, predecoder=predecoder, sizes=sizes, device=device)
        build = partial(StreamModel.build, dem, layers=layers, sizes=sizes, weights=_weights_of(stage))
        measured = short if pushed == "measurements" else None
        neural = decoder == NEURAL_MATCHING
        return cls(
            input=pushed,
            layers=layers,
            rounds=None if measured is None else RoundMap.from_circuit(measured, layers=layers),
            sizes=sizes,
            decoder=decoder,
            model=build(decoder=decoder, stage=stage),
            short_model=build(decoder="pymatching") if neural else None,
        )

    @classmethod
    def of(cls, prepared: PreparedStream) -> StreamSetup:
        """That of the decoder that `prepared` was made of."""
        model = prepared.model.build()
        return cls(
            input=prepared.input,
            layers=model.layers,
            rounds=prepared.rounds,
            sizes=model.sizes,
            decoder=prepared.model.decoder,
            model=model,
        )

    def model_of(self, dem: stim.DetectorErrorModel, stage: PredecoderStage | None) -> StreamModel:
        """The model of another DEM, behind the network of `stage` with the DEM's noise features."""
        layers = _layers_of(dem, self.decoder)
        stage = None if stage is None else stage.with_dem(dem, layers)
        return StreamModel.build(
            dem,
            layers=layers,
            sizes=self.sizes,
            decoder=self.decoder,
            weights=_weights_of(stage),
            stage=stage,
        )

    @cached_property
    def source(self) -> RoundSource:
        """What rounds look like."""
        return round_source(self.layers, self.rounds)

    @property
    def rounds_compared(self) -> int:
        """How many rounds back detectors look: 1, or 2 without mid-circuit reset; 0 where they are pushed."""
        return 0 if self.rounds is None else self.rounds.depth

    @property
    def gap_scale(self) -> float:
        """Factor on gaps: that of the decoder of whole shots."""
        if self.decoder in INNER_DECODERS or self.model.stage is None:
            return GAP_SCALE[INNER_DECODERS.get(self.decoder, False)]
        return self.model.stage.bundle.policies.gap_scale


def _layers_of(dem: stim.DetectorErrorModel, decoder: str) -> LayeredDem:
    """The layers of a DEM as this decoder reads them. Raises ValueError for another decoder's name."""
    if decoder not in (*INNER_DECODERS, NEURAL_MATCHING):
        WindowedDecoder(inner=decoder)  # says what it may be
    return LayeredDem.from_dem(dem, correlated=INNER_DECODERS.get(decoder, False))


def _stage_of(
    dem: stim.DetectorErrorModel,
    layers: LayeredDem,
    *,
    decoder: str,
    predecoder: str | Path | None,
    sizes: WindowSizes,
    device: str,
) -> PredecoderStage | None:
    """The network before the windows, if there is one."""
    neural = decoder == NEURAL_MATCHING
    if predecoder is None and not neural:
        return None
    return PredecoderStage.load(
        predecoder or "default",
        dem,
        layers=layers,
        tile=max(1, sizes.commit // 2),
        policy=None if neural else automatic_policy(WindowedDecoder(inner=decoder), stream=True),
        device=device,
    )


def _weights_of(stage: PredecoderStage | None) -> str:
    return "" if stage is None else stage.sha256
