"""Noise-conditioned networks need their noise features."""

import pytest
import torch

from qec import NOISE_FEATURES


def test_a_network_is_told_what_it_has_to_know_and_nothing_else(random_network):
    inputs, rates = torch.zeros(1, 16, 2, 2, 2), torch.zeros(1, 8 * NOISE_FEATURES, 2, 2, 2)
    with pytest.raises(ValueError, match="rates=True was run without its rates"):
        random_network(rates=True)(inputs)
    with pytest.raises(ValueError, match="rates=False was run with rates"):
        random_network()(inputs, rates)
