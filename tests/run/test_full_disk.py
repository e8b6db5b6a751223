"""A disk without room: said before anything is moved, and nothing that was there is lost."""

import errno
import os
from pathlib import Path

import pytest
import torch

from dynfilt.config.errors import explain
from dynfilt.run.record import set_aside
from dynfilt.train.memory import naming_batch_size
from tests.conftest import TINY, Command
from tests.run_folders import contents


@pytest.mark.parametrize("operation", ["posix_fallocate", "fsync"])
def test_a_run_is_set_aside_only_where_a_new_one_has_room(
    operation: str, command: Command, finished_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = contents(finished_copy.parent)
    before.pop("seed0/lock")
    with monkeypatch.context() as patch:
        patch.setattr(os, operation, full)
        outcome = command(*TINY, "rerun=true")
    assert outcome.code == 1
    assert "No space left on device: free some where output_root is" in outcome.err
    after = contents(finished_copy.parent)
    assert after.pop("seed0/lock") is not None
    assert after == before


def test_the_room_that_is_looked_for_is_that_of_the_old_checkpoints(
    finished_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(os, "posix_fallocate", lambda file, start, size: asked.append(size))
    checkpoints = sum(file.stat().st_size for file in (finished_copy / "checkpoint").iterdir())
    set_aside(finished_copy)
    assert asked == [checkpoints]
    assert sorted(path.name for path in finished_copy.parent.iterdir()) == [".seed0.1"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."), torch.OutOfMemoryError),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            MemoryError,
        ),
        (MemoryError(), MemoryError),
    ],
)
def test_out_of_memory_names_the_setting_to_change(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught, naming_batch_size("trainer.batch_size", 64):
        raise error
    line = explain(caught.value)
    assert "out of memory with trainer.batch_size=64, choose less" in line and "\n" not in line


def test_other_errors_are_what_they_were() -> None:
    with pytest.raises(RuntimeError, match=r"^shapes differ$"), naming_batch_size("trainer.batch_size", 64):
        raise RuntimeError("shapes differ")
