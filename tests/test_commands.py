"""What a user gets on the terminal: one line for each bad input, and help."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from dynfilt.command_line import _standard_streams_that_last, main
from dynfilt.config.compose import GROUPS
from tests.conftest import ROOT, TINY, Command, quiet_environment
from tests.run_folders import contents, read_status

# What is called under each name, and what it does when Ctrl-C comes.
INTERRUPTED = [
    ("run.py seed=3", "dynfilt.command_line.main"),
    ("dynfilt run seed=3", "dynfilt.command_line.main"),
    ("analysis table outputs", "analysis.tables.command.add_arguments"),
    ("dynfilt.check torch.nn:Conv2d", "dynfilt.check.layer.check_layer"),
    ("dynfilt.cost_twins model=resnet8", "dynfilt.config.compose.compose"),
    ("benchmarks layers", "benchmarks.commands.layers.run"),
]
SAMPLE = ("data=cifar10_sample", "tracking=off", "trainer.device=cpu", "trainer=smoke")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([*TINY, "seed=-1"], "seed=-1: must be a whole number from 0 to 9007199254740991"),
        ([*TINY, "study="], "study: must not be empty"),
        ([*TINY, "trainer.epochs=0"], "trainer.epochs=0: must be a number > 0"),
        ([*TINY, "trainer.epochs=abc"], "trainer.epochs='abc': must be a valid number; set in conf/trainer/default.ya"),
        ([*TINY, "+trainer.epocs=3"], "trainer.epocs: no such key; conf/trainer/default.yaml allows: epochs"),
        ([*TINY, "+foo=3"], "foo: no such key or group; conf/config.yaml has: study, seed"),
        ([*TINY, "~seed"], "seed: missing; conf/config.yaml has: study, seed"),
        ([*TINY, "trainer.device=tpu"], "trainer.device=tpu: unknown device; allowed on this machine: auto, cpu"),
        ([*TINY, "trainer.device=cuda:99"], "trainer.device=cuda:99: no such CUDA device here; allowed on this machin"),
        ([*TINY, "mode=test"], "mode=test needs run=FOLDER, the folder of the run to evaluate"),
        (
            [*TINY, "run=nowhere"],
            "nowhere/config.yaml: not the config of a run: is missing; a run's folder is one such as outputs/lab_3x3/",
        ),
        ([*TINY, "trainer.epochs=${nothing}"], "trainer.epochs: refers to nothing, which is no key here"),
        ([*TINY, "trainer.batch_size=61"], "trainer.batch_size must be between 1 and 60, the number of training image"),
        ([*TINY, "optimizer.lr=-1"], "optimizer: Invalid learning rate: -1"),
        ([*TINY, "model.num_classes=5"], "model: gives 5 scores an image, but tiny has 4 classes"),
        ([*TINY, "model.dropout=2"], "model: dropout probability has to be between 0 and 1"),
        ([*SAMPLE, "data.num_classes=7"], "data.num_classes must be 10 for cifar10_sample, got 7"),
        ([*SAMPLE, "model.weights=nowhere.pth"], "model.weights: the weights 'nowhere.pth' cannot be read"),
        ([*SAMPLE, "model.weights=some"], "model.weights: the weights 'some' are not known; allowed: bundled"),
        (["data.root=nowhere", "tracking=off"], "data.root: nowhere is no folder; set data.root to a folder that hol"),
    ],
)
def test_a_bad_value_is_one_line(arguments: list[str], line: str, command: Command, tmp_path: Path) -> None:
    outcome = command(*arguments)
    assert outcome.code == 1
    assert outcome.out == ""
    assert len(outcome.lines) == 1
    assert outcome.err.startswith(f"failed: {line}")
    assert "Traceback" not in outcome.err
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"outputs"}  # nothing is made where data was looked for
    for status in tmp_path.rglob("status.json"):
        assert read_status(status.parent)["state"] == "failed"


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "+buffers.blend={_target_: dynfilt.schedules.Constant, value: 1.0}",
            "no layer has a buffer 'blend' to anneal; ",
        ),
        ("+buffers.blend=3", "buffers.blend=3: must be a schedule, such as {_target_: dynfilt.schedules.Linear, ...}"),
        (
            "+buffers.blend={_target_: dynfilt.schedules.Cosine, finall: 0}",
            "buffers.blend.finall: no such key; the com",
        ),
        ("+buffers.blend={_target_: dynfilt.schedules.Cosine, final: 2}", "buffers.blend: final=2 must lie in 0..1"),
        (
            "+buffers.temperature={_target_: dynfilt.schedules.Cosine, final: 0}",
            "buffers.temperature: its schedule is ",
        ),
    ],
)
def test_a_schedule_of_a_buffer_that_cannot_be_is_one_line(override: str, line: str, command: Command) -> None:
    outcome = command(*TINY, override)
    assert outcome.code == 1 and len(outcome.lines) == 1
    assert outcome.err.startswith("failed: ") and line in outcome.err


def test_cuda_asked_for_and_absent(command: Command, tmp_path: Path) -> None:
    outcome = command(*TINY, "trainer.device=cuda")
    assert (outcome.code, len(outcome.lines)) == (1, 1)
    assert "trainer.device=cuda: no such CUDA device here; allowed on this machine: auto, cpu" in outcome.err
    assert not list(tmp_path.iterdir())


def test_unreachable_weights_list_the_choices(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty cache"))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nothing answers
    outcome = command(*SAMPLE, "model.weights=imagenet")
    assert outcome.code == 1
    assert "Traceback" not in outcome.err
    assert outcome.lines[-1].startswith("failed: model.weights: the weights 'imagenet' cannot be downloaded (")
    assert "; allowed: bundled (conv1 .. layer1 of IMAGENET1K_V1), imagenet (torchvision's download)" in outcome.err


def test_a_folder_that_cannot_be_written_is_named(command: Command, unwritable: Path) -> None:
    outcome = command(*TINY, f"output_root={unwritable}")
    assert (outcome.code, len(outcome.lines)) == (1, 1)
    assert "inside/tests/tiny/seed0: cannot be written (Not a directory); choose output_root=..." in outcome.err


def test_a_full_disk_keeps_the_last_good_checkpoint(
    command: Command, finished_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dynfilt import experiment

    (finished_copy / "result.json").unlink()
    before = contents(finished_copy)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(experiment, "replace_atomically", full)
        outcome = command(*TINY)
    assert outcome.code == 1
    assert "No space left on device: free some where output_root is; the same command goes on" in outcome.err
    after = contents(finished_copy)
    assert {name for name in before if before[name] != after[name]} <= {"lock", "provenance.json", "status.json"}
    assert command(*TINY).code == 0


@pytest.mark.slow
def test_a_run_folder_can_be_pasted_into_a_command(command: Command, tmp_path: Path) -> None:
    """Names of variants hold what Hydra would take for its own grammar."""
    outcome = command(*TINY, "trainer.epochs=1", "optimizer.betas=[0.8,0.9]")
    assert outcome.code == 0, outcome.err
    [folder] = (tmp_path / "outputs" / "tests").glob("*/seed0")
    assert folder.parent.name == "tiny,optimizer.betas=%5B0.8%2C0.9%5D,trainer.epochs=1"
    for run in (f"run={folder}", f"run={folder.relative_to(tmp_path)}/", f"run='{folder}'"):
        outcome = command("mode=test", run)
        assert outcome.code == 0, outcome.err
        accuracy = json.loads((folder / "result.json").read_text())["test_accuracy"]
        assert json.loads((folder / "test.json").read_text())["test_accuracy"] == accuracy
        (folder / "test.json").unlink()
    missing = command("mode=test", f"run={folder.parent}/seed9")
    assert (missing.code, len(missing.lines)) == (1, 1)
    assert "seed9/config.yaml: not the config of a run" in missing.err


@pytest.mark.slow
def test_help_lists_groups_and_choices(command: Command) -> None:
    outcome = command("--help")
    assert outcome.code == 0
    for group in GROUPS:
        choices = ", ".join(sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml")))
        assert f"{group}: {choices}" in outcome.out
    assert "python run.py -cn lab_3x3 [mode=plan]" in outcome.out


def test_a_launcher_of_sweeps_has_no_effect_on_a_single_run(command: Command) -> None:
    outcome = command(*TINY, "mode=plan", "hydra/launcher=pool", "hydra.launcher.minutes=1")
    assert (outcome.code, outcome.err) == (
        0,
        "warning: hydra/launcher has no effect on a single run; -m makes it a sweep of one\n",
    )


def test_flags_stand_before_or_after_all_overrides(command: Command) -> None:
    for arguments in (["-m", "mode=plan", "seed=0,1"], ["mode=plan", "seed=0,1", "-m"]):
        outcome = command(*arguments)
        assert outcome.code == 0, outcome.err
        assert "dynamic_3x3/seed1" in outcome.out


@pytest.mark.slow
def test_a_real_command_fails_in_few_lines_and_tells_the_rest_to_its_status(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *TINY, "optimizer.lr=1e30", "trainer.progress_bar=on"],
        cwd=tmp_path,
        env=quiet_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    text = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Traceback" not in text
    assert len([line for line in text.splitlines() if line.strip()]) <= 14
    [status] = tmp_path.rglob("status.json")
    error: dict[str, Any] = read_status(status.parent)["error"]
    assert error["traceback"].startswith("Traceback")
    assert f"failed: {error['message']}" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"outputs"}  # nothing of Hydra's


def test_a_reader_that_has_gone_ends_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `| head` does, or a terminal that is closed: the run that trains there must go on."""
    read, write = os.pipe()
    os.close(read)
    with open(write, "w", buffering=1) as out, open(os.dup(write), "w", buffering=1) as err:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        monkeypatch.setattr(sys, "argv", ["run.py", "--version"])
        assert main() == 0
        monkeypatch.setattr(sys, "argv", ["run.py", "status", str(tmp_path)])
        assert main() == 2
        assert (sys.stdout, sys.stderr) == (out, err)


