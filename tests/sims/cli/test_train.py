"""`qecpipe train` under torchrun."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sims.cli import main

_TOML = """
name = "tiny"
[network]
channels = 8
residual_blocks = 1
[optimizer]
steps = 3
[data]
labels = "sampled"
blocks_per_batch = 64
workers = 0
[[tasks]]
distance = 3
rounds = 3
"""


@pytest.mark.slow
def test_torchrun_starts_processes_that_train_together(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Weights, card and log of one run; going on with another number of processes is refused in one line."""
    (tmp_path / "tiny.toml").write_text(_TOML)
    arguments = ["train", "--config", str(tmp_path / "tiny.toml"), "--work-dir", str(tmp_path)]
    arguments += ["--evaluation-shots", "0", "--device", "cpu"]
    qecpipe = str(Path(sys.executable).with_name("qecpipe"))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*torchrun, "--no-python", qecpipe, *arguments], check=True, timeout=300)
    assert capfd.readouterr().out.count("sha256:") == 1
    card = json.loads((tmp_path / "tiny.json").read_text())
    steps = [json.loads(line) for line in (tmp_path / "tiny" / "log.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == [1, 2, 3]
    (stage,) = card["training"]
    assert (stage["stage"], stage["processes"], stage["samples"]) == ("tiny", 2, steps[-1]["samples"])
    assert main(arguments) == 2
    assert "was made with processes=2, this run has 1; start 2 by torchrun" in capfd.readouterr().err
