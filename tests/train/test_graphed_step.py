"""Steps recorded once and replayed: the same run as without, here with a recording that does its work anew."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from dynfilt.schedules import Cosine
from dynfilt.train.graphed_step import EAGER_STEPS, GraphedStep, make_recordable, record_cuda_graph
from dynfilt.train.trainer import Trainer

BATCH = 16  # 60 images an epoch: three full batches and one of 12


class Recording:
    """Stands in for a CUDA graph: replaying does the recorded work again, on the tensors it was recorded with."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, work: Callable[[], object]) -> Callable[[], None]:
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            work()

        return replay


def fit(trainer: Trainer) -> list[dict]:
    rows: list[dict] = []
    trainer.fit(lambda row, improved: rows.append(row), lambda: None, lambda step: None)
    return [{key: value for key, value in row.items() if key not in ("seconds", "images_per_second")} for row in rows]


def sgd(parameters: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9, fused=True)


def test_a_run_takes_the_same_steps_with_a_recording(make_trainer: Callable[..., Trainer]) -> None:
    recording = Recording()
    plain, graphed = (make_trainer(epochs=3, optimizer=sgd, schedule=Cosine(final=0.0)) for _ in range(2))
    make_recordable(graphed.optimizer, torch.device("cpu"))
    graphed.step_function = GraphedStep(graphed._step_once, BATCH, recording)
    for row, expected in zip(fit(graphed), fit(plain), strict=True):
        assert row == pytest.approx(expected, rel=1e-6)
    for ours, theirs in zip(graphed.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert recording.recorded == 1
    assert recording.replayed == 3 * 3 - EAGER_STEPS  # the last batch of an epoch is smaller, and runs as it is


def test_the_recorded_work_reads_and_writes_the_same_tensors_in_every_step() -> None:
    seen: list[tuple[int, int]] = []

    def step(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        seen.append((images.data_ptr(), labels.data_ptr()))
        return images.sum(), labels.float()

    graphed = GraphedStep(step, BATCH, Recording())
    for number in range(EAGER_STEPS + 3):
        loss, scores = graphed(torch.full((BATCH, 2), float(number)), torch.full((BATCH,), number))
        assert loss == 2 * BATCH * number and (scores == number).all()
    replayed = seen[EAGER_STEPS:]
    assert len(seen) == EAGER_STEPS + 3
    assert all(before == after for before, after in pairwise(replayed))


def test_the_learning_rate_of_a_recordable_update_is_written_in_place(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(epochs=1, optimizer=sgd, schedule=Cosine(final=0.0))
    make_recordable(trainer.optimizer, torch.device("cpu"))
    [group] = trainer.optimizer.param_groups
    rate, rates = group["lr"], []
    trainer.fit(lambda *_: None, lambda: None, lambda step: rates.append(float(rate)))
    assert group["lr"] is rate and rate.dtype == torch.float32
    wanted = make_trainer(epochs=1, optimizer=sgd, schedule=Cosine(final=0.0))
    expected: list[float] = []
    wanted.fit(lambda *_: None, lambda: None, lambda step: expected.append(wanted.optimizer.param_groups[0]["lr"]))
    assert rates == pytest.approx(expected, rel=1e-6) and len(set(rates)) == 4


def test_an_optimizer_that_counts_on_the_host_is_told_to_count_on_the_device() -> None:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))], lr=0.1, fused=True)
    make_recordable(optimizer, torch.device("cpu"))
    assert optimizer.param_groups[0]["capturable"]


def test_a_resumed_run_keeps_its_rate_on_the_device(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(epochs=1, optimizer=sgd)
    make_recordable(trainer.optimizer, torch.device("cpu"))
    fit(trainer)
    resumed = make_trainer(epochs=2, optimizer=sgd)
    make_recordable(resumed.optimizer, torch.device("cpu"))
    rate = resumed.optimizer.param_groups[0]["lr"]
    resumed.load_state_dict(trainer.state_dict())
    assert resumed.optimizer.param_groups[0]["lr"] is rate


def test_no_cuda_is_said_when_the_trainer_is_built(make_trainer: Callable[..., Trainer]) -> None:
    with pytest.raises(ValueError, match=r"trainer\.cuda_graph=true needs a CUDA device, but trainer\.device is cpu"):
        make_trainer(cuda_graph=True)


def test_no_cuda_is_said_when_something_is_to_be_recorded() -> None:
    with pytest.raises(ValueError, match="a CUDA graph needs a CUDA device, not cpu"):
        record_cuda_graph(lambda: None, torch.device("cpu"))


def test_an_update_that_waits_for_its_rate_is_refused() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1)
    with pytest.raises(ValueError, match=r"needs optimizer\.fused=true"):
        make_recordable(optimizer, torch.device("cpu"))


@pytest.mark.parametrize("mode", ["reduce-overhead"])
def test_a_compiler_with_graphs_of_its_own_is_refused(mode: str, make_trainer: Callable[..., Trainer]) -> None:
    with pytest.raises(ValueError, match=rf"compile_mode={mode} records its own CUDA graphs: choose"):
        make_trainer(cuda_graph=True, compile=True, compile_mode=mode)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("changes", [{}, {"precision": "bfloat16", "clip_gradient_norm": 0.1}, {"compile": True}])
def test_on_cuda_a_run_is_the_same_with_a_graph(
    kind: type, changes: dict, make_trainer: Callable[..., Trainer]
) -> None:
    def rows(cuda_graph: bool) -> list[dict]:
        options = {
            "optimizer": lambda parameters: kind(parameters, lr=0.01, fused=True),
            "cuda_graph": cuda_graph,
            **changes,
        }
        return fit(make_trainer(epochs=4, schedule=Cosine(final=0.0), device="cuda:0", **options))

    for row, expected in zip(rows(True), rows(False), strict=True):
        assert row == pytest.approx(expected, rel=1e-4)
