"""Decoders that take the same batches in turn, and what each needs before the clock starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import sinter

from global_decoders import compile_normal_form
from predecoder import CompiledPredecoded
from qec import NormalForm
from sims.decoders import NEURAL_ENSEMBLE, PREDECODER_PREFIX, Precision, build_decoder

__all__ = ["PLAIN", "Contestant", "contestants"]

PLAIN = ("pymatching", "pymatching-correlated")
"""Without a network; times are given as ratios to those of both."""
_RESIDUAL = " on its residual"


class Contestant:
    """A decoder by name, with weights or without.

    Attributes:
        decoder: its name; of the global decoder behind a network alone, followed by " on its residual".
        weights: of its network: a name or path; of an ensemble that asks others, theirs after a `+`.
        identity: of its results, from `NamedDecoder`.
    """

    def __init__(self, decoder: str, weights: str = "", *, precision: Precision = "auto") -> None:
        """Find the weights.

        Raises:
            ValueError: see `build_decoder`.
        """
        self.decoder, self.weights = decoder, weights
        first, *opinions = weights.split("+")
        named, self._alone = decoder, decoder.endswith(_RESIDUAL)
        if self._alone:
            named = PREDECODER_PREFIX + decoder.removesuffix(_RESIDUAL)
        self._named = build_decoder(
            named,
            weights=first or "default",
            opinions=opinions,
            precision=precision,
            device="cpu",
            threads=1,
        )
        self.identity = self._named.identity
        self._compiled: sinter.CompiledDecoder | None = None
        self._flips: np.ndarray | None = None

    @property
    def key(self) -> dict[str, Any]:
        """What rows of results, and batches that were timed before, know it by."""
        identity = dict(self.identity)
        sha256 = identity.pop("weights", "")
        return {"decoder": self.decoder, "weights": self.weights, "sha256": sha256, **identity}

    def compile(self, normal: NormalForm) -> None:
        """Get ready for the shots of a DEM that has been read.

        Raises:
            LayoutError: the network does not fit.
        """
        self._compiled = compile_normal_form(self._named.decoder, normal)

    def given(self, packed: np.ndarray) -> np.ndarray:
        """What it decodes of shots: themselves, or what a network that has run leaves of them."""
        if not self._alone:
            return packed
        assert isinstance(self._compiled, CompiledPredecoded)
        residual, self._flips = self._compiled.decode_to_residual(packed)
        return residual

    def decode(self, packed: np.ndarray) -> np.ndarray:
        """Predictions of what was `given`."""
        if not self._alone:
            assert self._compiled is not None
            return self._compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
        assert isinstance(self._compiled, CompiledPredecoded)
        behind = self._compiled.global_decoder
        return behind.decode_shots_bit_packed(bit_packed_detection_event_data=packed) ^ self._flips


def contestants(
    decoders: Sequence[str], weights: Sequence[str], *, precision: Precision = "auto"
) -> Iterator[Contestant]:
    """The plain decoders, and every decoder with all weights that it can have.

    Args:
        decoders: names of decoders with a network; of `predecoder+X` X is timed alone, too.
        weights: see `Contestant`; those with a `+` are of `neural-ensemble` alone.
        precision: of networks.
    """
    yield from map(Contestant, PLAIN)
    for of in weights:
        for decoder in decoders:
            if "+" in of and decoder != NEURAL_ENSEMBLE:
                continue
            yield Contestant(decoder, of, precision=precision)
            if decoder.startswith(PREDECODER_PREFIX):
                behind = decoder.removeprefix(PREDECODER_PREFIX)
                yield Contestant(behind + _RESIDUAL, of, precision=precision)
