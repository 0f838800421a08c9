"""The nonlinearity has one value for one number, wherever it stands and however many threads there are."""

import pytest
import torch

from predecoder.network.activation import gelu


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(1, 8, 2, 1, 1), (3, 8, 2, 1, 1), (2, 24, 3, 5, 7), (5, 48, 9, 7, 9)])
@pytest.mark.parametrize("channels_last", [True, False])
def test_an_element_has_the_same_bits_anywhere(threads, shape, channels_last):
    x = 2 * torch.randn(shape, generator=torch.Generator().manual_seed(1))
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last_3d)
    whole = gelu(x)
    assert whole.shape == x.shape
    torch.testing.assert_close(whole, torch.nn.functional.gelu(x, approximate="tanh"))
    alone = [gelu(x[shot, :, t : t + 1]) for shot in range(shape[0]) for t in range(shape[2])]
    expected = [whole[shot, :, t : t + 1] for shot in range(shape[0]) for t in range(shape[2])]
    assert all(torch.equal(a, b) for a, b in zip(alone, expected, strict=True))


def test_gradients_and_double_precision_are_those_of_torch():
    x = torch.randn(1, 3, 2, 2, 1, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(gelu, (x,))
