"""Seeded sweeps count the same shots whoever decodes them, in any order, however often they are killed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sinter

import qec
from sims.decoders import build_decoder
from sims.run_failed import RunFailedError
from sims.sweeps.blocks import Seeded, Shard, block_seed
from sims.sweeps.collect import Limits
from sims.sweeps.executors import Workers, cluster_workers, local_workers
from sims.sweeps.manifest import Manifest, ManifestError, check_shards, merged_manifest, refuse_twice
from sims.sweeps.results_csv import ResultsFileError, merge_results, read_results, write_results
from sims.sweeps.seeded import collect_seeded
from sims.sweeps.tasks import decoder_dem
from sims.sweeps.versions import code_versions, require_versions

DECODERS = [build_decoder("pymatching"), build_decoder("pymatching-correlated")]
LIMITS = Limits(2500)
SEEDED = Seeded(seed=5, block_shots=100)


def _tasks(p: float = 0.01) -> list[sinter.Task]:
    circuit = qec.memory_circuit(distance=3, rounds=3, basis="x", noise=qec.depolarizing(p))
    return [
        sinter.Task(
            circuit=circuit,
            detector_error_model=decoder_dem(circuit),
            decoder=named.name,
            json_metadata={"d": 3, "rounds": 3, "p": p, "basis": "x"},
        )
        for named in DECODERS
    ]


class Shuffled(Executor):
    """Runs what it is given when it is looked at, in any order: results arrive as from a busy cluster."""

    def __init__(self, seed: int) -> None:
        self._random, self._waiting = random.Random(seed), []

    def submit(self, fn, /, *arguments, **named):
        future: Future = Future()
        self._waiting.append((future, fn, arguments))
        return future

    def work(self) -> None:
        self._random.shuffle(self._waiting)
        for _ in range(self._random.randint(0, len(self._waiting))):
            future, fn, arguments = self._waiting.pop()
            if future.set_running_or_notify_cancel():
                future.set_result(fn(*arguments))


@contextlib.contextmanager
def _shuffled(seed: int) -> Iterator[Workers]:
    executor = Shuffled(seed)

    def count() -> int:
        executor.work()
        return 3

    yield Workers(executor, count)


def _collect(csv_path: Path, workers=None, *, limits: Limits = LIMITS, seeded: Seeded = SEEDED, **more):
    with workers or _shuffled(1) as able:
        manifest = Manifest.of(_tasks(), seeded=seeded, limits=limits)
        return collect_seeded(_tasks(), DECODERS, csv_path=csv_path, manifest=manifest, workers=able, **more)


def _counts(stats: list[sinter.TaskStats]) -> list[tuple[int, int, int]]:
    return [(s.shots, s.errors, s.custom_counts["detection_events"]) for s in stats]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for an executor that works only when it is looked at."""
    monkeypatch.setattr("sims.sweeps.seeded._LOOK_SECONDS", 0.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, int, int]]:
    """Decoded block by block, by hand."""
    found = []
    for task, named in zip(_tasks(), DECODERS, strict=True):
        assert task.circuit is not None
        assert task.detector_error_model is not None
        compiled, totals = named.compiled(task.detector_error_model), np.zeros(3, dtype=int)
        for block in range(25):
            sampler = task.circuit.compile_detector_sampler(seed=block_seed(5, task.strong_id(), block))
            detections, flips = sampler.sample(100, separate_observables=True, bit_packed=True)
            predicted = compiled.decode_shots_bit_packed(bit_packed_detection_event_data=detections)
            totals += [100, int((predicted != flips).sum()), int(np.unpackbits(detections).sum())]
        found.append(tuple(totals.tolist()))
    assert found[0][1] > 20
    return found


@pytest.mark.parametrize("order", [1, 2, 3])
def test_any_order_counts_the_same_shots(tmp_path, whole, order):
    assert _counts(_collect(tmp_path / "r.csv", _shuffled(order))) == whole


def test_shards_together_are_the_whole(tmp_path, whole):
    files = []
    for number in (1, 2, 3):
        seeded = replace(SEEDED, shard=Shard(number, 3))
        assert seeded.limits(LIMITS).max_shots == {1: 900, 2: 800, 3: 800}[number]
        path = tmp_path / f"results-{number}-of-3.csv"
        _collect(path, _shuffled(number), seeded=seeded)
        files.append(path)
    assert _counts(merge_results(map(read_results, files))) == whole
    merged = merged_manifest(check_shards(files))
    assert merged is not None
    assert merged.shard == "1/1"
    refuse_twice(files)
    _collect(tmp_path / "all.csv", limits=Limits(100))
    for twice in ([*files, files[0]], [*files, tmp_path / "all.csv"]):
        with pytest.raises(ManifestError, match="count the same shots; give one of them"):
            refuse_twice(twice)


