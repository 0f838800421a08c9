"""What decoders with a network share: finding the weights, and going on without where they do not fit."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import sinter
import stim

from predecoder.applicability import OnMismatch, applicable_problem
from predecoder.weights import Bundle, WeightsError, load_bundle, resolve_weights
from qec import DecodingProblem

if TYPE_CHECKING:
    import torch

__all__ = ["NetworkDecoder", "checked_shots"]


class NetworkDecoder(sinter.Decoder):
    """A decoder with a network.

    It can be pickled: it holds the weights' path and hash, and loads them where it is compiled.
    """

    def __init__(
        self,
        *,
        without_network: sinter.Decoder,
        weights: str | Path,
        device: str,
        on_mismatch: OnMismatch,
        batch_shots: int | None,
        threads: int | None,
    ) -> None:
        """Find and hash the weights.

        Args:
            without_network: decodes DEMs that the network cannot be used on.
            weights: shipped name or path of a .safetensors file.
            device: 'auto', 'cpu' or 'cuda'.
            on_mismatch: for a DEM that is not a rotated-surface-code memory experiment: 'warn' and
                decode without the network, or 'fail'.
            batch_shots: shots that go through the network at a time; None for what fits the cache.
            threads: torch's threads, and those of the engine in C++; None leaves torch's alone.

        Raises:
            WeightsError: the weights do not exist.
        """
        if on_mismatch not in get_args(OnMismatch):
            raise ValueError(f"on_mismatch={on_mismatch!r} is unknown; use 'warn' or 'fail'")
        if batch_shots is not None and batch_shots < 1:
            raise ValueError(f"batch_shots={batch_shots} is less than 1")
        file = resolve_weights(weights)
        self.weights_path, self.weights_sha256 = file.path, file.sha256
        self.device = device
        self.on_mismatch: OnMismatch = on_mismatch
        self.batch_shots, self.threads = batch_shots, threads
        self._without_network = without_network

    def compile_decoder_for_dem(self, *, dem: stim.DetectorErrorModel) -> sinter.CompiledDecoder:
        """Lay out the DEM, load the network and prepare everything for shots.

        A DEM that does not fit, or of fewer rounds than the weights are good for, is decoded without the
        network: a `LayoutMismatchWarning` or a `ShortExperimentWarning` says so.

        Raises:
            LayoutError: the DEM does not fit and `on_mismatch` is 'fail'.
            WeightsError: the file changed since it was hashed, or cannot be loaded.
        """
        bundle = self._bundle()
        problem = applicable_problem(dem, min_rounds=bundle.policies.min_rounds, on_mismatch=self.on_mismatch)
        if problem is None:
            return self._without_network.compile_decoder_for_dem(dem=dem)
        return self._compiled(problem, bundle, device=self._torch_device())

    @abstractmethod
    def _compiled(
        self, problem: DecodingProblem, bundle: Bundle, *, device: torch.device
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

    def _torch_device(self) -> torch.device:
        import torch

        from predecoder.device import select_device

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        return select_device(self.device)


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
