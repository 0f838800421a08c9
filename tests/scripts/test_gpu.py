"""The scripts for a GPU run without one, go on after failures, and leave JSON whatever happens."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cuda.qecpipe.cost import card_called
from predecoder import load_network
from predecoder.training import load_config
from scripts.gpu import check
from scripts.gpu.kit import Deadline, Report
from scripts.gpu.plan import plan
from scripts.gpu.train import CONFIG

_ROOT = Path(__file__).resolve().parents[2]
_GPU = _ROOT / "scripts" / "gpu"


@pytest.mark.parametrize("script", ["check.sh", "train.sh", "prepare.sh", "wheels.sh"])
def test_shell_scripts_are_shell(script: str) -> None:
    subprocess.run(["bash", "-n", str(_GPU / script)], check=True)


def test_a_report_has_every_row_so_far(tmp_path: Path) -> None:
    report = Report(tmp_path / "new" / "report.json", about={"card": "none"})
    assert json.loads((tmp_path / "new" / "report.json").read_text()) == {
        "about": {"card": "none"},
        "rows": [],
    }
    report.add(d=5, us=1.25)
    report.add(d=9, error="no")
    rows = json.loads((tmp_path / "new" / "report.json").read_text())["rows"]
    assert rows == [{"d": 5, "us": 1.25}, {"d": 9, "error": "no"}]


def test_steps_go_on_after_one_fails_hangs_or_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def steps(device: str, out: str, *, small: bool):
        assert (device, out, small) == ("cpu", str(tmp_path), True)
        yield check.Step("fails", [sys.executable, "-c", "raise SystemExit(3)"], 0.3)
        yield check.Step("hangs", ["sleep", "60"], 0.1)
        yield check.Step("absent", ["nothing-of-this-name"], 0.2)
        yield check.Step("needs", ["true"], 0.2, "nothing-of-this-name")
        yield check.Step("works", ["true"], 0.2)

    monkeypatch.setattr(check, "_steps", steps)
    given = ["--device", "cpu", "--small", "--out", str(tmp_path), "--seconds", "8"]
    monkeypatch.setattr(sys, "argv", ["check", *given])
    assert check.main() == 3
    rows = json.loads((tmp_path / "check.json").read_text())["rows"]
    outcomes = {row["step"]: row["outcome"] for row in rows}
    assert outcomes.pop("absent").startswith("did not start")
    assert outcomes == {
        "fails": "failed with code 3",
        "hangs": "out of time",
        "needs": "not installed here",
        "works": "passed",
    }


def test_what_a_step_leaves_over_is_the_next_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But what is kept for later ones stays theirs."""
    allowed = []

    def run(step: check.Step, seconds: float) -> tuple[str, float]:
        allowed.append(seconds)
        return "passed", 0.0

    monkeypatch.setattr(check, "_run", run)
    monkeypatch.setattr(sys, "argv", ["check", "--device", "cpu", "--out", str(tmp_path), "--seconds", "100"])
    assert check.main() == 0
    assert allowed == pytest.approx(
        [20, 33, 73, 95, 100], abs=2
    )  # 3 are left over, as there is no GPU to look for


def test_all_steps_fit_their_time() -> None:
    steps = list(check._steps("cuda", "out", small=False))
    assert [step.name for step in steps] == ["usable", "tests", "sanitizer", "latency", "ler", "model"]
    assert sum(step.share for step in steps) == pytest.approx(1)
    usable = subprocess.run(steps[0].command, cwd=_ROOT, capture_output=True, text=True, check=False)
    assert usable.returncode == int(not torch.cuda.is_available())
    assert "DeviceStatus(reason=" in usable.stdout
    assert Deadline(5.0).left == pytest.approx(5, abs=1)


def test_every_test_that_needs_a_gpu_is_checked_on_one() -> None:
    marked = {
        str(path.relative_to(_ROOT))
        for path in (_ROOT / "tests").rglob("test_*.py")
        if "pytest.mark." + "gpu" in path.read_text()
    }
    assert marked == set(check.GPU_TESTS)


