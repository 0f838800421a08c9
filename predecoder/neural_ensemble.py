"""`neural-ensemble`: `neural-matching`, and other opinions of the few shots that it is unsure of.

Most shots that a network fails on are among the few that it doubts, whose gap is small: a fast network finds
them nearly as well as the best one does. Of those, correlated matching is asked first, which knows what
networks see least of: how far away errors of the other type were matched. What its gap and the first one
leave open, a third of them, is decided by the mean of several gaps beside it: of one or more networks, each
on the shot as it is and on the shot seen backwards (`DecodingProblem.from_normal_form`), where its mistakes
are others; and by the gaps of decoders that are slow and good, as `trellis` is. As few shots are asked about,
all this costs little.

Shape legend: B shots, O observables.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sinter

from global_decoders import (
    UnexplainedShotsError,
    WithGap,
    compile_normal_form,
    decode_explained,
    decode_with_gap,
    decoder_names,
    make_decoder,
    relative_gap,
    require_gap,
)
from global_decoders.matching import GAP_SCALE, MatchingGaps
from predecoder.applicability import OnMismatch
from predecoder.inference import EngineOptions, PrecisionChoice
from predecoder.network_decoder import NetworkDecoder, checked_shots
from predecoder.neural_matching import CompiledNeuralMatching
from predecoder.weights import Bundle, WeightsFile
from qec import DecodingProblem

__all__ = ["CompiledNeuralEnsemble", "EnsembleShares", "NeuralEnsembleDecoder"]

_AT_ONCE = 2048
"""Shots that are looked at together: enough for the few doubtful ones among them to fill a batch."""
_DEFAULT = ("fast-matching", "accurate-matching")
"""Weights that see every shot, and those that decide about doubtful ones, where none are named."""


@dataclasses.dataclass(frozen=True)
class EnsembleShares:
    """How much opinions of a doubtful shot count: factors on gaps, whose sum is the log-odds.

    The defaults are about those of a logistic regression (`docs/experiments/19-other-opinions.md`).

    Attributes:
        networks: of the mean of the networks' gaps.
        correlated: of correlated matching's; 0 leaves it out.
        decoders: of the gap of each decoder that is asked besides.
    """

    networks: float = 0.65
    correlated: float = 0.5
    decoders: float = 0.5

    def __post_init__(self) -> None:
        shares = self.networks, self.correlated, self.decoders
        if not (all(0 <= share < math.inf for share in shares) and self.networks):
            raise ValueError(
                f"{self} are no shares: networks' is above 0, the others not below; all are finite"
            )


_WITH_DECODERS = EnsembleShares(networks=0.5, correlated=0.2, decoders=0.5)
"""Correlated matching says little that `trellis` does not know (`docs/results/sycamore.md`)."""


class NeuralEnsembleDecoder(NetworkDecoder):
    """Matches on a network's logits, and asks for other opinions where the gap is small.

    DEMs that one of the networks cannot be used on are decoded by PyMatching.
    """

    def __init__(
        self,
        *,
        weights: str | Path = "default",
        opinions: Sequence[str | Path] = (),
        doubtful: float = 3.0,
        unsettled: float = 1.5,
        shares: EnsembleShares | None = None,
        device: str = "auto",
        precision: PrecisionChoice = "auto",
        on_mismatch: OnMismatch = "warn",
        batch_shots: int | None = None,
        threads: int | None = None,
    ) -> None:
        """Find and hash the weights; for the other arguments see `NetworkDecoder` and `EngineOptions`.

        Args:
            weights: of the network that sees all shots; 'default' is fast-matching, where no opinions are
                named with those of accurate-matching.
            opinions: weights of the networks that decide about doubtful shots; of `weights`, too, only where
                they are named again. Without any, these decide alone. Names of global decoders that have a
                gap are decoders that are asked besides.
            doubtful: nats of the first gap below which a shot is doubtful; 0 for `neural-matching`.
            unsettled: nats of that gap and correlated matching's together, each times its share, below which
                `opinions` decide beside it; infinite for all that is doubtful.
            shares: what opinions count; None for what was measured to be good, without decoders or with.
            precision: of all networks; 'auto' is that of each one's own weights.

        Raises:
            WeightsError, ValueError: see `NetworkDecoder`; or `doubtful` or `unsettled` is negative, or no
                number, or an opinion is named twice.
        """
        if not 0 <= doubtful < math.inf:
            raise ValueError(f"{doubtful=!r} is not a finite number of nats from 0 on")
        if not unsettled >= 0:
            raise ValueError(f"{unsettled=!r} is not a number of nats from 0 on")
        decoders = tuple(str(name) for name in opinions if str(name) in decoder_names())
        networks = [named for named in opinions if str(named) not in decoders]
        if str(weights) == "default":
            weights, networks = _DEFAULT[0], networks or _DEFAULT[1:]
        super().__init__(
            without_network=make_decoder("pymatching"),
            weights=weights,
            more_weights=networks,
            on_mismatch=on_mismatch,
            options=EngineOptions(device, precision=precision, batch_shots=batch_shots, threads=threads),
        )
        known = [file.sha256 for file in self.opinions]
        twice = [str(named) for named, sha256 in zip(networks, known, strict=True) if known.count(sha256) > 1]
        if twice := [*twice, *(name for name in decoders if decoders.count(name) > 1)]:
            raise ValueError(f"opinion {twice[0]} is named twice, and would count so; name it once")
        self.decoders, self._asked = decoders, tuple(make_decoder(name) for name in decoders)
        self.doubtful, self.unsettled = doubtful, unsettled
        self.shares = shares or (_WITH_DECODERS if decoders else EnsembleShares())

    @property
    def opinions(self) -> tuple[WeightsFile, ...]:
        """The weights that decide about doubtful shots; none where the first do."""
        return self._files[1:]

    @property
    def policy(self) -> str:
        """What results depend on besides the first network: for a row of results."""
        opinions = zip(self.opinions, self._precisions[1:], strict=True)
        names = "".join(f", {file.path.stem}@{file.sha256[:8]} {precision}" for file, precision in opinions)
        names += "".join(f", {name}" for name in self.decoders)
        shares = f"{_exactly(self.shares.networks)} {_exactly(self.shares.correlated)}"
        if self.decoders:
            shares += f" {_exactly(self.shares.decoders)}"
        nats = f"doubtful {_exactly(self.doubtful)}, unsettled {_exactly(self.unsettled)}"
        return f"{nats}{names}, shares {shares}"

    def _compiled(
        self, problem: DecodingProblem, bundles: Sequence[Bundle], options: EngineOptions
    ) -> CompiledNeuralEnsemble:
        backwards = DecodingProblem.from_normal_form(problem.normal, backwards=True)

        def matching(k: int, seen: DecodingProblem) -> CompiledNeuralMatching:
            of_network = dataclasses.replace(options, precision=self._precisions[k])
            scale = bundles[k].policies.gap_scale
            return CompiledNeuralMatching(seen, bundles[k].network, of_network, gap_scale=scale)

        first, opinions = matching(0, problem), []
        for k in range(1, len(bundles)) or (0,):
            known = bundles[k].file == bundles[0].file
            opinions += [first if known else matching(k, problem), matching(k, backwards)]
        correlated = None
        if self.shares.correlated:
            correlated = MatchingGaps(problem.normal, correlated=True, scale=GAP_SCALE[True])
        return CompiledNeuralEnsemble(
            first,
            opinions,
            correlated=correlated,
            decoders=[compile_normal_form(decoder, problem.normal) for decoder in self._asked],
            doubtful=self.doubtful,
            unsettled=self.unsettled,
            shares=self.shares,
        )


class CompiledNeuralEnsemble(sinter.CompiledDecoder):
    """Networks on one DEM, of which the first sees every shot.

    All arrays of shots are bit-packed uint8 `(B, ceil(n / 8))`, LSB first.
    """

    def __init__(
        self,
        first: CompiledNeuralMatching,
        opinions: Sequence[CompiledNeuralMatching],
        *,
        correlated: MatchingGaps | None,
        decoders: Sequence[sinter.CompiledDecoder] = (),
        doubtful: float,
        unsettled: float,
        shares: EnsembleShares,
    ) -> None:
        """Take them together.

        Args:
            first: its gap says which shots are doubtful.
            opinions: decide about what correlated matching leaves open; `first` may be one of them.
            correlated: gaps of correlated matching, which is asked first; None to leave it out.
            decoders: of the same DEM, with a gap that counts besides.
            doubtful, unsettled, shares: see `NeuralEnsembleDecoder`.

        Raises:
            NoGapError: one of the decoders has no gap, or correlated matching has none on this DEM.
        """
        self._first, self._opinions, self._correlated = first, tuple(opinions), correlated
        self._decoders = tuple(decoders)
        for decoder in self._decoders:
            require_gap(decoder, num_detectors=first.layout.num_detectors)
        self._doubtful, self._unsettled, self._shares = doubtful, unsettled, shares
        self._limit = doubtful or 1.0  # of 0 nothing would be left of a gap
        if correlated is not None:
            correlated.log_odds(np.zeros((0, -(-first.layout.num_detectors // 8)), dtype=np.uint8))

    def decode_shots_bit_packed(self, *, bit_packed_detection_event_data: np.ndarray) -> np.ndarray:
        """Predicted observable flips: uint8 `(B, ceil(O / 8))`.

        Raises:
            ValueError: the data are not uint8 of ceil(num_detectors / 8) bytes a shot.
            UnexplainedShotsError: a detector fired that no mechanism of the DEM flips.
        """
        log_odds = self.log_odds(bit_packed_detection_event_data)
        return np.packbits(log_odds < 0, axis=1, bitorder="little")

    def decode_shots_with_gap(
        self, *, bit_packed_detection_event_data: np.ndarray, limit: float = math.inf
    ) -> WithGap:
        """The same predictions, and their gaps up to `limit`; see `log_odds`."""
        log_odds = self.log_odds(bit_packed_detection_event_data, limit=limit)
        predictions = np.packbits(log_odds < 0, axis=1, bitorder="little")
        return WithGap(predictions, relative_gap(log_odds, predictions))

    def log_odds(self, packed: np.ndarray, *, limit: float | None = None) -> np.ndarray:
        """Which class is likelier: nats, positive where an observable is not flipped, float32 `(B, O)`.

        The first network's gap; of a doubtful shot that one and correlated matching's, or the mean of the
        opinions', that one and those of the decoders, each at most `doubtful` either way, times their shares.
        Each observable has a gap, and a doubt, of its own: what is said of it does not depend on the others.

        Args:
            packed: detections.
            limit: of the first network's gaps, either way, at least `doubtful`; None for that, which takes
                the least time.

        Raises:
            ValueError, UnexplainedShotsError: see `decode_shots_bit_packed`.
        """
        limit = self._limit if limit is None else max(limit, self._limit)
        shots = checked_shots(packed, self._first.layout.num_detectors)
        log_odds = np.empty((len(shots), self._first.layout.num_observables), dtype=np.float32)
        for start in range(0, len(shots), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            log_odds[part] = self._first.log_odds(shots[part], limit=limit)
        _require_explained(log_odds)
        for start in range(0, len(shots), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            self._ask(shots[part], log_odds[part])
        return log_odds

    def _ask(self, packed: np.ndarray, log_odds: np.ndarray) -> None:
        """Write what is said of doubtful shots over the first network's log-odds `(B, O)`."""
        doubtful = np.abs(log_odds) < self._doubtful
        asked = np.flatnonzero(doubtful.any(axis=1))
        if len(asked):
            first = np.clip(log_odds[asked], -self._limit, self._limit)
            said = self._said(packed[asked], first, doubtful[asked])
            log_odds[asked] = np.where(doubtful[asked], said, log_odds[asked])

    def _said(self, packed: np.ndarray, first: np.ndarray, doubtful: np.ndarray) -> np.ndarray:
        """What is said of shots of which observables are doubtful, by the first network's log-odds `(B, O)`.

        Args:
            packed: the shots.
            first: at most `doubtful` nats either way.
            doubtful: bool `(B, O)`: where the answer counts.
        """
        correlated = np.zeros_like(first)
        if self._correlated is not None:
            gaps = self._correlated.log_odds(packed, limit=self._limit)
            # Moves explain more than the DEM's edges do: of a shot that only they explain, it says nothing.
            correlated = np.float32(self._shares.correlated) * np.nan_to_num(gaps, nan=0.0)
        said = self._shares.networks * first + correlated
        open_ = doubtful if self._correlated is None else doubtful & (np.abs(said) < self._unsettled)
        asked = np.flatnonzero(open_.any(axis=1))
        if len(asked):
            decided = self._decided(packed[asked], first[asked], correlated[asked])
            said[asked] = np.where(open_[asked], decided, said[asked])
        return said

    def _decided(self, packed: np.ndarray, first: np.ndarray, correlated: np.ndarray) -> np.ndarray:
        """What networks and decoders say of shots beside correlated matching's share, `(B, O)`."""
        gaps = [
            first if of is self._first else of.log_odds(packed, limit=self._limit) for of in self._opinions
        ]
        said = self._shares.networks * np.mean(gaps, axis=0) + correlated
        for decoder in self._decoders:
            said += self._shares.decoders * self._gap_of(decoder, packed)
        return said

    def _gap_of(self, decoder: sinter.CompiledDecoder, packed: np.ndarray) -> np.ndarray:
        """A decoder's log-odds of shots, at most `doubtful` nats either way: float32 `(B, O)`.

        0 where it says that nothing explains a shot (moves may), or has no number for it.
        """
        log_odds = np.zeros((len(packed), self._first.layout.num_observables), dtype=np.float32)
        found, known = decode_explained(
            lambda shots: decode_with_gap(decoder, shots, limit=self._limit).log_odds, packed
        )
        log_odds[known] = np.nan_to_num(found, nan=0.0)
        return np.clip(log_odds, -self._limit, self._limit)


def _exactly(number: float) -> str:
    """The shortest digits that are this number and no other."""
    return np.format_float_positional(number, trim="-")


def _require_explained(log_odds: np.ndarray) -> None:
    """Raise UnexplainedShotsError for shots without log-odds."""
    nowhere = np.flatnonzero(np.isnan(log_odds).any(axis=1))
    if len(nowhere):
        raise UnexplainedShotsError(
            "nothing explains its detections, of which no mechanism of the DEM flips one; give a DEM with "
            "noise there",
            shots=nowhere,
        )
