"""`python -m benchmarks startup`: what is waited for, and what is said when the command fails."""

import itertools
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.__main__ import main
from benchmarks.commands import startup
from tests.benchmarks.conftest import Bench


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run.py that prints the line of its first evaluation and ends when there is a file `seen`."""
    program = """
        import os, sys, time
        if "--help" not in sys.argv:
            print("dynamic_3x3/seed0  epoch 0.001/20", flush=True)
            if "-m" in sys.argv:
                print("[1/2] seed=0: trained", "dynamic_3x3/seed1  epoch 0.001/20", sep="\\n", flush=True)
            for _ in range(6000):
                if os.path.exists("seen"):
                    sys.exit()
                time.sleep(0.01)
            sys.exit("waited in vain")
    """
    (tmp_path / "run.py").write_text(textwrap.dedent(program))
    monkeypatch.setattr(startup, "PROJECT", tmp_path)
    return tmp_path / "run.py"


def test_the_wait_ends_with_the_first_evaluation(stand_in: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command ends only after its second look at the clock, which is 0.1 s after the first."""
    looks = itertools.count()

    def clock() -> float:
        look = next(looks)
        stand_in.with_name("seen").touch() if look % 2 else stand_in.with_name("seen").unlink(missing_ok=True)
        return look / 10

    monkeypatch.setattr(startup, "time", SimpleNamespace(perf_counter=clock))
    content, _ = bench("startup", "--repetitions", "2")
    help_, first, next_, untracked = content["timings"]
    assert (help_.arm, help_.ms) == ("python run.py --help", pytest.approx([100, 100]))
    assert (first.arm, first.ms) == ("to the evaluation after the first step", pytest.approx([100, 100]))
    assert (next_.arm, next_.ms) == ("from a job's end to the next one's, tracking=auto", pytest.approx([100, 100]))
    assert (untracked.arm, untracked.ms) == (next_.arm.replace("auto", "off"), pytest.approx([100, 100]))


def test_a_run_that_fails_is_told_with_its_last_line(stand_in: Path, bench: Bench) -> None:
    stand_in.write_text("import sys\nif '--help' not in sys.argv: sys.exit('failed: no such thing')")
    content, text = bench("startup", "--repetitions", "2")
    assert [timing.failure for timing in content["timings"]] == [None, *["failed: no such thing"] * 3]
    assert "failed: no such thing" in text


def test_a_run_without_an_evaluation_has_no_time(
    stand_in: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    stand_in.write_text("import sys\nsys.exit('--help' in sys.argv)")
    assert main(["startup", "--device", "cpu", "--out", str(tmp_path / "s.json"), "--repetitions", "1"]) == 2
    assert "error: python run.py --help: printed no result" in capsys.readouterr().err


@pytest.mark.slow
def test_the_real_command_prints_what_is_waited_for(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    monkeypatch.setattr(startup, "FIRST_STEP", (*startup.FIRST_STEP, "tracking=off"))
    content, _ = bench("startup", "--repetitions", "1")
    assert all(timing.ms and timing.failure is None for timing in content["timings"])
