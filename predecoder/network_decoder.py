"""What decoders with a network share: finding the weights, and going on without where they do not fit."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from pathlib import Path
from typing import get_args

import numpy as np
import sinter

from global_decoders import NormalFormDecoder, compile_normal_form
from predecoder.applicability import OnMismatch, applicable_problem
from predecoder.inference import EngineOptions, Precision, choose_precision
from predecoder.weights import Bundle, WeightsError, int8_support, load_bundle, resolve_weights
from qec import DecodingProblem, NormalForm

__all__ = ["NetworkDecoder", "checked_shots"]


class NetworkDecoder(NormalFormDecoder):
    """A decoder with a network.

    It can be pickled: it holds the weights' path and hash, and loads them where it is compiled.
    """

    def __init__(
        self,
        *,
        without_network: sinter.Decoder,
        weights: str | Path,
        on_mismatch: OnMismatch,
        options: EngineOptions,
    ) -> None:
        """Find and hash the weights.

        Args:
            without_network: decodes DEMs that the network cannot be used on.
            weights: shipped name or path of a .safetensors file.
            on_mismatch: for a DEM that is not a rotated-surface-code memory experiment: 'warn' and
                decode without the network, or 'fail'.
            options: where the network runs, and how. The precision, by default the weights' own, is a part of
                what results depend on, as are the weights and the device.

        Raises:
            WeightsError: the weights do not exist, or are no weights.
            ValueError: an unknown name, or a precision that weights or device do not have.
        """
        if on_mismatch not in get_args(OnMismatch):
            raise ValueError(f"on_mismatch={on_mismatch!r} is unknown; use 'warn' or 'fail'")
        file = resolve_weights(weights)
        self.weights_path, self.weights_sha256 = file.path, file.sha256
        self.device = str(options.torch_device)
        self.precision: Precision = choose_precision(
            options.precision, int8=int8_support(file), device_type=options.torch_device.type
        )
        self.on_mismatch: OnMismatch = on_mismatch
        self._options = dataclasses.replace(options, device=self.device, precision=self.precision)
        self._without_network = without_network

    def compile_normal_form(self, normal: NormalForm) -> sinter.CompiledDecoder:
        """Lay out the DEM, load the network and prepare everything for shots.

        A DEM that does not fit, or of fewer rounds than the weights are good for, is decoded without the
        network: a `LayoutMismatchWarning` or a `ShortExperimentWarning` says so.

        Raises:
            LayoutError: the DEM does not fit and `on_mismatch` is 'fail'.
            WeightsError: the file changed since it was hashed, or cannot be loaded.
        """
        bundle = self._bundle()
        policies = bundle.policies
        problem = applicable_problem(
            normal,
            min_rounds=policies.min_rounds,
            even_sides=policies.even_sides,
            without_reset=policies.without_reset,
            on_mismatch=self.on_mismatch,
        )
        if problem is None:
            return compile_normal_form(self._without_network, normal)
        return self._compiled(problem, bundle, self._options)

    @abstractmethod
    def _compiled(
        self, problem: DecodingProblem, bundle: Bundle, options: EngineOptions
    ) -> sinter.CompiledDecoder:
        """The decoder of a problem that the network fits."""

    def _bundle(self) -> Bundle:
        found = resolve_weights(self.weights_path).sha256
        if found != self.weights_sha256:
            raise WeightsError(
                f"{self.weights_path} changed from sha256 {self.weights_sha256[:12]} to {found[:12]} "
                "while in use; start again"
            )
        return load_bundle(self.weights_path)


def checked_shots(packed: np.ndarray, num_detectors: int) -> np.ndarray:
    """The same detection data, of uint8 `(shots, ceil(num_detectors / 8))`.

    Raises:
        ValueError: they are something else.
    """
    width = -(-num_detectors // 8)
    if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] != width:
        raise ValueError(
            f"detection data are {packed.dtype} {packed.shape}, expected uint8 (shots, {width}) for "
            f"{num_detectors} detectors"
        )
    return packed
