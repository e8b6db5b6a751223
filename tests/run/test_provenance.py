"""Which commit a result is said to come from, and which command."""

import json
import sys
from importlib import metadata
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


def test_the_command_is_what_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "0123456789abcdef")
    for argv, command in (
        (["run.py", "seed=1"], ["run.py", "seed=1"]),
        (["run.py", "study=x0123456789abcdefy"], ["run.py", "study=x$MY_API_KEYy"]),
        ([provenance.RUN_COMMAND, "seed=1"], ["dynfilt", "run", "seed=1"]),
    ):
        monkeypatch.setattr(sys, "argv", argv)
        assert provenance.collect_provenance(torch.device("cpu"))["command"] == command
