"""Schedules against their formulas, their milestones in exact arithmetic, and what they refuse."""

import copy
import itertools
import math
import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from dynfilt.schedules import Constant, Cosine, FadeOut, Linear, MultiStep, OneCycle, Progress

Schedule = Callable[[Progress], float]
MILESTONES = ("0.5", "0.75", "0.85")


def at(step: int, total: int = 1000, steps_per_epoch: int = 100) -> Progress:
    return Progress(step, total, steps_per_epoch)


def multistep(*milestones: str) -> MultiStep:
    return MultiStep([float(m) for m in milestones], 0.1)


def test_progress_runs_from_zero_to_one() -> None:
    assert [at(step, 8).fraction for step in (0, 2, 8)] == [0.0, 0.25, 1.0]


def test_constant() -> None:
    assert {Constant(0.3)(at(step)) for step in (0, 500, 1000)} == {0.3}


# 50 epochs of 782 steps, 0.85 * 50 that never fired, totals whose products with 0.85 round up or down, a few steps.
@pytest.mark.parametrize("total", [50, 20, 100, 40, 7, 4, 39_100, 35_200 * 200, 1, 2, 3, 1_000_000, 12_345_678])
def test_milestones_fire_at_their_exact_steps(total: int) -> None:
    schedule = multistep(*MILESTONES)
    firsts = [math.ceil(Fraction(milestone) * total) for milestone in MILESTONES]
    for step in {0, total - 1, total} | {first + shift for first in firsts for shift in (-1, 0, 1)}:
        passed = sum(step >= first for first in firsts)
        assert schedule(at(step, total)) == pytest.approx(0.1**passed, rel=1e-12), step


