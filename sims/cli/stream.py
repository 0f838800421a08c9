"""`qecpipe stream`: open-loop load on a decoder service, with latency histograms."""

from __future__ import annotations

import itertools
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import stim
from hdrh.histogram import HdrHistogram
from rich.table import Table

from decoder_service.client import DecoderClient, LoadReport, ServiceError, StreamShape, run_load
from qec import output_file
from sims.cli.console import make_console
from sims.cli.files import check_inputs, check_output_folder, parse_stim, read_text
from sims.cli.options import above_zero, not_negative, positive, seed
from sims.cli.parse_flags import parse_flags
from sims.plots.stream import draw_latency_percentiles

RESUME_HINT = "nothing was written; run it again"
QUANTILES = (50.0, 90.0, 99.0, 99.9, 100.0)
OUTPUTS = ("commit.hgrm", "result.hgrm", "service.hgrm", "latency.png")
SAMPLED_SHOTS = 256
"""Shots that are sampled once and sent over and over."""


@dataclass(frozen=True)
class StreamConfig:
    """Send rounds to a decoder service at a fixed rate and measure when the corrections come back.

    Latency counts from the time at which a round was due, so that a service that falls behind shows it.
    """

    circuit: Path
    """Stim circuit of the experiment, measured round by round."""
    rounds: int = 10_000
    """Rounds to send, of each stream, the final ones included."""
    rate: float = 1000.0
    """Rounds a second, of each stream."""
    socket: Path = Path("qecpipe.sock")
    """Unix socket of the service."""
    tcp: str | None = None
    """HOST:PORT of the service, in place of the socket."""
    tls_ca: Path | None = None
    """Certificates that vouch for the service; makes the TCP connection a TLS one."""
    token_file: Path | None = None
    """File with the service's token."""
    commit: int | None = None
    """Rounds committed by a window; left out: 5."""
    buffer: int | None = None
    """Rounds looked ahead; left out: as many as are committed."""
    mode: Literal["sliding", "parallel"] = "sliding"
    """Arrangement of the windows."""
    decoder: str = "pymatching"
    """Decoder inside the windows."""
    shot_rounds: int | None = None
    """Rounds of a shot; left out: those of the circuit."""
    streams: int = 1
    """Streams at once."""
    max_lag: float = 1.0
    """Seconds that rounds may be overdue before the run ends as overloaded."""
    seed: int = 1
    """Seed of the shots."""
    out: Path = Path("out/stream")
    """Folder for commit.hgrm, result.hgrm, service.hgrm (HDR histograms) and latency.png."""


def run(arguments: list[str]) -> int:
    """Run the verb; returns its exit code: 1 if the service was overloaded."""
    config = parse_flags(StreamConfig, "stream", arguments)
    check_inputs(config.circuit, config.tls_ca, config.token_file)
    circuit = parse_stim(config.circuit, stim.Circuit, "circuit")
    check_output_folder(config.out, OUTPUTS, inputs=(config.circuit, config.tls_ca, config.token_file))
    positive("--rounds", config.rounds)
    above_zero("--rate", config.rate)
    not_negative("--max-lag", config.max_lag)
    seed("--seed", config.seed)
    positive("--streams", config.streams)
    for flag, rounds in (("--commit", config.commit), ("--buffer", config.buffer)):
        if rounds is not None:
            positive(flag, rounds)
    if config.shot_rounds is not None:
        positive("--shot-rounds", config.shot_rounds)
    try:
        report = _load(config, circuit)
    except ServiceError as error:
        raise ValueError(f"the service refused: {error}") from error
    paths = write_report(report, config.out)
    console = make_console()
    console.print(report_table(report))
    console.print(f"written: {', '.join(map(str, paths))}")
    if report.overloaded:
        console.print(
            f"overloaded: at {config.rate:g} a second, rounds waited more than {config.max_lag} s until the "
            "service took them"
        )
    return int(report.overloaded)


