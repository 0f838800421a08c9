"""What a stage trains on: families of shots, and the streams of batches that they unfold into."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import stim

from predecoder.blocking import blocked_noise_features, blocked_places
from predecoder.training.randomized_noise import randomized_noise
from predecoder.training.recorded import RecordedShots, is_whole
from qec import (
    Basis,
    CircuitNoise,
    DecodingProblem,
    LocationVariation,
    depolarizing,
    load_noise,
    memory_circuit,
    si1000,
    stim_memory_circuit,
)

__all__ = ["Shots", "Stream", "TaskConfig", "expand_tasks"]

Shots = Literal["all", "disagreement", "mined"]


@dataclass(frozen=True)
class TaskConfig:
    """One family of training shots; every basis, orientation and number of rounds is a stream of batches.

    Attributes:
        distance: of the memory experiment, even or odd; or a pair (d_x, d_z) of a rectangular patch, the
            weights of logical X and Z.
        rounds: one number or several; as many as the (larger) distance if nothing is given.
        p: physical error rate of `noise`.
        noise: 'depolarizing', 'si1000', 'uniform-stim', a TOML file of 25 parameters (p unused), or
            'randomized': random ones that fire about as many detectors as depolarizing noise of the same
            p, up to 0.02.
        variants: of 'randomized' noise, how many; every one has streams of its own.
        perfect_last_round: the last round is without noise, as in the paper's counts.
        reset: whether ancillas are reset between rounds; see `qec.memory_circuit`. Weights that are trained
            without say so in their policies: `policies.without_reset = true`.
        bases: any of 'x' and 'z'.
        orientations: any of 'XV', 'XH', 'ZV', 'ZH'; 'uniform-stim' has one orientation only.
        dem: a .dem file to train on instead of a circuit; nothing else of the task is used.
        recorded: shots of a device with the flips that were measured, instead of shots sampled from `dem`,
            which says what is known of their noise. Their moves are not known: labels are distilled.
        weight: how often a batch is drawn from this task, relative to the others.
        shots: 'all'; 'disagreement', those on which plain and correlated PyMatching disagree about an
            observable; or 'mined', those and the ones that the network in training decides unlike
            correlated PyMatching or barely. That is where failures are decided, and rare. Which shots these
            are is a function of the syndrome alone, so what is learnt of a syndrome's labels is not biased.
        begins: step from which on batches are drawn from this task; a step, however many processes share it.
    """

    distance: int | tuple[int, int] = 9
    rounds: int | tuple[int, ...] | None = None
    p: float = 0.006
    noise: str = "depolarizing"
    variants: int = 1
    perfect_last_round: bool = False
    reset: bool = True
    bases: tuple[str, ...] = ("x", "z")
    orientations: tuple[str, ...] = ("XV", "XH", "ZV", "ZH")
    dem: str | None = None
    weight: float = 1.0
    shots: Shots = "all"
    begins: int = 0
    recorded: RecordedShots | None = None

    def __post_init__(self) -> None:
        if isinstance(self.recorded, dict):  # from a configuration, or a checkpoint
            object.__setattr__(self, "recorded", RecordedShots(**self.recorded))
        if not self.weight > 0:
            raise ValueError(f"task weight={self.weight!r} is not positive; remove the task instead")
        self._check_size()
        if not self.bases or not self.orientations:
            raise ValueError(
                f"task has bases={self.bases!r}, orientations={self.orientations!r}; name at least one"
            )
        if self.shots not in get_args(Shots):
            raise ValueError(f"task shots={self.shots!r} is unknown; use one of {get_args(Shots)}")
        if not is_whole(self.variants) or self.variants < 1:
            raise ValueError(f"task variants={self.variants!r} is not a whole number from 1 on")
        if self.variants > 1 and self.noise != "randomized":
            raise ValueError(
                f"task has variants={self.variants} of noise={self.noise!r}; only 'randomized' noise "
                "has several"
            )
        if self.noise == "randomized" and self.dem is not None:
            raise ValueError(f"task has both noise='randomized' and dem={self.dem!r}; give one of them")
        if self.noise == "randomized" and not 0 < self.p <= 0.02:
            raise ValueError(f"task p={self.p!r} of noise='randomized' is not above 0 and at most 0.02")
        if not is_whole(self.begins) or self.begins < 0:
            raise ValueError(f"task begins={self.begins!r} is not a step 0, 1, ...")
        self._check_recorded()

    def _check_recorded(self) -> None:
        if self.recorded is None:
            return
        if self.dem is None:
            raise ValueError("task has recorded shots and no dem; name the DEM of their circuit")
        if self.shots != "all":
            raise ValueError(f"task has recorded shots and shots={self.shots!r}; use 'all' of them")

    def _check_size(self) -> None:
        if not 1 <= len(self.sides) <= 2 or any(not is_whole(d) or d < 2 for d in self.sides):
            raise ValueError(
                f"task distance={self.distance!r} is not a whole number from 2 on, nor a pair, as [5, 7]"
            )
        if not self.all_rounds or any(not is_whole(n) or n < 1 for n in self.all_rounds):
            raise ValueError(
                f"task rounds={self.rounds!r} is not a whole number from 1 on, nor a list of some"
            )
        if not isinstance(self.perfect_last_round, bool):
            raise ValueError(f"task perfect_last_round={self.perfect_last_round!r} is not true or false")
        if not isinstance(self.reset, bool):
            raise ValueError(f"task reset={self.reset!r} is not true or false")
        if self.perfect_last_round and min(self.all_rounds) < 2:
            raise ValueError(f"task rounds={self.rounds!r} with perfect_last_round: use 2 or more")
        if self.noise != "uniform-stim":
            return
        if self.perfect_last_round:
            raise ValueError("noise='uniform-stim' has no perfect_last_round; use 'depolarizing'")
        if not self.reset:
            raise ValueError("noise='uniform-stim' has reset only; use 'depolarizing'")
        if len(self.sides) > 1:
            raise ValueError(f"noise='uniform-stim' has square patches only, not {self.distance!r}")

    @property
    def sides(self) -> tuple[int, ...]:
        """The distance, or both."""
        return self.distance if isinstance(self.distance, tuple) else (self.distance,)

    @property
    def all_rounds(self) -> tuple[int, ...]:
        """Numbers of rounds, each with streams of its own."""
        if self.rounds is None:
            return (max(self.sides),)
        return (self.rounds,) if isinstance(self.rounds, int) else self.rounds


@dataclass(frozen=True)
class Stream:
    """One circuit (or DEM) with everything needed to make batches from it."""

    task: TaskConfig
    basis: str
    orientation: str
    rounds: int
    variant: int = 0

    @property
    def name(self) -> str:
        """For logs: where the shots come from."""
        task = self.task
        source = task.dem or f"d{'x'.join(map(str, task.sides))}r{self.rounds}p{task.p:g}"
        if task.recorded is not None:
            source = task.recorded.detections
        if task.noise != "depolarizing" and task.dem is None:
            source += f" {task.noise}"
        if not task.reset and task.dem is None:
            source += " without reset"
        return source if task.shots == "all" else f"{source} {task.shots}"

    @cached_property
    def dem(self) -> stim.DetectorErrorModel:
        task = self.task
        if task.dem:
            return stim.DetectorErrorModel.from_file(task.dem)
        basis: Basis = self.basis  # pyright: ignore[reportAssignmentType]
        if task.noise == "uniform-stim":
            (distance,) = task.sides
            circuit = stim_memory_circuit(distance=distance, rounds=self.rounds, basis=basis, p=task.p)
        else:
            noise, variation = self._noise()
            circuit = memory_circuit(
                distance=task.distance,
                rounds=self.rounds,
                basis=basis,
                noise=noise,
                orientation=self.orientation,  # pyright: ignore[reportArgumentType]
                variation=variation,
                perfect_last_round=task.perfect_last_round,
                reset=task.reset,
            )
        return circuit.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)

    def _noise(self) -> tuple[CircuitNoise, LocationVariation | None]:
        noise, p = self.task.noise, self.task.p
        if noise == "randomized":
            return randomized_noise(p, seed=1000 * max(self.task.sides) + self.variant)
        named = {"depolarizing": depolarizing, "si1000": si1000}
        return (named[noise](p) if noise in named else load_noise(noise)), None

    @cached_property
    def problem(self) -> DecodingProblem:
        """Layout, moves and noise features of `dem`."""
        return DecodingProblem.from_dem(self.dem)

    @cached_property
    def places(self) -> np.ndarray:
        """int64 `(moves,)`: where each move stands among a shot's flattened blocked channels."""
        return blocked_places(self.problem.layout, self.problem.moves)

    @cached_property
    def noise_features(self) -> np.ndarray:
        """float32 `(1, t, i, j, 64)`."""
        return blocked_noise_features(self.problem)

    def batch_shots(self, blocks_per_batch: int) -> int:
        """Number of shots of a batch."""
        return max(1, blocks_per_batch // (int(np.prod(self.problem.layout.shape)) // 8))


def expand_tasks(tasks: tuple[TaskConfig, ...]) -> tuple[list[Stream], np.ndarray]:
    """All streams of all tasks, and the probability that a batch is drawn from each once all have begun."""
    streams, weights = [], []
    for task in tasks:
        single = task.dem is not None
        bases = task.bases[:1] if single else task.bases
        orientations = task.orientations[:1] if single or task.noise == "uniform-stim" else task.orientations
        rounds = task.all_rounds[:1] if single else task.all_rounds
        of_task = [
            Stream(task, basis, orientation, number, variant)
            for basis in bases
            for orientation in orientations
            for number in rounds
            for variant in range(task.variants)
        ]
        streams += of_task
        weights += [task.weight / len(of_task)] * len(of_task)
    return streams, np.array(weights) / np.sum(weights)
