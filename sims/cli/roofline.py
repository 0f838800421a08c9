"""`qecpipe roofline`: what decoders with a network should take on GPUs, by a model of its cost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

from sims.cli.console import make_console
from sims.cli.files import check_inputs
from sims.cli.options import above_zero, at_least_one, positive, weights_file
from sims.cli.parse_flags import parse_flags

if TYPE_CHECKING:
    from rich.table import Table

    from cuda.qecpipe.cost import Comparison

RESUME_HINT = "nothing was measured or written"
BELIEVED_FACTOR = 2.0
"""How far predictions may be from the paper's measured times, either way, for the model to be believed."""


@dataclass(frozen=True)
class RooflineConfig:
    """Predict the time per round on GPUs, and which term binds; nothing runs on a GPU, and none is needed.

    The first table is the model's check: the reference paper's measured times of its own networks on a GB300,
    beside the model's. The second is ours: alone is one batch from packed detections to predictions,
    sustained is a batch among many, whose transfers and matchings overlap with the card's work.
    """

    weights: str = "default"
    """The network's weights: a shipped name or a safetensors file; left out: accurate."""
    distance: tuple[int, ...] = (5, 9, 13, 21, 31)
    """Code distances; d rounds each."""
    p: float = 0.006
    """Physical error rate of uniform depolarizing noise, which the host's time depends on."""
    batch: tuple[int, ...] = (1, 16, 1024)
    """Shots of a batch."""
    precision: Literal["float32", "float16", "bfloat16", "fp8", "int8"] = "bfloat16"
    """What the network computes in."""
    decoder: Literal["neural-matching", "predecoder+pymatching"] = "neural-matching"
    """What follows the network."""
    cores: int = 16
    """Cores of the host, which share a batch's matchings."""
    card: tuple[str, ...] = ("A100", "H100", "H200", "GB300")
    """GPUs to predict for."""
    fused: bool = False
    """Take biases, nonlinearities and sums as parts of the convolutions' kernels, as TensorRT does; with
    torch each is a kernel of its own."""
    json: bool = False
    """Print one JSON object in place of the tables, with every stage."""


def run(arguments: list[str]) -> int:
    """Run the verb; returns 0, or 1 where the model is not within the factor of the paper's times."""
    config = parse_flags(RooflineConfig, "roofline", arguments)
    check_inputs(weights_file(config.weights))
    at_least_one("--card", config.card)
    positive("--cores", config.cores)
    above_zero("--p", config.p)
    for batch in config.batch:
        positive("--batch", batch)
    from cuda.qecpipe.cost import compare_with_paper

    comparisons = list(compare_with_paper())
    believed = all(1 / BELIEVED_FACTOR <= one.ratio <= BELIEVED_FACTOR for one in comparisons)
    rows = list(_rows(config))
    if not rows:
        raise ValueError(f"no card of --card {' '.join(config.card)} has --precision {config.precision}")
    if config.json:
        check = [asdict(one) | {"ratio": one.ratio} for one in comparisons]
        print(json.dumps({"check": check, "believed": believed, "predictions": rows}, indent=1))
        return int(not believed)
    console = make_console()
    console.print(_check_table(comparisons))
    verdict = "within" if believed else "NOT within"
    console.print(f"The model is {verdict} a factor of {BELIEVED_FACTOR:g} of every measured time.\n")
    console.print(_prediction_table(config, rows))
    return int(not believed)


def _rows(config: RooflineConfig) -> Iterator[dict[str, Any]]:
    from cuda.qecpipe.cost import card_called, estimate
    from predecoder import load_network
    from predecoder.inference import Volume, pipeline_stages

    network = load_network(config.weights).config
    for distance, batch, name in product(config.distance, config.batch, config.card):
        card, volume = card_called(name), Volume.of_memory(distance, distance)
        if config.precision != "float32" and config.precision not in card.matrix_rates:
            continue
        stages = pipeline_stages(
            network,
            volume,
            p=config.p,
            shots=batch,
            precision=config.precision,
            decoder=config.decoder,
            fused=config.fused,
        )
        found = estimate(stages, card, shots=batch, cores=config.cores)
        scale = 1e6 / (batch * volume.rounds)
        yield {
            "card": card.name,
            "d": distance,
            "p": config.p,
            "batch": batch,
            "precision": config.precision,
            "decoder": config.decoder,
            "alone_us": found.alone * 1e6,
            "alone_us_per_round": found.alone * scale,
            "alone_binding": found.alone_binding,
            "sustained_us_per_round": found.sustained * scale,
            "sustained_binding": found.binding,
            "us_per_round": {name: seconds * scale for name, seconds in found.resources.items()},
            "stages": [
                {
                    "stage": one.stage.name,
                    "operations": one.stage.operations,
                    "bytes": one.stage.bytes,
                    "link_bytes": one.stage.link_bytes,
                    "launches": one.stage.launches,
                    "us": one.seconds * 1e6,
                    "binding": one.binding,
                }
                for one in found.stages
            ],
        }


def _check_table(comparisons: list[Comparison]) -> Table:
    from rich.table import Table

    table = Table(
        title="The paper's networks on a GB300 in FP8, µs a round (arXiv:2604.12841): measured and predicted",
        caption="Table VII: one shot of d rounds; constants of the model were set to it. Table XI: blocks of "
        "d x d x 3d in batches. Networks 2 and 3 have no measured numbers in the paper.",
        caption_justify="left",
    )
    for heading in (
        "table",
        "network",
        "activation",
        "d",
        "batch",
        "measured",
        "predicted",
        "ratio",
        "binds",
    ):
        table.add_column(heading, justify="left" if heading in ("table", "activation", "binds") else "right")
    for one in comparisons:
        numbers = (f"{one.measured:.3f}", f"{one.predicted:.3f}", f"{one.ratio:.2f}")
        table.add_row(
            one.table,
            str(one.network),
            one.activation,
            str(one.distance),
            str(one.batch),
            *numbers,
            one.binding,
        )
    return table


def _prediction_table(config: RooflineConfig, rows: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    kernels = "fused" if config.fused else "of torch"
    table = Table(
        title=f"{config.decoder} with {config.weights} in {config.precision}, kernels {kernels}, "
        f"{config.cores} cores, p = {config.p:g}: predicted",
        caption="µs of a batch alone; µs a round alone, and sustained with the next batches behind it: what "
        "the card, the link and the host's cores are busy with, of which the longest binds.",
        caption_justify="left",
    )
    headings = ("card", "d", "batch", "alone, µs", "alone", "binds", "sustained", "on card", "link", "host")
    for heading in (*headings, "binds"):
        table.add_column(heading, justify="left" if heading in ("card", "binds") else "right", no_wrap=True)
    before = None
    for row in rows:
        if before is not None and before != (row["d"], row["batch"]):
            table.add_section()
        before = (row["d"], row["batch"])
        busy = row["us_per_round"]
        table.add_row(
            row["card"],
            str(row["d"]),
            str(row["batch"]),
            f"{row['alone_us']:,.0f}",
            f"{row['alone_us_per_round']:.3f}",
            row["alone_binding"],
            f"{row['sustained_us_per_round']:.3f}",
            *(f"{busy[name]:.3f}" for name in ("card", "link", "host")),
            row["sustained_binding"],
        )
    return table
