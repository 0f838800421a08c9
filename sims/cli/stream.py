"""`qecpipe stream`: open-loop load on a decoder service or a decoder in this process."""

from __future__ import annotations

import datetime
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import stim
from rich.table import Table

from decoder_service.client import DecoderClient, ServiceError
from decoder_service.load import (
    QUANTILES,
    LoadPlan,
    LoadReport,
    ShotSet,
    StreamOptions,
    quantiles_us,
    run_in_process,
    run_service,
    sample_shots,
)
from qec import output_file
from sims.cli.console import make_console
from sims.cli.files import check_inputs, check_output_file, check_output_folder, parse_stim, read_text
from sims.cli.network_flags import say_why_not_cuda
from sims.cli.options import above_zero, not_negative, positive, seed
from sims.cli.parse_flags import parse_flags
from sims.decoders import PREDECODER_PREFIX
from sims.doctor.machine import about_machine
from sims.plots.stream import draw_latency_percentiles, write_histogram

RESUME_HINT = "nothing was written; run it again"
KINDS = ("commit", "result", "service")
OUTPUTS = (*(f"{kind}.hgrm" for kind in KINDS), "latency.png")
SAMPLED_ROUNDS = 10_000
"""Rounds that are sampled once, in whole shots, and sent over and over."""


@dataclass(frozen=True)
class StreamConfig:
    """Send rounds at a fixed period to a decoder service, or to a decoder in this process, and measure when
    the corrections come back.

    Latency counts from the time at which a round was due, so that a decoder that falls behind shows it. What
    comes back is compared with the same shots decoded here, one round at a time.
    """

    circuit: Path
    """Stim circuit of the experiment, measured round by round."""
    rounds: int = 10_000
    """Rounds of each stream, the final ones included; rounded up to whole shots."""
    period_us: float = 1000.0
    """Microseconds from one round of a stream to its next."""
    rounds_per_frame: int = 1
    """Consecutive rounds that are sent together, when the last of them is due."""
    in_process: bool = False
    """Decode in this process instead of in a service."""
    socket: Path = Path("qecpipe.sock")
    """Unix socket of the service."""
    tcp: str | None = None
    """HOST:PORT of the service, in place of the socket."""
    tls_ca: Path | None = None
    """File of certificates that vouch for the service; makes the TCP connection a TLS one."""
    token_file: Path | None = None
    """File with the service's token."""
    commit: int | None = None
    """Rounds that a window commits; left out: 5."""
    buffer: int | None = None
    """Rounds that a window looks ahead; left out: as many as it commits."""
    mode: Literal["sliding", "parallel"] = "sliding"
    """Arrangement of the windows."""
    decoder: str = "pymatching"
    """Decoder inside the windows: pymatching, pymatching-correlated or neural-matching."""
    predecoder: str | None = None
    """Weights of a network that removes local errors before the windows, or whose logits neural-matching
    matches: accurate, fast, realtime, or each with -matching behind it; in process a safetensors file too."""
    device: str = "auto"
    """Where the network runs, in process: cpu, cuda, one GPU, such as cuda:0, or auto: the CPU for networks
    that take less time there."""
    shot_rounds: int | None = None
    """Rounds of a shot before its final one; left out: those of the circuit."""
    streams: int = 1
    """Streams at once, each with its own rounds."""
    max_lag: float = 1.0
    """Seconds that rounds may be overdue before the run ends as overloaded."""
    gap: bool = False
    """Have every result say how sure the shot's last window is, in nats."""
    seed: int = 1
    """Seed of the shots."""
    report: Path | None = None
    """JSON file for everything that was measured: outputs expected and received, latencies, backlog."""
    out: Path = Path("out/stream")
    """Folder for commit.hgrm, result.hgrm, service.hgrm (HDR histograms) and latency.png."""

    @property
    def options(self) -> StreamOptions:
        """Of the streams."""
        commit = self.commit or 5
        return StreamOptions(
            commit=commit,
            buffer=self.buffer or commit,
            mode=self.mode,
            decoder=self.decoder,
            predecoder=self.predecoder,
            device=self.device,
            gap=self.gap,
        )


def run(arguments: list[str]) -> int:
    """Run the verb; returns its exit code: 1 if it was overloaded, or outputs are missing or wrong."""
    config = parse_flags(StreamConfig, "stream", arguments)
    weights = config.predecoder if (config.predecoder or "").endswith(".safetensors") else None
    inputs = (config.circuit, config.tls_ca, config.token_file, weights)
    check_inputs(*inputs)
    circuit = parse_stim(config.circuit, stim.Circuit, "circuit")
    check_output_folder(config.out, OUTPUTS, inputs=inputs)
    if config.report is not None:
        check_output_file(config.report, flag="--report", inputs=inputs)
    _check_numbers(config)
    try:
        report, shots = _load(config, circuit)
    except ServiceError as error:
        raise ValueError(f"the service refused: {error}") from error
    paths = write_report(report, config.out)
    if config.report is not None:
        paths.append(_write_json(report_json(report, config, shots), config.report))
    console = make_console()
    console.print(report_table(report))
    console.print(f"written: {', '.join(map(str, paths))}")
    for line in _complaints(report, config):
        console.print(line)
    return int(not report.complete)


