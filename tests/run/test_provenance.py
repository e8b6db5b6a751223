"""Which commit a result is said to come from, and which command."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dynfilt.run import provenance


@pytest.mark.parametrize(
    ("origin", "commit"),
    [
        ({"url": "https://example.org/dynfilt", "vcs_info": {"vcs": "git", "commit_id": "c" * 40}}, "c" * 40),
        ({"url": "file:///a/folder", "dir_info": {}}, None),
        (None, None),
    ],
)
def test_an_installed_package_does_not_claim_the_commit_of_the_repository_around_it(
    origin: dict[str, object] | None, commit: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(provenance.COMMIT_VARIABLE, raising=False)
    monkeypatch.setattr(provenance, "IS_CHECKOUT", False)
    written = None if origin is None else json.dumps(origin)
    monkeypatch.setattr(metadata, "distribution", lambda _: SimpleNamespace(read_text=lambda _: written))
    assert provenance.git_state() == (commit, None)


def test_a_layer_that_is_in_no_commit_makes_a_checkout_dirty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(provenance.COMMIT_VARIABLE, raising=False)
    monkeypatch.setattr(provenance, "IS_CHECKOUT", True)
    monkeypatch.setattr(provenance, "PROJECT", tmp_path)
    author = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], [*author, "commit", "-q", "--allow-empty", "-m", "empty"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    (tmp_path / "outputs.txt").write_text("in no commit either")
    assert provenance.git_state()[1] is False
    (tmp_path / "dynfilt" / "layers").mkdir(parents=True)
    (tmp_path / "dynfilt" / "layers" / "mine.py").write_text("")
    assert provenance.git_state()[1] is True


def test_the_command_is_what_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "0123456789abcdef")
    for argv, command in (
        (["run.py", "seed=1"], ["run.py", "seed=1"]),
        (["run.py", "study=x0123456789abcdefy"], ["run.py", "study=x$MY_API_KEYy"]),
        ([provenance.RUN_COMMAND, "seed=1"], ["dynfilt", "run", "seed=1"]),
    ):
        monkeypatch.setattr(sys, "argv", argv)
        assert provenance.collect_provenance(torch.device("cpu"))["command"] == command