def test_a_full_disk_or_a_name_beyond_the_encoding_ends_none_either(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w", buffering=1) as full, open(os.devnull, "w", encoding="ascii") as ascii_only:
        for out in (full, ascii_only):
            monkeypatch.setattr(sys, "stdout", out)
            with _standard_streams_that_last():
                print("штука \udcff", flush=True)


def test_standard_streams_may_be_closed() -> None:
    """What a command opens later must not get their numbers."""
    script = "import os, dynfilt.command_line as c; c._open_what_is_closed(); print('x'); os._exit(os.open('.', 0))"
    done = subprocess.run(["sh", "-c", f'exec {sys.executable} -c "{script}" <&- >&- 2>&-'], cwd=ROOT, check=False)
    assert done.returncode == 3


def interrupt(*_: object, **__: object) -> NoReturn:
    raise KeyboardInterrupt


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # what is run is imported already
@pytest.mark.parametrize(("words", "during"), INTERRUPTED)
def test_ctrl_c_ends_every_command_in_one_word(
    words: str, during: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *arguments = words.split()
    monkeypatch.setattr(during, interrupt)
    monkeypatch.setattr(sys, "argv", [command, *arguments])
    with pytest.raises((SystemExit, KeyboardInterrupt)) as end:
        if command == "run.py":
            runpy.run_path(str(ROOT / command), run_name="__main__")
        else:
            runpy.run_module(command, run_name="__main__", alter_sys=True)
    assert isinstance(end.value, SystemExit) and end.value.code == 130
    assert capsys.readouterr().err == "\ninterrupted\n"


def test_ctrl_c_during_the_imports_of_a_run_is_one_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupting:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "dynfilt.command_line":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "dynfilt.command_line")
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    with pytest.raises((SystemExit, KeyboardInterrupt)) as end:
        runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
    assert isinstance(end.value, SystemExit) and end.value.code == 130
    assert capsys.readouterr().err == "\ninterrupted\n"
