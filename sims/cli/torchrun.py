"""The processes that torchrun started: here, on the command line, its environment is read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from predecoder.training import Processes

__all__ = ["joined_processes"]

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@contextmanager
def joined_processes(device: torch.device) -> Iterator[Processes]:
    """This process among torchrun's, connected until the block ends, each with a GPU of its own on CUDA.

    Without torchrun, this process alone.

    Raises:
        ValueError: there are fewer GPUs than processes.
    """
    if any(name not in os.environ for name in _VARIABLES):
        yield Processes()
        return
    rank, world_size, local, host, port = (os.environ[name] for name in _VARIABLES)
    if device.type == "cuda":
        if int(local) >= torch.cuda.device_count():
            raise ValueError(
                f"process {local} of this machine has no GPU, torch finds {torch.cuda.device_count()}; "
                "lower torchrun's --nproc-per-node or give --device cpu"
            )
        torch.cuda.set_device(int(local))
    processes = Processes(int(rank), int(world_size))
    with processes.joined(f"tcp://{host}:{port}", device):
        yield processes
