"""Shots of a device come with their own flips, and the step that is kept is the best on those held back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import stim

import qec
from predecoder import NeuralMatchingDecoder, load_bundle, resolve_weights
from predecoder.training import FineTuneConfig, RecordedShots, Recording, TaskConfig, fine_tune
from predecoder.training.fine_tuning import _HeldBack, _stage
from predecoder.training.recorded import RecordedSource
from qec import DecodingProblem, DetectorLayout, ShotFileError

SHOTS = 600


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `device.dem`, detections and flips of d = 3, five rounds, under SI1000 noise."""
    folder = tmp_path_factory.mktemp("device")
    circuit = qec.memory_circuit(distance=3, rounds=5, basis="x", noise=qec.si1000(0.006))
    detections, flips = circuit.compile_detector_sampler(seed=4).sample(
        SHOTS, separate_observables=True, bit_packed=True
    )
    circuit.detector_error_model(decompose_errors=True).to_file(folder / "device.dem")
    for name, bits, of in (
        ("detection_events.b8", detections, {"num_detectors": circuit.num_detectors}),
        ("obs_flips_actual.01", flips, {"num_observables": 1}),
    ):
        format = "b8" if name.endswith("b8") else "01"
        stim.write_shot_data_file(data=bits, path=str(folder / name), format=format, **of)
    return folder


def _recorded(folder: Path, **chosen: int) -> RecordedShots:
    return RecordedShots(str(folder / "detection_events.b8"), str(folder / "obs_flips_actual.01"), **chosen)


def _layout(folder: Path) -> DetectorLayout:
    return DecodingProblem.from_dem(stim.DetectorErrorModel.from_file(folder / "device.dem")).layout


def test_batches_are_recorded_shots_with_their_flips(device):
    """Of odd index up to 400, none twice in a batch, others with another seed."""
    layout, shots = _layout(device), _recorded(device, first=1, every=2, last=400)
    detections, flips = _recorded(device).read(layout)
    rows = {(bytes(d), bytes(f)) for d, f in zip(detections[1:400:2], flips[1:400:2], strict=True)}
    source = RecordedSource(shots, layout, label=lambda packed: np.zeros((len(packed), 2), np.float16))
    batch = source.sample(50, seed=1)
    assert batch.packed.shape == (50, detections.shape[1])
    assert all((bytes(d), bytes(f)) in rows for d, f in zip(batch.packed, batch.observables, strict=True))
    assert len(source.sample(10_000, seed=1).packed) == 200
    assert not np.array_equal(batch.packed, source.sample(50, seed=2).packed)
    with pytest.raises(ValueError, match="a rule of which to keep"):
        source.sample(5, seed=1, keep=lambda packed: np.ones(len(packed), dtype=bool))


def test_files_that_do_not_fit_are_named(device, tmp_path):
    short = tmp_path / "short.01"
    short.write_text("0\n" * 7)
    shots = RecordedShots(str(device / "detection_events.b8"), str(short))
    with pytest.raises(
        ShotFileError, match=f"has {SHOTS} shots and .*short.01 7; give the flips of the same"
    ):
        shots.read(_layout(device))
    with pytest.raises(ShotFileError, match=f"has {SHOTS} shots, none from 600 on"):
        _recorded(device, first=600).read(_layout(device))
    with pytest.raises(ShotFileError, match=r"shots\.bin does not end with a shot format; use one of \.01"):
        RecordedShots(str(tmp_path / "shots.bin"), str(short)).read(_layout(device))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dem": None}, "recorded shots and no dem"),
        ({"shots": "mined"}, "shots='mined'; use 'all'"),
    ],
)
def test_tasks_of_recorded_shots_say_what_they_need(device, change, message):
    with pytest.raises(ValueError, match=message):
        TaskConfig(**{"dem": "device.dem", "recorded": _recorded(device)} | change)


@pytest.mark.parametrize("values", [{"first": -1}, {"every": 0}, {"last": 0}, {"detections": ""}])
def test_impossible_selections_are_refused(values):
    with pytest.raises(ValueError, match="recorded "):
        RecordedShots(**{"detections": "a.b8", "observables": "b.01"} | values)


@pytest.mark.slow
def test_fine_tuning_keeps_the_best_step_and_goes_on_where_it_was(device, tmp_path):
    """What is said of the shots held back is what `neural-matching` gets wrong on the last fifth of them."""
    config = FineTuneConfig(weights="realtime", steps=4, checks=2, held_back=0.2, blocks_per_batch=600)
    recordings = [Recording(device / "device.dem", _recorded(device, every=2))]
    seen: list[int] = []
    best, checks = fine_tune(recordings, config, tmp_path / "run", on_step=lambda r: seen.append(r.step))
    assert seen == [1, 2, 3, 4]
    assert [(c.step, c.shots) for c in checks] == [(0, 60), (2, 60), (4, 60)]
    detections, flips = _recorded(device, first=480, every=2).read(_layout(device))
    dem = stim.DetectorErrorModel.from_file(device / "device.dem")
    files = [resolve_weights("realtime").path, *(tmp_path / "run" / f"step-{k}.safetensors" for k in (2, 4))]
    for file, check in zip(files, checks, strict=True):
        decoder = NeuralMatchingDecoder(weights=file).compile_decoder_for_dem(dem=dem)
        wrong = decoder.decode_shots_bit_packed(bit_packed_detection_event_data=detections) != flips
        assert int(wrong.any(axis=1).sum()) == check.errors
    fewest = min(check.errors for check in checks)
    assert best == files[[check.errors for check in checks].index(fewest)]

    (tmp_path / "run" / "step-4.safetensors").unlink()  # as if it had been killed before
    again = fine_tune(recordings, config, tmp_path / "run")
    assert again == (best, checks)
    other = FineTuneConfig(weights="realtime", steps=4, checks=1, held_back=0.2, blocks_per_batch=600)
    with pytest.raises(ValueError, match=r"has a run of other data or settings, see fine-tune\.json there"):
        fine_tune(recordings, other, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "fine-tune.json").read_text())["config"]["checks"] == 2


@pytest.mark.parametrize("reset", [True, False])
def test_weights_of_recordings_without_reset_say_so(tmp_path: Path, reset: bool) -> None:
    """Shipped weights are used with reset only; those that are made of such recordings, without too."""
    circuit = qec.memory_circuit(distance=3, rounds=4, noise=qec.depolarizing(0.01), reset=reset)
    recording = Recording(tmp_path / "device.dem")
    circuit.detector_error_model(decompose_errors=True).to_file(recording.dem)
    config = FineTuneConfig(weights="realtime")
    stage = _stage([recording], config, [_HeldBack.of(recording, config)])
    assert stage.policies.without_reset is not reset
    assert stage.policies.min_rounds == load_bundle("realtime").policies.min_rounds
