"""The measurement of filters for each image: rehearsed on a CPU, and what it does about failures."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("triton")

from benchmarks import graph_timing
from benchmarks.per_image_candidates import LAYERS, compilations, compile_candidates
from benchmarks.per_image_gpu import LayerProcess, layer_table
from benchmarks.per_image_layer import Measurement
from benchmarks.per_image_training import training_table

CPU = torch.device("cpu")


@pytest.mark.slow
def test_everything_is_rehearsed_on_a_cpu(tmp_path: Path) -> None:
    """Every way of both tiny layers is timed and right; the static twin and one network train."""
    out = tmp_path / "rows.jsonl"
    command = [sys.executable, "-m", "benchmarks.per_image_gpu", "--rehearse", "--out", out]
    done = subprocess.run([*command, "--seconds", "60"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert not [row for row in rows if row.get("failure")]
    assert rows[0]["kernels"] > 0 and rows[0]["failed"] == rows[0]["late"] == 0
    for layer in ("16->16 @8", "16->32 @8 stride 2"):
        here = [row for row in rows if row.get("layer") == layer]
        ways = {(row["what"], row["way"]) for row in here}
        by_image = {(what, "per image") for what in ("mix", "forward", "images", "filters", "unmix", "whole")}
        static = {(what, "static") for what in ("forward", "images", "filters", "whole")}
        mixtures = {("whole", way) for way in ("stacked", "stacked, compiled", "outputs")}
        assert by_image | static | mixtures <= ways
        assert all(row["error"] < 1e-6 for row in here if (row["what"], row["way"]) in by_image | mixtures)
    assert {row["way"] for row in rows if row["what"] == "training"} == {"static", "all stacked"}
    assert "16->16 @8, 2" in done.stdout and "/ static" in done.stdout


def test_what_is_compiled_ahead_is_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("kernels are interpreted")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    jobs = compilations(LAYERS, [512, 128])
    assert len(jobs) == len(set(jobs)) and {layer.name for layer, *_ in jobs} == {layer.name for layer in LAYERS[:4]}
    assert compile_candidates(LAYERS[0], 512, "forward", 0) == 1
    compiled = set(tmp_path.rglob("*.cubin"))
    assert len(compiled) == 1
    assert compile_candidates(LAYERS[0], 128, "forward", 0) == 1  # for any batch
    assert set(tmp_path.rglob("*.cubin")) == compiled


def dies(connection: Any, *rest: Any) -> None:
    connection.send(("row", {"what": "forward", "way": "static", "us": 1.0, "failure": None}))
    os._exit(3)


def sleeps(connection: Any, *rest: Any) -> None:
    time.sleep(60)


@pytest.mark.parametrize(("serve", "failure"), [(dies, "the process died"), (sleeps, "no answer within 3 s")])
def test_a_layer_that_dies_or_hangs_is_a_row(serve: Any, failure: str) -> None:
    rows: list[dict[str, Any]] = []
    process = LayerProcess(multiprocessing.get_context("spawn"), LAYERS[0], [2], CPU, 1, 9.0, rows.append, serve)
    assert process.answer(60.0 if serve is dies else 3.0) is None
    process.measure(2, 1.0)
    assert process.answer(1.0) is None  # it is not asked again, nor complained about again
    process.close()
    assert rows[-1] == {"layer": "64->64 @32", "what": "process", "failure": failure}
    assert len(rows) == (2 if serve is dies else 1)


def test_one_failing_candidate_is_a_row() -> None:
    rows: list[dict[str, Any]] = []
    measurement = Measurement(LAYERS[0], 1, CPU, lambda **row: rows.append(row), None)

    def fails() -> torch.Tensor:
        raise RuntimeError("no\nmemory")

    one = torch.ones(3)
    assert measurement.measure("forward", "a", fails) is None
    assert measurement.measure("forward", "b", lambda: one, [1.1 * one]) is None
    assert measurement.measure("forward", "c", lambda: [one, one * float("nan")], [one, one]) is None
    assert (measurement.measure("forward", "d", lambda: one, [1.001 * one]) or 0) > 0
    assert [row["failure"] for row in rows] == ["RuntimeError: no memory", "wrong", "wrong", None]
    measurement.run(0.0)
    assert len(rows) == 4  # nothing is begun after the deadline


def test_a_device_that_no_longer_answers_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    measurement = Measurement(LAYERS[0], 1, CPU, lambda **row: None, None)
    measurement.device = torch.device("cuda")

    def fails(*ignored: Any) -> None:
        raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    assert measurement.measure("forward", "a", fails) is None
    monkeypatch.setattr(torch.cuda, "synchronize", fails)
    with pytest.raises(RuntimeError, match="illegal"):
        measurement.run(60.0)


def test_a_call_in_a_graph_is_timed_by_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """With stand-ins: an event's time is the number of calls until then, as milliseconds."""
    calls = 0

    def work() -> None:
        nonlocal calls
        calls += 1

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.ms = calls

        def synchronize(self) -> None:
            pass

        def elapsed_time(self, end: "Event") -> float:
            return end.ms - self.ms

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(graph_timing, "record_cuda_graph", lambda work, device: work)
    assert graph_timing.graph_us(work, torch.device("cuda")) == pytest.approx(1000.0)


def test_tables_have_the_best_and_the_failures() -> None:
    base = {"layer": "l", "batch": 2, "failure": None, "error": 1e-3}
    rows: list[dict[str, Any]] = [
        {"what": "compiled ahead", "kernels": 3},
        {**base, "what": "forward", "way": "static", "us": 98.0},
        {**base, "what": "forward", "way": "per image", "us": 120.0, "options": {"a": 1}},
        {**base, "what": "forward", "way": "per image", "us": 110.0, "options": {"a": 2}},
        {**base, "what": "forward", "way": "per image", "us": 50.0, "options": {"a": 3}, "failure": "wrong"},
        {"layer": "l", "what": "process", "failure": "the process died"},
    ]
    text = layer_table(rows)
    heading, _, row = ([cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[:3])
    cells = dict(zip(heading, row, strict=True))
    assert cells["layer, batch"] == "l, 2"
    assert (cells["static forward"], cells["forward"], cells["whole: outputs"]) == ("98", "110", "-")
    assert text.index("110.0 us, error 1.0e-03, {'a': 2}") < text.index("120.0 us")
    assert "the process died" in text and text.count("failed: ") == 2
    training = [
        {"what": "training", "batch": 2, "way": "static", "ms": 2.0, "failure": None, "peak_mb": 5.0},
        {"what": "training", "batch": 2, "way": "by image", "ms": 3.0, "failure": None, "peak_mb": None},
        {"what": "training", "batch": 2, "way": "stacked", "ms": None, "failure": "no time was left", "peak_mb": None},
    ]
    table = training_table([*rows, *training])
    assert "1.50" in table and "no time was left" in table
