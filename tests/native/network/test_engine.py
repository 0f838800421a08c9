"""Networks in the extension: what does not fit is refused by name, and nothing is read past an end."""

import numpy as np
import pytest

import _qecpipe

CHANNELS, BLOCKS, ROWS, COLUMNS = 16, 2, 2, 3


def _tables(rng: np.random.Generator, *, kinds: tuple[int, int] = (1, 1)) -> dict[str, np.ndarray]:
    """Random tables of a network in float32, small enough that nothing grows."""
    shapes = {
        "embed": (4, 27, CHANNELS),
        "first_layer_bias": (kinds[0], ROWS, COLUMNS, CHANNELS),
        "depthwise": (BLOCKS, CHANNELS, 27),
        "position_bias": (BLOCKS, kinds[1], ROWS, COLUMNS, CHANNELS),
        "pointwise": (BLOCKS, CHANNELS, CHANNELS),
        "pointwise_bias": (BLOCKS, CHANNELS),
        "head": (12, CHANNELS),
        "head_bias": (12,),
    }
    return {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def network() -> _qecpipe.Network:
    return _qecpipe.Network.float32(_tables(np.random.default_rng(1)))


def _timeline(layers: int, biases: tuple[int, int] = (0, 0)) -> _qecpipe.Timeline:
    return _qecpipe.Timeline({layers: np.array([biases] * (layers + layers % 2), dtype=np.int32)})


def _engine(network, timeline, *, places, moves, layers: int = 3) -> _qecpipe.Engine:
    return _qecpipe.Engine(
        network, timeline, layers=layers, places=np.array(places, np.int64), moves=np.array(moves, np.int64)
    )


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda t: t.pop("head"), 'there is no table "head"'),
        (lambda t: t.update(head=t["head"][:11]), r"head: got an array of float32 \(11, 16\)"),
        (lambda t: t.update(embed=t["embed"].astype(np.float64)), "embed: got an array of float64"),
        (lambda t: t.update(position_bias=t["position_bias"][0]), "position_bias has 4 axes, not 5"),
        (lambda t: t.update(first_layer_bias=t["first_layer_bias"][:0]), "one of these is none"),
    ],
)
def test_tables_that_do_not_fit_are_refused(spoil, reason):
    tables = _tables(np.random.default_rng(1))
    spoil(tables)
    with pytest.raises(ValueError, match=reason):
        _qecpipe.Network.float32(tables)


@pytest.mark.parametrize(
    ("places", "moves", "reason"),
    [
        ([0, 4 * 24], [0], "detector at place 96 of 96"),
        ([0, -1], [0], "detector at place -1 of 96"),
        ([0], [3 * 4 * 24], "move at place 288 of 288"),
        ([0], [-5], "move at place -5 of 288"),
    ],
)
def test_what_is_outside_the_volume_is_refused(network, places, moves, reason):
    with pytest.raises(ValueError, match=reason):
        _engine(network, _timeline(3), places=places, moves=moves)


def test_timelines_that_do_not_fit_are_refused(network):
    with pytest.raises(ValueError, match="no experiment"):
        _qecpipe.Timeline({})
    with pytest.raises(ValueError, match="biases of 3 layers for 3 with detectors"):
        _qecpipe.Timeline({3: np.zeros((3, 2), np.int32)})
    with pytest.raises(ValueError, match=r"of 4 layers, does not hold 2 \+ 1 \+ 2"):
        _qecpipe.Timeline({3: np.zeros((4, 2), np.int32)}, repeats_from=2, period=1, tail=2)
    with pytest.raises(ValueError, match="an experiment has no 2 layers"):
        _engine(network, _timeline(3), places=[0], moves=[0], layers=2)
    for biases in ((1, 0), (0, 1)):
        with pytest.raises(ValueError, match="a layer has biases"):
            _engine(network, _timeline(3, biases), places=[0], moves=[0])
        with pytest.raises(ValueError, match="a layer has biases"):
            _qecpipe.LayerStream(network, _timeline(3, biases))
    with pytest.raises(ValueError, match="negative"):
        _engine(network, _timeline(3, (0, -1)), places=[0], moves=[0])


def test_more_layers_than_an_experiment_has_are_refused(network):
    """Their biases were read behind the end of the table."""
    stream = _qecpipe.LayerStream(network, _timeline(3))
    layer = np.zeros((2 * ROWS, 2 * COLUMNS), np.uint8)
    for _ in range(4):  # one without detectors makes the number even
        stream.push(layer)
    with pytest.raises(ValueError, match="no experiment has more than 4 layers"):
        stream.push(layer)
    with pytest.raises(ValueError, match="no experiment has more than 4 layers"):
        stream.push(layer, last=True)
    stream.start()
    assert stream.push(layer).shape[1] == 0


def test_bits_behind_the_last_detector_mean_nothing(network):
    engine = _engine(network, _timeline(3), places=[5, 40, 71], moves=range(288))
    assert np.array_equal(
        engine.run(np.array([[0b101]], np.uint8)), engine.run(np.array([[0b11111101]], np.uint8))
    )


@pytest.mark.parametrize("instruction_set", _qecpipe.instruction_sets())
def test_longer_experiments_repeat_the_middle_of_a_known_one(instruction_set):
    """Of 9 layers told one by one, and of 9 by a timeline of 7 and 6 that repeats: the same logits."""
    rng = np.random.default_rng(2)
    network = _qecpipe.Network.float32(_tables(rng, kinds=(4, 3)), instruction_set=instruction_set)

    def biases(layers: int) -> np.ndarray:
        first = [0, *[1] * (layers - 2), 2, *[3] * (layers % 2)]
        position = [0, *[1] * (layers - 2), 2, *[2] * (layers % 2)]
        return np.array([first, position], dtype=np.int32).T.copy()

    known = _qecpipe.Timeline({n: biases(n) for n in (6, 7)}, repeats_from=1, period=1, tail=2)
    shot = rng.integers(0, 2, (9, 2 * ROWS, 2 * COLUMNS), dtype=np.uint8)
    logits = []
    for timeline in (known, _qecpipe.Timeline({9: biases(9)})):
        stream = _qecpipe.LayerStream(network, timeline)
        logits.append(
            np.concatenate([stream.push(layer, last=t == 8) for t, layer in enumerate(shot)], axis=1)
        )
    assert logits[0].shape == (3, 9, 2 * ROWS, 2 * COLUMNS)
    assert np.array_equal(*logits)
