"""Mechanisms of other numbers of rounds are those of the circuits that have them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import stim

import qec
from noise_learning import Structure, number_of_rounds, with_rounds


@cache
def _memory(rounds: int, **options: Any) -> Structure:
    return Structure.from_circuit(
        qec.memory_circuit(distance=3, rounds=rounds, noise=qec.depolarizing(0.005), **options)
    )


@cache
def _repetition(rounds: int) -> Structure:
    return Structure.from_circuit(
        stim.Circuit.generated(
            "repetition_code:memory", distance=3, rounds=rounds, after_clifford_depolarization=0.01
        )
    )


def _rates(structure: Structure) -> dict[object, float]:
    return {
        (m.detectors, m.observables, frozenset(m.components)): p
        for m, p in zip(structure.mechanisms, structure.prior.tolist(), strict=True)
    }


@pytest.mark.parametrize("options", [{}, {"basis": "z"}, {"perfect_last_round": True}, {"reset": False}])
@pytest.mark.parametrize(("before", "after"), [(6, 9), (9, 6)])
def test_they_are_those_of_the_circuit(options: dict[str, Any], before: int, after: int) -> None:
    made, true = with_rounds(_memory(before, **options), after), _memory(after, **options)
    assert number_of_rounds(made) == after
    assert made.coordinates == true.coordinates
    assert made.num_observables == true.num_observables
    assert _rates(made) == pytest.approx(_rates(true))
    assert made.subsets.digest == true.subsets.digest


def test_no_round_of_the_middle_has_to_be_left() -> None:
    assert _rates(with_rounds(_memory(8), 3)).keys() == _rates(_memory(3)).keys()


def test_a_repetition_code_has_time_last() -> None:
    assert _rates(with_rounds(_repetition(5), 11)) == pytest.approx(_rates(_repetition(11)))


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(ValueError, match="8 rounds say what mechanisms 3 and more rounds have, not 2"):
        with_rounds(_memory(8), 2)
    with pytest.raises(ValueError, match=r"no other number of rounds have, not 9; give .* more than 3"):
        with_rounds(_memory(3), 9)
    bare = stim.DetectorErrorModel("error(0.1) D0 D1\nerror(0.1) D1\ndetector(0, 0, 1) D1")
    with pytest.raises(ValueError, match="D0 has no coordinates"):
        number_of_rounds(Structure.from_dem(bare))
    turned = stim.DetectorErrorModel("error(0.1) D0 D1\ndetector(0, 0, 1) D0\ndetector(0, 0, 0) D1")
    with pytest.raises(ValueError, match="D1 is at time 0, before D0 at 1"):
        with_rounds(Structure.from_dem(turned), 5)


def test_mechanisms_that_no_detector_sees_stay() -> None:
    dem = qec.memory_circuit(distance=3, rounds=6, noise=qec.depolarizing(0.005)).detector_error_model(
        decompose_errors=True
    )
    dem.append("error", [0.125], [stim.target_logical_observable_id(0)])
    made = with_rounds(Structure.from_dem(dem), 8)
    unseen = np.flatnonzero(made.set_of < 0)
    assert made.prior[unseen].tolist() == [0.125]
