"""What verbs that run a network say of their own choices."""

from __future__ import annotations

import dataclasses

import pytest

from sims.cli import network_flags
from sims.cli.network_flags import NetworkFlags

CONSISTENT = "--policy consistent has fewer errors on whole shots"


@pytest.mark.parametrize(
    ("flags", "decoder", "said"),
    [
        ({"weights": "realtime-matching"}, "predecoder+pymatching", True),
        ({"weights": "realtime-matching"}, "cascade:pymatching,predecoder+pymatching@1%", True),
        ({"weights": "realtime-matching", "policy": "threshold"}, "predecoder+pymatching", False),
        ({"weights": "realtime-matching"}, "predecoder+pymatching-correlated", False),
        ({"weights": "realtime-matching"}, "neural-matching", False),
        ({"weights": "realtime"}, "predecoder+pymatching", False),
    ],
)
def test_a_threshold_on_logits_that_are_to_be_matched_is_said_once(
    flags: dict, decoder: str, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    network_flags._say_consistent.cache_clear()
    chosen = dataclasses.replace(NetworkFlags(device="cpu"), **flags)
    built = [chosen.build(decoder)] * 2
    for _ in range(2):
        chosen.say_choices(built)
    assert capsys.readouterr().err.count(CONSISTENT) == said


def test_opinions_that_no_decoder_asks_for_are_refused() -> None:
    asked = NetworkFlags(opinions=("trellis",))
    with pytest.raises(ValueError, match="--opinions trellis are asked by neural-ensemble alone"):
        asked.check_opinions(["pymatching", "neural-matching"])
    for names in (["pymatching", "neural-ensemble"], ["cascade:pymatching,neural-ensemble@1%"]):
        asked.check_opinions(names)
    NetworkFlags().check_opinions(["pymatching"])


def test_a_cascade_that_cannot_be_is_named() -> None:
    with pytest.raises(ValueError, match=r"decoder 'cascade:pymatching,trellis@100%': fraction=1\.0 of"):
        NetworkFlags(device="cpu").build("cascade:pymatching,trellis@100%")
