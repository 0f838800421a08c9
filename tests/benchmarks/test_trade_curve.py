"""The trade curve: every setting of a policy on the same shots, timed beside whole shots."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from predecoder import load_bundle
from predecoder.correction import AbstainPolicy, ConsistentPolicy, Policies, ThresholdPolicy
from predecoder.training import EvaluationCase, PairedCounts, PairedDecoders
from qec import DecodingProblem
from scripts.benchmarks.trade_curve import cell, table
from scripts.benchmarks.trade_curve.dial import Dial
from scripts.benchmarks.turns import in_turns
from sims.sweeps import decoder_dem

CIRCUIT = EvaluationCase(5, 0.006, "x", 0, perfect_last_round=True).circuit()


def test_a_second_run_decodes_nothing_and_counts_are_those_of_the_accuracy_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--weights", "realtime", "--distance", "5", "--shots", "128", "--chunk-shots", "64"]
    flags += ["--policy", "threshold", "consistent", "--decoder", "pymatching", "--device", "cpu"]
    monkeypatch.setattr(
        "sys.argv", ["table", "--out", str(tmp_path), "--results", str(tmp_path / "results"), *flags]
    )
    table.main()
    first = capsys.readouterr().out
    monkeypatch.setattr(cell.Cell, "decode", lambda *_, **__: pytest.fail("nothing is left to decode"))
    table.main()
    assert capsys.readouterr().out == first
    rows = json.loads((tmp_path / "results" / "trade_curve.json").read_text())
    assert {row["policy"]: row["thresholds"] for row in rows} == {
        "threshold": "commit 1",
        "consistent": "2 nats",
    }

    bundle = load_bundle("realtime")
    for row in rows:
        decoders = PairedDecoders(
            bundle.network,
            bundle.policies,
            decoder_dem(CIRCUIT),
            device=torch.device("cpu"),
            decoders=("predecoder+pymatching",),
            policy=row["policy"],
        )
        expected = PairedCounts()
        for number in range(2):
            sampler = CIRCUIT.compile_detector_sampler(seed=table.SEED + 50_000 + number)
            expected += decoders.count(*sampler.sample(64, separate_observables=True, bit_packed=True))[
                "predecoder+pymatching"
            ]
        assert PairedCounts(**row["counts"]) == expected
        assert row["measured"]["processor"]


@pytest.mark.parametrize("flag", ["--shots", "--chunk-shots"])
def test_no_shots_are_refused(flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["table", "--out", str(tmp_path), flag, "0"])
    with pytest.raises(SystemExit, match=f"{flag} 0.*have to be 1 or more"):
        table.main()


def test_times_are_compared_within_a_chunk() -> None:
    counts = {"shots": 4, "errors_plain": 1, "events": 6, "residual_events": 2}
    chunks: list[cell.Found] = [
        [{"seconds": [6.0, 2.0, 1.0], "counts": [counts, {"shots": 4}]}],
        [{"seconds": [8.0, 1.0, 2.0], "counts": [counts, {"shots": 4}]}],
    ]
    settings = [["consistent", "2 nats"], ["abstain", "5 nats"]]
    first, second = cell.rows_of({"d": 9, "decoders": ["pymatching"], "settings": settings}, chunks)
    assert first["times_faster"] == [4.25, 5.5, 6.75]  # of 3 and 8
    assert second["times_faster"] == [4.5, 5.0, 5.5]  # of 6 and 4
    assert (second["decoder"], second["policy"], second["thresholds"]) == ("pymatching", *settings[1])
    assert PairedCounts(**first["counts"]) == PairedCounts(
        shots=8, errors_plain=2, events=12, residual_events=4
    )


def test_the_dial_turns_what_it_is_given_and_leaves_the_rest_to_the_weights() -> None:
    own = Policies(small_patch=ThresholdPolicy(commit=1.0), consistent=ConsistentPolicy(3.0))
    problem = DecodingProblem.from_dem(decoder_dem(CIRCUIT))

    def said(dial: Dial, *names) -> list[str]:
        return [setting.thresholds(problem) for setting in dial.settings(names, own)]

    assert said(Dial(), "threshold", "consistent", "abstain") == ["commit 1", "3 nats", "1 nats"]
    turned = Dial(commit=(0, 2), propose=(-1, 1), leave_above=(0, float("inf")), abstain_scale=(0.5, 2))
    rules = ["commit 0, propose -1", "commit 2, propose -1", "commit 2, propose 1"]
    assert said(turned, "threshold") == rules
    assert said(turned, "complete") == rules
    assert said(turned, "consistent", "abstain") == ["0 nats", "inf nats", "0.5 nats", "2 nats"]
    for refused in ({"commit": (0,), "propose": (2,)}, {"propose": (-1,)}):
        with pytest.raises(ValueError, match="propose"):
            Dial(**refused)
    (setting,) = Dial(abstain_scale=(2,)).settings(["abstain"], own)
    assert setting.policies == replace(own, abstain=AbstainPolicy(2))


@pytest.mark.parametrize("first", [-1, 4])
def test_turns_begin_with_one_call_and_results_keep_their_order(first: int) -> None:
    order: list[str] = []
    seconds, results = in_turns([lambda name=name: order.append(name) or name for name in "abc"], first=first)
    assert results == list("abc")
    assert "".join(order) == {-1: "cab", 4: "bca"}[first]
    assert min(seconds) > 0
