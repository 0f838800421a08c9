"""The closed form against enumeration, the p_ij formula, and true DEMs."""

import numpy as np
import pytest
import stim

import qec
from noise_learning import Moments, Structure, attenuation, fit_closed_form


def memory_structure(distance: int = 3, rounds: int = 3, p: float = 0.008) -> Structure:
    return Structure.from_circuit(
        qec.memory_circuit(distance=distance, rounds=rounds, noise=qec.depolarizing(p))
    )


def test_exact_moments_give_exact_probabilities(exact_moments, set_attenuations):
    structure = memory_structure()
    truth = structure.prior * np.random.default_rng(0).uniform(0.5, 2, len(structure.prior))
    fit = fit_closed_form(exact_moments(structure, truth), structure)
    np.testing.assert_allclose(
        set_attenuations(structure, fit.p), set_attenuations(structure, truth), rtol=1e-6
    )


def test_pairs_reduce_to_the_pij_formula():
    dem = stim.DetectorErrorModel("error(0.03) D0 D1\nerror(0.05) D0\nerror(0.02) D1")
    structure = Structure.from_dem(dem)
    bits, _, _ = dem.compile_sampler(seed=5).sample(200_000)
    fit = fit_closed_form(
        Moments.from_shots(structure.subsets, np.packbits(bits, axis=1, bitorder="little")), structure
    )
    x, y, xy = bits[:, 0].mean(), bits[:, 1].mean(), (bits[:, 0] & bits[:, 1]).mean()
    # Google Quantum AI, arXiv:2102.06132, equation 11 of the supplement.
    pij = (1 - np.sqrt(1 - 4 * (xy - x * y) / (1 - 2 * x - 2 * y + 4 * xy))) / 2
    boundary = (x - pij) / (1 - 2 * pij)
    by_set = dict(zip([m.detectors for m in structure.mechanisms], fit.p, strict=True))
    assert by_set[0, 1] == pytest.approx(pij, rel=1e-3)
    assert by_set[0,] == pytest.approx(boundary, rel=1e-3)


def test_all_supersets_are_subtracted(exact_moments):
    """A chain of nested mechanisms: leaving one out would add it to those below."""
    dem = stim.DetectorErrorModel(
        "error(0.01) D0\nerror(0.02) D0 D1\nerror(0.03) D0 D1 D2\nerror(0.04) D0 D1 D2 D3\nerror(0.05) D1 D2"
    )
    structure = Structure.from_dem(dem)
    fit = fit_closed_form(exact_moments(structure, structure.prior), structure)
    np.testing.assert_allclose(fit.p, [0.01, 0.02, 0.03, 0.04, 0.05], rtol=1e-6)


def test_error_bars_are_calibrated():
    inside, total = 0, 0
    circuit = qec.memory_circuit(distance=3, rounds=3, noise=qec.depolarizing(0.008))
    structure = Structure.from_circuit(circuit)
    for seed in range(6):
        shots = circuit.compile_detector_sampler(seed=seed).sample(100_000, bit_packed=True)
        fit = fit_closed_form(Moments.from_shots(structure.subsets, shots), structure)
        z = (fit.p - structure.prior) / fit.sigma
        inside += np.count_nonzero(np.abs(z) < 1)
        total += len(z)
    assert 0.63 < inside / total < 0.73


def test_equal_detectors_share_by_the_prior(exact_moments):
    dem = stim.DetectorErrorModel("error(0.03) D0\nerror(0.01) D0 L0\nerror(0.02) D0 D1")
    structure = Structure.from_dem(dem)
    fit = fit_closed_form(exact_moments(structure, np.array([0.02, 0.04, 0.03])), structure)
    total = attenuation(np.array([0.02, 0.04])).sum()
    share = attenuation(np.array([0.03, 0.01]))
    np.testing.assert_allclose(attenuation(fit.p[:2]), total * share / share.sum(), rtol=1e-6)
    assert fit.p[2] == pytest.approx(0.03)
