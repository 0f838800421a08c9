"""Residual blocks in bfloat16: gradients near those of float32, and nothing of it remains."""

import pytest
import torch

from predecoder.network import DenseConfig, bfloat16_blocks, make_network


@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize("time_fold", [1, 2])
def test_gradients_point_where_those_in_float32_do(time_fold, layers):
    """Of every tensor, whatever few layers or blocks there are."""
    torch.manual_seed(3)
    network = make_network(DenseConfig(16, 2, time_fold=time_fold, noise_conditioned=True))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.08)
    x, features = torch.randn(6, 16, layers, 2, 3), torch.randn(1, 64, layers, 2, 3)
    weights = torch.randn(6, 24, layers, 2, 3)

    def gradients(logits: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad((logits * weights).sum(), list(network.parameters())))

    exact = network(x, features)
    with bfloat16_blocks(network):
        fast = network(x, features)
    assert fast.dtype == torch.float32
    assert not torch.equal(fast, exact)
    torch.testing.assert_close(fast, exact, rtol=0.02, atol=0.02 * float(exact.detach().abs().max()))
    for got, expected in zip(gradients(fast), gradients(exact), strict=True):
        assert torch.cosine_similarity(got.flatten(), expected.flatten(), dim=0) > 0.99
        assert 0.97 < got.norm() / expected.norm() < 1.03


def test_what_follows_is_in_float32_again(random_network):
    network, x = random_network(1), torch.randn(2, 16, 2, 3, 3)
    with torch.no_grad():
        exact = network(x)
        with pytest.raises(InterruptedError), bfloat16_blocks(network):
            raise InterruptedError
        assert torch.equal(network(x), exact)


def test_other_families_have_no_bfloat16_blocks(separable_network):
    reason = "of family='separable' has no bfloat16 blocks, a dense one has"
    with pytest.raises(ValueError, match=reason), bfloat16_blocks(separable_network(1)):
        pass
