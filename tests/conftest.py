"""The command line inside the test's own process, where it takes no start-up time."""

import contextlib
import io
import json
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

import run
from dynfilt import config, experiment
from dynfilt.config import Job

ROOT = Path(__file__).resolve().parent.parent
CONF = ROOT / "tests" / "conf"
# A run of a fraction of a second: `python run.py -cd tests/conf model=tiny ...`.
TINY = ("-cd", str(CONF), "model=tiny", "data=tiny", "tracking=off", "trainer.device=cpu", "trainer.batch_size=16")


@dataclass(frozen=True)
class Outcome:
    """What a command leaves on the terminal."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return [line for line in (self.out + self.err).splitlines() if line.strip()]


Command = Callable[..., Outcome]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """command("model=tiny", ...) is `python run.py model=tiny ...` in tmp_path, without a new process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setenv("HYDRA_MAIN_MODULE", "__main__")  # so that Hydra finds conf/ beside run.py
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    handler = signal.getsignal(signal.SIGTERM)

    def call(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", [str(ROOT / "run.py"), *arguments])
        _forget_the_last_command()
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = run.main()
            except SystemExit as exit_:
                code = int(exit_.code or 0)
        return Outcome(code, out.getvalue(), err.getvalue())

    yield call
    _forget_the_last_command()
    signal.signal(signal.SIGTERM, handler)


def _forget_the_last_command() -> None:
    run.failures.clear()
    run.planned.clear()
    config._compose_base.cache_clear()
    GlobalHydra.instance().clear()
    OmegaConf.clear_resolver("scratch")


@pytest.fixture
def compose(command: Command, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Job]]:
    """compose("seed=0,1", "-m") is the list of jobs that `python run.py seed=0,1 -m` would run."""

    def call(*arguments: str) -> list[Job]:
        jobs: list[Job] = []
        with monkeypatch.context() as patch:
            patch.setattr(experiment, "run", jobs.append)
            outcome = command(*arguments)
        assert outcome.code == 0, outcome.err
        return jobs

    return call
