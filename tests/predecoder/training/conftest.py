"""A tiny stage that the tests of training share."""

from pathlib import Path

import pytest

from predecoder.training import StageConfig, load_config

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


@pytest.fixture
def stage(tmp_path: Path) -> StageConfig:
    """Six steps of a small network on d = 3."""
    path = tmp_path / "tiny.toml"
    path.write_text(_TOML)
    (stage,) = load_config(path).stages
    return stage
