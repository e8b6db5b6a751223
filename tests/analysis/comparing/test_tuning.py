"""Whether arms were tuned alike, and which runs did the tuning."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import pytest

from analysis.comparing import tuning
from analysis.comparing.comparison import compare
from analysis.comparing.declaration import UNDECLARED
from analysis.comparing.tuning import Tuning, split_off_tuning
from analysis.reading.run import Run

BEST_OF_THREE = {0.01: 0.70, 0.1: 0.75, 1.0: 0.71}


def run(model: str, seed: int, lr: float, val: float | None = 0.5, decay: float = 0.0, **changes: Any) -> Run:
    config = {"model": model, "optimizer": {"_target_": "SGD", "lr": lr, "weight_decay": decay}}
    numbers = {} if val is None else {"test_accuracy": 0.5, "val_accuracy": val}
    told = {"study": "lab", "state": "completed", "numbers": numbers, "config": config, **changes}
    return Run("outputs", f"{model}/{lr}/{seed}", variant=f"{model},optimizer.lr={lr}", seed=seed, **told)


def grid(model: str, accuracies: dict[float, float], seeds: Iterable[int] = (100, 101), **changes: Any) -> list[Run]:
    return [run(model, seed, lr, val, **changes) for lr, val in accuracies.items() for seed in seeds]


def answer(runs: list[Run], ours: float = 0.1, theirs: float = 0.1) -> str:
    return Tuning(runs).answer(run("dynamic", 0, ours), run("static", 0, theirs))


def both(dynamic: dict[float, float], static: dict[float, float]) -> list[Run]:
    return grid("dynamic", dynamic) + grid("static", static)


def test_one_grid_for_both_and_both_at_their_own_best_is_tuned_alike() -> None:
    assert answer(both(BEST_OF_THREE, BEST_OF_THREE)) == "yes"
    own = {0.01: 0.7, 0.1: 0.71, 0.2: 0.8, 1.0: 0.1}, {0.01: 0.7, 0.1: 0.75, 0.2: 0.6, 1.0: 0.1}
    assert answer(both(*own), ours=0.2, theirs=0.1) == "yes"


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([], tuning.NOT_TUNED),
        (grid("dynamic", BEST_OF_THREE), tuning.OTHER_GRIDS),
        (both(BEST_OF_THREE, {0.1: 0.75, 1.0: 0.71}), tuning.OTHER_GRIDS),
        (both({0.1: 0.75}, {0.1: 0.75}), tuning.OTHER_GRIDS),
        (grid("dynamic", BEST_OF_THREE) + grid("static", BEST_OF_THREE, seeds=[100]), tuning.OTHER_GRIDS),
        (grid("dynamic", BEST_OF_THREE) + grid("static", BEST_OF_THREE, study="other"), tuning.OTHER_GRIDS),
        (both(BEST_OF_THREE, {0.01: 0.8, 0.1: 0.75, 1.0: 0.71}), tuning.NOT_BEST),
        (both({0.1: 0.75, 1.0: 0.71}, {0.1: 0.75, 1.0: 0.71}), tuning.AT_EDGE),
    ],
)
def test_anything_less_is_said(runs: list[Run], expected: str) -> None:
    assert answer(runs) == expected


def test_a_value_outside_the_grid_is_not_its_best() -> None:
    assert answer(both(BEST_OF_THREE, BEST_OF_THREE), ours=0.3) == tuning.NOT_BEST


def test_points_are_chosen_by_the_mean_over_the_tuning_seeds() -> None:
    uneven = [run("static", 100, 0.01, 0.9), run("static", 101, 0.01, 0.5)]
    static = uneven + grid("static", {0.1: 0.75, 1.0: 0.71})
    assert answer(grid("dynamic", BEST_OF_THREE) + static) == "yes"


def test_two_recipes_of_one_arm_are_what_is_compared() -> None:
    assert Tuning([]).answer(run("static", 0, 0.1), run("static", 0, 0.2)) == tuning.SAME_ARM


def test_a_claim_on_gains_is_tuned_as_the_least_tuned_of_its_four_arms() -> None:
    models = ["dynamic", "plain", "static", "flat"]
    ours, over, theirs, their_over = (run(model, 0, 0.1) for model in models)
    for missing, expected in ((4, tuning.ALIKE), (1, tuning.OTHER_GRIDS), (3, tuning.OTHER_GRIDS)):
        tuned = [model for arm, model in enumerate(models) if arm != missing]
        given = [each for model in tuned for each in grid(model, BEST_OF_THREE)]
        assert Tuning(given).answer_on_gains(ours, over, theirs, their_over) == expected
    assert Tuning([]).answer_on_gains(ours, over, theirs, their_over) == tuning.NOT_TUNED


def test_where_all_results_chose_recipes_there_is_nothing_to_compare() -> None:
    about = {"baseline": "static", "tuning": [100, 101]}
    made = [dataclasses.replace(each, config={**each.config, "about": about}) for each in grid("static", BEST_OF_THREE)]
    with pytest.raises(ValueError, match="all 6 runs with results chose recipes; none is reported yet"):
        compare(made, None)


def test_weight_decay_is_an_axis_of_the_grid_and_zero_is_no_edge() -> None:
    runs = []
    for model in ("dynamic", "static"):
        for lr, val in BEST_OF_THREE.items():
            runs += grid(model, {lr: val}) + grid(model, {lr: val - 0.1}, decay=0.01)
    assert answer(runs) == "yes"
    heavier = Tuning(runs).answer(run("dynamic", 0, 0.1, decay=0.01), run("static", 0, 0.1))
    assert heavier == tuning.NOT_BEST


def test_divergence_is_an_outcome_and_any_other_failure_is_none() -> None:
    diverged = {"state": "failed", "failure": {"type": "FloatingPointError", "message": "the loss is nan"}}
    broken = {"state": "failed", "failure": {"type": "RuntimeError", "message": "FloatingPointError"}}
    for failure, expected in ((diverged, "yes"), (broken, tuning.OTHER_GRIDS)):
        lost = [run("dynamic", seed, 1.0, None, **failure) for seed in (100, 101)]
        dynamic = grid("dynamic", {0.01: 0.70, 0.1: 0.75}) + lost
        assert answer(dynamic + grid("static", BEST_OF_THREE)) == expected


def test_tuning_runs_are_told_from_reported_ones() -> None:
    tuned = [*grid("dynamic", BEST_OF_THREE), run("dynamic", 100, 10.0, None)]
    fresh = [run("dynamic", seed, 0.1) for seed in range(3)]
    assert split_off_tuning(fresh + tuned) == (fresh, tuned)


@pytest.mark.parametrize(
    "runs",
    [
        [run("dynamic", seed, 0.1) for seed in (99, 100, 101, 102)],
        grid("dynamic", BEST_OF_THREE),
        [*grid("dynamic", BEST_OF_THREE, study="one"), run("dynamic", 0, 0.1, study="other")],
        [*grid("dynamic", BEST_OF_THREE), run("dynamic", 0, 0.1, None)],
    ],
    ids=["no grid", "nothing else", "another study", "nothing else finished"],
)
def test_seeds_100_and_101_are_ordinary_ones_otherwise(runs: list[Run]) -> None:
    assert split_off_tuning(runs) == (runs, [])


def test_a_study_whose_tuning_is_not_among_the_runs_is_not_said_to_be_untuned() -> None:
    declared = {"lab": dataclasses.replace(UNDECLARED, tuning="lab_tuning")}
    ours, theirs = run("dynamic", 0, 0.1), run("static", 0, 0.1)
    assert Tuning([], declared).answer(ours, theirs) == tuning.NOT_GIVEN
    elsewhere = grid("other", BEST_OF_THREE, study="lab_tuning")
    assert Tuning(elsewhere, declared).answer(ours, theirs) == tuning.NOT_TUNED


def test_runs_whose_config_is_lost_are_not_known_to_be_tuned() -> None:
    ours, theirs = run("dynamic", 0, 0.1, config={}), run("static", 0, 0.1, config={})
    assert Tuning([]).answer(ours, theirs) == tuning.NOT_TUNED
