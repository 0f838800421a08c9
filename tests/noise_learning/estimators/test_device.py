"""Google's distance-3 data: no labels are used to learn, none of the decoded half."""

import numpy as np
import pytest
import stim

import qec
from global_decoders import make_decoder
from noise_learning import Moments, SharedParameterModel, learn


@pytest.mark.slow
def test_learned_dem_decodes_better_than_the_circuit_dem(sycamore):
    folder = sycamore / "r05"
    circuit = stim.Circuit.from_file(folder / "circuit_noisy.stim")
    shots = np.concatenate(
        list(qec.iter_shots(folder / "detection_events.b8", format="b8", num_detectors=circuit.num_detectors))
    )
    flips = np.concatenate(
        list(qec.iter_shots(folder / "obs_flips_actual.01", format="01", num_observables=1))
    )
    model = SharedParameterModel.of_circuit(circuit)
    fit = learn(Moments.from_shots(model.structure.subsets, shots[::2]), model)
    assert "correlations that the circuit's noise does not explain" in fit.notes[-1]
    errors = []
    for dem in (fit.dem(), circuit.detector_error_model(decompose_errors=True)):
        decoder = make_decoder("pymatching-correlated").compile_decoder_for_dem(dem=dem)
        answers = decoder.decode_shots_bit_packed(bit_packed_detection_event_data=shots[1::2])
        errors.append(int((answers != flips[1::2]).sum()))
    assert errors[0] < errors[1] - 50
