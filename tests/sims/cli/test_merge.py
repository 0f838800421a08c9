"""`qecpipe sweep --shard` and `qecpipe merge`: the parts of a sweep, put together, are the sweep."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import sinter

from sims.sweeps import read_results

from ..conftest import RunCli

SWEEP = ("sweep", "--distance", 3, "--p", 0.01, "--basis", "x", "--decoder", "pymatching", "--workers", 1)
SEEDED = (*SWEEP, "--seed", 7, "--block-shots", 100, "--max-shots", 900)


def _counts(path: Path) -> list[tuple[int, int, int]]:
    return [(s.shots, s.errors, s.custom_counts["detection_events"]) for s in read_results(path).values()]


@pytest.mark.slow
def test_shards_make_up_the_sweep(run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert run_cli(*SEEDED, "--out", "whole")[0] == 0
    parts = [Path(f"part/results-{k}-of-2.csv") for k in (1, 2)]
    for k in (1, 2):
        code, out, _ = run_cli(*SEEDED, "--shard", f"{k}/2", "--out", "part")
        assert code == 0
        assert f"shard {k}/2" in out
    assert run_cli("merge", *parts, "--out", "all")[0] == 0
    assert _counts(Path("all/results.csv")) == _counts(Path("whole/results.csv"))
    combined = sinter.read_stats_from_csv_files(*parts)
    merged = sinter.read_stats_from_csv_files(io.StringIO(Path("all/results.csv").read_text()))
    assert merged == combined

    before = Path("all/results.csv").read_text()
    for arguments, message in (
        (("merge", *parts, "--out", "all"), "exists and would be replaced; choose another --out"),
        (("merge", parts[0], "--out", "half"), "shard 2/2 is missing"),
        ((*SWEEP, "--max-shots", 2000, "--out", "all"), "is of a sweep with --seed"),
        ((*SEEDED, "--seed", 8, "--out", "whole"), "begun with another seed (7, now 8)"),
        (("fit", *parts, "all/results.csv"), "count the same shots; give one of them"),
        (("plot", "all/results.csv", "whole/results.csv"), "count the same shots; give one of them"),
    ):
        code, _, stderr = run_cli(*arguments)
        assert code == 2
        assert message in stderr
        assert len(stderr.splitlines()) == 1
    assert Path("all/results.csv").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--shard", "2/8"), "--shard 2/8 needs --seed"),
        (("--cluster", "dask://here:1"), "--cluster dask://here:1 needs --seed"),
        (("--seed", "1", "--shard", "9/8"), "shard 9/8 does not exist"),
        (("--seed", "-1"), "seed=-1 is not an integer from 0"),
        (
            ("--seed", "1", "--cluster", "dask://here:1", "--workers", "3"),
            "--workers 3 has no meaning with --cluster",
        ),
    ],
)
def test_bad_flags_are_one_line(run_cli: RunCli, tmp_path: Path, arguments: tuple[str, ...], message: str):
    code, _, stderr = run_cli("sweep", "--distance", 3, "--out", tmp_path / "out", *arguments)
    assert code == 2
    assert message in stderr
    assert len(stderr.splitlines()) == 1
