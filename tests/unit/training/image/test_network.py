"""The network's layers."""

import pytest

pytest.importorskip("torch", reason="the extra `image` is not installed: make images")

import torch

from training.image.network import Halving


@pytest.mark.parametrize("size", [7, 8])
def test_a_halving_layer_gives_the_same_with_the_norm_before_the_maximum(size):
    """The statistics of the whole batch stand in for the running ones."""
    torch.manual_seed(0)
    layer = Halving(3, 5)
    x = torch.randn(6, 3, size, size)
    layer.norm.momentum = 1.0
    with torch.no_grad():
        layer.norm.bias.uniform_(-1, 1)
        given = layer(x)
        pooled = layer.pool(layer.convolution(x))
        layer.norm.running_var.copy_(pooled.var((0, 2, 3), unbiased=False))
        served = layer.eval()(x)
    assert served.shape == (6, 5, (size + 1) // 2, (size + 1) // 2)
    torch.testing.assert_close(served, given, rtol=1e-4, atol=1e-5)
    assert float(given.max()) > 0
