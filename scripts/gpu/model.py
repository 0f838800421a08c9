"""Measured times of OUT/latency.json beside the cost model's, for the card that they were measured on.

On a CPU there is no card: the model's times for an H100 then stand beside the CPU's, which proves nothing but
that this step runs.
"""

from __future__ import annotations

import json
import sys

from cuda.qecpipe.cost import card_called, estimate
from predecoder import load_network
from predecoder.inference import Volume, pipeline_stages
from scripts.gpu.kit import Report, flags

__all__ = ["main"]

BELIEVED_FACTOR = 2.0


def main() -> int:
    """Compare; returns 0 unless a prediction for a real card is off by more than the factor."""
    given = flags(__doc__ or "", seconds=20).parse_args()
    measured = json.loads((given.out / "latency.json").read_text())
    on = measured["about"]
    card = card_called(on.get("card", "H100"))
    report = Report(given.out / "model.json", about=on, card=card.name, is_a_proof="card" in on)
    network, off = load_network(measured["weights"]).config, 0
    for row in measured["rows"]:
        what, _, precision = row.get("decoder", "").partition(" ")
        if "error" in row or what not in ("engine", "neural-matching", "predecoder+pymatching"):
            continue
        decoder = "neural-matching" if what == "engine" else what
        volume = Volume.of_memory(row["d"], row["d"])
        stages = pipeline_stages(
            network, volume, p=row["p"], shots=row["batch"], precision=precision, decoder=decoder
        )
        kept = [stage for stage in stages if what != "engine" or stage.name != "matching"]
        found = estimate(kept, card, shots=row["batch"], cores=on["cores"])
        scale = 1e6 / (row["batch"] * row["d"])
        ratio = found.alone * scale / row["us_per_round"]  # batches were timed one by one
        believed = 1 / BELIEVED_FACTOR <= ratio <= BELIEVED_FACTOR
        off += not believed
        report.add(
            d=row["d"],
            p=row["p"],
            batch=row["batch"],
            decoder=row["decoder"],
            measured=row["us_per_round"],
            alone=found.alone * scale,
            sustained=found.sustained * scale,
            ratio=ratio,
            binding=found.alone_binding,
        )
    print(f"{off} of {len(report.rows)} predictions are off by more than a factor of {BELIEVED_FACTOR:g}")
    return int(bool(off) and "card" in on)


if __name__ == "__main__":
    sys.exit(main())
