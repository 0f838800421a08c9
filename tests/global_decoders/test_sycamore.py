"""Google's distance-3 device data (doi:10.5281/zenodo.6804040): their predictions, shot for shot."""

import numpy as np
import pytest
import stim


@pytest.mark.parametrize("rounds", ["r05", "r11"])
def test_pymatching_equals_googles_predictions_on_every_shot(sycamore, rounds, compiled):
    folder = sycamore / rounds
    dem = stim.DetectorErrorModel.from_file(folder / "circuit_detector_error_model.dem")
    packed = stim.read_shot_data_file(
        path=folder / "detection_events.b8", format="b8", num_detectors=dem.num_detectors, bit_packed=True
    )
    theirs = stim.read_shot_data_file(
        path=folder / "obs_flips_predicted_by_pymatching.01", format="01", num_observables=1, bit_packed=True
    )
    assert packed.shape == (50_000, -(-dem.num_detectors // 8))
    ours = compiled("pymatching", dem).decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    np.testing.assert_array_equal(ours, theirs)
