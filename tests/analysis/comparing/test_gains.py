"""Claims on gains: that a change helps one row more than another, against scipy's test of the differences of both."""

import csv
import io
import json
import math

import numpy as np
import pytest
import scipy

from analysis.comparing.caveats import caveats
from analysis.comparing.claims import EQUIVALENT, EXPLORATORY, INTERIM, REFUTED, SUPPORTED, Claim
from analysis.comparing.comparison import Comparison, compare
from analysis.comparing.image_level import ImageLevel
from analysis.comparing.looks import boundaries
from analysis.comparing.statistics import holm
from analysis.figures.differences import differences_of, in_words
from analysis.report.answer import answer_of
from analysis.tables.columns import RESULTS, chosen
from analysis.tables.comparison_tables import as_json, claims_of, records, tables_of
from analysis.tables.footer import footer
from tests.analysis.comparing.declared_runs import runs

RANDOM = np.random.default_rng(11)
N = 5
# Flipping helps both, the dynamic row by 3 points, the static one by 1.
MEANS = {"dynamic": 0.70, "dynamic,flip=true": 0.73, "static": 0.69, "static,flip=true": 0.70}
ARMS = {name: [mean + float(x) for x in RANDOM.normal(0, 0.002, 8)] for name, mean in MEANS.items()}
GAINS = {"dynamic,flip=true": {"over": "dynamic", "more_than": {"static,flip=true": "static"}}}
GAINS_OF_STATIC = {"static,flip=true": "dynamic,flip=true"}
ABOUT = {"baseline": "dynamic", "gains": GAINS, "looks": [3, N]}


def study(n: int = N, metric: str | None = None, named: str | None = None, **about: object) -> Comparison:
    return compare(
        [run for name, arm in ARMS.items() for run in runs(name, arm[:n], ABOUT | about)], named, metric=metric
    )


def gain_of(comparison: Comparison) -> Claim:
    [found] = [claim for claim in comparison.claims if claim.over]
    return found


def differences(n: int = N) -> np.ndarray:
    plain, flipped, static, static_flipped = (np.array(ARMS[name][:n]) for name in MEANS)
    return (flipped - plain) - (static_flipped - static)


def test_a_gain_is_tested_as_a_difference_of_differences() -> None:
    comparison = study()
    found = gain_of(comparison)
    expected = scipy.stats.ttest_1samp(differences(), 0)
    assert found.paired.difference.mean == pytest.approx(differences().mean(), rel=1e-9)
    assert found.part.p == pytest.approx(expected.pvalue, rel=1e-6) and found.verdict == SUPPORTED
    low, high = expected.confidence_interval(1 - boundaries((3, N))[1])
    assert found.paired.difference.low == pytest.approx(low, rel=1e-4)
    assert found.paired.difference.high == pytest.approx(high, rel=1e-4)
    # Three rows against the baseline, and the gain: Holm covers four.
    assert [claim.p_holm for claim in comparison.claims] == holm([claim.p_over_looks for claim in comparison.claims])
    assert len(comparison.claims) == 4 and not comparison.absent


@pytest.mark.parametrize(
    ("about", "verdict"),
    [
        ({"gains": {"static,flip=true": {"over": "static", "more_than": {"dynamic,flip=true": "dynamic"}}}}, REFUTED),
        ({"margin": 5}, EQUIVALENT),
        ({"looks": [3, 6]}, INTERIM),
        ({"ratio": 0.9}, SUPPORTED),
    ],
)
def test_the_rules_of_all_verdicts_hold_for_gains(about: dict[str, object], verdict: str) -> None:
    found = gain_of(study(**about))
    assert found.verdict == verdict and not found.is_of_a_ratio


def test_a_gain_in_a_metric_that_falls_is_the_other_way_round() -> None:
    made = []
    for name, arm in ARMS.items():
        for run in runs(name, arm[:N], {**ABOUT, "metric": "test_loss"}):
            made.append(run)
            run.numbers["test_loss"] = 2 - run.numbers["test_accuracy"]
    found = gain_of(compare(made, None))
    assert found.verdict == SUPPORTED and found.paired.difference.mean == pytest.approx(-differences().mean())


def test_by_another_metric_it_is_exploratory_and_rows_without_results_leave_it_a_member_of_the_family() -> None:
    assert gain_of(study(metric="val_accuracy")).verdict == EXPLORATORY
    some = [run for name, arm in ARMS.items() if name != "static" for run in runs(name, arm[:N], ABOUT)]
    waiting = [run for run in runs("static", [math.nan], ABOUT)]
    waiting[0].numbers.clear()
    comparison = compare([*some, *waiting], None)
    assert not any(claim.over for claim in comparison.claims) and comparison.absent == {"lab": 2}
    assert "the declared gain of dynamic,flip=true static has no result" in " ".join(caveats(comparison))


