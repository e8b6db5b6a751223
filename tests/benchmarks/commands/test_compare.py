"""Verdicts on two result files: slower by more than the noise, and what is not comparable."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.commands import layers
from benchmarks.commands.compare import compare
from benchmarks.measuring.timing import NO_TIME
from benchmarks.reporting.report import Result, Timing, write_result

CPU = torch.device("cpu")


def verdict(old: Timing | None, new: Timing | None) -> str:
    [found] = compare([old] if old else [], [new] if new else [])
    return found.word


def timing(*ms: float, failure: str | None = None, run: str = "eager") -> Timing:
    return Timing("case", "arm", run=run, ms=list(ms), failure=failure)


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ((10, 10, 10), (10.4, 10.4, 10.4), "same"),  # below the least noise of 5 %
        ((10, 10, 10), (10.6, 10.6, 10.6), "slower"),
        ((10.6, 10.6, 10.6), (10, 10, 10), "faster"),
        ((10, 10, 10), (9.6, 9.6, 9.6), "same"),
        ((8, 10, 12), (12, 13, 14), "slower"),  # ranges of 20 % and 7.7 %, a change of 30 %
        ((8, 10, 12), (10, 12.5, 15), "same"),  # ranges of 20 % and 20 %, a change of 25 %
        ((10, 10, 10, 10, 90), (13, 13, 13, 13, 13), "slower"),  # a stall in the old file hides nothing
        ((10, 10, 10, 10, 10), (10, 10, 10, 10, 90), "same"),  # and one in the new file is no slowdown
    ],
)
def test_slower_is_more_than_the_noise(old: tuple[float, ...], new: tuple[float, ...], word: str) -> None:
    assert verdict(timing(*old), timing(*new)) == word


def test_what_has_no_spread_or_no_counterpart_is_no_verdict() -> None:
    assert verdict(timing(1, 1), timing(9, 9, 9)) == "unknown: fewer than 3 repetitions"
    assert verdict(timing(1, 1, 1), None) == "not measured any more"
    assert verdict(None, timing(1, 1, 1)) == "new"
    assert verdict(timing(1, 1, 1), timing(failure="no memory")) == "fails now"
    assert verdict(timing(1, 1, 1), timing(failure=NO_TIME)) == f"not measured: {NO_TIME}"
    assert verdict(timing(failure="no memory"), timing(1, 1, 1)) == "failed before"
    assert verdict(timing(failure="no memory"), timing(failure="no memory")) == "fails in both"


def test_arms_of_another_run_are_other_arms() -> None:
    found = compare([timing(1, 1, 1), timing(2, 2, 2, run="graph")], [timing(2, 2, 2, run="graph"), timing(1, 1, 1)])
    assert [v.word for v in found] == ["same", "same"]


Measure = Callable[[str], Path]


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    """measure("old") runs the smallest layer benchmark and returns its file."""

    def call(name: str) -> Path:
        path = tmp_path / f"{name}.json"
        words = ["layers", "--device", "cpu", "--only", "64 -> 1,", "--batch", "2", "--rounds", "5"]
        assert main([*words, "--out", str(path)]) == 0
        return path

    return call


@pytest.mark.slow
def test_a_real_slowdown_is_found(
    measure: Measure, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = measure("old")
    fast = layers.conv2d_per_sample

    def slow(*arguments: Any, **options: Any) -> torch.Tensor:
        time.sleep(0.05)
        return fast(*arguments, **options)

    monkeypatch.setattr(layers, "conv2d_per_sample", slow)
    new = measure("new")
    capsys.readouterr()
    assert main(["compare", str(old), str(new)]) == 1
    words = {line.split(" | ")[0].strip("| "): line.split(" | ")[1].strip() for line in table(capsys)}
    slowed = {arm for arm, word in words.items() if word == "slower"}
    assert {f"nchw, {arm}, eager" for arm in ("grouped", "auto", "taps", "static, taps")} <= {
        arm.partition("float32, ")[2] for arm in slowed
    }
    assert main(["compare", str(new), str(new)]) == 0


def table(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")][2:]


def test_a_failure_of_what_ran_before_is_bad(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    write_result(Result("step", CPU, [timing(1, 1, 1)]), old)
    write_result(Result("step", CPU, [timing(failure="no memory")]), new)
    assert main(["compare", str(old), str(new)]) == 1
    assert "fails now" in capsys.readouterr().out
    assert main(["compare", str(new), str(old)]) == 0


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"benchmark": "layers"}, "old.json is of step, "),
        ({"device": "NVIDIA H200"}, "error: not the same machine: device is '"),
        ({"cpu": "another CPU"}, "in the old file, 'another CPU' in the new one"),
        ({"threads": 99}, "error: not the same machine: threads is "),
        ({"cores": 1000}, "error: not the same machine: cores is "),
    ],
)
def test_other_machines_and_kinds_are_refused(
    change: dict[str, object], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    write_result(Result("step", CPU, [timing(1, 1, 1)]), old)
    content = json.loads(old.read_text())
    content |= {key: value for key, value in change.items() if key == "benchmark"}
    content["machine"] |= {key: value for key, value in change.items() if key != "benchmark"}
    new.write_text(json.dumps(content))
    assert main(["compare", str(old), str(new)]) == 2
    printed = capsys.readouterr()
    assert line in printed.err and len(printed.err.splitlines()) == 1 and not printed.out


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 2
    assert "No such file" in capsys.readouterr().err
