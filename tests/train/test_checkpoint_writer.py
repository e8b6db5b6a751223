import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from dynfilt.train import checkpoint_writer
from dynfilt.train.checkpoint import load_checkpoint, save_checkpoint
from dynfilt.train.checkpoint_writer import CheckpointWriter
from dynfilt.train.evaluation import Stopped


def example(step: int) -> dict[str, Any]:
    return {"model": {"w": torch.full((3,), float(step))}, "groups": [{"lr": 0.1, "v": torch.zeros(2)}], "step": step}


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """No checkpoint reaches the disk before this is set."""
    opened = threading.Event()

    def save_later(state: dict[str, Any], path: Path) -> None:
        assert opened.wait(30)
        save_checkpoint(state, path)

    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", save_later)
    return opened


def test_training_goes_on_while_what_it_had_is_written(gate: threading.Event, tmp_path: Path) -> None:
    state = example(1)
    with CheckpointWriter() as writer:
        writer.write(state, tmp_path / "last.pt")
        assert not (tmp_path / "last.pt").exists()
        state["model"]["w"].add_(5)
        state["groups"][0]["v"].add_(5)
        state["groups"][0]["lr"] = 5
        gate.set()
    written = load_checkpoint(tmp_path / "last.pt")
    assert written["model"]["w"].tolist() == [1, 1, 1]
    assert (written["groups"][0]["lr"], written["groups"][0]["v"].tolist()) == (0.1, [0, 0])


def test_what_layers_share_is_written_once_and_read_by_each(tmp_path: Path) -> None:
    shared = torch.zeros(10_000)
    with CheckpointWriter() as writer:
        writer.write({"model": {f"layer{n}.cells": shared.view(100, 100) for n in range(9)}}, tmp_path / "last.pt")
        shared.add_(5)
    written = load_checkpoint(tmp_path / "last.pt")["model"]
    assert len(written) == 9 and all(cells.shape == (100, 100) and not cells.any() for cells in written.values())
    assert (tmp_path / "last.pt").stat().st_size < 2 * shared.nbytes


def test_the_best_is_the_one_it_was_asked_for(tmp_path: Path) -> None:
    last, best = tmp_path / "last.pt", tmp_path / "best.pt"
    with CheckpointWriter() as writer:
        for step in range(20):
            writer.write(example(step), last, best if step in (3, 11) else None)
    assert (load_checkpoint(last)["step"], load_checkpoint(best)["step"]) == (19, 11)


def test_one_is_on_disk_before_the_next_is_begun(tmp_path: Path) -> None:
    with CheckpointWriter() as writer:
        for step in range(5):
            writer.write(example(step), tmp_path / f"{step}.pt")
            assert all((tmp_path / f"{earlier}.pt").exists() for earlier in range(step))


def test_a_full_disk_is_told_at_the_next_checkpoint_or_at_the_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", full)
    writer = CheckpointWriter()
    writer.write(example(0), tmp_path / "last.pt")
    with pytest.raises(OSError, match="No space left"):
        writer.write(example(1), tmp_path / "last.pt")
    with pytest.raises(OSError, match="No space left"), CheckpointWriter() as writer:
        writer.write(example(0), tmp_path / "last.pt")
    with pytest.raises(OSError, match="No space left"), CheckpointWriter() as writer:
        writer.write(example(0), tmp_path / "last.pt")
        raise Stopped  # "interrupted" would say that nothing is lost


def test_an_error_of_training_is_the_one_that_is_told_and_the_checkpoint_is_kept(
    gate: threading.Event, tmp_path: Path
) -> None:
    with pytest.raises(FloatingPointError), CheckpointWriter() as writer:
        writer.write(example(7), tmp_path / "last.pt")
        gate.set()
        raise FloatingPointError
    assert load_checkpoint(tmp_path / "last.pt")["step"] == 7
