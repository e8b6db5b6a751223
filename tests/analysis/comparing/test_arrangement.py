"""Names of rows and groups: short, sorted, and never the same for two things."""

from typing import Any

import pytest

from analysis.comparing.arrangement import PLAIN, Arrangement, Layout, order_of
from analysis.comparing.comparison import compare
from analysis.reading.run import Run


def run(variant: str, study: str = "lab", counts: bool = True, **config: Any) -> Run:
    numbers = {"test_accuracy": 0.5} if counts else {}
    return Run("outputs", "place", study, variant, 0, "completed", numbers=numbers, config=config)


def test_numbers_are_sorted_by_size_before_words_and_the_unset() -> None:
    values = ["b", 16, None, 2, "a", 0.5]
    assert sorted(values, key=order_of) == [0.5, 2, 16, "a", "b", None]


def test_a_plain_row_is_a_variant_and_a_group_a_study() -> None:
    each = run("dynamic_3x3,optimizer.lr=0.1")
    arrangement = Arrangement(PLAIN, [each])
    assert (arrangement.group(each), arrangement.name(each)) == ("lab", "dynamic_3x3,optimizer.lr=0.1")


def test_a_row_of_a_key_names_the_model_only_where_models_differ() -> None:
    four, one = (run(f"dyconv,model.num_kernels={k}", model={"num_kernels": k}) for k in (4, 1))
    twin = run("resnet18", model={"num_kernels": None})
    layout = Layout("model.num_kernels", None)
    alone, mixed = Arrangement(layout, [four, one]), Arrangement(layout, [four, one, twin])
    assert [alone.name(each) for each in (four, one)] == ["4", "1"]
    assert [mixed.name(each) for each in (four, twin)] == ["4 (dyconv)", "unset (resnet18)"]
    assert mixed.value(four) == "4"


def test_what_stands_above_a_column_is_not_repeated_in_the_row() -> None:
    plain = run("d", data={"_target_": "x.cifar10"}, optimizer={"lr": 0.1})
    other = run("d,data=cifar100,optimizer.lr=0.1", data={"_target_": "x.cifar100"}, optimizer={"lr": 0.1})
    arrangement = Arrangement(Layout("variant", "data"), [plain, other])
    assert [arrangement.name(each) for each in (plain, other)] == ["d", "d,optimizer.lr=0.1"]
    assert [arrangement.group(each) for each in (plain, other)] == ["cifar10", "cifar100"]
    by_target = Arrangement(Layout("variant", "data._target_"), [plain, other])
    assert by_target.name(other) == "d,optimizer.lr=0.1"


def test_a_group_inside_of_a_group_is_not_repeated_either() -> None:
    convolutions = {"conv=dyconv": "x.DYConv2d", "conv=se": "x.SEConv2d"}
    runs = [run(f"resnet8,{name},seed=1", model={"conv": {"_target_": of}}) for name, of in convolutions.items()]
    for key in ("model.conv._target_", "model.conv"):
        layout = Layout("variant", key)
        assert {Arrangement(layout, runs).name(each) for each in runs} == {"resnet8,seed=1"}


def test_studies_are_never_pooled() -> None:
    runs = [run("d", study, data={"_target_": "x.cifar10"}) for study in ("first", "second")]
    headings = [Arrangement(Layout("variant", "data"), runs).group(each) for each in runs]
    assert headings == ["first: cifar10", "second: cifar10"]
    assert Arrangement(Layout("variant", "data"), runs[:1]).group(runs[0]) == "cifar10"
    assert Arrangement(Layout("variant", "study"), runs).group(runs[1]) == "second"


def test_variants_side_by_side() -> None:
    runs = [run(f"d,optimizer.lr={lr}", optimizer={"lr": lr}) for lr in (0.1, 0.2)]
    arrangement = Arrangement(Layout("optimizer.lr", "variant"), runs)
    assert [(arrangement.group(each), arrangement.name(each)) for each in runs] == [("d", "0.1"), ("d", "0.2")]


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (Layout("study", None), "--by study puts them abreast"),
        (Layout("optimizer.lr", "optimizer.lr"), "both optimizer.lr; choose another"),
        (Layout("variant", "variant"), "both variant; choose another"),
        (Layout("model.num_kernel", None), "no run with a result has model.num_kernel .* differ in optimizer.lr$"),
        (Layout("variant", "seed"), "no run with a result has seed "),
        (Layout("variant", "trainer.device"), "no run with a result has trainer.device "),
    ],
)
def test_an_unusable_key_is_an_error_that_names_the_usable_ones(layout: Layout, message: str) -> None:
    runs = [run("d", optimizer={"lr": lr}, model={"x": 1}, data={"root": f"at {lr}"}) for lr in (0.1, 0.2)]
    failed = run("d", counts=False, trainer={"device": "cpu"})
    with pytest.raises(ValueError, match=message):
        Arrangement(layout, [*runs, failed])


def test_an_error_lists_a_few_keys_only() -> None:
    runs = [run("d", model={f"key{number:02}": value for number in range(12)}) for value in (1, 2)]
    with pytest.raises(ValueError, match=r"differ in model.key00, .*, model.key07 and 4 more$"):
        Arrangement(Layout("none", None), runs)


def test_true_and_1_are_two_groups_of_one_row_each() -> None:
    made = [
        Run(
            "o",
            f"o/{value}{seed}",
            "lab",
            f"net,model.k={value}",
            seed,
            "completed",
            numbers={"test_accuracy": 0.5},
            **of,
        )
        for seed in range(3)
        for value in (True, 1)
        for of in [{"digest": str(value), "config": {"model": {"k": value}}}]
    ]
    groups = compare(made, None, Layout("variant", "model.k")).groups
    assert {heading: [row.summary.n for row in rows] for heading, rows in groups.items()} == {"true": [3], "1": [3]}
