"""Weight files: round trip, hash, and every way a file can be wrong."""

import json

import pytest
import torch
from safetensors.torch import save_file

from predecoder import (
    WeightsError,
    load_bundle,
    load_network,
    resolve_weights,
    save_weights,
    shipped_weights,
    trained_to_be_matched,
)
from predecoder.correction import AbstainPolicy, Policies, ThresholdPolicy
from predecoder.network import DenseConfig, make_network
from predecoder.training import load_config
from qec import GRID_REVISION


def test_round_trip(tmp_path, random_network):
    network = random_network(3)
    file = save_weights(network, tmp_path / "w.safetensors", {"seed": 3})
    assert file.card == {"seed": 3}
    loaded = load_network(file.path)
    assert loaded.config == network.config
    for a, b in zip(network.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(a, b)


def test_hash_is_of_the_bytes(tmp_path, random_network):
    one = save_weights(random_network(1), tmp_path / "a.safetensors", {})
    same = save_weights(random_network(1), tmp_path / "b.safetensors", {"other": "card"})
    other = save_weights(random_network(2), tmp_path / "c.safetensors", {})
    assert one.sha256 == same.sha256 != other.sha256


def test_links_to_weights_and_cards_stay(tmp_path, random_network):
    """As of a training run whose --out is a link to a larger disk."""
    (tmp_path / "disk").mkdir()
    for suffix in (".safetensors", ".json"):
        (tmp_path / f"w{suffix}").symlink_to(tmp_path / "disk" / f"real{suffix}")
    path = tmp_path / "w.safetensors"
    save_weights(random_network(1), path, {"seed": 1})
    assert path.is_symlink()
    assert path.with_suffix(".json").is_symlink()
    assert sorted(file.name for file in (tmp_path / "disk").iterdir()) == ["real.json", "real.safetensors"]
    assert resolve_weights(path).card == {"seed": 1}


def test_not_safetensors(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"not weights at all")
    with pytest.raises(WeightsError, match=r"w\.safetensors is not a safetensors file"):
        load_network(path)


def test_files_of_other_origin_or_shapes_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match="no 'qecpipe' metadata"):
        load_network(path)
    for network, reason in [
        ({"channels": 4, "residual_blocks": 1}, "does not fit the network it describes"),
        ({"depth": 4}, "not of this version"),
    ]:
        described = {
            "network": network,
            "policies": {},
            "grid": GRID_REVISION,
        }
        save_file({"a": torch.zeros(2)}, path, metadata={"qecpipe": json.dumps(described)})
        with pytest.raises(WeightsError, match=reason):
            load_network(path)


def test_weights_of_another_grid_are_refused(tmp_path, random_network, monkeypatch):
    """Trained on another canonical grid, a network would load and decode badly."""
    file = save_weights(random_network(), tmp_path / "w.safetensors", {})
    monkeypatch.setattr("predecoder.weights.bundle.GRID_REVISION", GRID_REVISION + 1)
    with pytest.raises(WeightsError, match=f"revision {GRID_REVISION} of the detector grid"):
        load_network(file.path)


def test_policies_are_stored(tmp_path, random_network):
    policies = Policies(
        threshold=ThresholdPolicy(commit=2.0),
        small_patch=ThresholdPolicy(commit=1.0),
        complete=ThresholdPolicy(commit=4.0, residual="empty", clustering="hyperedges"),
        abstain=AbstainPolicy(0.5),
        min_rounds=3,
    )
    file = save_weights(random_network(), tmp_path / "w.safetensors", {}, policies=policies)
    bundle = load_bundle(file.path)
    assert bundle.policies == policies
    assert bundle.file == file


@pytest.mark.parametrize("name", shipped_weights())
def test_shipped_policies_are_told_apart(name):
    policies = load_bundle(name).policies
    assert policies.small_patch is not None
    assert policies.complete.clustering == "hyperedges"
    assert policies.min_rounds > 1


@pytest.mark.parametrize("name", [name for name in shipped_weights() if name.endswith("-matching")])
def test_shipped_gaps_are_log_odds_and_card_and_file_say_the_same_factor(name):
    bundle = load_bundle(name)
    scale = bundle.policies.gap_scale
    assert 0.4 < scale < 0.7  # raw gaps of all three say too much, by nearly a factor of 2
    card = bundle.file.card
    assert card["gap_scale"]["factor"] == scale
    assert {stage["policies"]["gap_scale"] for stage in card["config"]["stages"]} == {scale}
    assert load_config(f"configs/{name}.toml").policies.gap_scale == scale


@pytest.mark.parametrize("name", shipped_weights())
def test_shipped_weights_say_for_what_they_were_trained(name):
    assert trained_to_be_matched(resolve_weights(name)) == name.endswith("-matching")


@pytest.mark.parametrize(
    ("card", "matched"),
    [
        ({}, False),
        ({"stage": {"loss": "logical-class"}}, True),
        ({"config": {"stages": [{"loss": "logical-class"}, {"loss": "marginal"}]}}, False),
        ({"config": {"steps": 400}, "fine_tuned_from": {"weights": "accurate"}}, True),
    ],
)
def test_the_last_loss_says_for_what_logits_are(tmp_path, random_network, card, matched):
    file = save_weights(random_network(), tmp_path / "w.safetensors", card)
    assert trained_to_be_matched(file) == matched


def test_a_removal_head_is_trained_by_the_moves(tmp_path):
    network = make_network(DenseConfig(channels=8, residual_blocks=1, removal_head=True))
    file = save_weights(network, tmp_path / "w.safetensors", {"stage": {"loss": "logical-class"}})
    assert not trained_to_be_matched(file)


def test_expected_size_is_checked(tmp_path, random_network):
    file = save_weights(random_network(), tmp_path / "w.safetensors", {})
    with pytest.raises(WeightsError, match="the configuration asks for"):
        load_network(file.path, expect=DenseConfig(channels=16, residual_blocks=1))


def test_unknown_name_lists_what_is_shipped():
    with pytest.raises(WeightsError, match="'best' are neither a file nor a shipped name; shipped are:"):
        resolve_weights("best")
