"""Who decodes blocks: processes here, or the workers of a dask cluster."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sims.sweeps.workers import WorkerDiedError, follow_parent

__all__ = ["SLURM", "Workers", "cluster_workers", "local_workers"]

DASK = "dask://"
SLURM = "slurm"
_RETRIES = 3
"""How often a block is given to another worker of a cluster when the one that had it is gone."""
_CONNECT_SECONDS = 20
_WORKER_SECONDS = 600
"""How long jobs may queue before the first worker is there."""
_ASK_SECONDS = 5.0
_CLOSE_SECONDS = 5


@dataclass(frozen=True)
class Workers:
    """Those that decode.

    Attributes:
        executor: runs functions on them.
        count: how many things they can do at a time now; 1 at least.
        check: raises `WorkerDiedError` where nothing more will come from them.
    """

    executor: Executor
    count: Callable[[], int]
    check: Callable[[], None] = lambda: None

    @contextlib.contextmanager
    def clear_errors(self, csv_path: Path) -> Iterator[None]:
        """Say in one line what was lost, and what was not."""
        kept = f"what was counted is in {csv_path}, and the same command goes on from there"
        try:
            yield
        except BrokenProcessPool as error:
            raise WorkerDiedError(
                "a worker process was killed, most likely because the machine ran out of memory; give fewer "
                f"--workers; {kept}"
            ) from error
        except WorkerDiedError as error:
            raise WorkerDiedError(f"{error}; {kept}") from error
        except CancelledError as error:
            raise WorkerDiedError(f"the cluster gave up blocks of this sweep; {kept}") from error
        except Exception as error:
            if type(error).__name__ != "KilledWorker":
                raise
            raise WorkerDiedError(
                f"workers of the cluster were killed {_RETRIES + 1} times over the same blocks, most likely "
                f"because their machines ran out of memory; {kept}"
            ) from error


@contextlib.contextmanager
def local_workers(count: int, prepare: Callable[[], None] | None = None) -> Iterator[Workers]:
    """Processes of this machine; `prepare`, which can be pickled, is called in each as it starts."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(prepare,)) as pool:
        try:
            yield Workers(pool, lambda: count)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin(prepare: Callable[[], None] | None) -> None:
    follow_parent()
    if prepare is not None:
        prepare()


@contextlib.contextmanager
def cluster_workers(address: str, *, jobs: int | None) -> Iterator[Workers]:
    """Workers of a dask cluster that is there (`dask://HOST:PORT`) or that Slurm is asked for (`slurm`).

    Args:
        jobs: of Slurm, each as dask's configuration describes it.

    Raises:
        ValueError: an address of another kind, or no scheduler or worker there in time.
        ImportError: dask is not installed.
    """
    client, close = _client(address, jobs)
    try:
        _wait_for_a_worker(client, address)
        looks = _Looks(client, address)
        executor = client.get_executor(pure=False, retries=_RETRIES)
        yield Workers(executor, looks.threads, looks.require_scheduler)
    finally:
        for end in close:
            end()


class _Looks:
    """What is known of a cluster; its scheduler is asked now and then."""

    def __init__(self, client: Any, address: str) -> None:
        self._client, self._address = client, address
        self._threads, self._asked = 1, -math.inf

    def threads(self) -> int:
        """Of all workers that are there now, as far as is known."""
        if time.monotonic() - self._asked > _ASK_SECONDS:
            self.require_scheduler()
            try:
                self._threads = max(1, sum(self._client.nthreads().values()))
            except OSError as error:
                raise self._gone(str(error)) from error
            self._asked = time.monotonic()
        return self._threads

    def require_scheduler(self) -> None:
        """Raise `WorkerDiedError` where there is none any more."""
        if self._client.status != "running":
            raise self._gone(self._client.status)

    def _gone(self, why: str) -> WorkerDiedError:
        return WorkerDiedError(f"the scheduler of {self._address} is gone ({why})")


def _client(address: str, jobs: int | None) -> tuple[Any, list[Callable[[], Any]]]:
    """A client and what closes it, last opened first."""
    try:
        import distributed
    except ImportError:
        raise ImportError(f"--cluster {address} needs dask: pip install 'qecpipe[cluster]'") from None
    if address.startswith(DASK):
        place = "tcp://" + address.removeprefix(DASK)
        try:
            client = distributed.Client(place, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"no dask scheduler answers at {address}; start one with: dask scheduler"
            ) from error
        return client, [lambda: client.close(timeout=_CLOSE_SECONDS)]
    if address != SLURM:
        raise ValueError(
            f"--cluster {address} is no cluster; give {DASK}HOST:PORT of a scheduler, or {SLURM}"
        )
    if jobs is None:
        raise ValueError("--cluster slurm needs --workers, the number of jobs to ask for")
    from dask_jobqueue.slurm import SLURMCluster  # its configuration: ~/.config/dask/jobqueue.yaml

    cluster = SLURMCluster()
    cluster.scale(jobs=jobs)
    client = distributed.Client(cluster, set_as_default=False)
    return client, [lambda: client.close(timeout=_CLOSE_SECONDS), cluster.close]


def _wait_for_a_worker(client: Any, address: str) -> None:
    import distributed

    try:
        client.wait_for_workers(1, timeout=_WORKER_SECONDS if address == SLURM else _CONNECT_SECONDS)
    except (TimeoutError, distributed.TimeoutError):
        raise ValueError(f"the cluster {address} has no worker; start one with: dask worker") from None
