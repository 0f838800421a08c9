"""The flags of verbs that run a network."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sims.decoders import (
    NEURAL_ENSEMBLE,
    PREDECODER_PREFIX,
    Device,
    NamedDecoder,
    Policy,
    Precision,
    build_decoder,
)


@dataclass(frozen=True, kw_only=True)
class NetworkFlags:
    """The network, where and how it runs, and what becomes of its logits."""

    weights: str = "default"
    """The network's weights: accurate, fast or realtime; accurate-matching, fast-matching or
    realtime-matching, which were trained to be matched; or a safetensors file. Left out: accurate, and of
    neural-ensemble fast-matching with the opinions of accurate-matching."""
    policy: Policy = "auto"
    """How predecoder+NAME makes moves of the network's logits: threshold commits clusters of moves that are
    sure enough; consistent commits clusters in which a matching of the whole shot agrees with the logits;
    abstain explains a shot whole, or leaves a doubtful one whole to NAME; complete commits clusters that
    leave nothing of what they touch. auto is threshold before matchers on independent edges, as in streams,
    and abstain before other decoders. On whole shots before pymatching, consistent has fewer errors than
    threshold and leaves less, above all with weights that end with -matching. neural-matching and
    neural-ensemble have none: they match on the logits themselves."""
    precision: Precision = "auto"
    """What the network computes in; auto is the weights' own: int8 for quantized weights on a CPU, float32
    otherwise. int8 runs calibrated dense weights too, as the shipped ones are. bfloat16, and float16, which
    GPUs alone have, run only where they are asked for; results say so."""
    opinions: tuple[str, ...] = ()
    """Weights, names or files, that decide about the shots that --weights leave neural-ensemble in doubt of;
    without any, --weights decide alone. A fast network with the opinions of an accurate one has nearly the
    errors of the latter: --weights realtime-matching --opinions accurate-matching --precision int8. Decoders
    with a gap may be named, too, and are asked about these shots besides: trellis, on patches up to d = 5."""
    device: Device = "auto"
    """Where the network runs: cpu; cuda, on every GPU; one GPU, such as cuda:1; or auto: on GPUs if they can
    be used, and otherwise on the CPU, which is said."""

    @property
    def weights_input(self) -> Path | None:
        """The file that --weights names, there or not; None for weights that ship with qecpipe."""
        return Path(self.weights) if self.weights.endswith(".safetensors") else None

    def check_opinions(self, names: Sequence[str]) -> None:
        """Raise ValueError for opinions that none of the decoders of these names asks for."""
        if self.opinions and not any(NEURAL_ENSEMBLE in name for name in names):
            raise ValueError(
                f"--opinions {' '.join(self.opinions)} are asked by {NEURAL_ENSEMBLE} alone, and the "
                f"decoders are {', '.join(names)}; add it, or leave --opinions out"
            )

    def build(self, name: str, *, threads: int | None = None) -> NamedDecoder:
        """The decoder called `name`, with this network where it has one."""
        return build_decoder(
            name,
            weights=self.weights,
            device=self.device,
            policy=self.policy,
            precision=self.precision,
            opinions=self.opinions,
            threads=threads,
        )

    def say_choices(self, built: Sequence[NamedDecoder]) -> None:
        """Say on stderr what auto is, where another choice does more; after the input has been checked."""
        if self.device == "auto" and any(decoder.device == "cpu" for decoder in built):
            say_why_not_cuda()
        thresholds = ("threshold" in (of.policy or "") for of in built if PREDECODER_PREFIX in of.name)
        if self.policy == "auto" and any(thresholds):
            _say_consistent(self.weights)


@functools.cache
def say_why_not_cuda() -> None:
    """Say once on stderr that auto is the CPU, and why."""
    from predecoder.inference import why_not_cuda

    print(f"device auto: the CPU, as {why_not_cuda()}", file=sys.stderr)


@functools.cache
def _say_consistent(weights: str) -> None:
    """Say once on stderr that these weights know more than single clusters show, if they do."""
    from predecoder import resolve_weights, trained_to_be_matched

    if trained_to_be_matched(resolve_weights(weights)):
        print(
            f"policy auto: threshold, which streams have, too; of weights {weights}, trained to be matched, "
            "--policy consistent has fewer errors on whole shots",
            file=sys.stderr,
        )
