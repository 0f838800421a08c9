"""`qecpipe latency`: time per round of every stage, with and without the pre-decoder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import stim
from rich.progress import track

from sims.cli.console import make_console
from sims.cli.files import check_inputs, check_output_folder
from sims.cli.network_flags import NetworkFlags
from sims.cli.options import at_least_one, at_most_cores, seed, weights_file
from sims.cli.parse_flags import parse_flags
from sims.decoders import NEURAL, PREDECODER_PREFIX, NamedDecoder
from sims.latency.measure import DEFAULT_BATCH_SHOTS, Contender, LatencyPlan, contenders, measure
from sims.latency.report import OUTPUTS, LatencyPoint, latency_table, summary_frame, write_report
from sims.sweeps.tasks import Basis, CircuitFamily, decoder_dem

RESUME_HINT = "nothing was written; run the same command again, with a smaller --seconds to be quicker"


DEFAULT_P = (0.003, 0.006)
"""The rates of the paper's tables."""


@dataclass(frozen=True, kw_only=True)
class LatencyConfig(NetworkFlags, CircuitFamily):
    """Measure the time per round of network, residual and global decoder, one shot at a time and in batches.

    Each global decoder runs with and without the pre-decoder, neural-matching and neural-ensemble by
    themselves, all on the same shots, interleaved and warm, in one process.
    """

    distance: tuple[int, ...] = (5, 9, 13)
    """Code distances, even or odd, at least 2."""
    p: tuple[float, ...] = ()
    """Physical error rates in [0, 0.5); left out: 0.003 0.006."""
    basis: tuple[Basis, ...] = ("x",)
    """Bases of the logical qubit that is kept."""
    decoder: tuple[str, ...] = ("pymatching", "pymatching-correlated", "neural-matching")
    """Names of decoders: neural-matching, neural-ensemble, and global decoders, each measured alone and as
    predecoder+NAME."""
    single_shots: int = 1000
    """Shots decoded one at a time; the 99.9th percentile needs 1000."""
    batched_shots: int = 4096
    """Shots decoded in batches; they give the logical error rate too."""
    batch_shots: int | None = None
    """Shots in a batch; left out: as many as fit the cache, fewer at larger distances."""
    seconds: float = 15.0
    """Seconds after which a decoder ends on a circuit, in either mode, with the samples it has."""
    threads: int | None = None
    """CPU threads of the network; left out: torch's choice."""
    seed: int = 1
    """Seed of the shots."""
    out: Path = Path("out/latency")
    """Folder for latency.parquet, latency_samples.parquet and latency_vs_ler.png."""


def run(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    config = parse_flags(LatencyConfig, "latency", arguments)
    check_inputs(config.noise_file, config.weights_input)
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
    config.check_opinions(config.decoder)
    decoders, circuits = _decoders(config), list(config.circuits())
    config.say_choices(decoders)
    points: list[LatencyPoint] = []
    for metadata, circuit in track(
        circuits, "measuring", console=console, transient=True, disable=not console.is_terminal
    ):
        points += _measure(metadata, circuit, decoders, plan)
    paths = write_report(points, config.out)
    console.print(latency_table(summary_frame(points)))
    console.print(f"written: {', '.join(map(str, paths))}")
    return 0


def _decoders(config: LatencyConfig) -> list[NamedDecoder]:
    """Every decoder of the flags once, with the network before it where it has room for one."""
    names = [name.removeprefix(PREDECODER_PREFIX) for name in at_least_one("--decoder", config.decoder)]
    return [
        config.build(name if name in NEURAL else PREDECODER_PREFIX + name, threads=config.threads)
        for name in dict.fromkeys(names)
    ]


def _measure(
    metadata: dict[str, Any], circuit: stim.Circuit, decoders: list[NamedDecoder], plan: LatencyPlan
) -> list[LatencyPoint]:
    """All decoders on one circuit, on the same shots."""
    dem = decoder_dem(circuit)
    timed: dict[str, Contender] = {}
    identities: dict[str, dict[str, str]] = {}
    batches = []
    for named in decoders:
        compiled: Any = named.compiled(dem)
        batches.append(getattr(compiled, "batch_shots", DEFAULT_BATCH_SHOTS))
        for contender in contenders(named.name, compiled):
            timed.setdefault(contender.name, contender)
            identities[contender.name] = named.identity if contender.name == named.name else {}
    results = measure(circuit, list(timed.values()), plan=plan, batch_shots=min(batches))
    return [LatencyPoint({**metadata, **identities[one.decoder]}, one) for one in results]
