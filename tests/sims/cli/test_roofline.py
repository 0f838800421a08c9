"""`qecpipe roofline`: tables and JSON say the same, and errors are one line."""

import json

import pytest

from sims.cli import main


def test_json_has_the_check_and_every_stage(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["roofline", "--distance", "5", "--batch", "1", "64", "--card", "H100", "A100"]
    assert main([*arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["believed"] is True
    assert len(printed["check"]) == 30
    rows = printed["predictions"]
    assert [(row["card"], row["batch"]) for row in rows] == [
        ("H100", 1),
        ("A100", 1),
        ("H100", 64),
        ("A100", 64),
    ]
    for row in rows:
        total = sum(stage["us"] for stage in row["stages"])
        assert row["alone_us"] == pytest.approx(total + 12)
        assert row["sustained_us_per_round"] == pytest.approx(max(row["us_per_round"].values()))


def test_tables_have_what_json_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["roofline", "--distance", "13", "--batch", "1024", "--card", "H100"]) == 0
    text = capsys.readouterr().out
    assert "within a factor of 2 of every measured time" in text
    assert "2.397" in text
    assert "neural-matching with default in bfloat16, kernels of torch" in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--card", "RTX"], "card 'RTX' is unknown"),
        (["--precision", "fp8", "--card", "A100"], "no card of --card A100 has --precision fp8"),
        (["--batch", "0"], "--batch is 0"),
        (["--weights", "nothing"], "weights 'nothing' are neither"),
        (["--distance", "1"], "distance=1"),
    ],
)
def test_errors_are_one_line(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["roofline", *arguments]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert expected in printed