def test_a_sweep_that_is_killed_goes_on_with_the_next_block(tmp_path, whole):
    class Killed(Exception):
        pass

    def kill(progress):
        raise Killed

    path = tmp_path / "r.csv"
    for order in range(4):
        with pytest.raises(Killed):
            _collect(path, _shuffled(order), on_progress=kill)
    before = sum(s.shots for s in read_results(path).values())
    assert 0 < before < 5000
    assert _counts(_collect(path, _shuffled(9))) == whole
    more = _collect(path, limits=Limits(3000))
    assert [s.shots for s in more] == [3000, 3000]


def test_max_errors_ends_at_the_same_block_in_any_order(tmp_path):
    found = [
        _counts(_collect(tmp_path / f"{k}.csv", _shuffled(k), limits=Limits(2500, max_errors=60)))
        for k in range(3)
    ]
    assert found[0] == found[1] == found[2]
    for k, (shots, errors, _) in enumerate(found[0]):
        one_less = _collect(tmp_path / f"before-{k}.csv", limits=Limits(shots - 100))
        assert one_less[k].errors < 60 <= errors


def test_a_csv_that_counts_no_whole_blocks_is_refused(tmp_path):
    _collect(tmp_path / "r.csv", limits=Limits(300))
    with pytest.raises(ManifestError, match=r"begun with another block_shots \(100, now 250\)"):
        _collect(tmp_path / "r.csv", seeded=Seeded(5, 250))
    Manifest.path(tmp_path / "r.csv").unlink()
    with pytest.raises(ManifestError, match=r"has no r\.manifest\.json beside it"):
        _collect(tmp_path / "r.csv", seeded=Seeded(5, 250))
    Manifest.of(_tasks(), seeded=Seeded(5, 250), limits=LIMITS).write(tmp_path / "r.csv")
    with pytest.raises(ResultsFileError, match=r"counts 300 shots of task .*no whole blocks of 250"):
        _collect(tmp_path / "r.csv", seeded=Seeded(5, 250))


