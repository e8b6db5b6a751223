"""Arms in processes of their own: they take turns, and one that fails stops no other."""

import pytest
import torch

from benchmarks.measuring import turns as turns_module
from benchmarks.measuring.arm import Arm
from benchmarks.measuring.arm_process import ArmFailed, ArmProcess, NoAnswer
from benchmarks.measuring.timing import NO_TIME, Deadline
from benchmarks.measuring.turns import Turn, Turns
from tests.benchmarks.conftest import TINY_STEP

CPU = torch.device("cpu")
FRAGILE = "tests.benchmarks.fragile_network.FragileNet"


def fragile(fault: str) -> Arm:
    # The keys that conf/model/cnn_5x5.yaml has and FragileNet has not are taken out.
    removed = [f"~model.{key}" for key in ("channels", "kernel_size", "hidden_features", "image_size")]
    overrides = ("model=cnn_5x5", f"model._target_={FRAGILE}", f"+model.fault={fault}", *removed, *TINY_STEP)
    return Arm(fault, "ours", overrides)


@pytest.mark.slow
def test_arms_that_raise_or_die_are_told_and_the_others_go_on() -> None:
    turns = Turns([fragile("raise"), fragile("none"), fragile("die")], CPU, 0.0, Deadline(None))
    turns.take(2)
    raised, sound, dead = turns.all
    assert (len(sound.ms), sound.failure) == (2, None)
    assert sound.peak_mb and sound.peak_mb > 50
    assert set(sound.figures) == {"data, ms", "network, ms", "rest of the step, ms", "loop alone, ms"}
    assert all(len(values) == 2 for values in sound.figures.values())
    reason = "OutOfMemoryError: out of memory with trainer.batch_size=4, choose less or another device (no memory)"
    assert (raised.ms, raised.failure) == ([], reason)
    assert (dead.ms, dead.failure) == ([], "the process was ended by SIGKILL (out of memory?)")
    assert [turn.process for turn in turns.all] == [None] * 3


@pytest.mark.slow
def test_an_arm_that_hangs_is_given_up() -> None:
    process = ArmProcess(fragile("hang"), CPU)
    process.start("prepare", 0.0)
    with pytest.raises(ArmFailed, match="no answer within 1 s"):
        process.answer(1.0)
    process.close()
    assert not process._process.is_alive()


@pytest.mark.parametrize("left", [100.0, None])
def test_only_an_arm_that_the_deadline_cuts_off_may_be_measured_again(
    left: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(Scripted):
        def answer(self, seconds: float) -> object:
            raise NoAnswer("no answer")

    monkeypatch.setattr(turns_module, "ArmProcess", lambda arm, device: Silent([], arm.name, []))
    turns = Turns([Arm("a", "ours", ())], CPU, 0.0, Deadline(left))
    turns.take(1)
    assert [turn.failure for turn in turns.all] == [NO_TIME if left else "no answer"]


def test_nothing_is_started_after_the_deadline() -> None:
    turns = Turns([fragile("hang")], CPU, 0.0, Deadline(0))
    turns.take(3)
    assert [(turn.ms, turn.failure) for turn in turns.all] == [([], NO_TIME)]


class Scripted:
    """Stands in for a process: its repetitions take the milliseconds that are given."""

    def __init__(self, log: list[str], name: str, ms: list[float]) -> None:
        self.log, self.name, self.ms = log, name, ms
        self.request = ""

    def start(self, request: str, *arguments: object) -> None:
        self.request = request

    def answer(self, seconds: float) -> object:
        if self.request == "repetition":
            self.log.append(self.name)
            if not self.ms:
                raise ArmFailed("broke")
            return self.ms.pop(0)
        return {"prepare": {"path": "p"}, "breakdown": {}, "peak_mb": 1.0}[self.request]

    def close(self) -> None:
        self.log.append(f"{self.name} closed")


def test_repetitions_are_interleaved_and_a_late_failure_voids_the_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    ms = {"a": [1.0, 2.0, 3.0], "b": [5.0]}
    monkeypatch.setattr(
        "benchmarks.measuring.turns.ArmProcess", lambda arm, device: Scripted(log, arm.name, ms[arm.name])
    )
    turns = Turns([Arm("a", "ours", ()), Arm("b", "other", ())], CPU, 0.0, Deadline(None))
    turns.take(3)
    assert log == ["a", "b", "a", "b", "b closed", "a", "a closed"]
    a, b = turns.all
    assert (a.ms, a.failure, a.facts) == ([1.0, 2.0, 3.0], None, {"path": "p"})
    assert (b.ms, b.failure) == ([], "broke")


def test_only_timing_to_choose_is_prepared_alone_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    class Preparing(Scripted):
        def start(self, request: str, *arguments: object) -> None:
            super().start(request)
            self.log.append(f"{self.name} {request}")

        def answer(self, seconds: float) -> object:
            self.log.append(f"{self.name} answers")
            return {}

    monkeypatch.setattr(turns_module, "ArmProcess", lambda arm, device: Preparing(log, arm.name, []))
    arms = [Arm("tuned", "ours", (), "max-autotune"), Arm("a", "ours", ()), Arm("b", "ours", ())]
    Turns(arms, torch.device("cuda", 0), 0.0, Deadline(None)).take(0)
    assert log[:6] == ["a prepare", "b prepare", "a answers", "b answers", "tuned prepare", "tuned answers"]


def test_an_arm_without_a_process_answers_nothing() -> None:
    turn = Turn(fragile("none"))
    assert turn.ask("repetition") is None and turn.failure is None
