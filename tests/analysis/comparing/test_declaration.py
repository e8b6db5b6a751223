"""A declared study: which comparisons are claims, when they have a verdict, and what Holm covers."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy

from analysis.comparing.caveats import caveats
from analysis.comparing.claims import EQUIVALENT, EXPLORATORY, INTERIM, REFUTED, SUPPORTED, UNDECIDED, Claim
from analysis.comparing.comparison import Comparison, compare
from analysis.comparing.declaration import UNDECLARED, declarations_of, read_declaration
from analysis.comparing.looks import adjusted_p, boundaries
from analysis.comparing.statistics import holm
from analysis.comparing.variants import Variant
from analysis.reading.run import Run

RANDOM = np.random.default_rng(5)
STATIC = [0.70 + float(x) for x in RANDOM.normal(0, 0.004, 12)]
LOOKS = {"looks": [3, 5, 10]}


def runs(variant: str, accuracies: Sequence[float], about: Any = None, study: str = "lab", **config: Any) -> list[Run]:
    told = {**config, **({} if about is None else {"about": about})}
    return [
        Run(
            "outputs",
            f"outputs/{study}/{variant}/seed{seed}",
            study,
            variant,
            seed,
            "completed",
            numbers={"test_accuracy": accuracy, "val_accuracy": accuracy},
            digest=f"of {variant}",
            config=told,
        )
        for seed, accuracy in enumerate(accuracies)
    ]


def better(by: float, n: int, spread: float = 0.003) -> list[float]:
    random = np.random.default_rng(round(1e4 * (by + 1)) + n)
    noise = random.normal(0, spread, n)
    return [base + by + float(x) for base, x in zip(STATIC, noise - noise.mean(), strict=False)]


def study(n: int, about: Any, study: str = "lab") -> list[Run]:
    arms = {"static": STATIC[:n], "up": better(0.02, n), "same": better(0.0002, n), "down": better(-0.02, n)}
    return [run for variant, accuracies in arms.items() for run in runs(variant, accuracies, about, study)]


def row(comparison: Comparison, label: str) -> Variant:
    return next(variant for variant in comparison.variants if variant.label == label)


def against(comparison: Comparison, label: str, rival: str) -> Claim:
    return next(claim for claim in row(comparison, label).claims if claim.rival == rival)


def test_only_declared_comparisons_are_claims_and_holm_covers_these() -> None:
    about = {"baseline": "down", "controls": {"up": ["same", "static"]}}
    comparison = compare(study(5, about), None)
    assert [variant.label for variant in comparison.variants if variant.is_baseline] == ["down"]
    rows = comparison.variants
    assert {(row.label, claim.rival, claim.is_control) for row in rows for claim in row.claims} == {
        *(("static", "down", False), ("same", "down", False), ("up", "down", False)),
        *(("up", "same", True), ("up", "static", True)),
    }
    found = comparison.claims
    assert not any(claim.is_exploratory for claim in found)
    assert [claim.p_holm for claim in found] == holm([claim.paired.p for claim in found])


def test_a_baseline_from_the_command_line_is_exploratory_where_another_was_declared() -> None:
    about = {"baseline": "static", "controls": {"up": "same"}}
    comparison = compare(study(5, about), "down")
    others = [claim for claim in comparison.claims if not claim.is_control]
    assert {claim.verdict for claim in others} == {EXPLORATORY}
    assert all(math.isnan(claim.p_holm) for claim in others)
    assert {claim.verdict for claim in compare(study(5, {}), "same").claims} <= {SUPPORTED, REFUTED, UNDECIDED}


@pytest.mark.parametrize("ratio", [None, 0.5])
def test_a_declared_control_stays_a_claim_where_it_is_named_as_the_baseline(ratio: float | None) -> None:
    about = {"baseline": "static", "controls": {"up": "same"}, "ratio": ratio}
    usual, named = compare(study(5, about), None), compare(study(5, about), "same")
    found = against(named, "up", "same")
    assert found.paired == against(usual, "up", "same").paired
    assert found.verdict == SUPPORTED and not found.is_control and not found.is_of_a_ratio
    # The other claims on rows of this study are not in the table, and of the family all the same.
    assert found.p_holm == pytest.approx(4 * found.paired.p)
    assert {claim.verdict for claim in named.claims if claim is not found} == {EXPLORATORY}


def test_the_control_that_a_rule_finds_is_exploratory_where_claims_are_declared() -> None:
    models = {"static": {"second_head": None}, "bypass": {"second_head": "head"}, "dynamic": {"filter": "f"}}
    for about, verdicts in ((None, {SUPPORTED, REFUTED}), ({"baseline": "static"}, {SUPPORTED, EXPLORATORY})):
        made = []
        for (variant, model), by in zip(models.items(), (0.0, 0.04, 0.02), strict=True):
            size = {"static": 10.0}.get(variant, 100.0)
            for each in runs(variant, better(by, 5), about, model=model):
                made.append(replace(each, numbers={**each.numbers, "parameters": size}))
        assert {claim.verdict for claim in row(compare(made, None), "dynamic").claims} == verdicts


def test_holms_family_is_the_study_whatever_stands_beside_it() -> None:
    alone = compare(study(5, {"baseline": "static"}), None)
    others = study(5, None, "other") + study(4, {"baseline": "up"}, "more")
    beside = compare(study(5, {"baseline": "static"}) + others, None)
    for label in ("up", "down", "same"):
        assert against(alone, label, "static").p_holm == against(beside, label, "static").p_holm
    assert beside.family == 3  # the undeclared study's own


@pytest.mark.parametrize("n", [3, 5, 10])
def test_at_a_look_p_and_interval_are_those_of_its_boundary(n: int) -> None:
    comparison = compare(study(n, {"baseline": "static", **LOOKS}), None)
    level = dict(zip((3, 5, 10), boundaries((3, 5, 10)), strict=True))[n]
    found = against(comparison, "same", "static")
    ours, theirs = (list(row(comparison, label).by_seed("test_accuracy").values()) for label in ("same", "static"))
    expected = scipy.stats.ttest_rel(ours, theirs)
    interval = expected.confidence_interval(1 - level)
    assert (found.paired.difference.low, found.paired.difference.high) == pytest.approx((interval.low, interval.high))
    assert found.paired.p == pytest.approx(expected.pvalue)
    assert found.p_over_looks == adjusted_p(found.paired.p, n, (3, 5, 10)) > found.paired.p
    claims = comparison.claims
    assert [claim.p_holm for claim in claims] == holm([claim.p_over_looks for claim in claims])


def test_verdicts_are_read_at_looks_alone() -> None:
    words = {}
    for n in (2, 4, 5, 10, 12):
        found = against(compare(study(n, {"baseline": "static", **LOOKS}), None), "up", "static")
        words[n] = found.verdict_in_words
        assert (found.verdict == INTERIM) == (n not in (5, 10)) == math.isnan(found.p_holm)
    assert words == {
        2: "interim, next look at n = 3",
        4: "interim, next look at n = 5",
        5: SUPPORTED,
        10: SUPPORTED,
        12: "interim, past the last look at n = 10",
    }


def test_between_looks_the_interval_is_the_one_that_may_always_be_read() -> None:
    found = against(compare(study(8, {"baseline": "static", **LOOKS}), None), "up", "static")
    difference = found.paired.difference
    assert found.interval_in_words == "anytime-valid 95 % interval"
    assert (difference.high - difference.low) / 2 / difference.sd == pytest.approx(1.49, abs=0.005)


def test_a_claim_that_waits_for_its_look_counts_in_holms_family() -> None:
    about = {"baseline": "static", **LOOKS}
    made = (
        runs("static", STATIC[:5], about) + runs("up", better(0.005, 5), about) + runs("late", better(0.02, 4), about)
    )
    found = compare(made, None)
    assert against(found, "late", "static").verdict == INTERIM
    up = against(found, "up", "static")
    assert up.p_holm == pytest.approx(min(1, 2 * up.p_over_looks))


def test_within_the_margin_is_equivalent_and_what_is_undecided_says_how_many_pairs_it_takes() -> None:
    about = {"baseline": "static", "margin": 0.5, **LOOKS}
    comparison = compare(study(10, about), None)
    assert {label: against(comparison, label, "static").verdict for label in ("up", "same", "down")} == {
        "up": SUPPORTED,
        "same": EQUIVALENT,
        "down": REFUTED,
    }
    wide = runs("static", STATIC[:5], about) + runs("wide", better(0.002, 5, spread=0.01), about)
    found = against(compare(wide, None), "wide", "static")
    assert found.verdict == UNDECIDED and math.isnan(against(comparison, "up", "static").pairs_needed)
    sd, critical = found.paired.difference.sd, boundaries((3, 5, 10))[-1]
    power = [
        float(scipy.stats.nct.sf(scipy.stats.t.ppf(1 - critical / 2, n - 1), n - 1, 0.005 / sd * math.sqrt(n)))
        for n in (int(found.pairs_needed) - 1, int(found.pairs_needed))
    ]
    assert power[0] < 0.8 <= power[1]


def test_the_first_seeds_declaration_counts_and_another_is_a_caveat_that_shows_both() -> None:
    first, later = {"baseline": "static", **LOOKS}, {"baseline": "static", "looks": [10]}
    made = study(5, first)
    made += [replace(run, seed=run.seed + 5, config={"about": later}) for run in study(5, later)]
    comparison = compare(made, None)
    assert comparison.declared["lab"].looks == (3, 5, 10)
    lines = [line for line in caveats(comparison) if "about" in line]
    assert lines == [
        "about.looks differs: [3, 5, 10] for static (seeds 0-4), down (seeds 0-4), same (seeds 0-4), up (seeds 0-4); "
        "[10] for static (seeds 5-9), down (seeds 5-9), same (seeds 5-9), up (seeds 5-9); what the first seed's runs "
        "declare counts"
    ]
    assert not [line for line in caveats(compare(study(5, None), None)) if "about" in line]


def test_runs_without_a_declaration_and_with_an_empty_one_follow_the_default_rules() -> None:
    empty = {"question": None, "baseline": None, "controls": {}, "metric": "test_accuracy", "looks": None}
    for about in (None, empty, "nonsense"):
        assert declarations_of(study(3, about)) == {"lab": UNDECLARED}
    plain, declared = compare(study(5, None), None), compare(study(5, empty), None)
    assert [repr(claim) for claim in plain.claims] == [repr(claim) for claim in declared.claims]


def test_a_declared_row_without_result_is_a_caveat() -> None:
    comparison = compare(study(3, {"baseline": "static_3x3", "controls": {"up": "bypass"}}), None)
    assert [line for line in caveats(comparison) if "declared" in line] == [
        "the declared baseline static_3x3 has no result",
        "the declared control of up bypass has no result",
    ]
    assert comparison.variants[0].label == "static"


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


def test_tuning_seeds_are_those_that_the_study_declares() -> None:
    def made(about: Any) -> list[Run]:
        arms = [("a,lr=1", {"lr": 1}), ("a,lr=2", {"lr": 2})]
        grid = [run for name, recipe in arms for run in runs(name, [0.5, 0.6], about, optimizer=recipe)]
        return [replace(run, seed=run.seed + 100) for run in grid] + runs(
            "a,lr=2", [0.5] * 3, about, optimizer={"lr": 2}
        )

    assert len(compare(made(None), None).tuning) == 4
    assert len(compare(made({"tuning": []}), None).tuning) == 0
    assert [run.seed for run in compare(made({"tuning": [0]}), None).tuning] == [0]
    other = compare([replace(run, study="tuned") for run in made(None)] + study(3, {"tuning": "tuned"}), None)
    assert len(other.tuning) == 7 and set(other.groups) == {"lab"}


def test_a_sweep_file_may_declare_for_runs_that_did_not(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("study: lab\nabout:\n  baseline: up\n  looks: [3, 5]\n  margin: 1\n")
    comparison = compare(study(4, None), None, about=str(path))
    assert comparison.declared["lab"].looks == (3, 5) and comparison.variants[0].label == "up"
    assert {claim.verdict for claim in comparison.claims} == {INTERIM}
    assert f"claims and looks are those of {path}, applied afterwards: these runs did not record them" in caveats(
        comparison
    )


def test_of_a_sweep_file_the_runs_that_did_not_record_its_claims_are_named(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("study: lab\nabout:\n  baseline: up\n  looks: [3, 5]\n  margin: 1\n")

    def told(*abouts: Any) -> list[str]:
        made = [replace(run, config={"about": abouts[run.seed]}) for run in study(len(abouts), None)]
        lines = caveats(compare(made, None, about=str(path)))
        return [line.partition("applied afterwards: ")[2] for line in lines if "applied afterwards" in line]

    same = {"baseline": "up", "looks": [3, 5], "margin": 1.0, "question": "Why?"}
    each = "up ({0}), down ({0}), same ({0}), static ({0})"
    assert told(same, same, same) == []
    assert told(None, {}, same) == [f"{each.format('seeds 0, 1')} did not record them"]
    for other in ({"looks": [3, 9]}, {"margin": 2}, {"looks": [9, 3]}):
        both = f"{each.format('seed 1')} did not record them; {each.format('seed 2')} recorded others"
        assert told(same, None, same | other) == [both]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("study: lab\n", "is no sweep file with a block `about:`"),
        (
            "study: lab\nabout: {looks: [3], lokos: 3}\n",
            "a block `about:`; its keys may be question",
        ),
        ("study: other\nabout: {looks: [3]}\n", "is of the study other; the sources hold lab"),
        ("study: lab\nabout: {looks: [5, 3]}\n", r"about.looks=\[5, 3\]: must be rising"),
        ("study: lab\nabout: {margin: 0}\n", "about.margin=0: must be more than 0"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_a_sweep_file_that_declares_nothing_usable_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_declaration(str(path), ["lab"])
    with pytest.raises(ValueError, match="cannot be read as YAML"):
        read_declaration(str(tmp_path / "absent.yaml"), ["lab"])


def without_result(made: Sequence[Run]) -> list[Run]:
    return [replace(run, numbers={}, state="running", digest="") for run in made]


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


def test_equal_differences_to_a_control_are_a_caveat_too() -> None:
    about = {"baseline": "static", "controls": {"up": "same"}}
    up = better(0.02, 4)
    same = runs("same", [accuracy - 0.01 for accuracy in up], about)
    comparison = compare([*runs("static", STATIC[:4], about), *runs("up", up, about), *same], None)
    assert "the same Δ at every seed, which leaves p and interval undefined: up against same" in caveats(comparison)


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("absent", ["same", "down", "static"])
def test_claims_without_results_are_of_holms_family(absent: str, is_known: bool) -> None:
    about = {"baseline": "static", "controls": {"up": "same", "down": "same"}}
    made = study(5, about)
    of_absent = [run for run in made if run.variant == absent]
    waiting = without_result(of_absent) if is_known else []
    comparison = compare([run for run in made if run.variant != absent] + waiting, None)
    found = [claim for claim in comparison.claims if not claim.is_exploratory]
    # A row without a run folder makes no claims yet; one that others are set against is missed all the same.
    total = 5 if is_known else {"same": 4, "down": 3, "static": 5}[absent]
    assert len(found) + comparison.absent.get("lab", 0) == total
    expected = holm([claim.part.p for claim in found] + [1.0] * (total - len(found)))
    assert [claim.p_holm for claim in found] == expected[: len(found)]
    assert not compare(made, None).absent
