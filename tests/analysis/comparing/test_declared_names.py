"""The names in a declaration: which rows they mean, and what these are called."""

from dataclasses import replace

import pytest

from analysis.comparing.caveats import caveats
from analysis.comparing.claims import EXPLORATORY, SUPPORTED
from analysis.comparing.comparison import compare
from tests.analysis.comparing.declared_runs import STATIC, against, better, row, runs, study, without_result


def test_declared_names_mean_rows_with_settings_after_them_too() -> None:
    about = {"baseline": "b", "controls": {"up": "same"}}
    made = [
        replace(run, variant=f"{run.variant},trainer.epochs=9") if run.variant in ("up", "same") else run
        for run in study(4, about)
    ]
    comparison = compare(made, None)
    assert against(comparison, "up,trainer.epochs=9", "same,trainer.epochs=9").is_control


@pytest.mark.parametrize("given", [(), ("a=0",), ("model.z=0", "trainer.precision=bfloat16")])
def test_settings_of_all_rows_leave_each_declared_name_its_own_row(given: tuple[str, ...]) -> None:
    """Names that say more than others, beside settings given on the command line, in a name's sorted order."""
    said = {"plain": (), "frozen": ("frozen=all",), "random": ("frozen=all", "weights=none"), "scaled": ("scale=2",)}
    names = {arm: ",".join(["net", *settings]) for arm, settings in said.items()}
    labels = {arm: ",".join(["net", *sorted([*settings, *given])]) for arm, settings in said.items()}
    about = {
        "baseline": names["plain"],
        "controls": {names["frozen"]: names["random"], names["scaled"]: names["frozen"]},
        "names": {names["frozen"]: "Frozen"},
    }
    made = [run for arm in ("scaled", "random", "frozen", "plain") for run in runs(labels[arm], STATIC[:3], about)]
    comparison = compare(made, None)
    labels["frozen"] = ",".join(["Frozen", *given])
    labels["random"] = ",".join(["Frozen", *sorted(["weights=none", *given])])
    assert {(row.label, claim.rival) for row in comparison.variants for claim in row.claims} == {
        *((labels[arm], labels["plain"]) for arm in ("frozen", "random", "scaled")),
        *((labels["frozen"], labels["random"]), (labels["scaled"], labels["frozen"])),
    }
    assert not any(claim.is_exploratory for claim in comparison.claims)


def test_of_a_grid_of_settings_a_rows_control_is_the_one_with_its_settings() -> None:
    about = {"baseline": "static", "controls": {"up": "same"}}
    names = [f"{variant},lr={lr}" for lr in (1, 2) for variant in ("static", "same", "up")]
    made = [run for name in names for run in runs(name, STATIC[:3], about)]
    controls = [
        claim.rival for row in compare(made, None).variants for claim in row.claims if row.label.startswith("up")
    ]
    assert controls == ["static,lr=1", "same,lr=1", "static,lr=1", "same,lr=2"]


def test_rows_are_shown_under_their_declared_names_and_known_by_both() -> None:
    about = {"baseline": "static", "names": {"static": "Static 3x3", "up": "Dynamic"}}
    comparison = compare(study(4, about), None)
    assert [variant.label for variant in comparison.variants] == ["Static 3x3", "down", "same", "Dynamic"]
    assert against(comparison, "Dynamic", "Static 3x3").verdict == SUPPORTED
    assert compare(study(4, about), "up").variants[0].label == "Dynamic"
    with_settings = runs("up,trainer.epochs=9", STATIC[:3], about, trainer={"epochs": 9})
    assert row(compare([*study(4, about), *with_settings], None), "Dynamic,trainer.epochs=9").summary.n == 3


def test_a_row_that_still_runs_is_not_replaced_by_one_with_more_settings() -> None:
    about = {"baseline": "static", "controls": {"up": "same"}}
    waiting = [*runs("static", STATIC[:5], about), *runs("same", STATIC[:5], about)]
    others = [*runs("static,channels=R", STATIC[:5], about), *runs("same,x=1", STATIC[:5], about)]
    comparison = compare([*runs("up", better(0.02, 5), about), *without_result(waiting), *others], None)
    assert {claim.verdict for claim in comparison.claims} == {EXPLORATORY}
    lines = caveats(comparison)
    assert "the declared baseline static has no result" in lines
    assert "the declared control of up same has no result" in lines


def test_names_that_make_two_rows_one_are_not_used() -> None:
    comparison = compare(study(4, {"baseline": "static", "names": {"static": "up", "same": "Same"}}), None)
    assert [variant.label for variant in comparison.variants] == ["static", "down", "same", "up"]
    assert [variant.label for variant in comparison.variants if variant.is_baseline] == ["static"]
