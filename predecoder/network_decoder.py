"""What decoders with a network share: finding the weights, and going on without where they do not fit."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, get_args

import numpy as np
import sinter

from global_decoders import NormalFormDecoder, compile_normal_form
from predecoder.applicability import OnMismatch, applicable_problem
from predecoder.inference import Precision, PrecisionChoice, choose_precision
from predecoder.weights import Bundle, WeightsError, is_quantized, load_bundle, resolve_weights
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
        device: str,
        precision: PrecisionChoice,
        on_mismatch: OnMismatch,
        batch_shots: int | None,
        threads: int | None,
    ) -> None:
        """Find and hash the weights.

        Args:
            without_network: decodes DEMs that the network cannot be used on.
            weights: shipped name or path of a .safetensors file.
            device: 'auto', 'cpu', 'cuda', or one GPU, such as 'cuda:0'; see `select_device`.
            precision: 'float32', 'bfloat16', 'int8', or 'auto' for the weights' own; a part of what results
                depend on, as are the weights and the device.
            on_mismatch: for a DEM that is not a rotated-surface-code memory experiment: 'warn' and
                decode without the network, or 'fail'.
            batch_shots: shots that go through the network at a time; None for what fits the cache.
            threads: of large batches, in torch or in C++; None for as many as torch has. Small ones have one.

        Raises:
            WeightsError: the weights do not exist, or are no weights.
            ValueError: an unknown name, a number below 1, or a precision that weights or device do not have.
        """
        if on_mismatch not in get_args(OnMismatch):
            raise ValueError(f"on_mismatch={on_mismatch!r} is unknown; use 'warn' or 'fail'")
        if batch_shots is not None and batch_shots < 1:
            raise ValueError(f"batch_shots={batch_shots} is less than 1")
        if threads is not None and threads < 1:
            raise ValueError(f"threads={threads} is less than 1; leave it out for as many as torch has")
        file = resolve_weights(weights)
        self.weights_path, self.weights_sha256 = file.path, file.sha256
        self.device = _device(device)
        self.precision: Precision = choose_precision(
            precision, quantized=is_quantized(file), device_type=self.device.partition(":")[0]
        )
        self.on_mismatch: OnMismatch = on_mismatch
        self.batch_shots, self.threads = batch_shots, threads
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
        problem = applicable_problem(
            normal,
            min_rounds=bundle.policies.min_rounds,
            even_sides=bundle.policies.even_sides,
            on_mismatch=self.on_mismatch,
        )
        if problem is None:
            return compile_normal_form(self._without_network, normal)
        return self._compiled(problem, bundle, self._engine_options())

    @abstractmethod
    def _compiled(
        self, problem: DecodingProblem, bundle: Bundle, options: dict[str, Any]
    ) -> sinter.CompiledDecoder:
        """The decoder of a problem that the network fits; `options` are those of `ResidualNetwork`."""

    def _engine_options(self) -> dict[str, Any]:
        import torch

        return {
            "device": torch.device(self.device),
            "precision": self.precision,
            "batch_shots": self.batch_shots,
            "threads": self.threads,
        }

    def _bundle(self) -> Bundle:
        found = resolve_weights(self.weights_path).sha256
        if found != self.weights_sha256:
            raise WeightsError(
                f"{self.weights_path} changed from sha256 {self.weights_sha256[:12]} to {found[:12]} "
                "while in use; start again"
            )
        return load_bundle(self.weights_path)


def _device(name: str) -> str:
    from predecoder.inference import select_device

    return str(select_device(name))


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
