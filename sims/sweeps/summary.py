"""The table at the end of a sweep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sinter
from rich.table import Table

from sims.statistics import ENOUGH_ERRORS, INTERVAL_NAME, Estimate, error_rate, per_round, rate_ratio
from sims.sweeps.kept import KEEP
from sims.sweeps.labels import (
    CIRCUIT_DETAILS,
    DECODER_DETAILS,
    check_metadata,
    circuit_key,
    details,
    differing,
    sweep_order,
)
from sims.sweeps.measured_sampler import DECODE_NS, DETECTION_EVENTS, DETECTORS, PREDECODE_NS, RESIDUAL_EVENTS

BASELINE = "pymatching"


@dataclass(frozen=True)
class SummaryRow:
    """What a sweep found for one circuit and decoder.

    `errors` are of the `shots - discards` that were kept, and so are the rates.
    The labels name circuit and decoder, with what else differs among the rows of the table (noise, network).
    `ratio` is the baseline's error rate over this one (above 1 is better than the baseline), None for
    the baseline itself or without it; `few_errors` marks a ratio with fewer than `ENOUGH_ERRORS`
    errors on either side. Densities are detection events over detectors; `density_after` is None
    without a pre-decoder. Microseconds are decoding time per shot and round on one worker.
    """

    metadata: dict[str, Any]
    decoder: str
    circuit_label: str
    decoder_label: str
    shots: int
    discards: int
    errors: int
    ler_shot: Estimate
    ler_round: Estimate
    ratio: Estimate | None
    few_errors: bool
    density_before: float | None
    density_after: float | None
    predecode_us_per_round: float | None
    us_per_round: float | None


def summarize(stats: Iterable[sinter.TaskStats]) -> list[SummaryRow]:
    """One row per task that kept shots, each compared with plain PyMatching on the same circuit.

    Rows are in the order of `sweep_order`, whatever that of `stats` is.
    Rates are over the shots that were kept: sinter counts no error in a discarded one.
    """
    stats = [one for one in stats if one.shots > one.discards]
    check_metadata(stats)
    stats.sort(key=sweep_order)
    of_all = [one for one in stats if KEEP not in one.json_metadata]
    baselines = {circuit_key(one): one for one in of_all if one.decoder == BASELINE}
    of_circuits, of_decoders = differing(stats, CIRCUIT_DETAILS), differing(stats, DECODER_DETAILS)
    rows = []
    for one in stats:
        meta = one.json_metadata
        circuit = f"d={meta['d']} rounds={meta['rounds']} p={meta['p']:g} basis={meta['basis']}"
        rows.append(
            _row(
                one,
                baselines.get(circuit_key(one)),
                circuit_label=", ".join((circuit, *details(meta, of_circuits))),
                decoder_label=", ".join((one.decoder, *details(meta, of_decoders))),
            )
        )
    return rows


def _row(
    stats: sinter.TaskStats, base: sinter.TaskStats | None, *, circuit_label: str, decoder_label: str
) -> SummaryRow:
    kept = stats.shots - stats.discards
    ler = error_rate(stats.errors, kept)
    rounds = stats.json_metadata["rounds"]
    ratio = None
    if base is not None and base is not stats:
        ratio = rate_ratio(
            base_errors=base.errors, base_shots=base.shots - base.discards, errors=stats.errors, shots=kept
        )
    counts = stats.custom_counts
    detectors = counts[DETECTORS]
    to_us_per_round = 1e-3 / (stats.shots * rounds)
    return SummaryRow(
        metadata=stats.json_metadata,
        decoder=stats.decoder,
        circuit_label=circuit_label,
        decoder_label=decoder_label,
        shots=stats.shots,
        discards=stats.discards,
        errors=stats.errors,
        ler_shot=ler,
        ler_round=per_round(ler, rounds),
        ratio=ratio,
        few_errors=base is not None and min(stats.errors, base.errors) < ENOUGH_ERRORS,
        density_before=counts[DETECTION_EVENTS] / detectors if detectors else None,
        # A count of zero does not survive sinter's CSV; the time that the network took does.
        density_after=counts[RESIDUAL_EVENTS] / detectors if detectors and PREDECODE_NS in counts else None,
        predecode_us_per_round=counts[PREDECODE_NS] * to_us_per_round if PREDECODE_NS in counts else None,
        us_per_round=(counts[PREDECODE_NS] + counts[DECODE_NS]) * to_us_per_round if detectors else None,
    )


def summary_table(rows: Sequence[SummaryRow]) -> Table:
    """The rows as a rich table; its caption says how to read it."""
    table = Table(
        title=f"Logical error rates (LER), intervals: {INTERVAL_NAME}",
        caption=(
            f"PyMatching/this: LER of plain {BASELINE} over this one, same circuits, separate shots; "
            f"above 1 is better. * under {ENOUGH_ERRORS} errors on a side: not a result. "
            "predecoder+X: a network commits moves, X decodes the residual; neural-matching: one matching on "
            "the network's logits; neural-ensemble: the same, and second opinions of doubtful shots. "
            "keep: the fraction of the surest shots; the others are discarded. "
            "Density: detection events over detectors, syndrome -> residual. "
            "µs/round: decoding on one worker, in brackets the pre-decoder's part."
        ),
        caption_justify="left",
    )
    table.add_column("decoder", overflow="fold")
    for heading in ("errors/shots", "LER/shot", "LER/round", "PyMatching/this", "density", "µs/round"):
        table.add_column(heading, justify="right")
    previous = None
    for row in rows:
        if row.circuit_label != previous:
            table.add_section()
            table.add_row(row.circuit_label, style="bold")
        previous = row.circuit_label
        table.add_row(
            f"  {row.decoder_label}",
            _format_counts(row),
            format_estimate(row.ler_shot),
            format_estimate(row.ler_round),
            _format_ratio(row),
            _format_density(row),
            _format_time(row),
        )
    return table


def format_estimate(rate: Estimate) -> str:
    """'2.40 [2.31, 2.49]e-02', all three with the exponent of the best value (or of the upper limit)."""
    exponent = f"{rate.best or rate.high:.2e}".partition("e")[2]
    scale = 10.0 ** int(exponent)
    return f"{rate.best / scale:.2f} [{rate.low / scale:.2f}, {rate.high / scale:.2f}]e{exponent}"


def _format_counts(row: SummaryRow) -> str:
    kept = f"{row.errors:,}/{row.shots - row.discards:,}"
    return f"{kept} ({row.discards:,} discarded)" if row.discards else kept


def _format_ratio(row: SummaryRow) -> str:
    if row.ratio is None:
        return "1" if row.decoder == BASELINE else "-"
    mark = "*" if row.few_errors else ""
    return f"{row.ratio.best:.2f} [{row.ratio.low:.2f}, {row.ratio.high:.2f}]{mark}"


def _format_density(row: SummaryRow) -> str:
    if row.density_before is None:
        return "-"
    before = f"{row.density_before:.4f}"
    return before if row.density_after is None else f"{before} -> {row.density_after:.4f}"


def _format_time(row: SummaryRow) -> str:
    if row.us_per_round is None:
        return "-"
    total = f"{row.us_per_round:.2f}"
    return total if row.predecode_us_per_round is None else f"{total} ({row.predecode_us_per_round:.2f})"
