"""Sums over the steps since an evaluation: what they say of every image, and what is bad since when."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dynfilt.train.running_sums import RunningSums

SIZES = (5, 5, 3)


@pytest.fixture
def steps() -> list[tuple[Tensor, Tensor, Tensor]]:
    """Mean loss, scores and labels of three batches, the last one smaller."""
    generator = torch.Generator().manual_seed(0)
    batches = []
    for size in SIZES:
        scores, labels = torch.randn(size, 4, generator=generator), torch.randint(4, (size,), generator=generator)
        batches.append((F.cross_entropy(scores, labels), scores, labels))
    return batches


@pytest.mark.parametrize("reads", [(0, 1, 2), (1,), ()])
def test_the_sums_are_those_of_all_images_whenever_they_are_read(
    reads: tuple[int, ...], steps: list[tuple[Tensor, Tensor, Tensor]]
) -> None:
    sums, loss = RunningSums(), 0.0
    for step, batch in enumerate(steps):
        sums.add(*batch)
        loss += batch[0].item() * len(batch[2])  # in this order, so that a resumed run has the same last bit
        if step in reads:
            sums.add_up()
    hits = sum(
        int(score.argmax() == label) for _, scores, labels in steps for score, label in zip(scores, labels, strict=True)
    )
    assert sums.state_dict() == {"loss": loss, "correct": hits, "images": sum(SIZES)}
    assert 0 < hits < sum(SIZES)
    assert sums.steps_since_bad == 0


def test_what_a_step_gave_may_be_overwritten_by_the_next(steps: list[tuple[Tensor, Tensor, Tensor]]) -> None:
    kept, overwritten = RunningSums(), RunningSums()
    for loss, scores, labels in steps:
        kept.add(loss, scores, labels)
        replayed = loss.clone(), scores.clone()
        overwritten.add(*replayed, labels)
        for tensor in replayed:
            tensor.fill_(9.0)
    assert overwritten.state_dict() == kept.state_dict()


def test_sums_go_on_from_their_state(steps: list[tuple[Tensor, Tensor, Tensor]]) -> None:
    whole, first = RunningSums(), RunningSums()
    for batch in steps:
        whole.add(*batch)
    first.add(*steps[0])
    rest = RunningSums.from_state(first.state_dict())
    for batch in steps[1:]:
        rest.add(*batch)
    assert rest.state_dict() == whole.state_dict()


def test_a_state_of_tensors_as_older_checkpoints_have_it_is_read() -> None:
    old = {"loss": torch.tensor(0.1, dtype=torch.float64), "correct": torch.tensor(7), "images": 16}
    assert RunningSums.from_state(old).state_dict() == {"loss": 0.1, "correct": 7, "images": 16}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("reads_between", [True, False])
def test_the_steps_since_the_first_bad_loss_are_counted(bad: float, reads_between: bool) -> None:
    sums = RunningSums()
    for loss in (1.0, 2.0, bad, 3.0):
        sums.add(torch.tensor(loss), torch.zeros(1, 4), torch.zeros(1, dtype=torch.int64))
        if reads_between:
            sums.add_up()
    sums.add_up()
    assert sums.steps_since_bad == 2
