"""Plans tile the experiment, and every component is committed by one window."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from global_decoders.windows import Window, assert_committed_once, check_sizes, windows_of

MODES = st.sampled_from(["sliding", "parallel"])


@given(layers=st.integers(1, 200), commit=st.integers(1, 9), buffer=st.integers(1, 9), mode=MODES)
def test_commit_regions_tile_and_reads_stay_inside(layers, commit, buffer, mode) -> None:
    windows = list(windows_of(layers, commit=commit, buffer=buffer, mode=mode))
    committed = sorted(t for w in windows for t in range(w.lo, w.hi))
    assert committed == list(range(layers))
    assert all(0 <= w.start <= w.lo < w.hi <= w.stop <= layers for w in windows)


@given(layers=st.integers(2, 120), commit=st.integers(1, 9), buffer=st.integers(1, 9), mode=MODES)
def test_windows_before_the_last_do_not_depend_on_the_end(layers, commit, buffer, mode) -> None:
    """A stream decodes them before it knows the end."""
    endless = windows_of(10**9, commit=commit, buffer=buffer, mode=mode)
    ends = [w for w in windows_of(layers, commit=commit, buffer=buffer, mode=mode) if w.stop < layers]
    assert ends == [next(endless) for _ in ends]


@given(layers=st.integers(1, 120), commit=st.integers(1, 9), buffer=st.integers(1, 9), mode=MODES)
def test_neighbouring_layers_are_committed_once(layers, commit, buffer, mode) -> None:
    footprints = [(t,) for t in range(layers)] + [(t, t + 1) for t in range(layers - 1)]
    assert_committed_once(footprints, windows_of(layers, commit=commit, buffer=buffer, mode=mode))


@given(layers=st.integers(1, 120), commit=st.integers(1, 9), buffer=st.integers(1, 9), mode=MODES)
def test_components_that_skip_layers_are_committed_once(layers, commit, buffer, mode) -> None:
    """As wrong results without mid-circuit reset; parallel windows need a buffer of their span."""
    for span in range(2, buffer + 1 if mode == "parallel" else 4):
        footprints = [(t, t + span) for t in range(layers - span)]
        assert_committed_once(footprints, windows_of(layers, commit=commit, buffer=buffer, mode=mode))


def test_a_component_that_reaches_over_a_commit_region_is_committed_there() -> None:
    window = Window(start=2, lo=4, hi=5, stop=7, past_closed=False)
    assert window.commits((3, 5))
    assert not window.commits((5, 7))
    assert not window.commits((1, 3))


def test_committing_twice_is_refused() -> None:
    """The mutant: a window that also commits what its predecessor commits."""
    windows = [
        Window(start=0, lo=0, hi=3, stop=6),
        Window(start=3, lo=3, hi=9, stop=9, past_closed=False),
    ]
    with pytest.raises(ValueError, match=r"layers \(2, 3\) is committed by 2 windows \[\(0, 3\), \(3, 9\)\]"):
        assert_committed_once([(2, 3)], windows)


def test_a_component_that_no_window_commits_is_refused() -> None:
    windows = [Window(start=0, lo=0, hi=3, stop=3, future_closed=True), Window(start=3, lo=3, hi=9, stop=9)]
    with pytest.raises(ValueError, match="committed by 0 windows"):
        assert_committed_once([(2, 3)], windows)


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ({"commit": 0, "buffer": 3, "mode": "sliding"}, "commit=0"),
        ({"commit": 3, "buffer": -1, "mode": "sliding"}, "buffer=-1"),
        ({"commit": 3, "buffer": 0, "mode": "parallel"}, "buffer=0"),
        ({"commit": 3, "buffer": 3, "mode": "tumbling"}, "mode='tumbling'"),
    ],
)
def test_bad_sizes_are_named(sizes, named) -> None:
    with pytest.raises(ValueError, match=named):
        check_sizes(**sizes)
