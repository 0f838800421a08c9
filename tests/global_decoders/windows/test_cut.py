"""The rules of a window's DEM, on models small enough to write the answer down."""

import stim

from global_decoders.windows import LayeredDem, Window, cut

# One site, layers 0 to 5, a time edge between neighbours, a boundary edge that flips L0, and both at once.
CHAIN = stim.DetectorErrorModel(
    "\n".join(
        [f"detector(0, 0, {t}) D{t}" for t in range(6)]
        + [f"error(0.01) D{t} D{t + 1}" for t in range(5)]
        + [f"error(0.02) D{t} L0" for t in range(6)]
        + [f"error(0.03) D{t} D{t + 1} ^ D{t + 2} L0" for t in range(4)]
    )
)


def _lines(window: Window) -> set[str]:
    """Components of a window's DEM with their labels; L1, L2... are the artificial defects."""
    dem = stim.DetectorErrorModel(cut(LayeredDem.from_dem(CHAIN), window).text)
    return {
        " ".join(str(t) for t in group)
        for op in dem
        if isinstance(op, stim.DemInstruction) and op.type == "error"
        for group in op.target_groups()
    }


def test_sliding_window_closes_the_past_and_opens_the_future() -> None:
    window = Window(start=1, lo=1, hi=3, stop=5)
    # Layers 1 to 4 are D0 to D3. D0-D1 of the whole (layers 0, 1) is gone, layers 4-5 end at a boundary.
    assert _lines(window) == {"D0 D1", "D1 D2 L1", "D2 D3", "D3", "D0 L0", "D1 L0", "D2"}
    assert cut(LayeredDem.from_dem(CHAIN), window).artificial_defects == ((2, 0),)


def test_last_window_commits_all() -> None:
    window = Window(start=3, lo=3, hi=6, stop=6)
    assert _lines(window) == {"D0 D1", "D1 D2", "D0 L0", "D1 L0", "D2 L0"}
    assert cut(LayeredDem.from_dem(CHAIN), window).artificial_defects == ()


def test_window_open_on_both_sides_hands_defects_on_to_both_sides() -> None:
    window = Window(start=1, lo=2, hi=4, stop=5, past_closed=False)
    # Layer 0-1 becomes a boundary edge at layer 1, as 4-5 does at layer 4; neither is committed.
    assert _lines(window) == {"D0", "D0 D1 L1", "D1 D2", "D2 D3 L2", "D1 L0", "D2 L0", "D3"}
    assert cut(LayeredDem.from_dem(CHAIN), window).artificial_defects == ((0, 0), (3, 0))


def test_window_between_two_neighbours_is_closed_on_both_sides() -> None:
    window = Window(start=2, lo=2, hi=4, stop=4, future_closed=True, after_neighbours=True)
    assert _lines(window) == {"D0 D1", "D0 L0", "D1 L0"}


def test_components_that_look_alike_after_the_cut_take_the_likelier_label() -> None:
    dem = stim.DetectorErrorModel(
        "detector(0, 0, 0) D0\ndetector(0, 0, 1) D1\nerror(0.01) D0 L0\nerror(0.2) D0 D1"
    )
    window_dem = cut(LayeredDem.from_dem(dem), Window(start=0, lo=0, hi=1, stop=1))
    assert window_dem.artificial_defects == ((1, 0),)
    assert window_dem.text.splitlines()[0] == "error(0.206) D0 L1"  # either one, with the label of D0 D1
