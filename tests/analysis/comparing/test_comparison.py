"""Runs into rows: who is compared with whom, over which seeds, and what is never averaged."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import scipy

from analysis.comparing.arrangement import Layout
from analysis.comparing.claims import Claim
from analysis.comparing.comparison import Comparison, compare
from analysis.comparing.statistics import holm
from analysis.comparing.variants import Variant
from analysis.reading.run import Run

STATIC = [0.671, 0.668, 0.676, 0.665]
DYNAMIC = [0.690, 0.691, 0.694, 0.680]


def run(variant: str, seed: int, accuracy: float | None, **changes: object) -> Run:
    numbers = {} if accuracy is None else {"test_accuracy": accuracy, "train_seconds": 100.0 + seed}
    told = {"study": "lab", "digest": f"of-{variant}", "state": "completed", "source": "outputs", **changes}
    place = f"outputs/{told['study']}/{variant}/seed{seed}"
    return Run(place=place, variant=variant, seed=seed, numbers=numbers, **told)  # type: ignore[arg-type]


def runs(variant: str, accuracies: Sequence[float], **changes: object) -> list[Run]:
    return [run(variant, seed, accuracy, **changes) for seed, accuracy in enumerate(accuracies)]


def row(comparison: Comparison, label: str) -> Variant:
    return next(row for row in comparison.variants if row.label == label)


def claim(comparison: Comparison, label: str) -> Claim:
    found = row(comparison, label).against_baseline
    assert found is not None
    return found


def test_one_row_a_variant_with_the_baseline_first() -> None:
    comparison = compare(runs("static_3x3", STATIC) + runs("dynamic_3x3", DYNAMIC) + runs("b", STATIC), None)
    assert [row.label for row in comparison.variants] == ["static_3x3", "b", "dynamic_3x3"]
    assert [row.is_baseline for row in comparison.variants] == [True, False, False]
    assert [row.summary.n for row in comparison.variants] == [4, 4, 4]
    assert comparison.variants[0].claims == ()
    assert comparison.variants[0].mean("train_seconds") == 101.5


def test_differences_are_paired_by_seed_and_not_by_order() -> None:
    shuffled = runs("dynamic_3x3", DYNAMIC)[::-1]
    comparison = compare(shuffled + runs("static_3x3", STATIC), None)
    expected = scipy.stats.ttest_rel(DYNAMIC, STATIC)
    compared = claim(comparison, "dynamic_3x3").paired
    assert compared.p == pytest.approx(expected.pvalue)
    assert compared.difference.low == pytest.approx(expected.confidence_interval().low)


def test_only_shared_seeds_are_paired_while_welch_uses_all() -> None:
    comparison = compare(runs("static_3x3", STATIC) + runs("d", DYNAMIC)[1:] + [run("d", 9, 0.72)], None)
    compared = claim(comparison, "d")
    assert compared.paired.difference.n == 3 and row(comparison, "d").summary.n == 4
    assert compared.paired.p == pytest.approx(scipy.stats.ttest_rel(DYNAMIC[1:], STATIC[1:]).pvalue)
    unpaired = scipy.stats.ttest_ind([*DYNAMIC[1:], 0.72], STATIC, equal_var=False).confidence_interval()
    assert compared.welch.low == pytest.approx(unpaired.low)


def test_without_shared_seeds_there_is_no_paired_difference() -> None:
    comparison = compare([run("static", 0, 0.5), run("static", 1, 0.6), *(run("d", s, s / 9) for s in (2, 3))], None)
    compared = claim(comparison, "d")
    assert compared.paired.difference.n == 0 and math.isnan(compared.p_holm) and not math.isnan(compared.welch.low)
    assert compared.verdict == "undecided"


def test_a_static_variant_without_results_is_no_default_baseline() -> None:
    failed = run("static_3x3", 0, None, state="failed")
    comparison = compare([failed, run("b", 0, 0.5), run("static_z", 0, 0.5)], None)
    assert [(row.label, row.summary.n) for row in comparison.variants] == [
        ("static_z", 1),
        ("b", 1),
        ("static_3x3", 0),
    ]


@pytest.mark.parametrize("baseline", ["statik", "failing"])
def test_an_unusable_baseline_is_an_error_that_lists_the_variants(baseline: str) -> None:
    with pytest.raises(ValueError, match=f"no variant {baseline} .*the variants are: a, b$"):
        compare([run("b", 0, 0.5), run("a", 0, 0.5), run("failing", 0, None)], baseline)


def test_studies_are_compared_within_themselves_and_share_holms_family() -> None:
    members = runs("static", STATIC) + runs("d", DYNAMIC)
    others = runs("s", DYNAMIC, study="other") + runs("d", [0.6, 0.7, 0.65, 0.69], study="other")
    comparison = compare(others + members, "static")
    assert {study: [row.label for row in rows] for study, rows in comparison.groups.items()} == {
        "lab": ["static", "d"],
        "other": ["d", "s"],
    }
    assert comparison.family == 2
    assert [each.p_holm for each in comparison.claims] == holm([each.paired.p for each in comparison.claims])
    alone = compare(members, None)
    assert claim(alone, "d").p_holm < comparison.claims[0].p_holm


def test_runs_of_different_digests_are_not_averaged() -> None:
    old, new = runs("d", DYNAMIC[:2], digest="1111111111aa"), runs("d", DYNAMIC[2:], digest="2222222222bb")
    comparison = compare(runs("static", STATIC) + old + new, None)
    assert [row.label for row in comparison.variants] == ["static", "d @11111111", "d @22222222"]
    assert row(comparison, "d @22222222").summary.mean == pytest.approx(sum(DYNAMIC[2:]) / 2)


def test_a_baseline_of_several_digests_must_be_chosen() -> None:
    split = [
        run("static", 0, 0.5, digest="11111111aa"),
        run("static", 0, 0.6, digest="22222222bb"),
        run("d", 0, 0.7),
    ]
    with pytest.raises(ValueError, match="choose one of 'static @11111111', 'static @22222222'"):
        compare(split, "static")
    chosen = compare(split, "static @22222222")
    assert claim(chosen, "d").paired.difference.mean == pytest.approx(0.1)


def test_a_result_that_is_there_twice_counts_once() -> None:
    first, again = run("static", 0, 0.5), run("static", 0, 0.6)
    comparison = compare([first, again, run("static", 1, 0.7)], None)
    assert comparison.variants[0].summary.mean == pytest.approx(0.6)
    assert [(repeat.used, repeat.unused, repeat.agrees) for repeat in comparison.repeats] == [(first, again, False)]


def test_one_seed_identical_seeds_and_a_single_variant_do_not_crash() -> None:
    single = compare([run("static", 0, 0.5), run("d", 0, 0.6)], None)
    assert math.isnan(claim(single, "d").p_holm) and single.family == 0
    identical = compare(runs("static", STATIC) + runs("copy", STATIC), None)
    assert math.isnan(claim(identical, "copy").p_holm)
    assert len(compare([run("only", 0, 0.5)], None).variants) == 1


def test_a_study_without_any_result_stays_in_the_table() -> None:
    comparison = compare([run("static", 0, 0.5), run("static", 0, None, study="other", state="failed")], None)
    assert [(row.study, row.summary.n, row.is_baseline) for row in comparison.variants] == [
        ("lab", 1, True),
        ("other", 0, False),
    ]


def test_a_run_without_a_name_is_in_no_row_and_lengthens_none() -> None:
    nameless = run("", 0, None, study="", state="unreadable")
    config = {"model": {"num_kernels": 4}}
    comparison = compare([run("d", 0, 0.5, config=config), nameless], None, Layout("model.num_kernels", None))
    assert [(row.study, row.label) for row in comparison.variants] == [("lab", "4")]
    assert nameless in comparison.runs


def test_no_result_at_all_is_an_error_that_says_what_became_of_the_runs() -> None:
    failed = run("static", 0, None, state="failed", error="ValueError: loss is NaN")
    with pytest.raises(
        ValueError, match=r"none of the 2 runs in outputs has a result yet \(1 failed, 1 running\)"
    ) as caught:
        compare([failed, run("static", 1, None, state="running")], None)
    assert str(caught.value).endswith("outputs/lab/static/seed0: ValueError: loss is NaN")


def control_study(capacity: int = 100) -> list[Run]:
    plain = {"filter": {"_target_": "SharedConv2d"}, "second_head": None}
    models = {
        "static": plain,
        "bypass": {**plain, "second_head": {"_target_": "GeneratorHead"}},
        "dynamic": {"filter": {"_target_": "GeneratedConv2d"}, "second_head": None},
    }
    accuracies = {"static": STATIC, "bypass": [0.70, 0.70, 0.69, 0.71], "dynamic": DYNAMIC}
    sizes = {"static": 10.0, "bypass": float(capacity), "dynamic": 100.0}
    made = []
    for variant, model in models.items():
        for each in runs(variant, accuracies[variant], config={"model": model}):
            made.append(replace(each, numbers={**each.numbers, "parameters": sizes[variant]}))
    return made


def test_a_dynamic_row_is_compared_with_its_control_too_in_one_family() -> None:
    comparison = compare(control_study(), None)
    found = row(comparison, "dynamic").against_control
    expected = scipy.stats.ttest_rel(DYNAMIC, [0.70, 0.70, 0.69, 0.71])
    assert found is not None and (found.rival, found.is_control) == ("bypass", True)
    assert found.paired.p == pytest.approx(expected.pvalue)
    assert found.paired.difference.mean == pytest.approx(-0.01125)
    assert [(r.label, r.against_control is None) for r in comparison.variants] == [
        ("static", True),
        ("bypass", True),
        ("dynamic", False),
    ]
    assert comparison.family == 3
    assert [each.p_holm for each in comparison.claims] == holm([each.paired.p for each in comparison.claims])


def test_a_second_head_of_another_size_is_no_control() -> None:
    assert row(compare(control_study(106), None), "dynamic").against_control is None
    assert row(compare(control_study(105), None), "dynamic").against_control is not None


def test_rows_of_a_config_key_are_sorted_as_numbers_and_compared_with_the_smallest_network() -> None:
    made = []
    for kernels, accuracy in ((4, 0.8), (16, 0.82), (1, 0.7)):
        config = {"model": {"num_kernels": kernels}}
        each = run("dyconv", 0, accuracy, digest=str(kernels), config=config)
        made.append(replace(each, numbers={**each.numbers, "parameters": float(kernels)}))
    comparison = compare(made, None, Layout("model.num_kernels", None))
    assert [row.label for row in comparison.variants] == ["1", "4", "16"]
    assert [row.label for row in comparison.variants if row.is_baseline] == ["1"]
    assert compare(made, "16", Layout("model.num_kernels", None)).variants[0].label == "16"


def test_groups_of_a_config_key_have_their_own_baselines() -> None:
    made = []
    for data in ("cifar10", "cifar100"):
        for variant, accuracy in (("static", 0.6), ("d", 0.7)):
            name = variant if data == "cifar10" else f"{variant},data={data}"
            config = {"data": {"_target_": f"dynfilt.data.cifar.{data}"}}
            made.append(run(name, 0, accuracy - 0.3 * (data == "cifar100"), digest=name, config=config))
    comparison = compare(made, None, Layout("variant", "data"))
    assert {heading: [r.label for r in rows] for heading, rows in comparison.groups.items()} == {
        "cifar10": ["static", "d"],
        "cifar100": ["static", "d"],
    }
    assert [each.paired.difference.mean for each in comparison.claims] == pytest.approx([0.1, 0.1])


def test_tuning_runs_are_in_no_row() -> None:
    made = []
    for variant, accuracies in (("static", STATIC), ("d", DYNAMIC)):
        for lr in (0.1, 0.2):
            config = {"model": variant, "optimizer": {"lr": lr}}
            tuning = [
                run(f"{variant},optimizer.lr={lr}", seed, 0.99, digest=f"{lr}", config=config) for seed in (100, 101)
            ]
            made += [replace(each, numbers={**each.numbers, "val_accuracy": lr}) for each in tuning]
        chosen = {"model": variant, "optimizer": {"lr": 0.2}}
        made += runs(f"{variant},optimizer.lr=0.2", accuracies, digest="0.2", config=chosen)
    comparison = compare(made, None)
    assert [(row.label, row.summary.n) for row in comparison.variants] == [
        ("static,optimizer.lr=0.2", 4),
        ("d,optimizer.lr=0.2", 4),
    ]
    assert len(comparison.tuning) == 8
    assert comparison.claims[0].tuned == "yes, at the grid's edge"
