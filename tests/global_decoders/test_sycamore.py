"""Google's distance-3 device data (doi:10.5281/zenodo.6804040) and their predictions, shot for shot."""

import numpy as np
import pymatching
import pytest
import stim


@pytest.mark.parametrize("rounds", ["r05", "r11"])
def test_fewer_errors_than_googles_predictions_which_the_library_equals(sycamore, rounds, compiled):
    """PyMatching on the DEM as it stands gives Google's predictions; edges left whole do better."""
    folder = sycamore / rounds
    dem = stim.DetectorErrorModel.from_file(folder / "circuit_detector_error_model.dem")
    packed = stim.read_shot_data_file(
        path=folder / "detection_events.b8", format="b8", num_detectors=dem.num_detectors, bit_packed=True
    )
    theirs, actual = (
        stim.read_shot_data_file(path=folder / name, format="01", num_observables=1, bit_packed=True)
        for name in ("obs_flips_predicted_by_pymatching.01", "obs_flips_actual.01")
    )
    assert packed.shape == (50_000, -(-dem.num_detectors // 8))
    as_it_stands = pymatching.Matching.from_detector_error_model(dem).decode_batch(
        packed, bit_packed_shots=True, bit_packed_predictions=True
    )
    np.testing.assert_array_equal(as_it_stands, theirs)
    ours = compiled("pymatching", dem).decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    assert (ours != actual).sum() < (theirs != actual).sum()
