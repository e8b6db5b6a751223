"""Who is a row's baseline, and who its control of equal capacity."""

from typing import Any

import pytest

from analysis.comparing.arrangement import PLAIN, Arrangement
from analysis.comparing.comparison import baseline_of, check_baseline, control_of
from analysis.comparing.variants import Variant, variants_of
from analysis.reading.run import Run

SHARED, GENERATED, HEAD = {"_target_": "Shared"}, {"_target_": "Generated"}, {"_target_": "Head"}


def rows(*made: tuple[str, float, dict[str, Any]]) -> dict[str, Variant]:
    runs = [
        Run(
            "outputs",
            variant,
            "lab",
            variant,
            0,
            "completed",
            digest=variant,
            numbers={"test_accuracy": 0.5, "parameters": parameters},
            config=config,
        )
        for variant, parameters, config in made
    ]
    return {row.label: row for row in variants_of(runs, Arrangement(PLAIN, runs))["lab"]}


def model(filter: dict[str, str], head: dict[str, str] | None, **others: Any) -> dict[str, Any]:
    return {"model": {"filter": filter, "second_head": head}, **others}


@pytest.mark.parametrize(
    ("variants", "named", "expected"),
    [
        ({"dynamic": 9, "static_3x3": 5, "static_1x1": 6}, None, "static_1x1"),
        ({"dyconv_resnet18": 40, "resnet18": 11}, None, "resnet18"),
        ({"dyconv_resnet18": 40, "resnet18": 11}, "dyconv_resnet18", "dyconv_resnet18"),
        ({"b": 7, "a": 7}, None, "a"),
        ({"a": float("nan"), "b": 7}, None, "b"),
        ({"a": 7, "b": 6}, "elsewhere", "b"),
    ],
)
def test_the_baseline(variants: dict[str, float], named: str | None, expected: str) -> None:
    made = rows(*((variant, parameters, {}) for variant, parameters in variants.items()))
    assert baseline_of(list(made.values()), named).label == expected


def test_a_convolution_smaller_than_the_static_one_is_no_baseline() -> None:
    convolutions = {"resnet8": "torch.nn.Conv2d", "resnet8,model.width=2": "torch.nn.Conv2d", "resnet8,conv=inv": "Inv"}
    sizes = dict(zip(convolutions, (7.0, 28.0, 3.0), strict=True))
    made = rows(*((name, sizes[name], {"model": {"conv": {"_target_": of}}}) for name, of in convolutions.items()))
    assert baseline_of(list(made.values()), None).label == "resnet8"


def control(made: dict[str, Variant], label: str) -> str | None:
    found = control_of(made[label], list(made.values()), made["static"])
    return found.label if found else None


def test_the_control_is_the_baseline_with_a_second_head_of_the_rows_size() -> None:
    made = rows(
        ("static", 10, model(SHARED, None)),
        ("bypass", 101, model(SHARED, HEAD)),
        ("dynamic", 100, model(GENERATED, None)),
        ("small", 20, model(GENERATED, None)),
        ("dynamic_and_head", 102, model(GENERATED, HEAD)),
    )
    assert {label: control(made, label) for label in made} == {
        "static": None,
        "bypass": None,
        "dynamic": "bypass",
        "small": None,
        "dynamic_and_head": "bypass",
    }


def test_a_head_on_another_network_than_the_baselines_is_no_control() -> None:
    made = rows(
        ("static", 10, model(SHARED, None)),
        ("deeper", 100, {"model": {**model(SHARED, HEAD)["model"], "backbone_blocks": 2}}),
        ("dynamic", 100, model(GENERATED, None)),
    )
    assert control(made, "dynamic") is None


def test_of_several_controls_the_one_with_the_rows_own_recipe_is_chosen() -> None:
    recipes = {lr: {"optimizer": {"lr": lr}} for lr in (0.1, 0.2, 0.3)}
    made = rows(
        ("static", 10, model(SHARED, None, **recipes[0.1])),
        ("bypass,0.1", 100, model(SHARED, HEAD, **recipes[0.1])),
        ("bypass,0.2", 100, model(SHARED, HEAD, **recipes[0.2])),
        ("dynamic,0.2", 100, model(GENERATED, None, **recipes[0.2])),
        ("dynamic,0.3", 100, model(GENERATED, None, **recipes[0.3])),
    )
    assert control(made, "dynamic,0.2") == "bypass,0.2"
    assert control(made, "dynamic,0.3") is None


def test_a_baseline_with_a_second_head_has_no_control() -> None:
    made = rows(
        ("static", 10, model(SHARED, HEAD)),
        ("another_head", 100, model(SHARED, {"_target_": "AnotherHead"})),
        ("dynamic", 100, model(GENERATED, None)),
    )
    assert control(made, "dynamic") is None


def test_the_only_control_serves_whatever_its_recipe() -> None:
    made = rows(
        ("static", 10, model(SHARED, None)),
        ("bypass", 100, model(SHARED, HEAD, optimizer={"lr": 0.1})),
        ("dynamic", 100, model(GENERATED, None, optimizer={"lr": 0.2})),
    )
    assert control(made, "dynamic") == "bypass"


def test_configs_that_could_not_be_read_give_no_control() -> None:
    made = rows(("static", 10, {}), ("bypass", 100, {}), ("dynamic", 100, {"model": "?"}))
    assert control(made, "dynamic") is None


def test_a_baseline_may_be_named_by_its_label_value_or_variant() -> None:
    made = rows(("static", 10, {}), ("dynamic", 20, {}))
    check_baseline({"lab": list(made.values())}, "dynamic")
    with pytest.raises(ValueError, match=r"no variant nobody with results .* the variants are: dynamic, static$"):
        check_baseline({"lab": list(made.values())}, "nobody")
