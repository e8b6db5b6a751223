"""What is written to JSON and read again, and which arms are compared with each other."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.commands import layers
from benchmarks.reporting.report import (
    Result,
    Timing,
    default_path,
    paired_ratios,
    read_result,
    reference,
    require_any,
    require_writable,
    write_result,
)

CPU = torch.device("cpu")


def test_a_result_comes_back_with_its_machine_versions_and_commit(tmp_path: Path) -> None:
    timing = Timing("case", "arm", "ours", "eager", "taps", [1.0, 2.0], 64, 3.5, 0.1, {"data, ms": [0.5]})
    path = tmp_path / "new" / "cpu_layers.json"
    write_result(Result("layers", CPU, [timing], {"GB/s": 9.0}), path)
    content = read_result(path)
    assert (content["benchmark"], content["timings"], content["facts"]) == ("layers", [timing], {"GB/s": 9.0})
    machine = content["machine"]
    assert machine["versions"]["torch"] == torch.__version__.split("+")[0]
    assert machine["threads"] == torch.get_num_threads()
    assert machine["cpu"] and machine["cores"] and machine["device"]
    assert {"commit", "dirty", "time", "command"} <= machine.keys()
    assert machine["command"][0] == "python -m benchmarks"
    assert "host" not in machine


def test_a_commit_can_be_named_where_there_is_no_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynfilt.run.provenance.git_state", lambda: (None, None))
    write_result(Result("data", CPU, []), tmp_path / "named.json", commit="abc")
    assert read_result(tmp_path / "named.json")["machine"]["commit"] == "abc"


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"timings": [{"ms": [1]}]}), '{"rows": []}'])
def test_another_file_is_refused_by_its_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(ValueError, match=r"other\.json: not a result of"):
        read_result(tmp_path / "other.json")


def test_files_are_named_after_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_path("step", CPU).name == "cpu_step.json"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    assert default_path("step", torch.device("cuda", 0)).name == "nvidia_h200_step.json"


def test_the_reference_is_of_the_same_case_and_if_possible_of_the_same_run() -> None:
    eager = Timing("a", "twin", "static", "eager", ms=[1.0])
    compiled = Timing("a", "twin", "static", "compiled", ms=[0.5])
    elsewhere = Timing("b", "twin", "static", "graph", ms=[9.0])
    failed = Timing("a", "twin", "static", "graph", failure="no memory")
    timings = [failed, elsewhere, eager, compiled]
    assert reference(timings, Timing("a", "ours", run="compiled"), "static") is compiled
    assert reference(timings, Timing("a", "ours", run="graph"), "static") is eager
    assert reference(timings, Timing("a", "ours"), "public") is None


def test_ratios_are_taken_within_a_repetition() -> None:
    drifting, twin = Timing("a", "ours", ms=[2.0, 20.0, 6.0]), Timing("a", "twin", ms=[1.0, 10.0, 2.0])
    assert paired_ratios(drifting, twin) == [2.0, 2.0, 3.0]


def test_nothing_timed_is_an_error_that_says_why() -> None:
    failed = Timing("a", "arm", failure="OutOfMemoryError: no memory")
    with pytest.raises(ValueError, match="arm: OutOfMemoryError: no memory"):
        require_any([failed])
    require_any([failed, Timing("a", "other", ms=[1.0])])


@pytest.mark.parametrize("name", ["", "file/inside.json"])
def test_a_file_that_cannot_be_written_is_told_before_anything_is_measured(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(layers, "run", lambda *_: pytest.fail("it was measured"))
    assert main(["layers", "--device", "cpu", "--out", str(tmp_path / name)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_asking_whether_a_file_can_be_written_leaves_all_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("old")
    for name in ("old.json", "new.json"):
        require_writable(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"] and (tmp_path / "old.json").read_text() == "old"
