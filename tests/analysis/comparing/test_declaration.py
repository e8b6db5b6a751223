"""A declared study: which comparisons are claims, when they have a verdict, and what Holm covers."""

import math
from dataclasses import replace
from typing import Any

import pytest
import scipy

from analysis.comparing.arrangement import Layout
from analysis.comparing.caveats import caveats
from analysis.comparing.claims import EQUIVALENT, EXPLORATORY, INTERIM, REFUTED, SUPPORTED, UNDECIDED
from analysis.comparing.comparison import compare
from analysis.comparing.declaration import UNDECLARED, declarations_of
from analysis.comparing.equivalence import pairs_needed
from analysis.comparing.looks import adjusted_p, boundaries
from analysis.comparing.statistics import holm
from analysis.reading.run import Run
from tests.analysis.comparing.declared_runs import LOOKS, STATIC, against, better, row, runs, study, without_result


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
        claims = row(compare(made, None), "dynamic").claims
        assert {claim.verdict for claim in claims} == verdicts
        assert not any(claim.is_declared_control for claim in claims)


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


def test_the_pairs_needed_are_those_that_decide_whatever_the_other_claims_say() -> None:
    about = {"baseline": "static", "margin": 0.5, "looks": [5]}
    arms = {f"wide{arm}": better(0.002 + arm / 1e4, 5, spread=0.01) for arm in range(4)}
    made = [run for name, arm in {"static": STATIC[:5], **arms}.items() for run in runs(name, arm, about)]
    alone = against(compare([run for run in made if run.variant in ("static", "wide0")], None), "wide0", "static")
    beside = against(compare(made, None), "wide0", "static")
    sd = beside.paired.difference.sd
    assert (alone.pairs_needed, beside.pairs_needed) == (pairs_needed(sd, 0.005, 0.05), pairs_needed(sd, 0.005, 0.0125))
    assert alone.pairs_needed < beside.pairs_needed


def test_how_a_table_groups_its_rows_changes_no_family() -> None:
    about = {"baseline": "static", "controls": {"up": ["same"]}}
    kinds = {"static": "plain", "up": "plain", "same": "plain", "down": "other", "low": "other"}
    arms = {"static": STATIC[:5], "low": better(-0.03, 5)} | {
        name: better(by, 5) for name, by in (("up", 0.02), ("same", 0.0002), ("down", -0.02))
    }
    made = [run for name, arm in arms.items() for run in runs(name, arm, about, kind=kinds[name])]
    whole, grouped = compare(made, None), compare(made, None, Layout("variant", "kind"))
    assert not whole.absent and grouped.absent == {"lab": 2}  # down and low against static, which is in the other group
    claims = [claim for claim in grouped.claims if not claim.is_exploratory]
    assert [claim.p_holm for claim in claims] == holm([*(claim.paired.p for claim in claims), 1, 1])[:3]
    assert {claim.family for claim in (*whole.claims, *claims)} == {5}


def test_the_first_seeds_declaration_counts_and_another_is_a_caveat_that_shows_both() -> None:
    first, later = {"baseline": "static", **LOOKS}, {"baseline": "static", "looks": [10]}
    made = study(5, first)
    made += [replace(run, seed=run.seed + 5, config={"about": later}) for run in study(5, later)]
    comparison = compare(made, None)
    assert comparison.declared["lab"].looks == (3, 5, 10)
    lines = [line for line in caveats(comparison) if "about" in line]
    assert lines == [
        "about.looks differs: [3, 5, 10] for all 4 rows (seeds 0-4); [10] for all 4 rows (seeds 5-9); what the first "
        "seed's runs declare counts"
    ]
    undeclared = [*study(5, None), *(replace(run, seed=run.seed + 5) for run in study(4, later))]
    assert [line for line in caveats(compare(undeclared, None)) if "about" in line] == [
        "about differs: nothing for all 4 rows (seeds 0-4); baseline static, looks [10] for all 4 rows (seeds 5-8); "
        "what the first seed's runs declare counts"
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
    assert len(found) + comparison.absent.get("lab", 0) == 5  # with a run folder or without
    expected = holm([claim.part.p for claim in found] + [1.0] * (5 - len(found)))
    role = {"static": "baseline static", "down": "row down", "same": "control of up same"}[absent]
    assert f"the declared {role} has no result" in caveats(comparison)
    assert [claim.p_holm for claim in found] == expected[: len(found)]
    assert not compare(made, None).absent
