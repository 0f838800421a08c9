"""Labels explain the syndrome exactly, and the teacher is correlated PyMatching."""

import numpy as np
import pymatching
import pytest

from predecoder.training.labels import ObservableConditionedLabels, SampledLabels, TeacherLabels


@pytest.mark.parametrize("kind", [SampledLabels, TeacherLabels, ObservableConditionedLabels])
@pytest.mark.parametrize(("size", "basis"), [((3, 1), "x"), ((3, 4), "z"), ((5, 5), "x")])
def test_labels_annihilate_the_syndrome(model, kind, size, basis):
    m = model(*size, basis)
    packed, labels, _ = kind(m.problem).sample(200, seed=3)
    detections = (m.moves.matrix.astype(int) @ labels.T).T % 2
    assert np.array_equal(np.packbits(detections, axis=1, bitorder="little"), packed)
    assert labels.any()


@pytest.mark.parametrize("kind", [SampledLabels, TeacherLabels, ObservableConditionedLabels])
def test_labels_are_reproducible_by_seed(model, kind):
    m = model(3, 3)
    source = kind(m.problem)
    first, again, other = (source.sample(50, seed=s) for s in (5, 5, 6))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("kind", [SampledLabels, ObservableConditionedLabels])
@pytest.mark.parametrize(("basis", "orientation"), [("x", "XV"), ("z", "XV"), ("x", "ZH")])
def test_labels_that_know_the_truth_flip_the_true_observable(model, kind, basis, orientation):
    m = model(5, 5, basis, orientation)
    packed, labels, _ = kind(m.problem).sample(300, seed=9)
    same, truth, _ = m.dem.compile_sampler(seed=9).sample(
        300, bit_packed=True, return_errors=kind is SampledLabels
    )
    assert np.array_equal(packed, same)
    flips = (m.moves.observables.astype(int) @ labels.T).T % 2
    assert np.array_equal(np.packbits(flips, axis=1, bitorder="little"), truth)


def test_teacher_is_correlated_pymatching_but_for_ties(model):
    """Tilting log-probabilities by a few parts in a thousand changes an answer only at near ties."""
    m = model(5, 5)
    packed, labels, _ = TeacherLabels(m.problem).sample(2000, seed=4)
    flips = (m.moves.observables.astype(int) @ labels.T).T % 2
    matching = pymatching.Matching.from_detector_error_model(m.dem, enable_correlations=True)
    plain = matching.decode_batch(packed, bit_packed_shots=True, enable_correlations=True)
    assert np.mean(flips != plain) < 0.01


def test_teacher_labels_of_equal_syndromes_are_equal(model):
    m = model(3, 2)
    packed, labels, _ = TeacherLabels(m.problem).sample(500, seed=1)
    seen: dict[bytes, bytes] = {}
    for shot, label in zip(packed, labels, strict=True):
        assert seen.setdefault(shot.tobytes(), label.tobytes()) == label.tobytes()
    assert len(seen) < 500


def test_conditioned_labels_are_the_teachers_where_the_teacher_is_right(model):
    m = model(5, 5)
    packed, conditioned, _ = ObservableConditionedLabels(m.problem).sample(2000, seed=4)
    labels = TeacherLabels(m.problem).label(packed)
    same_class = (m.moves.observables.astype(int) @ (labels ^ conditioned).T).ravel() % 2 == 0
    assert 0 < (~same_class).sum() < 400
    # A few equal-class answers differ: reweighting sees the truth's edge too.
    assert (labels == conditioned).all(axis=1)[same_class].mean() > 0.97


def test_conditioned_labels_of_given_syndromes_are_refused(model):
    m = model()
    with pytest.raises(TypeError, match="need the observables"):
        ObservableConditionedLabels(m.problem).label(np.zeros((1, 3), dtype=np.uint8))
