"""`neural-ensemble` takes the mean of several gaps where the first one is small, and only there."""

import hashlib
import pickle
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

import predecoder
from global_decoders import (
    NoGapError,
    UnexplainedShotsError,
    WithGap,
    decode_with_gap,
    make_decoder,
    relative_gap,
)
from global_decoders.matching import MatchingGaps
from predecoder import (
    CompiledNeuralEnsemble,
    CompiledNeuralMatching,
    EnsembleShares,
    NeuralEnsembleDecoder,
    WeightsError,
)
from predecoder.inference import EngineOptions
from qec import DecodingProblem

CPU = torch.device("cpu")


@pytest.fixture
def weights(tmp_path, separable_network):
    """Two files with random weights."""
    paths = [tmp_path / f"{name}.safetensors" for name in "ab"]
    for seed, path in enumerate(paths):
        predecoder.save_weights(separable_network(seed), path, {})
    return paths


def _parts(m, packed: np.ndarray, path, limit: float, *, gap_scale: float = 1.0) -> list[np.ndarray]:
    """A network's log-odds of shots seen forwards and backwards."""
    network = predecoder.load_network(path)
    turned = DecodingProblem.from_normal_form(m.problem.normal, backwards=True)
    return [
        CompiledNeuralMatching(p, network, EngineOptions(CPU), gap_scale=gap_scale).log_odds(
            packed, limit=limit
        )[:, 0]
        for p in (m.problem, turned)
    ]


@pytest.mark.parametrize("named", [(), (1,), (0, 1)], ids=["its own", "another's", "both"])
def test_doubtful_shots_have_the_mean_of_the_opinions_and_others_the_first(model, weights, named):
    m = model(3, 4, "z")
    packed, _ = m.circuit.compile_detector_sampler(seed=3).sample(
        300, separate_observables=True, bit_packed=True
    )
    opinions, shares = [weights[k] for k in named], EnsembleShares(networks=0.8, correlated=0.7)
    decoder = NeuralEnsembleDecoder(
        weights=weights[0], opinions=opinions, doubtful=1.5, unsettled=0.9, shares=shares, device="cpu"
    )
    compiled = decoder.compile_decoder_for_dem(dem=m.dem)
    assert isinstance(compiled, CompiledNeuralEnsemble)
    first = _parts(m, packed, weights[0], np.inf)[0]
    asked = [gap for path in opinions or weights[:1] for gap in _parts(m, packed, path, 1.5)]
    correlated = make_decoder("pymatching-correlated").compile_decoder_for_dem(dem=m.dem)
    said = np.clip(decode_with_gap(correlated, packed).log_odds[:, 0], -1.5, 1.5)
    doubtful, settled = np.abs(first) < 1.5, 0.8 * first + 0.7 * said
    unsettled = doubtful & (np.abs(settled) < 0.9)
    assert 0 < unsettled.sum() < doubtful.sum() < len(packed)
    expected = np.where(doubtful, settled, first)
    expected[unsettled] = (0.8 * np.mean(asked, axis=0) + 0.7 * said)[unsettled]
    limited = np.where(doubtful, expected, np.clip(first, -1.5, 1.5))
    assert compiled.log_odds(packed)[:, 0] == pytest.approx(limited, abs=1e-4)
    assert compiled.log_odds(packed, limit=0.1)[:, 0] == pytest.approx(limited, abs=1e-4)
    predicted = compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    assert np.array_equal(predicted[:, 0], expected < 0)
    found = decode_with_gap(compiled, packed)
    assert np.array_equal(found.predictions, predicted)
    assert found.gap[:, 0] == pytest.approx(np.where(predicted[:, 0], -expected, expected), abs=1e-4)


def test_decoders_that_are_asked_count_each_by_their_share(model, weights):
    m = model(3, 4, "z")
    packed = m.circuit.compile_detector_sampler(seed=4).sample(200, bit_packed=True)
    shares = EnsembleShares(networks=0.8, correlated=0, decoders=0.6)
    names = ["trellis", "pymatching"]
    compiled = NeuralEnsembleDecoder(
        weights=weights[0], opinions=names, doubtful=1.5, shares=shares, device="cpu"
    ).compile_decoder_for_dem(dem=m.dem)
    assert isinstance(compiled, CompiledNeuralEnsemble)
    first = _parts(m, packed, weights[0], np.inf)[0]
    doubtful = np.abs(first) < 1.5
    asked = 0.8 * np.mean(_parts(m, packed, weights[0], 1.5), axis=0)
    for name in names:
        said = decode_with_gap(make_decoder(name).compile_decoder_for_dem(dem=m.dem), packed).log_odds[:, 0]
        asked += 0.6 * np.clip(said, -1.5, 1.5)
    expected = np.where(doubtful, asked, np.clip(first, -1.5, 1.5))
    assert compiled.log_odds(packed)[:, 0] == pytest.approx(expected, abs=1e-3)


