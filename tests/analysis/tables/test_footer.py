"""The lines below a table: n, what the intervals are, the split, the selection, the source, the commit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.comparing.arrangement import PLAIN, Layout
from analysis.comparing.comparison import compare
from analysis.comparing.image_level import image_level
from analysis.reading.sources import read_runs
from analysis.tables.columns import RESULTS, chosen
from analysis.tables.footer import footer

WriteRun = Callable[..., Path]


def told(baseline: str | None = None, layout: Layout = PLAIN) -> str:
    comparison = compare(read_runs(["outputs/"]), baseline, layout)
    return "\n".join(footer(comparison, image_level(comparison), RESULTS))


def fill(write_run: WriteRun, variants: str, seeds: int, **changes: object) -> None:
    for variant in variants.split():
        for seed in range(seeds):
            write_run(variant, seed, 0.6 + (ord(variant[0]) * (seed + 3)) % 97 / 1000, **changes)


def test_it_names_rows_intervals_split_selection_source_and_commit(write_run: WriteRun) -> None:
    fill(write_run, "static_3x3 dynamic_3x3", 3)
    text = told()
    for part in (
        "Study lab_3x3: 6 runs (seeds 0-2); baseline static_3x3.",
        "95 % interval: Student t",
        "Accuracy on the test set, evaluated once",
        "best on the validation split",
        "Holm-adjusted over the only comparison of this table",
        "power 0.8 at α = 0.05",
        "Source: outputs; commit 1a2b3c4.",
    ):
        assert part in text


def test_the_chosen_baseline_is_named_for_each_study(write_run: WriteRun) -> None:
    fill(write_run, "static_3x3 dynamic_3x3", 2)
    fill(write_run, "static_1x1 label_1x1", 2, study="label")
    text = told("dynamic_3x3")
    assert "Study lab_3x3: 4 runs (seeds 0, 1); baseline dynamic_3x3." in text
    assert "Study label: 4 runs (seeds 0, 1); baseline static_1x1." in text
    assert "Holm-adjusted over the 2 comparisons" in text


def test_few_seeds_are_said_and_six_are_enough(write_run: WriteRun) -> None:
    fill(write_run, "static_3x3 a", 6)
    assert "no exact paired test" not in told()
    fill(write_run, "b", 3)
    assert "fewer than 6 seeds no exact paired test can reach p < 0.05 (its smallest p is 0.25 with 3 pairs)" in told()


def test_a_lone_variant_needs_no_words_on_comparisons(write_run: WriteRun) -> None:
    fill(write_run, "static_3x3", 1)
    text = told()
    assert "Study lab_3x3: 1 run (seed 0)" in text
    assert "Δ" not in text and "Bold" not in text and "exact" not in text


def test_single_seeds_have_no_test_to_adjust(write_run: WriteRun) -> None:
    fill(write_run, "static_3x3 a", 1)
    assert "Holm-adjusted over" not in told() and "1 with 1 pair" in told()


def test_several_commits_and_none(write_run: WriteRun) -> None:
    fill(write_run, "static_3x3", 2)
    fill(write_run, "a", 1, commit=None)
    assert "commits 1a2b3c4 (2 runs), unknown (1 run)." in told()


def test_a_study_without_results(write_run: WriteRun) -> None:
    fill(write_run, "static_3x3", 1)
    write_run("a", 0, None, study="other", state="failed")
    assert "Study other: no run has a result yet." in told()


def test_the_rule_of_the_verdict_is_told_wherever_there_is_a_claim(write_run: WriteRun) -> None:
    fill(write_run, "static_3x3", 2)
    assert "Verdict" not in told()
    fill(write_run, "a", 2)
    text = told()
    assert (
        "decided when the Holm-adjusted p is at most 0.05, supported when the paired 95 % interval then lies above"
        in text
    )
    assert "refuted when it lies below 0; undecided otherwise" in text and "Equality is no verdict" in text
    assert "the recipe is as published" in text and "equal capacity" not in text


def test_a_control_is_named_and_defined(write_run: WriteRun) -> None:
    for variant, head in (("static_3x3", None), ("bypass_3x3", {"_target_": "Head"}), ("dynamic_3x3", None)):
        size = 100 if variant == "static_3x3" else 1000
        settings = {"model.second_head": head, "model.filter": "x" if variant == "dynamic_3x3" else "y"}
        fill(write_run, variant, 2, settings=settings, parameters=size)
    text = told()
    assert "baseline static_3x3; control of equal capacity bypass_3x3." in text
    assert "model.second_head alone) and parameters within 5 % of the variant's." in text
    assert "control of equal capacity" not in told("dynamic_3x3").split("Verdict")[0]


def test_tuning_runs_are_counted_and_left_out(write_run: WriteRun) -> None:
    for variant in ("static_3x3", "a"):
        for lr in (0.1, 0.2):
            for seed in (100, 101, *((0, 1) if lr == 0.2 else ())):
                settings = {"optimizer.lr": lr, "model.name": variant}
                name = f"{variant},optimizer.lr={lr}"
                write_run(name, seed, 0.6 + seed / 500, settings=settings, val_accuracy=lr)
    text = told()
    assert "4 runs (seeds 0, 1); baseline static_3x3,optimizer.lr=0.2." in text
    assert "the 8 runs that tuned are in no mean." in text and "published" not in text


@pytest.mark.parametrize(
    ("studies", "seeds"),
    [
        ("one", "seeds 100 and 101"),
        ("tuned", "what the study declares as tuning"),
        ("one tuned", "what the study declares as tuning (where it declares none, seeds 100 and 101)"),
    ],
)
def test_tuning_seeds_are_those_of_each_study(write_run: WriteRun, studies: str, seeds: str) -> None:
    for study in studies.split():
        fill(write_run, "static_3x3 a", 2, study=study, settings={"about.tuning": [7, 8] if study == "tuned" else None})
    assert f"for both, run with {seeds}, and both are reported" in told()


@pytest.mark.parametrize(
    ("by", "line"), [("study", "Study lab_3x3: 2 runs"), ("trainer.epochs", "trainer.epochs 20: 2")]
)
def test_groups_are_named_by_what_makes_them(write_run: WriteRun, by: str, line: str) -> None:
    fill(write_run, "static_3x3", 2)
    assert line in told(layout=Layout("variant", by))


def test_cost_is_explained_where_it_is_shown(write_run: WriteRun) -> None:
    fill(write_run, "static_3x3", 2)
    comparison = compare(read_runs(["outputs"]), None)
    assert "FLOPs" in told()
    assert "FLOPs" not in " ".join(footer(comparison, image_level(comparison), chosen(["accuracy"])))


@pytest.mark.parametrize(
    ("splits", "ending"),
    [
        ((0, 0), "and dropout; the validation split is the same for all seeds of a row."),
        (("seed", "seed"), "and what is held out for validation (data.split_seed follows the seed)."),
        ((0, "seed"), "and dropout, and in some rows (data.split_seed follows the seed) the validation split."),
    ],
)
def test_it_says_what_the_seeds_vary(splits: tuple[Any, Any], ending: str, write_run: WriteRun) -> None:
    for variant, split in zip(("static", "dynamic"), splits, strict=True):
        for seed in (0, 1):
            write_run(variant, seed, 0.7 + seed / 100, settings={"data.split_seed": split})
    comparison = compare(read_runs(["outputs"]), None)
    [line] = [line for line in footer(comparison, image_level(comparison), []) if line.startswith("The seeds vary")]
    assert line.endswith(ending)
