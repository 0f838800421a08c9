"""How much of two workers a seeded sweep uses, on a dask cluster and with processes of one machine.

    python -m scripts.benchmarks.cluster [--repeats 5] [--results docs/results]

The same sweep (X memory, d rounds, p = 0.006, plain and correlated PyMatching) is counted by one worker and
by two, of a dask `LocalCluster` and of local processes, in turns, with nothing else running; the first turn
warms up and is not counted. *Efficiency* is the time of one worker over twice the time of two. Scheduler,
client and workers share the machine's cores, so with two cores it says what all of them together cost. Two
cores that share one core's units are not twice as fast as one, whoever gives them work: *alone* is what two
processes that know nothing of each other make of them.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import sinter

from qec import depolarizing, memory_circuit
from scripts.benchmarks.results import markdown_table, update_results
from sims.decoders import build_decoder
from sims.sweeps.blocks import Seeded
from sims.sweeps.collect import Limits
from sims.sweeps.executors import Workers, cluster_workers, local_workers
from sims.sweeps.manifest import Manifest
from sims.sweeps.seeded import collect_seeded
from sims.sweeps.tasks import decoder_dem

DECODERS = [build_decoder("pymatching"), build_decoder("pymatching-correlated")]
COLUMNS = ("workers", "d", "shots", "one worker, s", "two workers, s", "efficiency", "spread")


@contextlib.contextmanager
def dask_workers(count: int) -> Iterator[Workers]:
    """Those of a cluster in processes of this machine, one thread each."""
    from distributed.deploy.local import LocalCluster

    opened: Any = LocalCluster(
        n_workers=count, threads_per_worker=1, dashboard_address=":0", host="127.0.0.1"
    )
    with opened as cluster:
        address = cluster.scheduler_address.replace("tcp://", "dask://")
        with cluster_workers(address, jobs=None) as workers:
            yield workers


def sweep_tasks(distance: int) -> list[sinter.Task]:
    """One of each decoder."""
    circuit = memory_circuit(distance=distance, rounds=distance, basis="x", noise=depolarizing(0.006))
    metadata = {"d": distance, "rounds": distance, "p": 0.006, "basis": "x"}
    dem = decoder_dem(circuit)
    return [
        sinter.Task(
            circuit=circuit, detector_error_model=dem, decoder=named.name, json_metadata=dict(metadata)
        )
        for named in DECODERS
    ]


def seconds(
    opened: AbstractContextManager[Workers], distance: int, *, shots: int, warm_shots: int, seed: int
) -> float:
    """Of a sweep, from the first block that is sent to the last that is counted, by workers that are warm."""
    tasks = sweep_tasks(distance)

    def run(limit: int, seed: int) -> float:
        limits, seeded = Limits(limit), Seeded(seed=seed, block_shots=1024)
        manifest = Manifest.of(tasks, seeded=seeded, limits=limits)
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            collect_seeded(
                tasks, DECODERS, csv_path=Path(folder) / "results.csv", manifest=manifest, workers=workers
            )
            return time.perf_counter() - start

    with opened as workers:
        run(warm_shots, seed + 1)
        return run(shots, seed)


def alone(distance: int, *, shots: int, count: int) -> float:
    """Seconds until `count` processes have each decoded that part of the shots, with nothing between them."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(count) as pool:
        pool.starmap(_decode, [(distance, 1024)] * count, chunksize=1)
        start = time.perf_counter()
        pool.starmap(_decode, [(distance, shots // count)] * count, chunksize=1)
        return time.perf_counter() - start


def _decode(distance: int, shots: int) -> None:
    for task, named in zip(sweep_tasks(distance), DECODERS, strict=True):
        assert task.circuit is not None
        assert task.detector_error_model is not None
        compiled = named.compiled(task.detector_error_model)
        sampler = task.circuit.compile_detector_sampler(seed=shots)
        for _ in range(0, shots, 1024):
            detections, _ = sampler.sample(1024, separate_observables=True, bit_packed=True)
            compiled.decode_shots_bit_packed(bit_packed_detection_event_data=detections)


def measure(distance: int, *, shots: int, repeats: int) -> list[dict[str, Any]]:
    """Rows of the table: dask's, local ones, and processes alone; turns are interleaved."""
    times: dict[tuple[str, int], list[float]] = {}
    for turn, count in itertools.product(range(repeats + 1), (1, 2)):
        more = {"shots": shots, "warm_shots": 8192, "seed": 2 * turn}
        for name, found in (
            ("dask", seconds(dask_workers(count), distance, **more)),
            ("local", seconds(local_workers(count), distance, **more)),
            ("alone", alone(distance, shots=shots, count=count)),
        ):
            if turn:
                times.setdefault((name, count), []).append(found)
            print(f"{name} {count}: {found:.2f} s{'' if turn else ' (warm-up)'}", flush=True)
    rows = []
    for name in ("dask", "local", "alone"):
        ratios = [one / (2 * two) for one, two in zip(times[name, 1], times[name, 2], strict=True)]
        rows.append(
            {
                "workers": name,
                "d": distance,
                "shots": shots,
                "one": statistics.median(times[name, 1]),
                "two": statistics.median(times[name, 2]),
                "efficiency": statistics.median(ratios),
                "spread": [min(ratios), max(ratios)],
            }
        )
    return rows


def render(rows: list[dict[str, Any]]) -> str:
    """The table of `docs/results/cluster.md`."""
    return markdown_table(
        COLUMNS,
        (
            (
                row["workers"],
                row["d"],
                f"{row['shots']:,}",
                f"{row['one']:.2f}",
                f"{row['two']:.2f}",
                f"{row['efficiency']:.2f}",
                f"{row['spread'][0]:.2f} to {row['spread'][1]:.2f}",
            )
            for row in rows
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--distance", type=int, default=9)
    parser.add_argument("--shots", type=int, default=60 * 1024, help="of each decoder")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--results", type=Path, help="folder of results pages to write")
    options = parser.parse_args()
    rows = measure(options.distance, shots=options.shots, repeats=options.repeats)
    print(render(rows))
    if options.results is not None:
        update_results(options.results, "cluster", rows, key=("workers", "d"), render=render)


if __name__ == "__main__":
    main()
