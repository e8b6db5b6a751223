"""The lines below a table: n, what the intervals are, the split, the selection, the source, the commit."""

from collections.abc import Callable
from pathlib import Path

from analysis.comparison import compare
from analysis.footer import footer
from analysis.sources import read_runs

WriteRun = Callable[..., Path]


def told(baseline: str | None = None) -> str:
    return "\n".join(footer(compare(read_runs(["outputs/"]), baseline)))


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
    assert "Holm" not in told() and "1 with 1 pair" in told()


def test_several_commits_and_none(write_run: WriteRun) -> None:
    fill(write_run, "static_3x3", 2)
    fill(write_run, "a", 1, commit=None)
    assert "commits 1a2b3c4 (2 runs), unknown (1 run)." in told()


def test_a_study_without_results(write_run: WriteRun) -> None:
    fill(write_run, "static_3x3", 1)
    write_run("a", 0, None, study="other", state="failed")
    assert "Study other: no run has a result yet." in told()
