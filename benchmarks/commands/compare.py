"""Did anything get slower? Two result files of one machine, arm by arm.

The noise of an arm is the sum of both files' interquartile ranges, each over its median, and at least 5 %: the
repetitions of one file do not see how the machine drifts between two. Slower (faster) is a median that is longer
(shorter) by more than that. Three repetitions are the least from which a spread can be told.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring.timing import NO_TIME
from benchmarks.reporting.report import Timing, read_result
from benchmarks.reporting.tables import text_table

LEAST_NOISE = 0.05
LEAST_REPETITIONS = 3
SAME = ("device", "cpu", "cores", "threads")
BAD = ("slower", "fails now")


@dataclass(frozen=True)
class Verdict:
    """What became of one arm: the change of its median and its noise as fractions, None where there are none."""

    arm: str
    word: str
    change: float | None = None
    noise: float | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)


def run(arguments: argparse.Namespace) -> int:
    """Print a verdict for each arm; 1 when one got slower or fails now, else 0.

    Raises ValueError for files of different benchmarks or machines.
    """
    old, new = read_result(arguments.old), read_result(arguments.new)
    if old["benchmark"] != new["benchmark"]:
        raise ValueError(f"{arguments.old} is of {old['benchmark']}, {arguments.new} of {new['benchmark']}")
    for key in SAME:
        before, now = old["machine"].get(key), new["machine"].get(key)
        if before != now:
            raise ValueError(f"not the same machine: {key} is {before!r} in the old file, {now!r} in the new one")
    verdicts = compare(old["timings"], new["timings"])
    print(f"old: commit {old['machine']['commit']}, torch {old['machine']['versions']['torch']}")
    print(f"new: commit {new['machine']['commit']}, torch {new['machine']['versions']['torch']}\n")
    rows = [[v.arm, v.word, _percent(v.change, "+"), _percent(v.noise, "")] for v in verdicts]
    print(text_table(["arm", "verdict", "median", "noise"], rows))
    return 1 if any(verdict.word in BAD for verdict in verdicts) else 0


def compare(old: list[Timing], new: list[Timing]) -> list[Verdict]:
    """One verdict for each arm of either file, in the order of the old one."""
    before, now = ({(t.case, t.arm, t.run): t for t in timings} for timings in (old, new))
    return [_verdict(", ".join(key), before.get(key), now.get(key)) for key in dict.fromkeys([*before, *now])]


def _verdict(arm: str, old: Timing | None, new: Timing | None) -> Verdict:
    if old is None or new is None:
        return Verdict(arm, "new" if old is None else "not measured any more")
    if new.failure == NO_TIME:
        return Verdict(arm, f"not measured: {NO_TIME}")
    if not old.ms or not new.ms:
        return Verdict(arm, "fails now" if old.ms else "failed before" if new.ms else "fails in both")
    change = statistics.median(new.ms) / statistics.median(old.ms) - 1
    if min(len(old.ms), len(new.ms)) < LEAST_REPETITIONS:
        return Verdict(arm, f"unknown: fewer than {LEAST_REPETITIONS} repetitions", change)
    noise = max(LEAST_NOISE, _relative_spread(old.ms) + _relative_spread(new.ms))
    word = "slower" if change > noise else "faster" if 1 / (1 + change) - 1 > noise else "same"
    return Verdict(arm, word, change, noise)


def _relative_spread(samples: list[float]) -> float:
    """Interquartile range over the median."""
    quartiles = statistics.quantiles(samples, n=4, method="inclusive")
    return (quartiles[2] - quartiles[0]) / quartiles[1]


def _percent(value: float | None, sign: str) -> str:
    return "-" if value is None else f"{100 * value:{sign}.1f} %"
