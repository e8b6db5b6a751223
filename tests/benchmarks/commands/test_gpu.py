"""`python -m benchmarks gpu`: the order, the time, what is done before, and all of it rehearsed on a CPU."""

import argparse
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.__main__ import main, parser
from benchmarks.commands import gpu
from benchmarks.commands.gpu import PARTS
from benchmarks.measuring.timing import NO_TIME, Deadline
from benchmarks.reporting.report import Result, Timing, read_result, write_result
from dynfilt.run.provenance import device_name
from dynfilt.run.stopping import TRY_AGAIN
from tests.conftest import command_line

CPU = torch.device("cpu")
STUDIES = [part.name for part in PARTS if part.is_study]
MEASURED = [part.name for part in PARTS if part.name.startswith(("step", "pool", "replicas"))]
Plan = Callable[..., dict[str, str]]


class StandIns:
    """In the place of measurements and commands: notes what is begun; `failure` ends what contains a word."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.commands: dict[str, list[str]] = {}
        self.failing: dict[str, int | str] = {}

    def measure(self, arguments: argparse.Namespace, deadline: Deadline) -> Result:
        self.begun.append(arguments.command)
        if arguments.command in self.failing:
            raise RuntimeError(self.failing[arguments.command])
        arms = [Timing("case", "arm", "ours", ms=[1.0]), Timing("case", "late", failure=self.failing.get("late"))]
        return Result(arguments.command, CPU, arms)

    def command(self, command: list[str], stdout: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        name = Path(stdout.name).stem
        self.begun.append(name)
        self.commands[name] = command
        code = self.failing.get(name, 0)
        if code == NO_TIME:
            raise subprocess.TimeoutExpired(command, options["timeout"])
        stdout.write(f"the last line of {name}\n")
        return subprocess.CompletedProcess(command, int(code))


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> StandIns:
    """As on a machine with a GPU."""
    found = StandIns()
    monkeypatch.setattr(gpu, "MEASURED", dict.fromkeys(gpu.MEASURED, found.measure))
    commands = SimpleNamespace(**{**vars(subprocess), "run": found.command})
    monkeypatch.setattr(gpu, "subprocess", commands)
    monkeypatch.setattr(gpu, "resolve_device", lambda name: torch.device("cuda", 0))
    monkeypatch.setattr(gpu, "device_name", lambda device: device_name(CPU))  # where they are measured in fact
    return found


@pytest.fixture
def plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Plan:
    """plan("--minutes", "9") does the plan and returns the state of each part, from the table that is printed last."""

    def call(*words: str, code: int = 0) -> dict[str, str]:
        assert main(["gpu", "--out", str(tmp_path / "out"), *words]) == code
        *_, states, goals = capsys.readouterr().out.rstrip().split("\n\n")
        assert "| verdict" in goals
        rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in states.splitlines()[2:]]
        return dict(rows)  # type: ignore[arg-type]

    return call


def test_parts_are_done_in_the_order_of_their_worth(stand_ins: StandIns, plan: Plan, tmp_path: Path) -> None:
    states = plan("--minutes", "30", "data.root=here")
    assert list(states) == [part.name for part in PARTS]
    assert stand_ins.begun == ["gpu_tests", *["step"] * 4, "pool", "replicas", *STUDIES]
    assert STUDIES[-1] == "field"  # the longest
    assert {path.stem for path in (tmp_path / "out").glob("*.json")} == {"gpu_tests", *MEASURED}
    for study in STUDIES:
        words = stand_ins.commands[study]
        assert {"hydra/launcher=pool", "trainer.device=cuda", "data.root=here"} <= set(words)
        [minutes] = [word.partition("=")[2] for word in words if word.startswith("hydra.launcher.minutes=")]
        assert 0 < float(minutes) <= 30
    tests = [word for word in stand_ins.commands["gpu_tests"] if word.startswith("tests/")]
    assert "tests/train/test_graphed_step.py" in tests and "tests/test_layout.py" not in tests


def test_without_pytest_one_batch_is_compared(
    stand_ins: StandIns, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: None)
    states = plan("--minutes", "30")
    assert list(states) == ["one_batch", *(part.name for part in PARTS[1:])]
    assert stand_ins.begun[:2] == ["step", "step"] and states["one_batch"].endswith(" s")
    assert read_result(tmp_path / "out" / "one_batch.json")["timings"]


def test_what_is_done_is_not_done_again_and_studies_go_on(stand_ins: StandIns, plan: Plan) -> None:
    plan("--minutes", "30")
    stand_ins.begun.clear()
    states = plan("--minutes", "30")
    assert stand_ins.begun == STUDIES
    assert all(states[name] == "done before" for name in ("gpu_tests", *MEASURED))


def test_what_another_device_has_done_is_done_again(
    stand_ins: StandIns, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan("--minutes", "30")
    stand_ins.begun.clear()
    monkeypatch.setattr(gpu, "device_name", lambda device: "NVIDIA H200")
    plan("--minutes", "30", "--only", "gpu_tests,step_lab")
    assert stand_ins.begun == ["gpu_tests", "step"]


def test_a_rehearsal_has_a_folder_of_its_own(
    stand_ins: StandIns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RESULTS", "REHEARSALS"):
        monkeypatch.setattr(gpu, name, tmp_path / name)
    for words, folder in ((["--rehearse"], "REHEARSALS"), ([], "RESULTS")):
        assert main(["gpu", "--only", "step_lab", *words]) == 0
        assert (tmp_path / folder / "gpu" / "step_lab.json").exists()
    assert stand_ins.begun == ["step", "step"]


@pytest.mark.parametrize("content", [None, "torn"])
def test_what_was_cut_off_is_done_again(content: str | None, stand_ins: StandIns, plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "out" / "step_lab.json"
    write_result(Result("step", CPU, [Timing("c", "a", ms=[1.0]), Timing("c", "b", failure=NO_TIME)]), path)
    if content:
        path.write_text(content)
    assert plan("--only", "step_lab")["step_lab"] != "done before"
    assert stand_ins.begun == ["step"] and len(read_result(path)["timings"]) == 2


def test_tests_that_failed_are_run_again(stand_ins: StandIns, plan: Plan) -> None:
    stand_ins.failing = {"gpu_tests": 1}
    for _ in range(2):
        assert plan("--only", "gpu_tests", code=1) == {"gpu_tests": "failed with exit code 1"}
    stand_ins.failing.clear()
    assert plan("--only", "gpu_tests")["gpu_tests"] == "0 s"
    assert plan("--only", "gpu_tests")["gpu_tests"] == "done before"


def test_a_part_is_begun_only_where_its_time_is_left(stand_ins: StandIns, plan: Plan) -> None:
    states = plan("--minutes", "0.79")  # gpu_tests needs 0.5, the first of the steps 0.8
    assert states["step_resnet18_512_compiled"] == NO_TIME and states["step_lab"] != NO_TIME
    assert stand_ins.begun == ["gpu_tests", "step", "step", "step", "replicas"]
    stand_ins.begun.clear()
    assert set(plan("--minutes", "1e-9", "--only", "lab_3x3,field").values()) == {NO_TIME}
    assert not stand_ins.begun


def test_a_part_that_fails_stops_no_other(stand_ins: StandIns, plan: Plan) -> None:
    stand_ins.failing = {"step": "no\nkernel", "gpu_tests": 1, "lab_3x3": TRY_AGAIN, "label_guided": NO_TIME}
    states = plan("--minutes", "30", code=1)
    assert states["gpu_tests"] == "failed with exit code 1"
    assert states["step_lab"] == "failed: RuntimeError: no kernel"
    assert states["label_guided"] == f"failed: {NO_TIME}"
    assert not states["lab_3x3"].startswith("failed")  # interrupted by its time: the same command goes on
    assert stand_ins.begun == ["gpu_tests", *["step"] * 4, "pool", "replicas", *STUDIES]


def test_without_a_gpu_the_rehearsal_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpu", "--device", "cpu", "--out", str(tmp_path)]) == 2
    message = "error: gpu needs a CUDA device; --rehearse tries every part on a CPU, at tiny sizes\n"
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("command", ["gpu", "all"])
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--minutes", "nan"], "--minutes nan: must be a finite number above 0\n"),
        (["--minutes", "0"], "--minutes 0: must be a finite number above 0\n"),
        (["--minutes", "inf"], "--minutes inf: must be a finite number above 0\n"),
        (["--only", "nothing"], "--only nothing: is in no part's name; the parts are "),
    ],
)
def test_a_time_or_a_part_that_makes_no_sense_is_refused_in_one_line(
    command: str, words: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--device", "cpu", "--rehearse", "--out", str(tmp_path / "out"), *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith(f"error: {line}") and printed.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rehearse", [True, False])
def test_what_is_measured_are_commands_that_exist(rehearse: bool) -> None:
    arguments = parser().parse_args(["gpu", *["--rehearse"] * rehearse])
    for part in (gpu.ONE_BATCH, *PARTS):
        words = gpu._words(part, arguments, Deadline(60))
        assert not rehearse or not {*gpu.COMPILED.split(), "bfloat16 compiled-graph"} & set(words)
        if words[0] in gpu.MEASURED:
            assert parser().parse_args(words).command == words[0]


@pytest.fixture
def studies_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python run.py ...` without a new process, whose imports would take longer than a study at these sizes.

    The part `pool_lab` starts the same command, and `gpu_tests` a new process in the same way.
    """

    def run_command(command: list[str], stdout: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        if command[1] != "run.py":
            return subprocess.run(command, stdout=stdout, **options)
        with command_line(options["cwd"]) as call:
            outcome = call(*command[2:])
        stdout.write(outcome.out + outcome.err)
        return subprocess.CompletedProcess(command, outcome.code)

    monkeypatch.setattr(gpu, "subprocess", SimpleNamespace(**{**vars(subprocess), "run": run_command}))


@pytest.mark.slow
def test_the_whole_plan_is_rehearsed_on_a_cpu(plan: Plan, tmp_path: Path, studies_in_this_process: None) -> None:
    states = plan("--rehearse", "--minutes", "60")
    assert list(states) == [part.name for part in PARTS]
    assert all(state.endswith(" s") for state in states.values()), states
    out = tmp_path / "out"
    for name in MEASURED:
        assert all(timing.ms for timing in read_result(out / f"{name}.json")["timings"]), name
    assert json.loads((out / "gpu_tests.json").read_text())["exit_code"] == 0
    trained = {path.relative_to(out / "runs").parts[0] for path in out.glob("runs/*/*/seed0/result.json")}
    for study in STUDIES:
        assert study in trained or "/seed0" in (out / f"{study}.log").read_text()
    assert trained == {"lab_3x3", "label_guided"}
