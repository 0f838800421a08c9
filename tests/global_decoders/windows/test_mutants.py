"""Each way to get windows wrong is visible in the errors it adds, on the shots whole decoding gets."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from global_decoders.windows import (
    CompiledWindows,
    LayeredDem,
    Window,
    WindowGraph,
    WindowGraphs,
    assert_committed_once,
    windows_of,
)


class PastOpen(Window):
    """Keeps, as boundary edges, what its predecessor commits."""

    def drops(self, touched: Sequence[int]) -> bool:
        return False

    def commits(self, touched: Sequence[int]) -> bool:
        return super().commits(touched) and min(touched) >= self.start


class FutureClosed(Window):
    """Drops, instead of opening, what reaches past its end."""

    def drops(self, touched: Sequence[int]) -> bool:
        return super().drops(touched) or max(touched) >= self.stop


def _committed_twice(windows: list[Window]) -> list[Window]:
    """Each commits one layer more, which its successor commits too."""
    return [*(dataclasses.replace(w, hi=w.hi + 1) for w in windows[:-1]), windows[-1]]


def _windows(layers: LayeredDem, kind: type[Window], *, commit: int, buffer: int) -> list[Window]:
    windows = windows_of(layers.num_layers, commit=commit, buffer=buffer, mode="sliding")
    return [kind(**dataclasses.asdict(w)) for w in windows]


def _errors(shots, windows: list[Window]) -> tuple[int, int]:
    """Wrong shots of whole decoding, and of these windows."""
    compiled = CompiledWindows(
        layers=LayeredDem.from_dem(shots.dem), windows=windows, graphs=WindowGraphs(inner="pymatching")
    )
    found = compiled.decode_shots_bit_packed(bit_packed_detection_event_data=shots.detections)
    return int((shots.whole() != shots.flips).sum()), int((found != shots.flips).sum())


def _counts(shots, kind: type[Window], *, commit: int, buffer: int) -> tuple[int, int]:
    layers = LayeredDem.from_dem(shots.dem)
    return _errors(shots, _windows(layers, kind, commit=commit, buffer=buffer))


@pytest.fixture(scope="module")
def shots(sampled):
    return sampled(distance=5, rounds=20, p=0.006, shots=3000)


def test_windows_lose_nothing(shots) -> None:
    whole, windowed = _counts(shots, Window, commit=1, buffer=5)
    assert whole > 400
    assert windowed <= 1.03 * whole


def test_past_left_open_is_caught(shots) -> None:
    whole, windowed = _counts(shots, PastOpen, commit=1, buffer=5)
    assert windowed > 1.15 * whole


def test_committing_twice_is_caught(shots) -> None:
    layers = LayeredDem.from_dem(shots.dem)
    mutant = _committed_twice(_windows(layers, Window, commit=1, buffer=5))
    whole, windowed = _errors(shots, mutant)
    assert windowed > 1.15 * whole
    with pytest.raises(ValueError, match="do not tile"):
        assert_committed_once(layers.footprints(), mutant)


def test_artificial_defects_not_handed_on_are_caught(shots, monkeypatch) -> None:
    decoder = WindowGraph.decoder

    def without_defects(self: WindowGraph, **sizes: int) -> object:
        own = self.flips < self.places.num_observables
        starts = np.concatenate([[0], np.cumsum(own)])[self.starts].astype(np.int32)
        return decoder(dataclasses.replace(self, flips=self.flips[own], starts=starts), **sizes)

    monkeypatch.setattr(WindowGraph, "decoder", without_defects)
    whole, windowed = _counts(shots, Window, commit=1, buffer=5)
    assert windowed > 1.15 * whole


@pytest.mark.parametrize(("buffer", "correct", "mutant"), [(1, 1.30, 1.40), (2, 1.10, 1.10)])
def test_future_closed_is_caught(sampled, buffer, correct, mutant) -> None:
    """It shows only with little look-ahead, where even correct windows lose something."""
    shots = sampled(distance=5, rounds=20, p=0.003, shots=15_000)
    whole, windowed = _counts(shots, Window, commit=5, buffer=buffer)
    assert windowed < correct * whole
    assert _counts(shots, FutureClosed, commit=5, buffer=buffer)[1] > mutant * whole
