"""Between shots, the space-time grid and the network's blocked tensors.

Shape legend: B shots, K kinds, (T, I, J) the grid (all even), (t, i, j) = (T, I, J) / 2 the blocks.
A block folds 2 x 2 ancilla positions by 2 layers into 8 channels; offset (dt, di, dj) within the
block is channel 4 dt + 2 di + dj. Tensors are channels-last: (B, t, i, j, channels).
"""

from __future__ import annotations

import numpy as np

from qec import DecodingProblem, DetectorLayout, MoveSet

__all__ = [
    "INPUT_CHANNELS",
    "MOVE_CHANNELS",
    "NetworkInput",
    "block",
    "blocked_noise_features",
    "blocked_places",
    "unblock",
]

INPUT_CHANNELS = 16
"""8 detector channels, then 8 presence channels."""
MOVE_CHANNELS = 24
"""8 channels each for MEMORY-seen data flips, OTHER-seen data flips and measurement flips."""


def block(grid_BKTIJ: np.ndarray) -> np.ndarray:
    """Folds a grid into blocks: `(B, K, T, I, J)` -> `(B, t, i, j, 8 K)`; T, I, J must be even."""
    b, k, t, i, j = grid_BKTIJ.shape
    folded = grid_BKTIJ.reshape(b, k, t // 2, 2, i // 2, 2, j // 2, 2).transpose(0, 2, 4, 6, 1, 3, 5, 7)
    return folded.reshape(b, t // 2, i // 2, j // 2, 8 * k)


def unblock(blocked_Btijc: np.ndarray) -> np.ndarray:
    """Inverse of `block`: `(B, t, i, j, 8 K)` -> `(B, K, T, I, J)`."""
    b, t, i, j, c = blocked_Btijc.shape
    unfolded = blocked_Btijc.reshape(b, t, i, j, c // 8, 2, 2, 2).transpose(0, 4, 1, 5, 2, 6, 3, 7)
    return unfolded.reshape(b, c // 8, 2 * t, 2 * i, 2 * j)


def blocked_places(layout: DetectorLayout, moves: MoveSet) -> np.ndarray:
    """int64 `(moves,)`: where each move of a `MoveSet` stands among a shot's flattened blocked channels."""
    grid = np.full(layout.move_mask.shape, moves.num_moves, dtype=np.int64)
    grid.ravel()[moves.positions] = np.arange(moves.num_moves)
    blocked = block(grid[None]).ravel()
    exists = np.flatnonzero(blocked < moves.num_moves)
    places = np.empty(moves.num_moves, dtype=np.int64)
    places[blocked[exists]] = exists
    return places


def blocked_noise_features(problem: DecodingProblem) -> np.ndarray:
    """`DecodingProblem.noise_features` as a network takes them, channels last: float32 `(1, t, i, j, 64)`."""
    return block(problem.noise_features[None])


class NetworkInput:
    """Gathers bit-packed detections straight into the network's blocked input."""

    def __init__(self, layout: DetectorLayout) -> None:
        source = block(layout.detector_grid[None, None])[0]
        self.source = source
        """int64 `(t, i, j, 8)`: the detector behind each detector channel, or -1."""
        self.num_detectors = layout.num_detectors
        self._presence = (source >= 0).astype(np.float32)
        # An absent voxel reads the zero bit that is appended to every shot.
        self._gather = np.where(source >= 0, source, layout.num_detectors).ravel()

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        """Returns float32 `(B, t, i, j, 16)` for uint8 `(B, ceil(num_detectors / 8))`, LSB first."""
        bits = np.zeros((len(packed), self.num_detectors + 1), dtype=np.uint8)
        bits[:, :-1] = np.unpackbits(packed, axis=1, count=self.num_detectors, bitorder="little")
        result = np.empty((len(packed), *self._presence.shape[:-1], INPUT_CHANNELS), dtype=np.float32)
        result[..., :8] = bits[:, self._gather].reshape(len(packed), *self._presence.shape)
        result[..., 8:] = self._presence
        return result
