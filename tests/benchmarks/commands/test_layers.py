"""`python -m benchmarks layers`: shapes, arms, floor, table, file."""

import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.commands import layers
from benchmarks.commands.layers import SHAPES, Candidate, Setting, Shape
from benchmarks.measuring.timing import Deadline
from tests.benchmarks.conftest import Bench
from tests.benchmarks.reporting.test_tables import cells

CPU = torch.device("cpu")
LAB, EARLY = "64 -> 1,", "64 -> 64"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "paths"),
    [
        (LAB, {"static": "nn.Conv2d", "static, taps": "taps", "grouped": "grouped", "auto": "taps", "taps": "taps"}),
        (
            EARLY,
            {
                **{"static": "nn.Conv2d", "grouped": "grouped", "auto": "grouped", "chunked": "chunked"},
                **{"outputs": "outputs", "stacked": "stacked", "inputs": "inputs"},
            },
        ),
    ],
)
def test_every_formulation_is_timed_and_takes_its_path(shape: str, paths: dict[str, str], bench: Bench) -> None:
    content, text = bench("layers", "--only", shape, "--batch", "2", "--rounds", "2")
    timings = {timing.arm: timing for timing in content["timings"]}
    assert {name: timing.path for name, timing in timings.items()} == paths
    assert [timings[name].role for name in ("static", "grouped", "auto")] == ["static", "public", "ours"]
    for timing in timings.values():
        assert len(timing.ms) == 2 and min(timing.ms) > 0
        assert timing.floor_ms and timing.floor_ms > 0 and timing.peak_mb is not None
    row = cells(text, "auto")
    assert row["/ static"] != "-" and row["/ public"] != "-" and row["floor, ms"] != "-"
    assert any(name.startswith("TFLOP/s") for name in content["facts"])
    assert any(name.startswith("GB/s") for name in content["facts"])


def test_the_listed_shapes_are_the_default() -> None:
    assert [(s.in_channels, s.out_channels, s.size, s.batch) for s in SHAPES] == [
        *((64, 1, 8, 64), (64, 1, 8, 128), (64, 1, 8, 512)),
        *((64, 64, 32, 128), (128, 128, 16, 128), (256, 256, 8, 128), (512, 512, 4, 128)),
    ]


def test_the_work_of_a_layer_is_that_of_its_canonical_form() -> None:
    flops, size = Shape(64, 64, 32, 128, mixture=True).work(torch.float32)
    assert flops == 3 * 9.663676416e9  # of a static convolution: see docs/performance.md
    assert size == 3 * 4 * (128 * 32 * 32 * 128 + 4 * 64 * 64 * 9)
    assert Shape(64, 1, 8, 512, mixture=False).work(torch.bfloat16)[1] == 3 * 2 * (512 * 64 * 65 + 512 * 64 * 9)


@pytest.mark.slow
def test_precisions_and_layouts_are_cases(bench: Bench) -> None:
    options = ["--precision", "float32,bfloat16", "--layout", "nchw,nhwc", "--rounds", "1"]
    content, _ = bench("layers", "--only", LAB, "--batch", "2", *options)
    cases = list(dict.fromkeys(timing.case for timing in content["timings"]))
    assert cases == [
        f"one filter an image, 64 -> 1, 8x8, batch 2, {precision}, {layout}"
        for precision in ("float32", "bfloat16")
        for layout in ("nchw", "nhwc")
    ]


def test_a_candidate_that_fails_stops_no_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: Candidate, setting: Setting, deadline: Deadline) -> None:
        if self.name == "grouped":
            raise torch.OutOfMemoryError("no\nmemory")
        return prepare(self, setting, deadline)

    prepare = Candidate.prepare
    monkeypatch.setattr(Candidate, "prepare", failing)
    content, text = bench("layers", "--only", LAB, "--batch", "2", "--rounds", "1")
    timings = {timing.arm: timing for timing in content["timings"]}
    assert (timings["grouped"].ms, timings["grouped"].failure) == ([], "OutOfMemoryError: no memory")
    assert all(timing.ms for name, timing in timings.items() if name != "grouped")
    assert cells(text, "grouped")["ms, median (min .. max)"] == "failed: OutOfMemoryError: no memory"


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
def test_a_run_that_cannot_be_is_told_beside_one_that_can(bench: Bench) -> None:
    content, _ = bench("layers", "--only", LAB, "--batch", "2", "--rounds", "1", "--run", "eager,graph")
    failures = {timing.failure for timing in content["timings"] if timing.run == "graph"}
    assert failures == {"ValueError: a CUDA graph needs a CUDA device, not cpu"}
    assert all(timing.ms for timing in content["timings"] if timing.run == "eager")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
@pytest.mark.parametrize("way", layers.RUNS)
def test_every_way_to_run_works_on_cuda(way: str) -> None:
    setting = Setting(torch.device("cuda", 0), "bfloat16", "nhwc", way)
    for shape in (SHAPES[0], SHAPES[3]):
        for candidate in layers._candidates(shape, setting):
            candidate.prepare(setting, Deadline(None))


@pytest.mark.parametrize("words", [["--run", "fast"], ["--layout", "hwc"], ["--precision", "float16"]])
def test_a_bad_value_is_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers", "--device", "cpu", *words]) == 2
    assert capsys.readouterr().err.startswith(f"error: {' '.join(words)}: allowed: ")


def test_no_shape_of_that_name_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers", "--device", "cpu", "--only", "7x7"]) == 2
    assert capsys.readouterr().err == "error: nothing to time\n"
