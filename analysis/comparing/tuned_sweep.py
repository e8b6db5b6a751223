"""`python -m analysis tuned SOURCE --sweep lab_3x3`: the sweep again, each arm with the recipe that tuning chose.

SOURCE holds the runs of a tuning study, such as outputs/lab_3x3_tuning. A recipe is a learning rate and a weight decay;
of those that all tuning seeds brought to an end, each arm gets the one of the best mean validation accuracy. A choice
at the edge of its grid is flagged: the best may lie beyond.
"""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dynfilt.config.about import controls_of, rows_meant
from dynfilt.config.compose import NESTED_GROUPS
from dynfilt.run.identity import canonical, in_digest, variant_name

from ..reading.run import Run
from ..reading.sources import read_runs
from .sweep_file import read_sweep
from .tuning import TUNED_KEYS, ChosenRecipe, choices, recipe
from .words import number_of, seed_list

GROUP_OF = {group.rpartition("/")[2]: group for group in NESTED_GROUPS}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tuned`."""
    parser.add_argument("source", metavar="SOURCE", help="the runs that tuned, e.g. outputs/lab_3x3_tuning")
    parser.add_argument("--sweep", required=True, help="the sweep that was tuned: its name, or its file")
    parser.add_argument("--out", metavar="FILE", help="the file of the tuned sweep; default: standard output")


def run(arguments: argparse.Namespace) -> None:
    """Write the tuned sweep, and warnings to standard error.

    Raises ValueError for runs of several studies or none, an arm without a finished recipe, runs that do not say of
    which model they are, and a file that is no sweep of its own.
    """
    runs = read_runs([arguments.source])
    studies = sorted({run.study for run in runs})
    if len(studies) > 1:
        raise ValueError(f"{arguments.source}: holds {', '.join(studies)}; give the folder of one tuning study")
    chosen = choices(runs)
    sweep = tuned_sweep(_read(arguments.sweep), chosen)
    untuned = leave_out_untuned(sweep, [choice.run.variant for choice in chosen])
    text = header(chosen, runs, Path(arguments.sweep).stem, arguments.out) + yaml.safe_dump(
        sweep, sort_keys=False, allow_unicode=True, width=120
    )
    if arguments.out is None:
        print(text, end="")
    else:
        Path(arguments.out).write_text(text, encoding="utf-8")
    for choice in chosen:
        for line in doubts(choice):
            print(f"warning: {line}", file=sys.stderr)
    if untuned:
        print(f"warning: not tuned, so that no claim names them: {'; '.join(untuned)}", file=sys.stderr)


def leave_out_untuned(sweep: dict[str, Any], rows: Sequence[str]) -> list[str]:
    """Take the claims on rows that were not tuned out of a tuned sweep, which has none such; return these rows.

    Raises ValueError where the baseline is one of them.
    """
    about = sweep["about"]
    untuned: dict[str, None] = {}

    def tuned(name: str) -> bool:
        if rows_meant(name, rows):
            return True
        untuned[name] = None
        return False

    if about.get("baseline") and not tuned(about["baseline"]):
        raise ValueError(f"{about['baseline']}: the baseline was not tuned, its arm needs a recipe as all others do")
    controls = {row: [name for name in names if tuned(name)] for row, names in about.pop("controls", {}).items()}
    about["controls"] = {row: names for row, names in controls.items() if tuned(row) and names}
    about["gains"] = {
        row: {**gain, "more_than": pairs}
        for row, gain in about.pop("gains", {}).items()
        if (pairs := {ours: over for ours, over in gain["more_than"].items() if tuned(ours) and tuned(over)})
        and tuned(row)
        and tuned(gain["over"])
    }
    sweep["about"] = {key: value for key, value in about.items() if value != {}}
    return list(untuned)


def tuned_sweep(published: Mapping[str, Any], chosen: Sequence[ChosenRecipe]) -> dict[str, Any]:
    """The content of the tuned sweep: the published one with an own recipe for each arm, under its own study.

    Its rows are shown by their published names, so that `table --by study` puts both studies side by side.
    """
    names = {_published_name(choice.run): choice.run.variant for choice in chosen}

    def tuned(name: Any) -> Any:
        return names.get(name, name)

    about = dict(published.get("about") or {})
    about["baseline"] = tuned(about.get("baseline"))
    about["controls"] = {
        tuned(variant): list(map(tuned, controls_of(about, variant))) for variant in about.get("controls") or {}
    }
    about["gains"] = {
        tuned(variant): {
            "over": tuned(gain["over"]),
            "more_than": {tuned(row): tuned(over) for row, over in gain["more_than"].items()},
        }
        for variant, gain in (about.get("gains") or {}).items()
    }
    shown = about.get("names") or {}
    about["names"] = {own: shown.get(name, name) for name, own in names.items() if own != name or name in shown}
    about["tuning"] = chosen[0].run.study
    body = {key: value for key, value in published.items() if key not in ("defaults", "study", "about", "hydra")}
    seeds = published["hydra"]["sweeper"]["params"]["seed"]
    sweeper = {"params": {"seed": seeds}, "variants": [_overrides(choice.run) for choice in chosen]}
    return {
        "defaults": published["defaults"],
        "study": f"{published['study']}_tuned",
        "about": {key: value for key, value in about.items() if value not in (None, {})},
        **body,
        "hydra": {**published["hydra"], "sweeper": {**published["hydra"]["sweeper"], **sweeper}},
    }


def header(chosen: Sequence[ChosenRecipe], runs: Sequence[Run], sweep: str, out: str | None) -> str:
    """What a sweep file says at its top: command, cost, and here what chose the recipes."""
    file = shlex.join(["-cd", str(Path(out).parent), "-cn", Path(out).stem]) if out else f"-cn {sweep}_tuned"
    lines = [f"# Command   python run.py {file}", f"# Cost      1 run for each run of {sweep}"]
    seeds = seed_list(run.seed for run in runs)
    lines += [f"# Tuned     by {number_of(len(runs), 'run')} of {chosen[0].run.study}, {seeds}, on validation accuracy"]
    lines += [f"#           {described(choice)}" for choice in chosen]
    return "\n".join([*lines, "# Measured  not yet", ""])


def described(choice: ChosenRecipe) -> str:
    """An arm, its recipe, and the validation accuracy that chose it."""
    edge = f"; {' and '.join(choice.edges)} at the grid's edge" if choice.edges else ""
    recipe = f"{_in_words(choice.run)} ({choice.accuracy:.2%}, best of {len(choice.grid)}{edge})"
    return f"{_published_name(choice.run)}: {recipe}"


def doubts(choice: ChosenRecipe) -> list[str]:
    """Why an arm's choice may not be its best."""
    name = _published_name(choice.run)
    lines = [
        f"{name}: the best {key}, {_plain(key, choice.run)}, is at the edge of its grid; tune further out first"
        for key in choice.edges
    ]
    if choice.unfinished:
        lines.append(f"{name}: {number_of(choice.unfinished, 'recipe')} without a result of every seed, left out")
    return lines


def _read(sweep: str) -> dict[str, Any]:
    content = read_sweep(sweep, "--sweep")
    try:
        content["hydra"]["sweeper"]["params"]["seed"], content["study"], content["defaults"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"--sweep {sweep}: is no sweep with defaults, a study and seeds of its own") from error
    return dict(content)


def _origin(run: Run) -> tuple[str, dict[str, Any]]:
    """The choice of model and what differs from the sweep's primary config, as the run recorded them."""
    model, differences = run.provenance.get("model"), run.provenance.get("differences")
    if not isinstance(model, str) or not isinstance(differences, Mapping):
        raise ValueError(f"{run.place}: does not say by which choices it was made, so that no sweep can repeat it")
    return model, {key: value for key, value in differences.items() if in_digest(key)}


def _published_name(run: Run) -> str:
    model, differences = _origin(run)
    return variant_name(model, {key: value for key, value in differences.items() if key not in TUNED_KEYS})


def _overrides(run: Run) -> dict[str, Any]:
    """The overrides that make the arm with its recipe."""
    model, differences = _origin(run)
    chosen = {key: _plain(key, run) for key in TUNED_KEYS if run.setting(key) is not None}
    return {"model": model, **{GROUP_OF.get(key, key): value for key, value in differences.items()}, **chosen}


def _plain(key: str, run: Run) -> Any:
    return canonical(key, dict(zip(TUNED_KEYS, recipe(run), strict=True))[key])


def _in_words(run: Run) -> str:
    return ", ".join(f"{key} {_plain(key, run):g}" for key in TUNED_KEYS if run.setting(key) is not None)
