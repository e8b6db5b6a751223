"""How a run stands for a command, told by what ended it."""

import pytest
import torch

from dynfilt.run.folder import RunState, Snapshot
from dynfilt.run.standing import _was_cut_short


@pytest.mark.parametrize(
    ("error", "is_of_the_machine"),
    [
        (OSError(28, "full"), True),
        (OSError(13, "no longer writable"), True),
        (torch.OutOfMemoryError("filled by others"), True),
        (FloatingPointError("nan"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_run_that_the_machine_has_ended_can_go_on(error: Exception, is_of_the_machine: bool) -> None:
    status = {"state": "failed", "error": {"type": type(error).__name__, "message": str(error)}}
    assert _was_cut_short(Snapshot(RunState.FAILED, {}, status, "")) == is_of_the_machine
