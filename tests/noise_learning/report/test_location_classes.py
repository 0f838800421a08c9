"""Location classes of a patch: every mechanism once, rates per round, and kinds that physics expects."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import stim

from noise_learning import (
    BlockLog,
    Moments,
    NoiseFit,
    ReportContext,
    Structure,
    fit_closed_form,
    gather_location_classes,
    largest_deviations,
    mechanism_frame,
    render_report,
    summarize_drift,
)
from noise_learning.models.location_classes import location_keys
from qec import depolarizing, memory_circuit, normal_form

DISTANCE, ROUNDS = 3, 5


@pytest.fixture(scope="module")
def fit() -> NoiseFit:
    circuit = memory_circuit(distance=DISTANCE, rounds=ROUNDS, noise=depolarizing(0.01))
    structure = Structure.from_circuit(circuit)
    shots = circuit.compile_detector_sampler(seed=1).sample(20_000, bit_packed=True)
    return fit_closed_form(Moments.from_shots(structure.subsets, shots), structure)


@pytest.fixture(scope="module")
def exact(fit: NoiseFit) -> NoiseFit:
    return replace(fit, p=fit.assumed, sigma=0.1 * fit.assumed)


def test_every_ancilla_is_a_time_like_place_and_at_distance_3_a_stub(exact: NoiseFit) -> None:
    classes = gather_location_classes(exact)
    kinds = Counter(place.kind for place in classes)
    assert kinds["time"] == DISTANCE**2 - 1
    assert kinds["boundary"] == DISTANCE**2 - 1  # at distance 3 every ancilla touches an edge of the patch
    assert len({(place.kind, place.positions) for place in classes}) == len(classes)
    keys = location_keys(exact.structure)
    assert sum(place.mechanisms for place in classes) == len(keys) - keys.count(None)


def test_rates_are_per_round(exact: NoiseFit) -> None:
    """In the bulk of long experiments, a round's flips of a location class do not depend on their number."""
    longer = memory_circuit(distance=DISTANCE, rounds=2 * ROUNDS, noise=depolarizing(0.01))
    structure = Structure.from_circuit(longer)
    twice = replace(
        exact, structure=structure, p=structure.prior, sigma=structure.prior, assumed=structure.prior
    )
    short, long = (
        {(p.kind, p.positions): p for p in gather_location_classes(one) if p.kind == "time"}
        for one in (exact, twice)
    )
    assert short.keys() == long.keys()
    for key, place in short.items():
        assert place.rate == pytest.approx(long[key].rate, rel=0.1)
        assert place.ratio == pytest.approx(1.0)
        assert place.z_score == pytest.approx(0.0)


def test_mechanisms_at_the_ends_of_time_have_no_place(exact: NoiseFit) -> None:
    structure = exact.structure
    for mechanism, key in zip(structure.mechanisms, location_keys(structure), strict=True):
        if key is None:
            (detector,) = mechanism.detectors
            assert structure.coordinates[detector][2] in (0, 1, ROUNDS - 1, ROUNDS)
        else:
            assert {c[:2] for c in (structure.coordinates[d] for d in mechanism.detectors)} == set(key[1])


def test_detectors_without_coordinates_have_no_classes() -> None:
    structure = Structure.from_dem(stim.DetectorErrorModel("error(0.1) D0 D1\ndetector(1, 2, 0) D0"))
    with pytest.raises(ValueError, match=r"D1 has coordinates \[\]"):
        location_keys(structure)


def test_the_table_has_the_mechanisms_in_the_order_of_the_model(fit: NoiseFit) -> None:
    frame = mechanism_frame(fit)
    tables = normal_form(fit.dem()).tables
    np.testing.assert_array_equal(frame["p"], tables.probabilities)
    for table, column in ((tables.detectors, "detectors"), (tables.observables, "observables")):
        rows = [table[:, [j]].nonzero()[0].tolist() for j in range(tables.num_mechanisms)]
        assert frame[column].to_list() == rows
    assert set(frame["kind"].drop_nulls()) <= {"time", "space", "boundary", "hyperedge"}
    assert frame.schema["detectors"] == pl.List(pl.Int64)
    np.testing.assert_array_equal(frame["prior"], fit.structure.prior)


def test_a_deviation_is_found_numbered_and_reported(exact: NoiseFit) -> None:
    """One ancilla measures three times worse than assumed: it leads the table."""
    worst = (2.0, 2.0)
    p = exact.p.copy()
    for j, key in enumerate(location_keys(exact.structure)):
        if key == ("time", (worst,)):
            p[j] *= 3
    fit = replace(exact, p=p, notes=("a note",), dropped=((1, 2),))
    deviations = largest_deviations(gather_location_classes(fit))
    assert (deviations[0].kind, deviations[0].positions) == ("time", (worst,))
    assert deviations[0].ratio == pytest.approx(3.0)
    log = BlockLog(fit.structure.subsets)
    log.add(np.zeros((4000, -(-fit.structure.num_detectors // 8)), dtype=np.uint8))
    context = ReportContext("c.stim", ("a.b8", "b.b8"), "even shots", "auto", "map.png", "drift.png")
    text = render_report(fit, context, deviations=deviations, drift=summarize_drift(fit, log.blocks))
    assert "| 1 | time | (2, 2) |" in text
    assert "| 3.00 |" in text
    for expected in (
        "closed-form (asked for: auto)",
        "even shots",
        "a.b8, b.b8",
        "- a note",
        "map.png",
        "drift.png",
    ):
        assert expected in text
    assert "What syndromes determine" not in text
    assert "nan" not in text.lower()
