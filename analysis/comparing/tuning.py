"""Whether the arms of a comparison were tuned alike: read from the grid of runs that did the tuning."""

from collections.abc import Mapping, Sequence
from typing import Any

from dynfilt.identity import digest

from ..reading.run import Run

# Tuning has seeds of its own, so that what is reported was not selected on.
TUNING_SEEDS = (100, 101)
TUNED_KEYS = ("optimizer.lr", "optimizer.weight_decay")

ALIKE = "yes"
AT_EDGE = "yes, at the grid's edge"
NOT_TUNED = "no: published recipe"
OTHER_GRIDS = "no: other grids"
NOT_BEST = "no: not the grid's best"
SAME_ARM = "one arm, two recipes"

Point = tuple[Any, ...]
Grid = dict[Point, float]


def split_off_tuning(runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """The runs to report, and those that tuned: of seeds 100 and 101, in a study where they form a grid.

    They form one where an arm has several points of TUNED_KEYS under these seeds, and other seeds have results.
    """
    tuning: set[int] = set()
    for study in {run.study for run in runs}:
        members = [run for run in runs if run.study == study]
        suspects = [run for run in members if run.seed in TUNING_SEEDS]
        reported = any(run.counts and run.seed not in TUNING_SEEDS for run in members)
        if reported and len({point(run) for run in suspects}) > 1:
            tuning |= {id(run) for run in suspects}
    return [run for run in runs if id(run) not in tuning], [run for run in runs if id(run) in tuning]


class Tuning:
    """The grids of all arms; an arm is a study's runs whose configs differ in TUNED_KEYS and seed only."""

    def __init__(self, tuning_runs: Sequence[Run]) -> None:
        self._digests: dict[int, str] = {}
        found: dict[tuple[str, str], dict[Point, dict[int, float]]] = {}
        for run in tuning_runs:
            accuracy = _validation_accuracy(run)
            if accuracy is not None:
                found.setdefault(self._arm(run), {}).setdefault(point(run), {})[run.seed] = accuracy
        self._grids = {arm: _means(points) for arm, points in found.items()}

    def answer(self, ours: Run, theirs: Run) -> str:
        """Whether the arms of two reported runs were tuned alike: both over one grid of at least 2 points, both
        reported at their own grid's best mean validation accuracy."""
        arms, points = [self._arm(run) for run in (ours, theirs)], [point(run) for run in (ours, theirs)]
        if arms[0] == arms[1] and points[0] != points[1]:
            return SAME_ARM
        grids = [self._grids.get(arm, {}) for arm in arms]
        if not any(grids):
            return NOT_TUNED
        if grids[0].keys() != grids[1].keys() or len(grids[0]) < 2:
            return OTHER_GRIDS
        if any(grid.get(at) != max(grid.values()) for grid, at in zip(grids, points, strict=True)):
            return NOT_BEST
        return AT_EDGE if any(_is_at_edge(at, grids[0]) for at in points) else ALIKE

    def _arm(self, run: Run) -> tuple[str, str]:
        key = id(run.config)
        if key not in self._digests:
            self._digests[key] = digest(_without_tuned_keys(run.config))
        return run.study, self._digests[key]


def point(run: Run) -> Point:
    """A run's values of TUNED_KEYS, None where its config has no such key."""
    return tuple(run.setting(key) for key in TUNED_KEYS)


def _validation_accuracy(run: Run) -> float | None:
    """What a point is chosen by; 0 for a run that diverged, which is an outcome too, None for an unfinished one."""
    if run.counts:
        return run.numbers.get("val_accuracy")
    return 0.0 if run.error.startswith("FloatingPointError") else None


def _means(points: dict[Point, dict[int, float]]) -> Grid:
    """Mean over the tuning seeds, of the points where all of them ended."""
    ended = {at: by_seed for at, by_seed in points.items() if by_seed.keys() == set(TUNING_SEEDS)}
    return {at: sum(by_seed.values()) / len(by_seed) for at, by_seed in ended.items()}


def _is_at_edge(at: Point, grid: Grid) -> bool:
    """Whether a value is the smallest or largest that was tried of it; below a value of 0 there is none to try."""
    for axis, value in enumerate(at):
        tried = {other[axis] for other in grid}
        if len(tried) > 1 and (value == max(tried) or (value == min(tried) and value != 0)):
            return True
    return False


def _without_tuned_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    names = {key.partition(".")[2] for key in TUNED_KEYS}
    optimizer = config.get("optimizer")
    kept = (
        {key: value for key, value in optimizer.items() if key not in names} if isinstance(optimizer, Mapping) else {}
    )
    return {**config, "optimizer": kept}
