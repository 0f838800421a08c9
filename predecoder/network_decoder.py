"""What decoders with a network share: finding the weights, and going on without where they do not fit."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import sinter

from global_decoders import NormalFormDecoder, compile_normal_form
from predecoder.applicability import OnMismatch, applicable_problem
from predecoder.inference import EngineOptions, Precision, choose_precision
from predecoder.weights import (
    Bundle,
    WeightsError,
    WeightsFile,
    int8_support,
    load_bundle,
    resolve_weights,
)
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
        more_weights: Sequence[str | Path] = (),
        on_mismatch: OnMismatch,
        options: EngineOptions,
    ) -> None:
        """Find and hash the weights.

        Args:
            without_network: decodes DEMs that the network cannot be used on.
            weights: shipped name or path of a .safetensors file.
            more_weights: of further networks, each as `weights`; what one of them is not used on, the decoder
                decodes without any.
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
        self._files = tuple(resolve_weights(named) for named in (weights, *more_weights))
        self.weights_path, self.weights_sha256 = self._files[0].path, self._files[0].sha256
        self.device = str(options.torch_device)
        self._precisions: tuple[Precision, ...] = tuple(_precision(file, options) for file in self._files)
        self.precision: Precision = self._precisions[0]
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
        bundles = [_unchanged(file) for file in self._files]
        policies = [bundle.policies for bundle in bundles]
        problem = applicable_problem(
            normal,
            min_rounds=max(of.min_rounds for of in policies),
            even_sides=all(of.even_sides for of in policies),
            without_reset=all(of.without_reset for of in policies),
            on_mismatch=self.on_mismatch,
        )
        if problem is None:
            return compile_normal_form(self._without_network, normal)
        return self._compiled(problem, bundles, self._options)

    @abstractmethod
    def _compiled(
        self, problem: DecodingProblem, bundles: Sequence[Bundle], options: EngineOptions
    ) -> sinter.CompiledDecoder:
        """The decoder of a problem that the networks fit, those of `weights` and of `more_weights`."""


def _precision(file: WeightsFile, options: EngineOptions) -> Precision:
    int8, device_type = int8_support(file), options.torch_device.type
    try:
        return choose_precision(options.precision, int8=int8, device_type=device_type)
    except ValueError as error:
        raise ValueError(f"weights {file.path.stem}: {error}") from None


def _unchanged(file: WeightsFile) -> Bundle:
    """What a file holds that was hashed before."""
    found = resolve_weights(file.path).sha256
    if found != file.sha256:
        raise WeightsError(
            f"{file.path} changed from sha256 {file.sha256[:12]} to {found[:12]} while in use; start again"
        )
    return load_bundle(file.path)


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
