"""`python -m benchmarks replicas`: both ways take the same steps, and both are timed."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.__main__ import main
from benchmarks.commands import replicas
from benchmarks.commands.replicas import one_by_one, stacked
from benchmarks.measuring.timing import NO_TIME
from benchmarks.reporting.report import read_result


def test_both_ways_take_the_same_steps() -> None:
    def network(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))
        return nn.Sequential(*layers).double()

    networks = [network(seed) for seed in range(3)]
    batch = torch.randn(8, 3, 6, 6, dtype=torch.float64), torch.arange(8) % 5
    optimize = partial(torch.optim.Adam, lr=0.01)
    step, parameters = stacked(networks, batch, optimize)
    apart = one_by_one(networks, batch, optimize)
    for _ in range(3):
        step()
        apart()
    for index, each in enumerate(networks):
        for name, parameter in each.named_parameters():
            torch.testing.assert_close(parameters[name][index], parameter)


@pytest.mark.slow
def test_what_the_deadline_cuts_off_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "interleaved_ms", lambda *_: {"one by one": [1.0], "stacked": []})
    assert main(["replicas", "--device", "cpu", "--out", str(tmp_path / "r.json"), "--models", "static_1x1"]) == 0
    assert [timing.failure for timing in read_result(tmp_path / "r.json")["timings"]] == [None, NO_TIME]


@pytest.mark.slow
def test_both_are_timed(tmp_path: Path) -> None:
    small = ("--models", "static_1x1", "--replicas", "2", "--batch", "2", "--repetitions", "2")
    assert main(["replicas", "--device", "cpu", "--out", str(tmp_path / "r.json"), *small]) == 0
    timings = read_result(tmp_path / "r.json")["timings"]
    assert [(timing.arm, len(timing.ms)) for timing in timings] == [("one by one", 2), ("stacked", 2)]
