"""Whether what is compared was tuned alike, from the grid of runs that did the tuning.

An arm is a study's runs whose configs differ in TUNED_KEYS and seed only; a recipe is its values of TUNED_KEYS.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dynfilt.run.identity import digest

from ..reading.run import Run
from .declaration import NONE_DECLARED, UNDECLARED, Declaration

# Seeds for tuning alone where a study declares no others, so that what is reported was not selected on.
TUNING_SEEDS = (100, 101)
TUNED_KEYS = ("optimizer.lr", "optimizer.weight_decay")

ALIKE = "yes"
AT_EDGE = "yes, at the grid's edge"
NOT_TUNED = "no: published recipe"
NOT_GIVEN = "not known: no tuning runs"
OTHER_GRIDS = "no: other grids"
NOT_BEST = "no: not the grid's best"
SAME_ARM = "one arm, two recipes"
WEAKER = (SAME_ARM, ALIKE, AT_EDGE, NOT_BEST, OTHER_GRIDS, NOT_GIVEN, NOT_TUNED)

Recipe = tuple[Any, ...]
Grid = dict[Recipe, float]


def split_off_tuning(
    runs: Sequence[Run], declared: Mapping[str, Declaration] = NONE_DECLARED
) -> tuple[list[Run], list[Run]]:
    """The runs to report, and those that tuned: the seeds, or the other study, that a study declares.

    Where it declares neither, they are of seeds 100 and 101, if these form a grid: several recipes under these seeds,
    and results of other seeds.
    """
    tuned_by = {study: each.tuning for study, each in declared.items() if each.tuning is not None}
    studies = set()
    for study in {run.study for run in runs} - tuned_by.keys():
        members = [run for run in runs if run.study == study]
        recipes = {recipe(run) for run in members if run.seed in TUNING_SEEDS}
        if len(recipes) > 1 and any(run.counts and run.seed not in TUNING_SEEDS for run in members):
            studies.add(study)

    def tunes(run: Run) -> bool:
        if run.study in tuned_by.values():
            return True
        seeds = TUNING_SEEDS if run.study in studies else tuned_by.get(run.study, ())
        return not isinstance(seeds, str) and run.seed in seeds

    return [run for run in runs if not tunes(run)], [run for run in runs if tunes(run)]


class Tuning:
    """The grids of all arms: mean validation accuracy of each recipe that all tuning seeds brought to an end."""

    def __init__(self, tuning_runs: Sequence[Run], declared: Mapping[str, Declaration] = NONE_DECLARED) -> None:
        self._digests: dict[int, str] = {}
        self._tuned_in = {study: each.tuning for study, each in declared.items() if isinstance(each.tuning, str)}
        seeds: dict[str, set[int]] = {}
        for run in tuning_runs:
            tuning = declared.get(run.study, UNDECLARED).tuning
            fixed = TUNING_SEEDS if tuning is None and run.study not in self._tuned_in.values() else tuning
            seeds.setdefault(run.study, set()).update([run.seed] if fixed is None or isinstance(fixed, str) else fixed)
        accuracies: dict[tuple[str, str], dict[Recipe, dict[int, float]]] = {}
        for run in tuning_runs:
            accuracy = _validation_accuracy(run)
            if accuracy is not None:
                accuracies.setdefault(self._arm(run), {}).setdefault(recipe(run), {})[run.seed] = accuracy
        self._studies = seeds.keys()
        self._grids = {arm: _means(recipes, seeds[arm[0]]) for arm, recipes in accuracies.items()}

    def answer(self, ours: Run, theirs: Run) -> str:
        """Say whether the arms of two reported runs were tuned alike.

        They were when both have one grid of at least 2 recipes and both are reported at their own grid's best.
        """
        arms, recipes = [self._arm(run) for run in (ours, theirs)], [recipe(run) for run in (ours, theirs)]
        if arms[0] == arms[1] and recipes[0] != recipes[1]:
            return SAME_ARM
        grids = [self._grids.get((self._tuned_in.get(study, study), arm), {}) for study, arm in arms]
        if not any(grids):
            tuned_in = {self._tuned_in[study] for study, _ in arms if study in self._tuned_in}
            return NOT_GIVEN if tuned_in - self._studies else NOT_TUNED
        if grids[0].keys() != grids[1].keys() or len(grids[0]) < 2:
            return OTHER_GRIDS
        if any(grid.get(chosen) != max(grid.values()) for grid, chosen in zip(grids, recipes, strict=True)):
            return NOT_BEST
        return AT_EDGE if any(_edges(chosen, grids[0]) for chosen in recipes) else ALIKE

    def answer_on_gains(self, ours: Run, over: Run, theirs: Run, their_over: Run) -> str:
        """Say the same of a claim on gains, each over another: of the answers the one that vouches for least."""
        pairs = (ours, over), (theirs, their_over), (ours, theirs)
        return max((self.answer(*pair) for pair in pairs), key=WEAKER.index)

    def _arm(self, run: Run) -> tuple[str, str]:
        # Runs share their parsed configs, so each is digested once.
        key = id(run.config)
        if key not in self._digests:
            self._digests[key] = digest(_without_tuned_keys(run.config))
        return run.study, self._digests[key]


@dataclass(frozen=True)
class ChosenRecipe:
    """What tuning chose for an arm: a run of that recipe, its mean validation accuracy, and how far to trust it.

    `grid` are the recipes that all seeds brought to an end, `unfinished` how many others there are, `edges` the keys
    whose chosen value is the smallest or largest that was tried.
    """

    run: Run
    accuracy: float
    grid: Grid
    unfinished: int
    edges: tuple[str, ...]


def choices(runs: Sequence[Run]) -> list[ChosenRecipe]:
    """The best recipe of each arm of a tuning study, all of whose runs are given, by mean validation accuracy.

    Raises ValueError for an arm without a recipe that all seeds brought to an end.
    """
    seeds = {run.seed for run in runs}
    arms: dict[str, list[Run]] = {}
    for run in runs:
        arms.setdefault(digest(_without_tuned_keys(run.config)), []).append(run)
    chosen = []
    for members in arms.values():
        accuracies: dict[Recipe, dict[int, float]] = {recipe(run): {} for run in members}
        for run in members:
            if (accuracy := _validation_accuracy(run)) is not None:
                accuracies[recipe(run)][run.seed] = accuracy
        grid = _means(accuracies, seeds)
        if not grid:
            raise ValueError(f"{members[0].variant}: no recipe has ended with all of its {len(seeds)} tuning seeds yet")
        best = max(grid, key=grid.__getitem__)
        run = next(run for run in members if recipe(run) == best)
        chosen.append(ChosenRecipe(run, grid[best], grid, len(accuracies) - len(grid), _edges(best, grid)))
    return chosen


def recipe(run: Run) -> Recipe:
    """A run's values of TUNED_KEYS, None where its config has no such key."""
    return tuple(run.setting(key) for key in TUNED_KEYS)


