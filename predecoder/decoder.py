"""`predecoder+X`: a network in front of any registered decoder X, as a `sinter.Decoder`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import sinter
import stim

from predecoder.decision import Decision
from predecoder.inference import Precision, PrecisionChoice, choose_precision
from predecoder.modes import Mode, automatic_mode, make_decision
from predecoder.residual import ResidualNetwork
from predecoder.weights import WeightsError, is_quantized, load_network, resolve_weights
from qec import DecodingProblem, LayoutError

if TYPE_CHECKING:
    import torch

    from predecoder.network import Network

__all__ = ["CompiledPredecoded", "PredecodedDecoder", "PredecoderMisfitWarning"]


class PredecoderMisfitWarning(UserWarning):
    """A DEM that the pre-decoder cannot be laid out on is decoded without it."""


class PredecodedDecoder(sinter.Decoder):
    """Removes local errors with a network, then decodes the residual with a global decoder.

    It can be pickled: it holds the weights' path and hash, and loads them where it is compiled.
    """

    def __init__(
        self,
        global_decoder: sinter.Decoder,
        *,
        weights: str | Path = "default",
        device: str = "auto",
        precision: PrecisionChoice = "auto",
        on_misfit: Literal["warn", "fail"] = "warn",
        mode: Mode | Literal["auto"] = "auto",
        batch_shots: int | None = None,
        threads: int | None = None,
    ) -> None:
        """Finds and hashes the weights.

        Args:
            global_decoder: decodes the residual syndrome with the unchanged DEM.
            weights: shipped name or path of a .safetensors file.
            device: 'auto', 'cpu' or 'cuda'.
            precision: 'float32', 'bfloat16', 'int8', or 'auto' for the weights' own; a part of what
                results depend on, as are the weights and the device.
            on_misfit: for a DEM that is not a rotated-surface-code memory experiment: 'warn' and
                decode without the network, or 'fail'.
            mode: 'matching' explains the shot whole, by a matching on the network's logits; 'aggressive'
                removes most of the syndrome, faster; 'conservative' only what is safe for a decoder that
                uses correlations; 'auto' picks by the global decoder (`predecoder.modes`).
            batch_shots: shots that go through the network at a time; by default, what fits the cache.
            threads: of large batches, in torch or in C++; by default as many as torch has. Small ones
                have one.

        Raises:
            WeightsError: the weights do not exist, or are no weights.
            ValueError: an unknown name, a number below 1, or a precision that weights or device do not have.
        """
        if on_misfit not in ("warn", "fail"):
            raise ValueError(f"on_misfit={on_misfit!r} is unknown; use 'warn' or 'fail'")
        if batch_shots is not None and batch_shots < 1:
            raise ValueError(f"batch_shots={batch_shots} is less than 1")
        if threads is not None and threads < 1:
            raise ValueError(f"threads={threads} is less than 1; leave it out for as many as torch has")
        known = ("auto", *get_args(Mode))
        if mode not in known:
            raise ValueError(f"mode={mode!r} is unknown; use one of {', '.join(known)}")
        self.mode: Mode = automatic_mode(global_decoder) if mode == "auto" else mode
        self.global_decoder = global_decoder
        file = resolve_weights(weights)
        self.weights_path, self.weights_sha256 = file.path, file.sha256
        self.device, self.on_misfit = _device_type(device), on_misfit
        self.precision: Precision = choose_precision(
            precision, quantized=is_quantized(file), device_type=self.device
        )
        self.batch_shots, self.threads = batch_shots, threads

    def compile_decoder_for_dem(self, *, dem: stim.DetectorErrorModel) -> sinter.CompiledDecoder:
        """Lays out the DEM, loads the network and compiles the global decoder.

        Raises:
            LayoutError: the DEM does not fit and `on_misfit` is 'fail'.
            WeightsError: the file changed since it was hashed, or cannot be loaded.
        """
        compiled = self.global_decoder.compile_decoder_for_dem(dem=dem)
        try:
            problem = DecodingProblem.from_dem(dem)
        except LayoutError as error:
            if self.on_misfit == "fail":
                raise
            message = f"decoding without the pre-decoder: {error}"
            warnings.warn(message, PredecoderMisfitWarning, stacklevel=2)
            return compiled
        import torch

        network = self._network()
        return CompiledPredecoded(
            problem,
            network,
            compiled,
            device=torch.device(self.device),
            precision=self.precision,
            batch_shots=self.batch_shots,
            threads=self.threads,
            decision=make_decision(network, self.mode, problem),
        )

    def _network(self) -> Network:
        found = resolve_weights(self.weights_path).sha256
        if found != self.weights_sha256:
            raise WeightsError(
                f"{self.weights_path} changed from sha256 {self.weights_sha256[:12]} to {found[:12]} "
                "while in use; start again"
            )
        return load_network(self.weights_path)


def _device_type(name: str) -> str:
    from predecoder.inference import select_device

    return select_device(name).type


class CompiledPredecoded(sinter.CompiledDecoder):
    """A network and a global decoder, ready for the shots of one DEM.

    One shot's way: `propose` (gather to the grid, network, decision), `apply` (residual and flips),
    `global_decoder`, XOR. All arrays of shots are bit-packed uint8 `(shots, ceil(n / 8))`, LSB first.
    """

    def __init__(
        self,
        problem: DecodingProblem,
        network: Network,
        global_decoder: sinter.CompiledDecoder,
        *,
        device: torch.device,
        precision: PrecisionChoice = "auto",
        batch_shots: int | None = None,
        threads: int | None = None,
        decision: Decision | None = None,
        native: bool = True,
    ) -> None:
        """See `PredecodedDecoder`.

        Args:
            decision: by default the network's aggressive one.
            native: False leaves all that is in C++ alone, and so has in float32 the logits that streams have.
        """
        self.layout = problem.layout
        self.global_decoder = global_decoder
        self._residual = ResidualNetwork(
            problem,
            network,
            device=device,
            precision=precision,
            batch_shots=batch_shots,
            threads=threads,
            native=native,
        )
        self._decision = decision or make_decision(network, "aggressive", problem)

    @property
    def precision(self) -> Precision:
        """What the network computes in."""
        return self._residual.logits.precision

    @property
    def batch_shots(self) -> int:
        """Shots that go through the network at a time."""
        return self._residual.batch_shots

    def propose(self, packed: np.ndarray) -> np.ndarray:
        """Moves that the network proposes and the decision commits: uint8 0/1 `(shots, moves)`."""
        return self._residual.propose(packed, [self._decision])[0]

    def apply(self, packed: np.ndarray, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residual syndrome and observable flips of moves uint8 0/1 `(shots, moves)`, bit-packed."""
        return self._residual.apply(packed, moves)

    def decode_to_residual(self, packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residual syndrome and observable flips that the network leaves, in cache-sized batches."""
        return self._residual.residuals(packed, [self._decision])[0]

    def decode_shots_bit_packed(self, *, bit_packed_detection_event_data: np.ndarray) -> np.ndarray:
        """Predicted observable flips: uint8 `(shots, ceil(num_observables / 8))`.

        Raises:
            ValueError: the data are not uint8 of ceil(num_detectors / 8) bytes a shot.
        """
        width = -(-self.layout.num_detectors // 8)
        shots = bit_packed_detection_event_data
        if shots.dtype != np.uint8 or shots.ndim != 2 or shots.shape[1] != width:
            raise ValueError(
                f"detection data are {shots.dtype} {shots.shape}, expected uint8 (shots, {width}) for "
                f"{self.layout.num_detectors} detectors"
            )
        residual, flips = self.decode_to_residual(shots)
        predicted = self.global_decoder.decode_shots_bit_packed(bit_packed_detection_event_data=residual)
        return predicted ^ flips
