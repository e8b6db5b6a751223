import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from dynfilt.train import checkpoint
from dynfilt.train.checkpoint import copy_checkpoint, load_checkpoint, save_checkpoint


def example(seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "model": {"weight": torch.randn(40, 25, generator=generator), "count": torch.tensor(7)},
        "optimizer": {
            "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.randn(9, generator=generator).bfloat16()}},
            "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "fused": True, "params": [0, 1]}],
        },
        "step": 12,
        "epoch": 1.5,
        "name": "a text",
        "none": None,
        "rng": torch.get_rng_state(),
        "empty": torch.empty(0, 3),
        "transposed": torch.randn(3, 5, generator=generator).t(),
    }


def same(left: Any, right: Any) -> bool:
    """Equal to the last bit, with the same types."""
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and left.shape == right.shape and torch.equal(left, right)
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    save_checkpoint(example(), tmp_path / "new folder" / "last.pt")
    assert same(load_checkpoint(tmp_path / "new folder" / "last.pt"), example())


def test_it_is_readable_without_running_code_from_it(tmp_path: Path) -> None:
    save_checkpoint(example(), tmp_path / "last.pt")
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert len(state.pop("sha256")) == 64
    assert same(state, example())


def test_a_pickle_with_code_is_refused(tmp_path: Path) -> None:
    torch.save({"sha256": "", "code": print}, tmp_path / "last.pt")
    with pytest.raises(ValueError, match=r"last\.pt: not a readable checkpoint"):
        load_checkpoint(tmp_path / "last.pt")


def test_no_flipped_byte_goes_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(example(), path)
    whole = path.read_bytes()
    weights = example()["model"]["weight"].numpy().tobytes()
    start = whole.index(weights)
    generator = torch.Generator().manual_seed(0)
    anywhere = torch.randint(0, len(whole), (60,), generator=generator).tolist()
    for position in [start, start + 1777, start + len(weights) - 1, 0, len(whole) - 1, *anywhere]:
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        try:
            state = load_checkpoint(path)
        except ValueError as error:
            assert str(path) in str(error)
        else:  # it hit the padding or a time stamp of the archive
            assert not start <= position < start + len(weights)
            assert same(state, example())


def test_a_change_of_any_value_breaks_the_checksum(tmp_path: Path) -> None:
    save_checkpoint(example(), tmp_path / "last.pt")
    for key, value in {"step": 13, "epoch": 1.25, "none": 0, "empty": torch.empty(3, 0), "extra": 1}.items():
        state = torch.load(tmp_path / "last.pt", weights_only=True)
        torch.save({**state, key: value}, tmp_path / "changed.pt")
        with pytest.raises(ValueError, match=r"changed\.pt: damaged"):
            load_checkpoint(tmp_path / "changed.pt")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_not_a_checkpoint(share: float, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(example(), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"last\.pt: not a readable checkpoint"):
        load_checkpoint(path)


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "last.pt")


@pytest.mark.parametrize("operation", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    operation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(example(seed=1), path)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(checkpoint.os, operation, fail)
        save_checkpoint(example(seed=2), path)
    assert same(load_checkpoint(path), example(seed=1))
    assert os.listdir(tmp_path) == ["last.pt"]


def test_a_kill_while_writing_leaves_the_old_file_and_does_not_bar_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(example(seed=1), path)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint.os, "replace", lambda *_: signal_arrives())
        save_checkpoint(example(seed=2), path)
    assert same(load_checkpoint(path), example(seed=1))
    save_checkpoint(example(seed=3), path)
    assert same(load_checkpoint(path), example(seed=3))


def signal_arrives() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_copy_keeps_its_content_when_the_source_moves_on(
    hard_links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hard_links:
        monkeypatch.setattr(checkpoint.os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))
    last, best = tmp_path / "last.pt", tmp_path / "best.pt"
    for seed in (1, 2):
        save_checkpoint(example(seed), last)
        copy_checkpoint(last, best)
        copy_checkpoint(last, best)
        assert same(load_checkpoint(best), example(seed))
    save_checkpoint(example(3), last)
    assert same(load_checkpoint(best), example(2))
    assert sorted(os.listdir(tmp_path)) == ["best.pt", "last.pt"]


def test_a_leftover_of_a_killed_copy_is_no_obstacle(tmp_path: Path) -> None:
    save_checkpoint(example(), tmp_path / "last.pt")
    (tmp_path / "best.pt.tmp").write_bytes(b"half a checkp")
    copy_checkpoint(tmp_path / "last.pt", tmp_path / "best.pt")
    assert same(load_checkpoint(tmp_path / "best.pt"), example())


def test_damage_to_a_checkpoint_leaves_its_copy(tmp_path: Path) -> None:
    last, best = tmp_path / "last.pt", tmp_path / "best.pt"
    save_checkpoint(example(), last)
    copy_checkpoint(last, best)
    os.truncate(last, 100)
    assert same(load_checkpoint(best), example())


def test_what_the_disk_refuses_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    save_checkpoint(example(), tmp_path / "last.pt")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        load_checkpoint(tmp_path / "last.pt")