def test_the_recipe_is_one_stage_that_the_trainer_labels() -> None:
    """As --minutes needs it; and its network is that of the weights that it begins with."""
    (stage,) = load_config(_ROOT / CONFIG).stages
    assert stage.optimizer.decay_fraction <= 0.75
    assert (stage.data.distilled_by, stage.init) == ("trainer", "accurate-matching")
    assert (stage.loss, stage.class_loss.mined_by) == ("logical-class", "trainer")
    assert stage.init is not None
    assert stage.network == load_network(stage.init).config
    assert {task.shots for task in stage.tasks} == {"mined"}
    assert {task.distance for task in stage.tasks} == {5, 9, 13, 17}
    assert {task.noise for task in stage.tasks} == {"depolarizing", "randomized"}
    assert {task.perfect_last_round for task in stage.tasks} == {False, True}
    assert (min(task.p for task in stage.tasks), max(task.p for task in stage.tasks)) == (0.002, 0.008)


def test_ten_minutes_suffice_for_the_recipe() -> None:
    """By the cost model: hundreds of steps with hundreds of mined shots of d = 13, card and cores busy."""
    (stage,) = load_config(_ROOT / CONFIG).stages
    found = plan(stage, card_called("H100"), cores=16, seconds=6.4 * 60)
    assert found.steps > 500
    assert found.steps == pytest.approx(stage.optimizer.steps, rel=0.5)
    assert sum(n for task, n in zip(stage.tasks, found.shots, strict=True) if task.distance == 13) > 500
    assert sum(n for task, n in zip(stage.tasks, found.shots, strict=True) if task.distance == 17) > 100
    assert max(found.card_busy, found.cores_busy) == 1
    assert min(found.card_busy, found.cores_busy) > 0.6
    assert stage.data.workers + stage.class_loss.threads == 16
    twice = plan(stage, card_called("H100"), cores=16, seconds=2 * 6.4 * 60)
    assert twice.steps == pytest.approx(2 * found.steps)
    assert plan(stage, card_called("H100"), cores=4, seconds=60).card_busy < found.card_busy


@pytest.mark.slow
def test_both_scripts_rehearsed_on_a_cpu(tmp_path: Path) -> None:
    """Latencies, precisions and the model of two cells; some steps of training, and its errors."""
    environment = os.environ | {"OUT": str(tmp_path), "OMP_NUM_THREADS": "1"}
    arguments = ["--device", "cpu", "--small"]
    only = ["--only", "latency", "ler", "model"]
    run = subprocess.run([_GPU / "check.sh", *arguments, *only], env=environment, check=False)
    assert run.returncode == 0
    rows = json.loads((tmp_path / "check.json").read_text())["rows"]
    assert {row["step"]: row["outcome"] for row in rows} == dict.fromkeys(
        ("latency", "ler", "model"), "passed"
    )
    latency = json.loads((tmp_path / "latency.json").read_text())["rows"]
    decoders = {row["decoder"] for row in latency}
    assert {"pymatching", "pymatching-correlated", "engine float32", "neural-matching bfloat16"} <= decoders
    assert all(row["us_per_round"] > 0 for row in latency)
    ler = json.loads((tmp_path / "ler.json").read_text())["rows"]
    assert {row["precision"] for row in ler} >= {"float32", "bfloat16"}
    (left_out,) = (row for row in ler if "left_out" in row)
    assert left_out["left_out"].startswith("weights accurate: precision='float16' is computed on GPUs only")
    assert all(row["shots"] > 0 for row in ler if "left_out" not in row)
    model = json.loads((tmp_path / "model.json").read_text())
    assert (model["is_a_proof"], model["card"]) == (False, "H100")
    assert model["rows"]

    trained = [_GPU / "train.sh", "--device", "cpu", "--small", "--seconds", "30", "--minutes", "0.05"]
    assert subprocess.run(trained, env=environment, check=False).returncode == 0
    assert not (tmp_path / "work").exists()
    for name in ("checkpoint.pt", "averaged.safetensors"):
        assert (tmp_path / name).stat().st_size < 16 << 20
    rows = json.loads((tmp_path / "train.json").read_text())["rows"]
    assert rows[-1]["shots"] >= 512
    assert 0 < rows[-1]["before"] < 100
    assert any("waited_for_matchings" in row for row in rows)