def test_a_decoder_without_a_gap_is_not_asked(model, weights):
    pytest.importorskip("relay_bp")
    decoder = NeuralEnsembleDecoder(weights=weights[0], opinions=["relay-bp"], device="cpu")
    with pytest.raises(NoGapError, match="does not say how sure it is"):
        decoder.compile_decoder_for_dem(dem=model(3, 4, "z").dem)


def test_an_opinion_that_is_named_twice_is_refused(weights):
    """A decoder's gap would count twice; a network would run twice for the same mean."""
    copy = weights[1].with_name("copy.safetensors")
    copy.write_bytes(weights[1].read_bytes())
    for opinions in (["trellis", "trellis"], [weights[1], weights[1]], [weights[1], "trellis", copy]):
        with pytest.raises(ValueError, match=f"opinion {opinions[0]} is named twice"):
            NeuralEnsembleDecoder(weights=weights[0], opinions=opinions, device="cpu")


def test_what_results_depend_on_is_in_the_policy(weights):
    def policy(**options):
        return NeuralEnsembleDecoder(weights=weights[0], device="cpu", **options).policy

    assert policy() == "doubtful 3, unsettled 1.5, shares 0.65 0.5"
    sha256 = hashlib.sha256(weights[1].read_bytes()).hexdigest()
    asked = policy(opinions=weights[1:], unsettled=2, shares=EnsembleShares(networks=1, correlated=0))
    assert asked == f"doubtful 3, unsettled 2, b@{sha256[:8]} float32, shares 1 0"
    assert policy(opinions=["trellis"]) == "doubtful 3, unsettled 1.5, trellis, shares 0.5 0.2 0.5"
    assert "b@" + sha256[:8] + " bfloat16" in policy(opinions=weights[1:], precision="bfloat16")


def test_whatever_changes_predictions_changes_the_identity(weights, separable_network):
    """Each argument by itself, by less than is usually printed; what changes only the time does not."""
    shares = {"networks": 0.65, "correlated": 0.5, "decoders": 0.5}
    opinions = [weights[1], "trellis"]

    def identity(*, share=None, **options):
        options = {"shares": EnsembleShares(**shares | (share or {})), "opinions": opinions} | options
        decoder = NeuralEnsembleDecoder(**{"weights": weights[0], "device": "cpu"} | options)
        return decoder.weights_sha256, decoder.precision, decoder.policy

    before = identity()
    others = [
        *(identity(share={name: value + 1e-9}) for name, value in shares.items()),
        identity(doubtful=3 + 1e-9),
        identity(unsettled=1.5 - 1e-9),
        identity(unsettled=float("inf")),
        identity(weights=weights[1]),
        identity(opinions=weights[1:]),
        identity(opinions=["trellis"]),
        identity(opinions=[*opinions, "pymatching"]),
        identity(precision="bfloat16"),
    ]
    assert identity(threads=1, batch_shots=3, on_mismatch="fail") == before
    predecoder.save_weights(separable_network(7), weights[1], {})
    others += [identity()]
    predecoder.save_weights(separable_network(7), weights[1], {}, policies=predecoder.Policies(gap_scale=0.5))
    others += [identity()]
    assert len({before, *others}) == len(others) + 1


def test_without_weights_a_fast_network_asks_an_accurate_one():
    decoder = NeuralEnsembleDecoder(device="cpu")
    assert decoder.weights_path.stem == "fast-matching"
    assert ", accurate-matching@" in decoder.policy
    assert ", realtime-matching@" in NeuralEnsembleDecoder(opinions=["realtime-matching"]).policy


def test_a_precision_is_of_all_networks(weights):
    with pytest.raises(ValueError, match="weights b: precision='int8' needs a quantized network"):
        NeuralEnsembleDecoder(weights="fast-matching", opinions=weights[1:], device="cpu", precision="int8")


def test_gaps_are_scaled_each_by_its_own_weights(model, weights, separable_network):
    """And those of the least confident one say which shots are doubtful."""
    m = model(3, 3)
    packed = m.circuit.compile_detector_sampler(seed=8).sample(100, bit_packed=True)
    for path, scale in zip(weights, (0.5, 0.8), strict=True):
        network = predecoder.load_network(path)
        predecoder.save_weights(network, path, {}, policies=predecoder.Policies(gap_scale=scale))
    alone = EnsembleShares(networks=1, correlated=0)
    decoder = NeuralEnsembleDecoder(weights=weights[0], opinions=weights[1:], shares=alone, device="cpu")
    first = _parts(m, packed, weights[0], np.inf, gap_scale=0.5)[0]
    mean = np.mean(_parts(m, packed, weights[1], 3, gap_scale=0.8), axis=0)
    found = decoder.compile_decoder_for_dem(dem=m.dem)
    assert isinstance(found, CompiledNeuralEnsemble)
    expected = np.where(np.abs(first) < 3, mean, np.clip(first, -3, 3))
    assert found.log_odds(packed)[:, 0] == pytest.approx(expected, abs=1e-4)


