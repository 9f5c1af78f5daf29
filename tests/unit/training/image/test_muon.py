"""The optimiser: steps that turn filters, and SGD for what is no matrix."""

import pytest

pytest.importorskip("torch", reason="the extra `image` is not installed: make images")

import torch
from torch import nn

from training.image.muon import Muon, optimiser_of, orthogonal


@pytest.mark.parametrize("shape", [(8, 72), (72, 8), (16, 16)])
def test_an_orthogonal_step_has_singular_values_of_about_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonal(matrix))
    spread = torch.linalg.svdvals(matrix)
    assert float(spread.max() / spread.min()) > 1.3
    assert float(values.min()) > 0.3
    assert float(values.max()) < 1.4


def test_a_matrix_of_zeros_is_no_step():
    assert torch.equal(orthogonal(torch.zeros(4, 9)), torch.zeros(4, 9))


def test_filters_keep_their_norm_whatever_the_gradient():
    filters = nn.Parameter(torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(2)))
    optimiser = Muon([filters], [], lr=0.1)
    for scale in (1e-6, 1.0, 1e6):
        filters.grad = scale * torch.randn(
            filters.shape, generator=torch.Generator().manual_seed(3)
        )
        before = filters.detach().clone()
        optimiser.step()
        moved = float((filters.detach() - before * 4.0 / before.norm()).norm())
        assert moved == pytest.approx(0.06 * 4.0, rel=0.5)


def test_what_is_no_filter_moves_as_sgd_moves_it():
    networks = [nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)) for _ in "ab"]
    networks[1].load_state_dict(networks[0].state_dict())
    filters = nn.Parameter(torch.ones(2, 4, 3, 3))
    groups = [{"params": list(networks[0].parameters()), "weight_decay": 0.01}]
    ours = Muon([filters], groups, lr=0.1)
    theirs = torch.optim.SGD(
        networks[1].parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01
    )
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(4))
    for _ in range(5):
        for network, optimiser in zip(networks, (ours, theirs), strict=True):
            optimiser.zero_grad()
            network(x).square().mean().backward()
            optimiser.step()
    for mine, known in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        torch.testing.assert_close(mine, known)


def test_given_weights_are_not_turned():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3))
    settings = {"learning_rate": 0.1, "weight_decay": 0.0}
    known = optimiser_of(network, **settings, orthogonal_filters=False)
    assert isinstance(known, torch.optim.SGD)
    turned = optimiser_of(network, **settings, orthogonal_filters=True).param_groups[0]["params"]
    assert [tuple(filters.shape) for filters in turned] == [(8, 8, 3, 3)]
