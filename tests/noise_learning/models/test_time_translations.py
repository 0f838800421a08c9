"""Time is the third coordinate; those after it are annotations, and with fewer the last one is time."""

from __future__ import annotations

import numpy as np
import pytest
import stim

import qec
from noise_learning import Structure, has_coordinates
from noise_learning.models.location_classes import location_keys
from noise_learning.models.time_translations import time_translation_classes


@pytest.fixture(scope="module")
def dem() -> stim.DetectorErrorModel:
    circuit = qec.memory_circuit(distance=3, rounds=5, noise=qec.depolarizing(0.01))
    return circuit.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True).flattened()


def with_annotations(dem: stim.DetectorErrorModel) -> stim.DetectorErrorModel:
    """The same model with a fourth and a fifth coordinate for every detector."""
    changed = stim.DetectorErrorModel()
    for instruction in dem:
        if isinstance(instruction, stim.DemInstruction) and instruction.type == "detector":
            x, y, t = instruction.args_copy()
            changed.append("detector", [x, y, t, (x + y) % 4, t], list[object](instruction.targets_copy()))
        else:
            changed.append(instruction)
    return changed


def test_coordinates_beyond_the_third_are_annotations(dem: stim.DetectorErrorModel) -> None:
    plain, annotated = Structure.from_dem(dem), Structure.from_dem(with_annotations(dem))
    assert has_coordinates(annotated)
    np.testing.assert_array_equal(time_translation_classes(plain), time_translation_classes(annotated))
    assert location_keys(plain) == location_keys(annotated)


def test_a_repetition_code_has_time_last() -> None:
    circuit = stim.Circuit.generated(
        "repetition_code:memory", distance=3, rounds=8, after_clifford_depolarization=0.01
    )
    structure = Structure.from_circuit(circuit)
    assert {len(c) for c in structure.coordinates} == {2}
    assert np.bincount(time_translation_classes(structure)).max() >= 5


def test_ends_may_be_taken_together(dem: stim.DetectorErrorModel) -> None:
    structure = Structure.from_dem(dem)
    apart, together = (time_translation_classes(structure, ends_apart=flag) for flag in (True, False))
    assert together.max() < apart.max()
    assert len(set(zip(apart.tolist(), together.tolist(), strict=True))) == apart.max() + 1  # coarser


def test_sets_that_stand_for_several_are_alone(dem: stim.DetectorErrorModel) -> None:
    structure = Structure.from_dem(dem)
    middle = structure.num_detectors // 2
    without = structure.without([middle])
    classes = time_translation_classes(without)
    sizes = np.bincount(classes)
    assert without.merged.any()
    assert (sizes[classes[without.merged]] == 1).all()
    assert all(middle not in members for members in without.detector_sets)
    np.testing.assert_allclose(
        (without.membership @ np.ones(len(structure.mechanisms))).sum(), (without.set_of >= 0).sum()
    )
