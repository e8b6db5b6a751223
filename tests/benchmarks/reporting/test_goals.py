"""Goals against figures, and that every goal names a case that is measured."""

import math
import shlex

import pytest

from benchmarks.__main__ import parser
from benchmarks.commands import step
from benchmarks.commands.layers import SHAPES
from benchmarks.commands.step import cases
from benchmarks.commands.suite import PLANS
from benchmarks.reporting.goals import (
    CPU_GOALS,
    CUDA_GOALS,
    REST,
    Goal,
    best,
    goal_table,
    images_per_second,
    largest,
    peak_mb,
    ratio,
)
from benchmarks.reporting.report import RESULTS, Timing, read_result

ARMS = [
    Timing("c", "twin", "static", "eager", ms=[4.0, 4.0, 9.0], images=8, figures={REST: [0.2]}),
    Timing("c", "twin", "static", "graph", ms=[2.0], images=8, figures={REST: [9.0]}),
    Timing("c", "dynamic", "ours", "eager", ms=[5.0], images=8, peak_mb=30.0, figures={REST: [0.05, 0.06, 7.0]}),
    Timing("c", "dynamic", "ours", "graph", ms=[3.0], images=8, peak_mb=20.0),
]
TWINS = {"float32": 10.0, "bfloat16": 5.0}


def test_figures_are_of_the_fastest_arm_of_a_role() -> None:
    assert best("static")(ARMS) == 2.0 and best("static", "other")(ARMS) != best("static")(ARMS)
    assert best("ours", runs=("eager",))(ARMS) == 5.0
    assert images_per_second("ours")(ARMS) == pytest.approx(8 / 3e-3)
    assert peak_mb("ours")(ARMS) == 20.0
    assert largest(REST)(ARMS) == 0.2  # a graph's is not the trainer's
    assert math.isnan(best("public")(ARMS)) and math.isnan(images_per_second("public")(ARMS))


@pytest.mark.parametrize(
    ("limit", "at_least", "verdict"),
    [(3.0, False, "met"), (2.9, False, "missed"), (3.0, True, "met"), (3.1, True, "missed")],
)
def test_a_goal_is_met_or_missed(limit: float, at_least: bool, verdict: str) -> None:
    [row] = Goal("c", "ours", best("ours"), limit, at_least).rows(ARMS)
    assert row[-1] == verdict


def test_a_goal_without_figures_is_not_measured() -> None:
    assert Goal("other", "ours", best("ours"), 1.0).rows(ARMS) == [["other", "ours", "<= 1", "-", "not measured"]]
    failed = [Timing("c", "a", "ours", failure="no memory")]
    assert Goal("c", "ours", best("ours"), 1.0).rows(failed)[0][-1] == "not measured"


def test_arms_of_two_precisions_are_never_compared() -> None:
    loop = Timing("c, batch 64, float32", "loop", "public loop", ms=[80.0])
    of_both = [Timing(f"c, batch 64, {name}", "twin", "static", ms=[ms]) for name, ms in TWINS.items()]
    goal = Goal("c, batch 64", "loop / static", ratio(best("public loop"), best("static")), 10.0, at_least=True)
    assert goal.rows([loop, *of_both]) == [["c, batch 64, float32", "loop / static", ">= 10", "8.00", "missed"]]
    both = Goal("c, batch 64", "static", best("static"), 7.0).rows(of_both)
    assert [row[-2:] for row in both] == [["10.0", "missed"], ["5.00", "met"]]


def test_a_goal_says_nothing_about_a_network_that_overrides_have_changed() -> None:
    other = Timing("c, batch 64, float32, model.stem=imagenet", "twin", "static", ms=[5.0])
    [row] = Goal("c, batch 64", "static", best("static"), 7.0).rows([other])
    assert row[-1] == "not measured"


def planned_cases(device_type: str) -> set[str]:
    found = set()
    for command in PLANS[device_type].values():
        arguments = parser().parse_args(shlex.split(command))
        for precision in getattr(arguments, "precision", []):
            if arguments.command == "step":
                found |= {case for case, _ in cases(arguments, precision)}
            else:
                found |= {f"{shape.name}, {precision}" for shape in SHAPES}
    return found


@pytest.mark.parametrize(("device_type", "goals"), [("cpu", CPU_GOALS), ("cuda", CUDA_GOALS)])
def test_every_goal_is_about_a_case_of_the_plan(
    device_type: str, goals: list[Goal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "_checked", lambda arms: arms)  # names are wanted, no configs
    planned = planned_cases(device_type)
    for goal in goals:
        assert any(case.startswith(goal.case) for case in planned), goal.case


def test_the_recorded_small_networks_are_held_against_their_goals() -> None:
    for network, limit in (("resnet8_cifar", 1.5), ("resnet8_stride2", 1.5), ("resnet18_imagenet", 2)):
        timings = read_result(RESULTS / f"cpu_step_{network}.json")["timings"]
        rows = [line.split(" | ") for line in goal_table(timings, "cpu").splitlines() if "not measured" not in line]
        assert [(row[1].strip(), row[2].strip()) for row in rows[2:]] == [("ours / static", f"<= {limit:g}")], network


def test_the_table_has_a_line_a_goal() -> None:
    assert len(goal_table([], "cuda").splitlines()) == 2 + len(CUDA_GOALS)
    assert len(goal_table([], "cpu").splitlines()) == 2 + len(CPU_GOALS)
