"""Training steps replayed as one CUDA graph: a small network's step without the launching of its kernels."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

EAGER_STEPS = 3
Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class GraphedStep:
    """A step on (images, labels) that is recorded at the first full batches and replayed for all that follow.

    The first steps, which create the optimizer's state, and batches of another size run as they are; every call is
    one real step, so that a run takes the same ones as without a graph. What a call returns, the next one overwrites.
    `record(work)` gives what does the work again on the same tensors, without doing it now.
    """

    def __init__(
        self, step: Step, batch_size: int, record: Callable[[Callable[[], object]], Callable[[], None]]
    ) -> None:
        self._step = step
        self._batch_size = batch_size
        self._record = record
        self._eager_left = EAGER_STEPS
        self._replay: Callable[[], None] | None = None

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if len(images) != self._batch_size:
            return self._step(images, labels)
        if self._eager_left:
            self._eager_left -= 1
            return self._step(images, labels)
        if self._replay is None:
            self._images, self._labels = images.clone(), labels.clone()
            self._replay = self._record(self._work)
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._replay()
        return self._answer

    def _work(self) -> None:
        self._answer = self._step(self._images, self._labels)


def record_cuda_graph(work: Callable[[], object], device: torch.device) -> Callable[[], None]:
    """Record work on a device as a CUDA graph without doing it, and return what replays it.

    Raises ValueError without CUDA and for work that cannot be recorded, e.g. because it waits for the device.
    """
    if device.type != "cuda":
        raise ValueError(f"a CUDA graph needs a CUDA device, not {device}")
    gc.collect()  # a gradient's node that outlived its step would tie the recording to the stream of that step
    graph = torch.cuda.CUDAGraph()
    try:
        # Checkpoints are written by a thread of their own, which may use the device meanwhile.
        with torch.cuda.device(device), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            work()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        [reason, *_] = str(error.__context__ or error).splitlines()
        raise ValueError(f"this cannot be recorded as a CUDA graph: {reason}") from error
    return graph.replay


def make_recordable(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Keep the learning rate and the count of steps on the device, where a recorded update reads them.

    Raises ValueError for an optimizer that is not fused, which would wait for the learning rate.
    """
    if not optimizer.defaults.get("fused"):
        raise ValueError("trainer.cuda_graph=true needs optimizer.fused=true")
    # The first steps are not recorded, and torch would warn about them.
    warnings.filterwarnings("ignore", message="This instance was constructed with capturable=True")
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(group["lr"], dtype=torch.float32, device=device)
        if "capturable" in group:
            group["capturable"] = True
