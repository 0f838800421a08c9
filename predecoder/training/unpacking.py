"""Batches as they come from a worker, bits and all, to the network's tensors on the trainer's device.

Shape legend: B shots, M moves, O observables, (t, i, j) blocks, V values of a shot's blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from predecoder.blocking import INPUT_CHANNELS, MOVE_CHANNELS, NetworkInput
from predecoder.training.making import Made
from predecoder.training.tasks import Stream

__all__ = ["Batch", "Unpacker"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Shots of one stream, as a network takes them. Tensors are float32, channels last, on the device.

    Attributes:
        stream: number of the stream.
        inputs: `(B, 16, t, i, j)`.
        labels: `(B, 24, t, i, j)`; None where the trainer makes them.
        mask: `(1, 24, t, i, j)`: which moves exist.
        noise_features: `(1, 64, t, i, j)`.
        packed: detections, bit-packed uint8 `(B, ceil(num_detectors / 8))` LSB first, in the host's memory.
        observables: the true flips, uint8 0/1 `(B, O)`, likewise.
        teacher_gaps: see `Made`.
    """

    stream: int
    inputs: torch.Tensor
    labels: torch.Tensor | None
    mask: torch.Tensor
    noise_features: torch.Tensor
    packed: np.ndarray
    observables: np.ndarray
    teacher_gaps: np.ndarray | None


class Unpacker:
    """Turns packed detections and labels of one stream into the network's tensors.

    What is sent to the device are bits (and probabilities as float16): a fortieth of the tensors.
    """

    def __init__(self, stream: Stream, device: torch.device) -> None:
        """Copy the stream's tables to the device."""
        problem = stream.problem
        of_detectors = NetworkInput(problem.layout)
        self._shape = of_detectors.source.shape[:3]
        self._num_observables = problem.layout.num_observables
        values = int(np.prod(self._shape)) * MOVE_CHANNELS
        of_moves = np.full(values, -1, dtype=np.int64)
        of_moves[stream.places] = np.arange(problem.moves.num_moves)
        self._detections = _BitGather(of_detectors.source.ravel(), device, first_bit=0)
        self._label_bits = _BitGather(of_moves, device, first_bit=7)
        self._moves = torch.from_numpy(of_moves.clip(0)).to(device)
        present = torch.from_numpy((of_detectors.source >= 0).astype(np.float32))
        self._presence = present.to(device)
        self._exists = torch.from_numpy((of_moves >= 0).astype(np.float32)).to(device)
        self._noise_features = _channels_first(torch.from_numpy(stream.noise_features).to(device))
        self._mask = self._blocked(self._exists[None])
        self._device = device

    def __call__(self, made: Made) -> Batch:
        """The batch; on CUDA, copies are queued where the worker's arrays are in pinned memory."""
        packed = self._sent(made.packed)
        inputs = packed.new_empty((len(packed), *self._shape, INPUT_CHANNELS), dtype=torch.float32)
        inputs[..., :8] = self._detections(packed).reshape(len(packed), *self._shape, 8)
        inputs[..., 8:] = self._presence
        return Batch(
            made.stream,
            _channels_first(inputs),
            self._labels(made.labels) if made.labels.shape[1] else None,
            self._mask,
            self._noise_features,
            made.packed,
            np.unpackbits(made.observables, axis=1, count=self._num_observables, bitorder="little"),
            made.teacher_gaps,
        )

    def _labels(self, labels: np.ndarray) -> torch.Tensor:
        sent = self._sent(labels)
        if labels.dtype == np.uint8:
            return self._blocked(self._label_bits(sent))
        return self._blocked(sent[:, self._moves].float() * self._exists)

    def _sent(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device, non_blocking=True)

    def _blocked(self, values_BV: torch.Tensor) -> torch.Tensor:
        """`(B, V)` to `(B, 24, t, i, j)`."""
        return _channels_first(values_BV.reshape(len(values_BV), *self._shape, MOVE_CHANNELS))


class _BitGather:
    """Bits of packed rows at given places: uint8 `(B, bytes)` to float32 0/1 `(B, V)`, on a device."""

    def __init__(self, bits_V: np.ndarray, device: torch.device, *, first_bit: int) -> None:
        """`bits_V` int64: the bit at a place, -1 for a zero; `first_bit` of a byte: 0 for LSB first, or 7."""
        place = bits_V.clip(0)
        shift = place & 7 if first_bit == 0 else first_bit - (place & 7)
        self._byte = torch.from_numpy(place >> 3).to(device)
        self._shift = torch.from_numpy(shift.astype(np.uint8)).to(device)
        self._exists = torch.from_numpy((bits_V >= 0).astype(np.uint8)).to(device)

    def __call__(self, packed: torch.Tensor) -> torch.Tensor:
        return ((packed[:, self._byte] >> self._shift) & self._exists).float()


def _channels_first(x_BtijC: torch.Tensor) -> torch.Tensor:
    """`(B, C, t, i, j)`, the same memory."""
    return x_BtijC.permute(0, 4, 1, 2, 3)
