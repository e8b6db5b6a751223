"""`python -m analysis`: exit codes, one-line errors, what goes to which stream, and what is loaded for it."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
WriteRun = Callable[..., Path]


@pytest.fixture
def study(write_run: WriteRun) -> WriteRun:
    for seed in range(2):
        write_run("static_3x3", seed, 0.66 + seed / 100)
        write_run("dynamic_3x3", seed, 0.68 + seed / 90)
    return write_run


def test_a_table_goes_to_standard_output_and_nothing_else_does(
    study: WriteRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["table", "outputs"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("| variant ") and printed.out.endswith("commit 1a2b3c4.\n")
    assert printed.err == ""


def test_rows_columns_and_groups_are_chosen(study: WriteRun, capsys: pytest.CaptureFixture[str]) -> None:
    study("static_3x3", 0, 0.5, epochs=5, root="elsewhere", digest="shorter")
    options = ["--rows", "trainer.epochs", "--columns", "n, val ,accuracy"]
    assert main(["table", "outputs/lab_3x3/static_3x3", "elsewhere", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("|")[1:-1] == [
        " trainer.epochs ",
        "   n ",
        " validation accuracy, % ↑ ",
        " test accuracy, % ↑ ",
    ]
    assert [line.split("|")[1].strip() for line in lines[2:4]] == ["5", "20"]
    assert main(["table", "outputs", "--by", "study"]) == 0
    assert capsys.readouterr().out.startswith("**Test accuracy by study**\n\n| variant ")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["figures", "report"])
def test_a_folder_that_cannot_be_made_is_one_line(
    command: str, study: WriteRun, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a_file").touch()
    assert main([command, "outputs", "--out", "a_file/figures"]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("error: a_file/figures") and last.endswith("Not a directory")


def test_csv_prints_records_only(study: WriteRun, capsys: pytest.CaptureFixture[str]) -> None:
    study("dynamic_3x3", 2, None, state="failed")
    assert main(["table", "outputs", "--format", "csv", "--baseline", "dynamic_3x3"]) == 0
    printed = capsys.readouterr()
    assert [line.split(",")[:2] for line in printed.out.splitlines()] == [
        ["study", "variant"],
        ["lab_3x3", "dynamic_3x3"],
        ["lab_3x3", "static_3x3"],
    ]
    assert "warning: not counted: dynamic_3x3 seed 2, failed" in printed.err


def test_quiet_leaves_errors_alone_on_standard_error(study: WriteRun, capsys: pytest.CaptureFixture[str]) -> None:
    study("dynamic_3x3", 2, None, state="failed")
    assert main(["table", "outputs", "--format", "csv", "--quiet"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("study,variant") and printed.err == ""
    assert main(["table", "nowhere", "--quiet"]) == 2
    assert capsys.readouterr().err.startswith("error: nowhere is not a folder")


def test_it_tells_its_version_and_what_a_source_is(capsys: pytest.CaptureFixture[str]) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    for words in (["--version"], ["table", "--help"]):
        with pytest.raises(SystemExit) as done:
            main(words)
        assert done.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"dynfilt {declared}\n") and "wandb:entity/project" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table", "nowhere"], "nowhere is not a folder"),
        (["table", "empty"], "no runs found in empty"),
        (["table", "outputs", "--baseline", "statik"], "the variants are: dynamic_3x3, static_3x3"),
        (["table", "outputs", "--format", "pdf"], "md, tex, html, csv, json"),
        (["table", "outputs", "--columns", "n,speeed"], "no column speeed; the columns are: n, accuracy, interval"),
        (["table", "outputs", "--columns", ""], "no column chosen; the columns are: n,"),
        (["table", "outputs", "--rows", "model.kernels"], "no run with a result has model.kernels in its config"),
        (["table", "outputs", "--by", "variant"], "both variant"),
        (["table"], "SOURCE"),
        (["reports", "outputs"], "table"),
        ([], "COMMAND"),
    ],
)
def test_an_error_is_one_line_with_exit_code_2(
    study: WriteRun, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
    assert message in printed.err.replace("'", "")


def run_python(*arguments: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[bytes]:
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, stdout=stdout, stderr=subprocess.PIPE, check=False)


@pytest.mark.slow
def test_the_command_prints_utf_8_whatever_the_locale(study: WriteRun) -> None:
    done = run_python("-X", "utf8=0", "-m", "analysis", "table", "outputs")
    assert done.returncode == 0 and "Δ, points ↑" in done.stdout.decode()


@pytest.mark.slow
def test_a_reader_that_has_gone_is_no_error(study: WriteRun) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = run_python("-m", "analysis", "table", "outputs", stdout=writing)
    os.close(writing)
    assert done.returncode == 0 and done.stderr == b""


def test_a_table_loads_nothing_it_does_not_need(study: WriteRun) -> None:
    code = (
        "import sys; from analysis.__main__ import main; main(['table', 'outputs']); "
        "print(sorted({'torch', 'pandas', 'matplotlib', 'wandb', 'scipy.stats'} & set(sys.modules)))"
    )
    assert run_python("-c", code).stdout.decode().splitlines()[-1] == "[]"