def test_milestones_fire_at_their_exact_steps_for_every_total_and_percent() -> None:
    for percent in range(1, 100):
        schedule = MultiStep([percent / 100], 0.5)
        for total in range(1, 120):
            first = -(-percent * total // 100)
            assert schedule(at(first, total)) == 0.5, (percent, total)
            assert schedule(at(first - 1, total)) == 1.0, (percent, total)


def test_a_milestone_holds_from_its_step_on() -> None:
    schedule, values = multistep(*MILESTONES), [1.0] * 50 + [0.1] * 25 + [0.01] * 10 + [0.001] * 15
    assert [schedule(at(step, 100)) for step in range(100)] == pytest.approx(values, rel=1e-12)
    assert MultiStep([], 0.1)(at(999)) == 1.0


@pytest.mark.parametrize("final", [0.0, 0.25, 1.0])
def test_cosine(final: float) -> None:
    schedule = Cosine(final)
    # cos at 0, 60, 90, 120 and 180 degrees.
    for step, cosine in ((0, 1.0), (4, 0.5), (6, 0.0), (8, -0.5), (12, -1.0)):
        expected = (1 + final) / 2 + (1 - final) / 2 * cosine
        assert schedule(at(step, 12)) == pytest.approx(expected, abs=1e-15)
    assert schedule(at(0)) == 1.0


def test_one_cycle() -> None:
    schedule = OneCycle(warmup_fraction=0.25, initial=0.2, final=0.1)
    assert schedule(at(0, 16)) == 0.2
    assert schedule(at(1, 16)) == pytest.approx(0.4)
    assert schedule(at(3, 16)) == pytest.approx(0.8)
    assert schedule(at(4, 16)) == 1.0
    assert schedule(at(8, 16)) == pytest.approx(0.55 + 0.45 * 0.5)
    assert schedule(at(10, 16)) == pytest.approx(0.55)
    assert schedule(at(16, 16)) == pytest.approx(0.1, abs=1e-15)


@pytest.mark.parametrize("warmup", [0.3, 0.1, 0.013])
def test_one_cycle_rises_to_one_and_falls_without_a_jump(warmup: float) -> None:
    schedule = OneCycle(warmup, 0.04, 1e-4)
    values = [schedule(at(step)) for step in range(1001)]
    top = round(warmup * 1000)
    assert values[0] == 0.04 and values[top] == pytest.approx(1.0, abs=1e-12)
    assert values[-1] == pytest.approx(1e-4, abs=1e-15)
    rises = [b - a for a, b in itertools.pairwise(values)]
    assert all(rise > 0 for rise in rises[:top]) and all(rise < 0 for rise in rises[top:])
    assert max(abs(rise) for rise in rises) <= max(0.96 / (warmup * 1000), 1.6 / ((1 - warmup) * 1000)) * 1.001


def test_linear_over_epochs() -> None:
    schedule = Linear(initial=30.0, final=1.0, epochs=10)
    assert schedule(at(0, 4000, 100)) == 30.0
    assert schedule(at(1, 4000, 100)) == pytest.approx(30 - 29 / 1000)
    assert schedule(at(500, 4000, 100)) == 15.5
    for step in (1000, 1001, 4000):
        assert schedule(at(step, 4000, 100)) == 1.0
    # Its length is told in epochs, whatever the total; a training that ends sooner ends on the way.
    assert schedule(at(500, 600, 100)) == 15.5
    assert schedule(at(500, 4000, 50)) == 1.0
    assert Linear(2.0, 4.0, 0.5)(at(25, 1000, 100)) == 3.0


@pytest.mark.parametrize(
    "schedule",
    [Constant(2.0), multistep(*MILESTONES), Cosine(0.1), OneCycle(0.3, 0.04, 1e-4), Linear(30.0, 1.0, 3)],
    ids=lambda schedule: type(schedule).__name__,
)
def test_a_value_depends_on_the_progress_alone(schedule: Schedule) -> None:
    fresh, before = copy.deepcopy(schedule), copy.deepcopy(vars(schedule))
    steps = list(range(0, 1001, 7))
    values = {step: schedule(at(step)) for step in steps}
    random.Random(0).shuffle(steps)
    assert {step: schedule(at(step)) for step in steps} == values
    assert fresh(at(steps[0])) == values[steps[0]]
    assert vars(schedule) == before
    assert all(math.isfinite(value) and value > 0 for value in values.values())


def test_milestones_are_the_schedules_own() -> None:
    given = [0.5]
    schedule = MultiStep(given, 0.1)
    given.append(0.6)
    assert schedule(at(999)) == 0.1


def test_fade_out_goes_from_one_to_nothing() -> None:
    schedule = FadeOut(epochs=4)
    steps = [Progress(step, total_steps=100, steps_per_epoch=10) for step in (0, 10, 20, 39, 40, 99)]
    assert [schedule(progress) for progress in steps] == pytest.approx([1, 0.75, 0.5, 0.025, 0, 0])


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (Constant, (0.0,), r"value=0\.0 must be > 0"),
        (Constant, (-1.0,), r"value=-1\.0"),
        (Constant, (math.nan,), "value=nan"),
        (MultiStep, ([0.5, 0.4], 0.1), r"milestones=\[0\.5, 0\.4\] must rise between 0 and 1"),
        (MultiStep, ([0.5, 0.5], 0.1), "must rise"),
        (MultiStep, ([0.0], 0.1), "must rise"),
        (MultiStep, ([1.0], 0.1), "must rise"),
        (MultiStep, ([25, 40], 0.1), "fractions of training"),
        (MultiStep, ([math.nan], 0.1), "must rise"),
        (MultiStep, ([0.5], 0.0), r"gamma=0\.0 must be > 0"),
        (Cosine, (-0.1,), r"final=-0\.1 must lie in 0\.\.1"),
        (Cosine, (1.1,), r"final=1\.1"),
        (OneCycle, (0.0, 0.1, 0.1), r"warmup_fraction=0\.0 must lie between 0 and 1"),
        (OneCycle, (1.0, 0.1, 0.1), r"warmup_fraction=1\.0"),
        (OneCycle, (0.3, 1.5, 0.1), r"initial=1\.5"),
        (OneCycle, (0.3, 0.1, -0.1), r"final=-0\.1"),
        (Linear, (0.0, 1.0, 10), r"initial=0\.0 and final=1\.0 must be > 0"),
        (Linear, (30.0, -1.0, 10), r"final=-1\.0"),
        (Linear, (30.0, 1.0, 0), "epochs=0 must be > 0"),
        (FadeOut, (0,), "epochs=0 must be > 0"),
    ],
)
def test_bad_values(kind: Callable[..., Any], arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(*arguments)
