"""`python -m benchmarks all`: the whole set within a time limit, on a machine that has little installed."""

import argparse
import os
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from benchmarks.__main__ import main, parser
from benchmarks.commands import suite
from benchmarks.commands.suite import PLANS
from benchmarks.measuring.timing import Deadline
from benchmarks.reporting.report import Result, Timing, read_result
from tests.conftest import ROOT, quiet_environment

CPU = torch.device("cpu")
# What a machine with torch, hydra-core and omegaconf alone does not have.
ABSENT = ("torchvision", "pydantic", "tqdm", "wandb", "pandas", "scipy", "matplotlib", "pyarrow")


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_is_made_of_commands_that_exist(plan: str) -> None:
    for command in PLANS[plan].values():
        for words in (shlex.split(command), suite._words(command, parser().parse_args(["all", "--rehearse"]))):
            assert parser().parse_args(words).command == words[0]


def test_each_command_is_run_within_what_is_left_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: dict[str, tuple[argparse.Namespace, float]] = {}

    def stand_in(arguments: argparse.Namespace, deadline: Deadline) -> Result:
        seen[arguments.command] = (arguments, deadline.seconds_left())
        if arguments.command == "data":
            raise RuntimeError("no data here")
        return Result(arguments.command, CPU, [Timing("case", "arm", ms=[1.0])])

    monkeypatch.setattr(suite, "RUN", dict.fromkeys(suite.RUN, stand_in))
    words = ["all", "--device", "cpu", "--minutes", "2", "--out", str(tmp_path), "--commit", "abc", "data.root=here"]
    assert main(words) == 1  # the data could not be timed; the others were
    assert list(seen) == ["layers", "step", "data", "startup"]
    assert all(0 < left <= 120 for _, left in seen.values())
    assert seen["step"][0].overrides == seen["data"][0].overrides == ["data.root=here"]
    assert {path.stem for path in tmp_path.iterdir()} == {f"cpu_{name}" for name in PLANS["cpu"] if name != "data"}
    assert read_result(tmp_path / "cpu_step.json")["timings"] == [Timing("case", "arm", ms=[1.0])]
    printed = capsys.readouterr()
    assert "nothing measured: RuntimeError: no data here" in printed.err
    assert printed.out.count("\n\ncase\n\n") == 6 and printed.out.rstrip().splitlines()[-1].startswith("| resnet18 and")


@pytest.mark.parametrize(("words", "folder"), [((), "RESULTS"), (("--rehearse",), "REHEARSALS")])
def test_a_rehearsal_replaces_no_result(
    words: tuple[str, ...], folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RESULTS", "REHEARSALS"):
        monkeypatch.setattr(suite, name, tmp_path / name)
    result = Result("layers", CPU, [Timing("case", "arm", ms=[1.0])])
    monkeypatch.setitem(suite.RUN, "layers", lambda arguments, deadline: result)
    assert main(["all", "--device", "cpu", "--only", "layers", *words]) == 0
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*.json")] == [Path(folder, "cpu_layers.json")]


@pytest.mark.slow
def test_without_time_nothing_is_started(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["all", "--device", "cpu", "--plan", "cuda", "--minutes", "1e-9", "--only", "label", "--out", str(tmp_path)]
    assert main(words) == 1
    assert "nothing measured: ValueError: static_1x1: no time was left" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_it_runs_on_a_bare_machine(tmp_path: Path) -> None:
    for name in ABSENT:
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError({name!r})")
    program = f"""
        from benchmarks import __main__
        from benchmarks.commands import suite
        suite.PLANS["cpu"] = {{
            "layers": "layers --only one",
            "step": "step --models static_3x3,dynamic_3x3",
            "data": "data",
        }}
        raise SystemExit(__main__.main(["all", "--device", "cpu", "--rehearse", "--out", {str(tmp_path / "out")!r}]))
    """
    (tmp_path / "all.py").write_text(f"if __name__ == '__main__':\n{textwrap.indent(textwrap.dedent(program), '    ')}")
    done = subprocess.run(
        [sys.executable, tmp_path / "all.py"],
        cwd=ROOT,
        env=quiet_environment(PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)])),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in ("layers", "step", "data"):
        for timing in read_result(tmp_path / "out" / f"cpu_{name}.json")["timings"]:
            # Without torchvision there is no public loader.
            assert bool(timing.failure) == ("DataLoader" in timing.arm), (timing.arm, timing.failure)
    assert "## Goals" in done.stdout
