"""Sampling: turns, enough calls, the deadline; memory that comes on top."""

import time

import pytest
import torch

from benchmarks.measuring.timing import Deadline, extra_memory_mb, interleaved_ms

CPU = torch.device("cpu")


def test_candidates_take_turns_and_short_ones_are_called_often() -> None:
    calls: list[str] = []

    def quick() -> None:
        calls.append("quick")

    def slow() -> None:
        calls.append("slow")
        time.sleep(0.03)

    samples = interleaved_ms({"quick": quick, "slow": slow}, CPU, 3, Deadline(None))
    assert [len(samples[name]) for name in ("quick", "slow")] == [3, 3]
    timed = calls[calls.index("slow") + 2 :]  # each has been called twice before
    turns = [name for name, before in zip(timed, [None, *timed], strict=False) if name != before]
    assert turns == ["quick", "slow"] * 3
    assert timed.count("quick") > 3 * timed.count("slow")
    assert min(samples["slow"]) >= 30 > min(samples["quick"])


def test_no_round_is_begun_after_the_deadline() -> None:
    assert interleaved_ms({"a": lambda: None}, CPU, 3, Deadline(0)) == {"a": []}
    begun = interleaved_ms({"a": lambda: time.sleep(0.05)}, CPU, 100, Deadline(0.3))["a"]
    assert 1 <= len(begun) < 10


def test_a_deadline_counts_down() -> None:
    deadline = Deadline(60)
    assert 0 < deadline.seconds_left() < 60
    assert Deadline(None).seconds_left() == float("inf")
    assert Deadline(-1).seconds_left() == 0


@pytest.mark.parametrize("mebibytes", [64, 16, 4])
def test_memory_on_top_is_seen_even_where_it_was_used_before(mebibytes: int) -> None:
    kept = []

    def call() -> None:
        parts = [torch.ones(2**14) for _ in range(16 * mebibytes)]
        kept.append(torch.ones(2**10))  # what is freed below it stays with the process
        del parts

    call()
    assert extra_memory_mb(call, CPU) == pytest.approx(mebibytes, rel=0.3)
