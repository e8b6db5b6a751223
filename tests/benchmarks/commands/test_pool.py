"""`python -m benchmarks pool`: the words of each arm, runs an hour, and arms that fail."""

import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.__main__ import main, parser
from benchmarks.commands import pool
from benchmarks.measuring.timing import NO_TIME, Deadline
from tests.benchmarks.conftest import Bench


def words_of(arm: str, *options: str, device: str = "cpu") -> list[str]:
    return pool._words(arm, parser().parse_args(["pool", *options, "--", "-m", "study=x"]), device)


@pytest.mark.parametrize(
    ("arm", "device", "own"),
    [
        ("sequential", "cpu", ["hydra/launcher=basic"]),
        ("queue", "cpu", ["hydra/launcher=queue"]),
        ("2x1", "cpu", ["hydra/launcher=pool", "hydra.launcher.slots=2", "hydra.launcher.threads=1"]),
        ("2", "cpu", ["hydra/launcher=pool", "hydra.launcher.slots=2"]),
        ("8", "cuda", ["hydra/launcher=pool", "hydra.launcher.slots_per_gpu=8"]),
    ],
)
def test_an_arm_is_the_same_sweep_by_another_launcher(arm: str, device: str, own: list[str]) -> None:
    assert words_of(arm, device=device) == ["-m", "study=x", f"trainer.device={device}", "tracking=off", *own]


def test_each_slot_can_be_given_as_many_jobs() -> None:
    assert words_of("3x1", "--jobs-per-slot", "2")[-1] == "seed=range(0,6)"
    assert not [word for word in words_of("sequential", "--jobs-per-slot", "2") if word.startswith("seed=")]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run.py that finishes three runs, and none in two slots, where it complains."""
    program = """
        import pathlib, sys
        folder = next(pathlib.Path(word.partition("=")[2]) for word in sys.argv if word.startswith("output_root="))
        if "hydra.launcher.slots=2" in sys.argv:
            sys.exit("a first line\\nno slot is free")
        for seed in range(3):
            (folder / f"seed{seed}").mkdir()
            (folder / f"seed{seed}" / "result.json").touch()
    """
    (tmp_path / "run.py").write_text(textwrap.dedent(program))
    monkeypatch.setattr(pool, "PROJECT", tmp_path)
    return tmp_path


def test_a_sweep_s_time_is_shared_by_its_runs(stand_in: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter(range(0, 100, 6))  # the clock's hands, in seconds
    monkeypatch.setattr(pool, "time", SimpleNamespace(perf_counter=lambda: next(looks)))
    content, text = bench("pool", "--arms", "sequential,1x2,2x1", "--repetitions", "2", "--", "-m", "study=x")
    sequential, one, two = content["timings"]
    assert {timing.case for timing in content["timings"]} == {"python run.py -m study=x"}
    assert (sequential.role, sequential.ms, sequential.figures) == (
        "static",
        [2000.0] * 2,
        {"runs an hour": [1800.0] * 2},
    )
    assert (one.role, one.ms) == ("ours", [2000.0] * 2)
    assert (two.ms, two.failure) == ([], "no slot is free")
    assert "runs an hour" in text and "failed: no slot is free" in text


def test_several_sweeps_are_timed_in_turn(stand_in: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([10, 20, 30, 40])
    looks = iter([look for each in seconds for look in (0, each)])
    monkeypatch.setattr(pool, "time", SimpleNamespace(perf_counter=lambda: next(looks)))
    also = ["--also", "-m study=y 'about.question=a b'"]
    content, text = bench("pool", "--arms", "1x1", "--repetitions", "2", *also, "--", "-m", "study=x")
    first, second = ((timing.case, timing.figures["runs an hour"]) for timing in content["timings"])
    assert first == ("python run.py -m study=x", [1080.0, 360.0])
    assert second == ("python run.py -m study=y about.question=a b", [540.0, 270.0])
    assert text.count("runs an hour") == 2


def test_nothing_is_begun_after_the_deadline(stand_in: Path) -> None:
    arguments = parser().parse_args(["pool", "--device", "cpu", "--arms", "1x1"])
    with pytest.raises(ValueError, match=f"1x1: {NO_TIME}"):
        pool.run(arguments, Deadline(0))


def test_an_arm_that_cannot_be_read_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "pool.json")
    assert main(["pool", "--device", "cpu", "--out", out, "--arms", "two"]) == 2
    line = "error: --arms two: must be sequential, queue, SLOTSxTHREADS or a number of jobs at once\n"
    assert capsys.readouterr().err == line