@pytest.mark.parametrize(
    ("named", "about"),
    [
        ("dynamic,flip=true", {"controls": {"dynamic,flip=true": "static,flip=true"}}),
        # Nothing declared, the first row named static* is the baseline.
        (None, {"baseline": None, "gains": {"static": {"over": "dynamic", "more_than": GAINS_OF_STATIC}}}),
    ],
)
def test_the_gains_and_controls_of_a_row_do_not_depend_on_what_is_the_baseline(
    named: str | None, about: dict[str, object]
) -> None:
    """In every format; in the results its row stays that of the baseline."""
    plain, comparison = (study(named=each, **about) for each in ("dynamic", named))
    row = comparison.variants[0]
    [expected] = [each for each in plain.variants if each.label == row.label]
    assert row.is_baseline and not expected.is_baseline and row.against_baseline is None
    assert [claim.rival for claim in row.claims] == [claim.rival for claim in expected.claims[1:]]
    assert not any(claim.is_exploratory for claim in row.claims)
    against = f"gain over {row.gains[0].over} against that of {row.gains[0].rival}"
    results, verdicts, *_ = tables_of(comparison, RESULTS, ImageLevel())
    assert [each.cells[0] for each in results.rows] == [each.label for each in comparison.variants]
    assert "baseline" in results.rows[0].cells and (row.label, against) in {each.cells[:2] for each in verdicts.rows}
    declared = claims_of(comparison, chosen(["against", "pairs", "delta"])).rows
    of_row = {each.cells[1]: each.cells[2:] for each in declared if each.cells[0] == row.label}
    assert of_row["–"][1] == "baseline" and of_row[against][0] == str(N) and of_row[against][1] != "baseline"
    [of_json] = [e for e in json.loads(as_json(comparison, None, ImageLevel(), [], []))["variants"] if e["is_baseline"]]
    assert (of_json["claims"][-1]["gain_over"], of_json["claims"][-1]["pairs"]) == (row.gains[0].over, N)
    [of_csv] = [e for e in csv.DictReader(io.StringIO(records(comparison, None, ImageLevel()))) if e["gain_over"]]
    assert (of_csv["label"], of_csv["gain_more_than"], of_csv["pairs"]) == (row.label, row.gains[0].rival, "")
    assert differences_of(comparison.variants, "gain")[0].label == row.label
    assert not any(f"for {row.label}, " in note for note in answer_of(comparison.variants).notes)


def test_csv_has_the_fields_of_every_gain() -> None:
    more = {"static,flip=true": "static", "static": "static,flip=true"}
    comparison = study(gains={"dynamic,flip=true": {"over": "dynamic", "more_than": more}})
    by_label = {each["label"]: each for each in csv.DictReader(io.StringIO(records(comparison, None, ImageLevel())))}
    [gains] = [variant.gains for variant in comparison.variants if variant.gains]
    found = by_label["dynamic,flip=true"]
    for prefix, gain in zip(("gain_", "gain2_"), gains, strict=True):
        assert (found[f"{prefix}over"], found[f"{prefix}more_than"]) == ("dynamic", gain.rival)
        assert float(found[f"{prefix}difference_mean"]) == pytest.approx(gain.paired.difference.mean)
        assert float(found[f"{prefix}p_holm"]) == pytest.approx(gain.p_holm)
        assert found[f"{prefix}verdict"] == gain.verdict and found[f"{prefix}pairs"] == str(N)
        assert by_label["static"][f"{prefix}over"] == by_label["static"][f"{prefix}verdict"] == ""
    assert found["gain_difference_mean"] != found["gain2_difference_mean"]


def test_tables_figures_and_answers_say_what_gain_is_meant() -> None:
    comparison = study()
    table = claims_of(comparison, chosen(["against"]))
    against = [row.cells[1] for rows in table.blocks.values() for row in rows]
    assert "gain over dynamic against that of static,flip=true over static" in against
    answer = answer_of(comparison.variants)
    assert answer.summaries[-1] == (
        "Against the gain of static,flip=true over static: the gain of dynamic,flip=true over dynamic is better."
    )
    said = [sentence.claim for sentence in answer.sentences]
    assert "the gain of dynamic,flip=true over dynamic beats the gain of static,flip=true over static" in said
    assert any(line.startswith("Gain of a row over another") for line in footer(comparison, ImageLevel(), RESULTS))
    claims = [
        claim
        for row in json.loads(as_json(comparison, None, ImageLevel(), [], []))["variants"]
        for claim in row["claims"]
    ]
    assert [claim["rival"] for claim in claims if claim["gain_over"] == "dynamic"] == ["static,flip=true over static"]
    (drawn,) = differences_of(comparison.variants, "gain")
    assert list(drawn.by_seed.values()) == pytest.approx(differences())
    assert in_words(drawn, 400, names_rival=True).splitlines()[:2] == [
        "dynamic,flip=true over dynamic",
        "− static,flip=true over static",
    ]
    assert len(differences_of(comparison.variants)) == 3 and not differences_of(comparison.variants, "control")