def test_seeds_of_blocks_differ_by_everything():
    seeds = {block_seed(s, key, k) for s in (1, 2) for key in ("a", "b") for k in range(100)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("text", ["2", "0/4", "5/4", "1/0", "a/b", "-1/3"])
def test_impossible_shards_are_refused(text):
    with pytest.raises(ValueError, match="shard"):
        Shard.parse(text)


def test_more_shards_than_blocks_are_refused():
    with pytest.raises(ValueError, match="shard 4/4 has no shots: 250 are 3 blocks of 100"):
        replace(SEEDED, shard=Shard(4, 4)).limits(Limits(250))


def _manifest(csv_path: Path, tasks: list[sinter.Task], *, shard: str = "1/2", seed: int = 5) -> Path:
    """A shard that is finished."""
    manifest = Manifest.of(tasks, seeded=Seeded(seed, 100, Shard.parse(shard)), limits=LIMITS)
    manifest.write(csv_path)
    shots = manifest.own_limits.max_shots
    rows = [
        sinter.TaskStats(
            strong_id=task.strong_id(),
            decoder=str(task.decoder),
            json_metadata=task.json_metadata,
            shots=shots,
        )
        for task in tasks
    ]
    write_results(rows, csv_path)
    return csv_path


def test_shards_that_do_not_belong_together_are_refused(tmp_path):
    one, two = (_manifest(tmp_path / f"{k}.csv", _tasks(), shard=f"{k}/2") for k in (1, 2))
    assert [manifest.shard for manifest in check_shards([one, two])] == ["1/2", "2/2"]
    with pytest.raises(ManifestError, match=r"shard 1/2 is there twice: .*1\.csv and .*again\.csv"):
        check_shards([one, _manifest(tmp_path / "again.csv", _tasks())])
    with pytest.raises(ManifestError, match="shard 2/2 is missing"):
        check_shards([one])
    with pytest.raises(ManifestError, match=r"other\.csv has another seed than .*1\.csv \(6, there 5\)"):
        check_shards([one, _manifest(tmp_path / "other.csv", _tasks(), shard="2/2", seed=6)])
    with pytest.raises(ManifestError, match="has another circuits than"):
        check_shards([one, _manifest(tmp_path / "noise.csv", _tasks(0.02), shard="2/2")])
    write_results([replace(s, shots=200) for s in read_results(two).values()], two)
    with pytest.raises(
        ManifestError, match=r"shard 2/2 is not finished: .*2\.csv has 200 of 1200 shots of pym"
    ):
        check_shards([one, two])
    Manifest.path(two).write_text("{")
    with pytest.raises(ManifestError, match=r"2\.manifest\.json is damaged"):
        check_shards([one, two])
    Manifest.path(two).unlink()
    with pytest.raises(ManifestError, match=r"has no 2\.manifest\.json beside it"):
        check_shards([one, two])


def test_a_csv_goes_on_with_its_own_sweep_only(tmp_path):
    path = _manifest(tmp_path / "r.csv", _tasks())
    of = Manifest.of(_tasks(), seeded=Seeded(5, 100, Shard(1, 2)), limits=Limits(10**6))
    of.claim(path)
    assert Manifest.read(path).limits == {"max_shots": 10**6, "max_errors": None}
    with pytest.raises(ManifestError, match=r"begun with another seed \(5, now 6\)"):
        replace(of, seed=6).claim(path)
    with pytest.raises(ManifestError, match="begun with another code"):
        replace(of, code=of.code | {"stim": "0.1"}).claim(path)
    path.unlink()
    with pytest.raises(ManifestError, match=r"begun with another seed \(5, now 6\)"):
        replace(of, seed=6).claim(path)


def test_workers_with_other_code_are_refused():
    require_versions(code_versions())
    with pytest.raises(ValueError, match=r"has pymatching [0-9.]+, the sweep is of 0\.1; install the same"):
        require_versions(code_versions() | {"pymatching": "0.1"})


@pytest.mark.slow
def test_processes_count_the_same_shots(tmp_path, whole):
    assert _counts(_collect(tmp_path / "r.csv", local_workers(2))) == whole


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_cluster_counts_the_same_shots_though_a_worker_is_killed(tmp_path, whole):
    """dask.distributed, workers in processes of their own: a nanny starts another for one that is killed."""
    from distributed.deploy.local import LocalCluster

    killed = []
    opened: Any = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", host="127.0.0.1")
    with opened as cluster:
        address = cluster.scheduler_address.replace("tcp://", "dask://")

        def kill_one(progress):
            if not killed:
                killed.append(cluster.workers[0].process.process.pid)
                os.kill(killed[0], signal.SIGKILL)

        found = _collect(tmp_path / "r.csv", cluster_workers(address, jobs=None), on_progress=kill_one)
        assert killed
        assert _counts(found) == whole


_CLUSTER = """
import time, distributed
if __name__ == "__main__":
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=":0", host="127.0.0.1"
    )
    print(cluster.scheduler_address.replace("tcp://", "dask://"), flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_cluster_that_loses_its_scheduler_is_one_line(tmp_path):
    """What was counted stays, in whole blocks."""
    import dask.config

    script = tmp_path / "cluster.py"
    script.write_text(_CLUSTER)
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "2s"}),
        subprocess.Popen(
            [sys.executable, script], stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as process,
    ):
        assert process.stdout is not None
        address = process.stdout.readline().strip()

        def kill(progress):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        path = tmp_path / "lost.csv"
        with pytest.raises(RunFailedError, match=r"what was counted is in .*lost\.csv, and the same command"):
            _collect(path, cluster_workers(address, jobs=None), limits=Limits(10**6), on_progress=kill)
    counted = sum(s.shots for s in read_results(path).values())
    assert 0 < counted < 10**6
    assert counted % 100 == 0


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("dask://127.0.0.1:9", "no dask scheduler answers at dask://127.0.0.1:9"),
        ("pbs", "--cluster pbs is no cluster; give dask://HOST:PORT of a scheduler, or slurm"),
        ("slurm", "--cluster slurm needs --workers"),
    ],
)
def test_clusters_that_are_not_there_are_one_line(monkeypatch, address, message):
    monkeypatch.setattr("sims.sweeps.executors._CONNECT_SECONDS", 1)
    with pytest.raises(ValueError, match=message), cluster_workers(address, jobs=None):
        pass