def _check_numbers(config: StreamConfig) -> None:
    if config.device != "auto" and not config.in_process:
        raise ValueError(
            f"--device is {config.device!r}, but a service has its own (qecpipe serve --device); "
            "add --in-process, or leave it out"
        )
    positive("--rounds", config.rounds)
    above_zero("--period-us", config.period_us)
    positive("--rounds-per-frame", config.rounds_per_frame)
    not_negative("--max-lag", config.max_lag)
    seed("--seed", config.seed)
    positive("--streams", config.streams)
    for flag, rounds in (
        ("--commit", config.commit),
        ("--buffer", config.buffer),
        ("--shot-rounds", config.shot_rounds),
    ):
        if rounds is not None:
            positive(flag, rounds)
    if config.decoder.startswith(PREDECODER_PREFIX):
        inner = config.decoder.removeprefix(PREDECODER_PREFIX)
        raise ValueError(
            f"--decoder is {config.decoder!r}; streams have the network apart: --decoder {inner} "
            f"--predecoder {config.predecoder or 'default'}"
        )


def _load(config: StreamConfig, circuit: stim.Circuit) -> tuple[LoadReport, ShotSet]:
    options = config.options
    if config.in_process:
        shots, plan = _prepare(config, circuit)
        decoders = [options.build(circuit) for _ in range(config.streams)]
        for decoder in decoders:
            decoder.warm(rounds=shots.shape.rounds)
        if decoders[0].models.fell_back:
            say_why_not_cuda()
        return run_in_process(decoders, shots, plan=plan, max_lag=config.max_lag), shots
    with _connect(config) as client:
        shots, plan = _prepare(config, circuit)
        streams = [
            client.open(str(circuit), **options.fields, rounds=shots.shape.rounds)
            for _ in range(config.streams)
        ]
        return run_service(client, streams, shots, plan=plan, max_lag=config.max_lag), shots


def _prepare(config: StreamConfig, circuit: stim.Circuit) -> tuple[ShotSet, LoadPlan]:
    shots = sample_shots(
        circuit,
        config.options,
        rows=min(config.rounds * config.streams, SAMPLED_ROUNDS),
        seed=config.seed,
        rounds=config.shot_rounds,
    )
    plan = LoadPlan(
        period_ns=1000 * config.period_us,
        rows_per_shot=shots.rows_per_shot,
        shots=-(-config.rounds // shots.rows_per_shot),
        rounds_per_block=config.rounds_per_frame,
        streams=config.streams,
    )
    return shots, plan


def report_table(report: LoadReport) -> Table:
    """Counts and latency percentiles in µs."""
    outputs, backlog = report.commits + report.results, report.backlog()
    table = Table(
        title=f"{sum(report.rows_sent)} rounds in {report.seconds:.2f} s, {outputs.received} outputs of "
        f"{outputs.expected}; backlog at most {backlog.most} rounds, {backlog.end} at the end",
        caption="commit: from the time when a window's last round was due until its corrections are here; "
        "result: the same for the end of a shot; service: the part inside the decoder",
    )
    for name in ("latency, µs", "count", *QUANTILES):
        table.add_column(name, justify="left" if name.startswith("latency") else "right")
    for kind in KINDS:
        values = report.latency(kind)
        table.add_row(kind, str(len(values)), *(f"{value:.1f}" for value in quantiles_us(values).values()))
    return table


def write_report(report: LoadReport, out: Path) -> list[Path]:
    """The histograms as .hgrm files, in µs, and the plot; returns the paths."""
    out.mkdir(parents=True, exist_ok=True)
    latencies = {kind: report.latency(kind) for kind in KINDS}
    paths = [write_histogram(values, out / f"{kind}.hgrm") for kind, values in latencies.items()]
    return [*paths, draw_latency_percentiles(latencies, out / OUTPUTS[-1])]


def report_json(report: LoadReport, config: StreamConfig, shots: ShotSet) -> dict[str, Any]:
    """Everything that was measured, with what was decoded, by what, and where."""
    options = config.options
    return {
        "decoder": {
            "where": "in process" if config.in_process else config.tcp or str(config.socket),
            "name": options.decoder,
            "predecoder": config.predecoder,
            "weights": shots.weights or None,
            "model": shots.model,
            "commit": options.commit,
            "buffer": options.buffer,
            "mode": options.mode,
            "gap": options.gap,
        },
        "circuit": str(config.circuit),
        "seed": config.seed,
        "sampled_shots": len(shots.rows),
        "machine": about_machine(),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    } | report.as_json()


def _write_json(content: dict[str, Any], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with output_file(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _complaints(report: LoadReport, config: StreamConfig) -> list[str]:
    """What keeps the run from being a good one, a line each."""
    found = []
    if report.overloaded:
        found.append(
            f"overloaded: at {config.period_us:g} µs a round, rounds were overdue by more than "
            f"{config.max_lag:g} s; give a longer --period-us"
        )
    for name, counts in (("COMMITs", report.commits), ("RESULTs", report.results)):
        if counts.faults:
            found.append(
                f"{name}: {counts.lost} of {counts.expected} lost, {counts.doubled} doubled, {counts.wrong} "
                "with other corrections than the same decoder gives here, one round at a time; compare the "
                "versions and weights here and there"
            )
    return found


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