def test_what_one_of_the_networks_is_not_used_on_is_decoded_without_any(model, weights):
    m = model(3, 3)
    network = predecoder.load_network(weights[1])
    predecoder.save_weights(network, weights[1], {}, policies=predecoder.Policies(min_rounds=9))
    decoder = NeuralEnsembleDecoder(weights=weights[0], opinions=weights[1:], device="cpu")
    with pytest.warns(predecoder.ShortExperimentWarning, match="from 9 noisy rounds on"):
        assert not isinstance(decoder.compile_decoder_for_dem(dem=m.dem), CompiledNeuralEnsemble)


class _Known:
    """Log-odds of observables that are known, the same for every shot."""

    def __init__(self, *log_odds: float) -> None:
        self._log_odds = np.array(log_odds, dtype=np.float32)
        self.layout = SimpleNamespace(num_detectors=8, num_observables=len(log_odds))

    def log_odds(self, packed: np.ndarray, *, limit: float = np.inf) -> np.ndarray:
        return np.tile(np.clip(self._log_odds, -limit, limit), (len(packed), 1))


class _Asked:
    """A decoder's log-odds by a shot's first byte; -128 where it says that nothing explains the shot."""

    def decode_shots_with_gap(self, *, bit_packed_detection_event_data: np.ndarray, limit: float) -> WithGap:
        log_odds = bit_packed_detection_event_data.astype(np.int8).astype(np.float32)
        if (log_odds == -128).any():
            raise UnexplainedShotsError("no", shots=np.flatnonzero(log_odds[:, 0] == -128))
        special = {100: np.inf, -100: -np.inf, 127: np.nan}
        for value, meant in special.items():
            log_odds[log_odds == value] = meant
        predictions = (log_odds < 0).astype(np.uint8)
        return WithGap(predictions, relative_gap(log_odds, predictions))


def _of_known(
    first: _Known, *others: _Known, correlated: _Known | None = None, decoders: Sequence[_Asked] = ()
) -> CompiledNeuralEnsemble:
    shares = EnsembleShares(networks=1, correlated=0.5 if correlated else 0, decoders=0.25)
    return CompiledNeuralEnsemble(
        cast("Any", first),
        [cast("Any", of) for of in (first, *others)],
        correlated=cast("Any", correlated),
        decoders=[cast("Any", of) for of in decoders],
        doubtful=3.0,
        unsettled=4.0,
        shares=shares,
    )


def test_each_observable_is_decided_by_its_own_gaps_whatever_the_others_are():
    """Doubtful alone, sure alone, and settled by correlated matching alone, in any company."""
    shots = np.zeros((2, 1), dtype=np.uint8)
    gaps = {
        "first": (0.5, 20.0, -2.5, -np.inf),
        "other": (-2.0, -9.0, 9.0, np.inf),
        "edges": (1.0, -9.0, -6.0, 1.0),
    }
    of_each = [
        _of_known(
            *(_Known(gaps[name][k]) for name in ("first", "other")), correlated=_Known(gaps["edges"][k])
        )
        for k in range(4)
    ]
    for several in ([0, 1, 2, 3], [2, 0], [3, 1]):
        first, other, edges = (_Known(*(gaps[name][k] for k in several)) for name in gaps)
        compiled = _of_known(first, other, correlated=edges)
        for limit in (None, np.inf):
            expected = np.hstack([of_each[k].log_odds(shots, limit=limit) for k in several])
            np.testing.assert_array_equal(compiled.log_odds(shots, limit=limit), expected)
        found = decode_with_gap(compiled, shots)
        predicted = compiled.decode_shots_bit_packed(bit_packed_detection_event_data=shots)
        np.testing.assert_array_equal(found.predictions, predicted)
        np.testing.assert_array_equal(found.log_odds, expected)
    assert [of.log_odds(shots, limit=np.inf)[0, 0] for of in of_each] == pytest.approx(
        [-0.25, 20, -4, -np.inf]
    )


def test_correlated_matching_says_nothing_of_shots_that_only_moves_explain():
    shots = np.zeros((1, 1), dtype=np.uint8)
    assert _of_known(_Known(-1.0), correlated=_Known(9.0)).log_odds(shots).tolist() == [[0.5]]
    assert _of_known(_Known(-1.0), correlated=_Known(np.nan)).log_odds(shots).tolist() == [[-1.0]]
    with pytest.raises(UnexplainedShotsError, match="shot 0: nothing explains") as raised:
        _of_known(_Known(np.nan)).log_odds(np.zeros((2, 1), dtype=np.uint8))
    assert raised.value.shots.tolist() == [0, 1]


