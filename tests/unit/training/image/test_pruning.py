"""Which pictures an epoch shows, and what they count."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra `image` is not installed: pip install -e '.[image]'")

import torch
from torch import distributed, multiprocessing

from training.image.pruning import Pruning

ROWS = np.arange(1000)
CPU = torch.device("cpu")


def noted(losses: torch.Tensor, *, share: float, epochs: int = 16) -> Pruning:
    pruning = Pruning(len(losses), share=share, epochs=epochs)
    pruning.note(ROWS, losses)
    pruning.end_epoch(device=CPU)
    return pruning


def shown(pruning: Pruning, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    return pruning.shown(ROWS, epoch, np.random.default_rng(epoch))


def test_the_first_epoch_and_the_last_ones_show_everything():
    pruning = noted(torch.rand(1000), share=0.5)
    for epoch in (0, 14, 15):
        rows, weights = shown(pruning, epoch)
        assert rows.tolist() == ROWS.tolist()
        assert (weights == 1).all()
    assert len(shown(pruning, 13)[0]) < len(ROWS)


def test_hard_pictures_are_always_shown_and_easy_ones_weigh_what_is_missing():
    losses = torch.cat((torch.full((700,), 0.1), torch.full((300,), 2.0)))
    pruning = noted(losses, share=0.75)
    counts, sums = np.zeros(1000), np.zeros(1000)
    for epoch in range(1, 13):
        rows, weights = pruning.shown(ROWS, epoch, np.random.default_rng(epoch))
        counts[rows] += 1
        sums[rows] += weights
    assert (counts[700:] == 12).all()
    assert counts[:700].mean() == pytest.approx(3, rel=0.1)
    assert sums[:700].mean() == pytest.approx(12, rel=0.1)


def test_a_picture_that_was_not_shown_keeps_its_loss_and_one_never_seen_is_shown():
    pruning = Pruning(4, share=0.5, epochs=16)
    pruning.note(np.array([0, 1]), torch.tensor([1.0, 3.0]))
    pruning.end_epoch(device=CPU)
    pruning.note(np.array([1]), torch.tensor([2.0]))
    pruning.end_epoch(device=CPU)
    assert pruning.losses[:2].tolist() == [1.0, 2.0]
    rows, _ = pruning.shown(np.arange(4), 1, np.random.default_rng(0))
    assert {1, 2, 3} <= set(rows.tolist())


def test_with_no_share_nothing_is_left_out():
    rows, weights = shown(noted(torch.rand(1000), share=0.0), 5)
    assert len(rows) == 1000
    assert (weights == 1).all()


def _note_own(rank: int, folder: str) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    pruning = Pruning(4, share=0.5, epochs=16)
    pruning.note(np.array([rank]), torch.tensor([rank + 1.0]))
    pruning.end_epoch(device=CPU)
    np.save(f"{folder}/{rank}.npy", pruning.losses.numpy())
    distributed.destroy_process_group()


def test_processes_tell_each_other_what_their_pictures_came_to(tmp_path):
    multiprocessing.spawn(_note_own, args=(str(tmp_path),), nprocs=2)
    for rank in range(2):
        losses = np.load(tmp_path / f"{rank}.npy")
        assert losses[:2].tolist() == [1.0, 2.0]
        assert np.isnan(losses[2:]).all()
