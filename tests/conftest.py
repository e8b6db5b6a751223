"""The command line inside the test's own process, where it takes no start-up time."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# All else is imported where it is needed: with workers pytest's own process reads this file too, and runs no test.
if TYPE_CHECKING:
    from dynfilt.config.compose import Job

ROOT = Path(__file__).resolve().parent.parent
os.environ["DYNFILT_TRUST"] = "tests"  # where the tiny model of most tests is at home
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # its processes for compilation take longer to start than to compile
# A run of a fraction of a second, see tests/conf/tiny.yaml.
TINY = ("-cd", str(ROOT / "tests" / "conf"), "-cn", "tiny")


@pytest.fixture(scope="session", autouse=True)
def remembered_configs() -> Iterator[None]:
    from tests.remembered_configs import remember_configs

    with pytest.MonkeyPatch.context() as patch:
        remember_configs(patch)
        yield


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


@contextlib.contextmanager
def command_line(folder: Path) -> Iterator[Command]:
    """call("seed=1", ...) is `python run.py seed=1 ...` in a folder, without a new process."""
    import run

    def call(*arguments: str) -> Outcome:
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setenv("HYDRA_FULL_ERROR", "1")
            patch.setattr(sys, "argv", [str(ROOT / "run.py"), *arguments])
            patch.setattr(warnings, "showwarning", warnings.showwarning)
            _forget_the_last_command()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    code = run.main()
                except SystemExit as exit_:
                    code = int(exit_.code or 0)
        return Outcome(code, out.getvalue(), err.getvalue())

    yield call
    _forget_the_last_command()


def _forget_the_last_command() -> None:
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    logging.getLogger().setLevel(logging.WARNING)  # after hydra.verbose=true Hydra would print all it does, for ever
    GlobalHydra.instance().clear()
    for resolver in ("scratch", "command"):
        OmegaConf.clear_resolver(resolver)


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    """command("seed=1", ...) is `python run.py seed=1 ...` in tmp_path, without a new process."""
    with command_line(tmp_path) as call:
        yield call


@pytest.fixture(scope="session")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Job]]:
    """compose("seed=0,1", "-m") is the list of jobs that `python run.py seed=0,1 -m` would run."""
    folder = tmp_path_factory.mktemp("compose")
    once = cache(partial(composed, folder))

    def compose(*arguments: str) -> list[Job]:
        depends_on_environment = any(sign in argument for argument in arguments for sign in "~$")
        return composed(folder, *arguments) if depends_on_environment else copy.deepcopy(once(*arguments))

    return compose


def composed(folder: Path, *arguments: str) -> list[Job]:
    """The jobs that `python run.py ...` would run in an empty folder."""
    import dynfilt.command_line
    from dynfilt import experiment

    jobs: list[Job] = []
    chosen = any(argument.startswith("hydra/launcher=") for argument in arguments)
    in_this_process = () if chosen else ("hydra/launcher=basic",)  # where what is patched here holds
    with pytest.MonkeyPatch.context() as patch, command_line(folder) as command:
        patch.setattr(experiment, "run", lambda job, stop: (jobs.append(job), experiment.Ending.TRAINED)[1])
        patch.setattr(experiment, "plan", lambda job, planner: jobs.append(job))
        patch.setattr(dynfilt.command_line, "format_plan", lambda runs: "")
        outcome = command(*arguments, *in_this_process)
    assert outcome.code == 0, outcome.err
    assert not list(folder.iterdir())
    return jobs


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny run that nothing has interrupted; not to be written to."""
    folder = tmp_path_factory.mktemp("finished")
    with command_line(folder) as call:
        outcome = call(*TINY)
    assert outcome.code == 0, outcome.err
    return folder / "outputs" / "tests" / "tiny" / "seed0"


@pytest.fixture
def finished_copy(finished_run: Path, tmp_path: Path) -> Path:
    """That folder where `command` would have put it."""
    target = tmp_path / "outputs" / "tests" / "tiny" / "seed0"
    shutil.copytree(finished_run, target)
    return target


@pytest.fixture
def unwritable(tmp_path: Path) -> Path:
    """A place where no folder can be made, not even by root."""
    (tmp_path / "file").touch()
    return tmp_path / "file" / "inside"


def quiet_environment(**extra: str) -> dict[str, str]:
    """The environment of a real `python run.py` that computes with as many threads as this process."""
    import torch

    return {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), **extra}