def _load(config: StreamConfig, circuit: stim.Circuit) -> LoadReport:
    commit = config.commit or 5
    with _connect(config) as client:
        streams = []
        for number in range(positive("--streams", config.streams)):
            stream = client.open(
                str(circuit),
                commit=commit,
                buffer=config.buffer or commit,
                mode=config.mode,
                decoder=config.decoder,
                rounds=config.shot_rounds,
            )
            streams.append((stream, _rows(circuit, stream.shape, seed=config.seed + number)))
        return run_load(client, streams, rounds=config.rounds, rate=config.rate, max_lag=config.max_lag)


def report_table(report: LoadReport) -> Table:
    """Counts and latency percentiles in µs."""
    table = Table(
        title=f"{report.rounds} rounds in {report.seconds:.2f} s, {report.outputs} outputs, "
        f"{report.late} rounds held back by the service",
        caption="commit: from the time when a window's last round was due until its corrections are here; "
        "result: the same for the end of a shot; service: the part inside the service",
    )
    for name in ("latency, µs", "count", *(f"p{q:g}" if q < 100 else "max" for q in QUANTILES)):
        table.add_column(name, justify="left" if name.startswith("latency") else "right")
    for name, histogram in _histograms(report).items():
        values = [histogram.get_value_at_percentile(q) / 1000 for q in QUANTILES]
        table.add_row(name, str(histogram.get_total_count()), *(f"{value:.1f}" for value in values))
    return table


def write_report(report: LoadReport, out: Path) -> list[Path]:
    """The histograms as .hgrm files, in µs, and the plot; returns the paths."""
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, histogram in _histograms(report).items():
        path = out / f"{name}.hgrm"
        with output_file(path) as unfinished, unfinished.open("wb") as file:
            histogram.output_percentile_distribution(file, 1000.0)
        paths.append(path)
    return [*paths, draw_latency_percentiles(_histograms(report), out / OUTPUTS[-1])]


def _histograms(report: LoadReport) -> dict[str, HdrHistogram]:
    return {"commit": report.commit, "result": report.result, "service": report.service}


def _rows(circuit: stim.Circuit, shape: StreamShape, *, seed: int) -> Iterator[bytes]:
    """Packed rows of sampled shots, without end. Raises ValueError where a shot has other measurements."""
    edges = np.cumsum([0, *(shape.bits(sequence) for sequence in range(shape.rounds + 1))])
    if edges[-1] != circuit.num_measurements:
        raise ValueError(
            f"shots of {shape.rounds} rounds have {edges[-1]} measurements, the circuit has "
            f"{circuit.num_measurements}; give a circuit with as many rounds as --shot-rounds"
        )
    shots = circuit.compile_sampler(seed=seed).sample(SAMPLED_SHOTS)
    packed = [
        [np.packbits(shot[a:b], bitorder="little").tobytes() for a, b in itertools.pairwise(edges)]
        for shot in shots
    ]
    return itertools.cycle(itertools.chain.from_iterable(packed))


def _connect(config: StreamConfig) -> DecoderClient:
    token = "" if config.token_file is None else read_text(config.token_file).strip()
    if config.tcp is None:
        return DecoderClient(config.socket, token=token)
    host, _, port = config.tcp.rpartition(":")
    if not port.isdigit():
        raise ValueError(f"--tcp is {config.tcp!r}; it is HOST:PORT, like 127.0.0.1:7464")
    tls = None if config.tls_ca is None else _trust(config.tls_ca)
    return DecoderClient((host.strip("[]"), int(port)), token=token, tls=tls)


def _trust(path: Path) -> ssl.SSLContext:
    path.open("rb").close()  # what OpenSSL says of a missing file does not name it
    try:
        return ssl.create_default_context(cafile=str(path))
    except ssl.SSLError as error:
        raise ValueError(
            f"{path} holds no certificates ({error.reason or error}); give a PEM file"
        ) from error
