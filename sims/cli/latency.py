"""`qecpipe latency`: time per round of every stage, with and without the pre-decoder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from rich.progress import track

from sims.cli.console import make_console
from sims.cli.files import check_output_folder
from sims.cli.options import at_least_one, at_most_cores, seed, weights_file
from sims.decoders import PREDECODER_PREFIX, Device, Policy, build_decoder
from sims.latency.measure import LatencyPlan, measure
from sims.latency.report import OUTPUTS, LatencyPoint, latency_table, summary_frame, write_report
from sims.sweeps.tasks import Basis, CircuitFamily, decoder_dem

RESUME_HINT = "nothing was written; run the same command again, with a smaller --seconds to be quicker"


DEFAULT_P = (0.003, 0.006)
"""The rates of the paper's tables."""


@dataclass(frozen=True)
class LatencyConfig(CircuitFamily):
    """Time per round of pre-decoder, residual and global decoder, one shot at a time and in batches.

    Each global decoder runs with and without the pre-decoder on the same shots, interleaved and warm,
    in one process.
    """

    distance: tuple[int, ...] = (5, 9, 13)
    """Code distances, even or odd, at least 2."""
    p: tuple[float, ...] = ()
    """Physical error rates in [0, 0.5); left out: 0.003 0.006."""
    basis: tuple[Basis, ...] = ("x",)
    """Bases of the logical qubit that is kept."""
    decoder: tuple[str, ...] = ("pymatching", "pymatching-correlated")
    """Global decoders; each is measured alone and as predecoder+NAME."""
    single_shots: int = 1000
    """Shots decoded one at a time; p99.9 needs 1000."""
    batched_shots: int = 4096
    """Shots decoded in batches; they give the logical error rate too."""
    batch_shots: int | None = None
    """Shots in a batch; left out: as many as fit the cache, fewer at larger distances."""
    seconds: float = 15.0
    """Stops either mode of a circuit and decoder after this long, with the samples it has."""
    threads: int | None = None
    """CPU threads of the network; left out: torch's choice."""
    device: Device = "auto"
    """Where the network runs."""
    policy: Policy = "auto"
    """How predecoder+NAME makes corrections of the network's logits: threshold commits clusters of moves that
    are sure enough; abstain explains a shot whole, or leaves a doubtful one whole to NAME; complete commits
    clusters that leave nothing of what they touch. auto is threshold before matchers on independent edges
    and abstain before other decoders. neural-matching has none: it matches on the logits themselves."""
    weights: str = "default"
    """The network's weights: a name that ships with qecpipe, or a safetensors file."""
    seed: int = 1
    """Seed of the shots."""
    out: Path = Path("out/latency")
    """Folder for latency.parquet, latency_samples.parquet and latency_vs_ler.png."""


def run(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    config = tyro.cli(LatencyConfig, prog="qecpipe latency", args=arguments)
    if not config.p and not config.noise.endswith(".toml"):
        config = replace(config, p=DEFAULT_P)
    console = make_console()
    check_output_folder(config.out, OUTPUTS, inputs=(weights_file(config.weights), config.noise_file))
    if config.threads is not None:
        at_most_cores("--threads", config.threads)
    seed("--seed", config.seed)
    plan = LatencyPlan(
        single_shots=config.single_shots,
        batched_shots=config.batched_shots,
        batch_shots=config.batch_shots,
        seconds=config.seconds,
        seed=config.seed,
    )
    names = [name.removeprefix(PREDECODER_PREFIX) for name in at_least_one("--decoder", config.decoder)]
    decoders = {
        name: build_decoder(
            PREDECODER_PREFIX + name,
            weights=config.weights,
            device=config.device,
            policy=config.policy,
            threads=config.threads,
        )
        for name in dict.fromkeys(names)
    }
    work = [(*circuit, name) for circuit in config.circuits() for name in decoders]
    points: list[LatencyPoint] = []
    for metadata, circuit, name in track(
        work, "measuring", console=console, transient=True, disable=not console.is_terminal
    ):
        compiled: Any = decoders[name].compiled(decoder_dem(circuit))
        described = {**metadata, **decoders[name].identity}
        points += [
            LatencyPoint(described, result) for result in measure(circuit, compiled, name=name, plan=plan)
        ]
    paths = write_report(points, config.out)
    console.print(latency_table(summary_frame(points)))
    console.print(f"written: {', '.join(map(str, paths))}")
    return 0
