"""A tiny stage that the tests of training share."""

from pathlib import Path

import pytest
import torch

from predecoder.network import Network
from predecoder.training import StageConfig, load_config, train_stage

_TOML = """
name = "tiny"
seed = 5
checkpoint_seconds = 0
[network]
channels = 8
residual_blocks = 1
[optimizer]
steps = 6
warmup_steps = 2
[data]
labels = "sampled"
blocks_per_batch = 64
workers = 0
[[tasks]]
distance = 3
rounds = 3
p = 0.02
orientations = ["XV", "ZH"]
"""


def trained_in_parts(
    stage: StageConfig, folder: Path, *, stop: int, first: StageConfig | None = None
) -> Network:
    """What comes out of a run that an exception ends after a step, and that then goes on.

    Args:
        first: what the run begins as, where that is another configuration.
    """

    def interrupt(report) -> None:
        if report.step == stop:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train_stage(first or stage, folder, device=torch.device("cpu"), on_step=interrupt)
    return train_stage(stage, folder, device=torch.device("cpu"))


@pytest.fixture
def stage(tmp_path: Path) -> StageConfig:
    """Six steps of a small network on d = 3."""
    path = tmp_path / "tiny.toml"
    path.write_text(_TOML)
    (stage,) = load_config(path).stages
    return stage