def _validation_accuracy(run: Run) -> float | None:
    """What a recipe is chosen by; 0 for a run that diverged, which is an outcome too, None for an unfinished one."""
    if run.counts:
        return run.numbers.get("val_accuracy")
    return 0.0 if run.diverged else None


def _means(recipes: dict[Recipe, dict[int, float]], seeds: set[int]) -> Grid:
    """Mean over the tuning seeds, of the recipes that all of them brought to an end."""
    ended = {recipe: by_seed for recipe, by_seed in recipes.items() if by_seed.keys() == seeds}
    return {recipe: sum(by_seed.values()) / len(by_seed) for recipe, by_seed in ended.items()}


def _edges(chosen: Recipe, grid: Grid) -> tuple[str, ...]:
    """The keys whose value is the smallest or largest that was tried of them; below a value of 0 there is none to
    try."""
    edges = []
    for axis, (key, value) in enumerate(zip(TUNED_KEYS, chosen, strict=True)):
        tried = {recipe[axis] for recipe in grid}
        if len(tried) > 1 and (value == max(tried) or (value == min(tried) and value != 0)):
            edges.append(key)
    return tuple(edges)


def _without_tuned_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    names = {key.partition(".")[2] for key in TUNED_KEYS}
    optimizer = config.get("optimizer")
    settings = optimizer if isinstance(optimizer, Mapping) else {}
    return {**config, "optimizer": {key: value for key, value in settings.items() if key not in names}}
