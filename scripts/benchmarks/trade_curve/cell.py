"""One experiment of a trade curve: chunks of shots, and what every decoder makes of every policy's rest."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import stim

from global_decoders import compile_normal_form, make_decoder
from predecoder import Bundle
from predecoder.correction import ResidualNetwork
from predecoder.inference import EngineOptions
from predecoder.training import PairedCounts
from qec import DecodingProblem
from scripts.benchmarks.trade_curve.dial import Setting
from scripts.benchmarks.turns import in_turns, quartiles
from sims.sweeps import decoder_dem

__all__ = ["Cell", "Found", "rows_of"]

Found = list[dict[str, Any]]
"""Of one chunk and each decoder: `seconds` for whole shots and for what each setting leaves of them, and
the `counts` of each setting."""


class Cell:
    """A circuit, and all that decodes its shots.

    Attributes:
        about: the `precision`, the `decoders` by name, and `settings`, pairs of a policy and its thresholds.
    """

    def __init__(
        self,
        circuit: stim.Circuit,
        bundle: Bundle,
        *,
        decoders: Sequence[str],
        settings: Sequence[Setting],
        options: EngineOptions,
    ) -> None:
        """Compile everything."""
        problem = DecodingProblem.from_dem(decoder_dem(circuit))
        self._circuit, self._detectors = circuit, problem.layout.num_detectors
        self._network = ResidualNetwork(problem, bundle.removal_network, options)
        self._decisions = [setting.decision(problem) for setting in settings]
        self._decoders = [compile_normal_form(make_decoder(name), problem.normal) for name in decoders]
        self.about = {
            "precision": self._network.logits.precision,
            "decoders": list(decoders),
            "settings": [[setting.policy, setting.thresholds(problem)] for setting in settings],
        }

    def decode(self, shots: int, *, seed: int, first: int) -> Found:
        """Sample shots and decode them every way.

        Args:
            shots, seed: of the sample.
            first: which of the syndromes is timed first: whole shots, or what one of the settings leaves.
        """
        sampler = self._circuit.compile_detector_sampler(seed=seed)
        packed, truth = sampler.sample(shots, separate_observables=True, bit_packed=True)
        left = self._network.residuals(packed, self._decisions)
        found: Found = []
        for decoder in self._decoders:
            decode = decoder.decode_shots_bit_packed
            calls = [
                functools.partial(decode, bit_packed_detection_event_data=syndrome)
                for syndrome in (packed, *(residual for residual, _ in left))
            ]
            seconds, (plain, *predicted) = in_turns(calls, first=first)
            counts = [
                PairedCounts.of_shots(
                    (plain != truth).any(axis=1),
                    (predictions ^ flips != truth).any(axis=1),
                    packed=packed,
                    residual=residual,
                    detectors=self._detectors,
                )
                for predictions, (residual, flips) in zip(predicted, left, strict=True)
            ]
            found.append({"seconds": seconds, "counts": [asdict(of) for of in counts]})
        return found


def rows_of(about: dict[str, Any], chunks: Sequence[Found]) -> Iterator[dict[str, Any]]:
    """One row for each decoder and setting: counts of all chunks, and quartiles of the times' ratio.

    Args:
        about: that of a `Cell`; what else is in it goes into every row.
        chunks: what was found in each.
    """
    columns = {name: about[name] for name in about if name not in ("decoders", "settings")}
    for k, decoder in enumerate(about["decoders"]):
        whole, *left = np.array([chunk[k]["seconds"] for chunk in chunks]).T
        for n, (policy, thresholds) in enumerate(about["settings"]):
            counts = (PairedCounts(**chunk[k]["counts"][n]) for chunk in chunks)
            yield columns | {
                **{"decoder": decoder, "policy": policy, "thresholds": thresholds},
                "counts": asdict(sum(counts, PairedCounts())),
                "times_faster": quartiles(whole / left[n]),
            }