def test_of_a_shot_that_a_decoder_cannot_decode_the_others_decide_and_the_batch_is_not_lost():
    """Infinite gaps count as much as sure ones, what is no number as nothing."""
    said = np.array([2, -128, -1, 100, -128, -100, 127, 50], dtype=np.int8)
    compiled = _of_known(_Known(0.5), decoders=[_Asked(), _Asked()])
    counts = np.array([2, 0, -1, 3, 0, -3, 0, 3])
    shots = said.view(np.uint8)[:, None]
    assert compiled.log_odds(shots)[:, 0] == pytest.approx(0.5 + 2 * 0.25 * counts)
    one_by_one = [compiled.log_odds(shot[None])[0] for shot in shots]
    np.testing.assert_array_equal(compiled.log_odds(shots), one_by_one)
    assert compiled.log_odds(shots[:0]).shape == (0, 1)
    none = decode_with_gap(_of_known(_Known()), shots)
    assert (none.predictions.shape, none.gap.shape) == ((8, 0), (8, 0))


def test_without_doubt_it_is_neural_matching(model, weights):
    m = model(5, 3)
    packed = m.circuit.compile_detector_sampler(seed=4).sample(100, bit_packed=True)
    sure = NeuralEnsembleDecoder(weights=weights[0], doubtful=0, device="cpu")
    matching = CompiledNeuralMatching(m.problem, predecoder.load_network(weights[0]), EngineOptions(CPU))
    assert np.array_equal(
        sure.compile_decoder_for_dem(dem=m.dem).decode_shots_bit_packed(
            bit_packed_detection_event_data=packed
        ),
        matching.decode_shots_bit_packed(bit_packed_detection_event_data=packed),
    )


def test_a_copy_decodes_alike_and_changed_weights_are_refused(model, weights, separable_network):
    m = model(3, 3)
    packed = m.circuit.compile_detector_sampler(seed=5).sample(50, bit_packed=True)
    decoder = NeuralEnsembleDecoder(weights=weights[0], opinions=weights[1:], device="cpu")
    copy = pickle.loads(pickle.dumps(decoder))
    predictions = [
        d.compile_decoder_for_dem(dem=m.dem).decode_shots_bit_packed(bit_packed_detection_event_data=packed)
        for d in (decoder, copy)
    ]
    assert np.array_equal(*predictions)
    predecoder.save_weights(separable_network(7), weights[1], {})
    with pytest.raises(WeightsError, match="changed"):
        copy.compile_decoder_for_dem(dem=m.dem)


def test_nats_and_shares_are_not_negative():
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"doubtful={wrong!r} is not a finite number of nats from 0 on"):
            NeuralEnsembleDecoder(doubtful=wrong)
    for wrong in (-1.0, float("nan")):
        with pytest.raises(ValueError, match=f"unsettled={wrong!r} is not a number of nats from 0 on"):
            NeuralEnsembleDecoder(unsettled=wrong)
    wrong_shares = (
        ("networks", 0.0),
        ("correlated", -0.5),
        ("correlated", float("nan")),
        ("decoders", float("inf")),
    )
    for shares in ({name: share} for name, share in wrong_shares):
        with pytest.raises(ValueError, match="are no shares"):
            EnsembleShares(**shares)


def test_a_dem_without_correlated_gaps_is_refused_before_any_shot(model, weights, monkeypatch):
    def none(*_args, **_options):
        raise NoGapError("matching has no gap for L0")

    monkeypatch.setattr(MatchingGaps, "log_odds", none)
    with pytest.raises(NoGapError, match="no gap for L0"):
        NeuralEnsembleDecoder(weights=weights[0], device="cpu").compile_decoder_for_dem(dem=model(3, 3).dem)


@pytest.mark.slow
def test_other_opinions_remove_failures(model):
    """d = 5: of the same 16,384 shots 1,850 failed, then 1,771, then 1,730 (seeds of no table)."""
    m = model(5, 5)
    packed, truth = m.circuit.compile_detector_sampler(seed=6).sample(
        16_384, separate_observables=True, bit_packed=True
    )

    def failures(**options) -> int:
        decoder = NeuralEnsembleDecoder(
            weights="realtime-matching", device="cpu", precision="int8", **options
        )
        predicted = decoder.compile_decoder_for_dem(dem=m.dem).decode_shots_bit_packed(
            bit_packed_detection_event_data=packed
        )
        return int((predicted != truth).any(axis=1).sum())

    found = failures(doubtful=0), failures(), failures(opinions=["accurate-matching"])
    assert max(found[1:]) < found[0], found
