"""The combinations of a sweep: order, variants, and what is refused."""

from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from dynfilt.launch.hydra_plugins import _overrides
from dynfilt.launch.jobs import expand


def test_the_first_key_changes_slowest_and_variants_fastest() -> None:
    jobs = expand(["seed=0,1", "lr=3"], [["model=a"], ["model=b", "width=1,2"]])
    assert [" ".join(job) for job in jobs] == [
        f"seed={seed} lr=3 {variant}"
        for seed in (0, 1)
        for variant in ("model=a", "model=b width=1", "model=b width=2")
    ]
    assert expand(["seed=0"]) == [("seed=0",)]


@pytest.mark.parametrize(
    ("arguments", "variants", "message"),
    [
        (["model=c"], [["model=a"]], "model is what the variants of this sweep differ in"),
        ([], [["model=a"], ["model=b"], ["model=a"]], "names model=a more than once"),
        (["seed=0,0"], [[]], "names seed=0 more than once"),
        ([], [["width=choice(1,1)"]], "names width=1 more than once"),
        ([], [["width=interval(0,1)"]], "a sweep is a list of values"),
    ],
)
def test_what_cannot_be_a_sweep_is_one_line(arguments: list[str], variants: list[list[str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        expand(arguments, variants)


@pytest.mark.parametrize(
    "value", [None, True, 2, 2.0, 1e-5, [], [None, "1", 1.5], ["a, b", "c's"], {"a": None, "b": {"c": "1"}}], ids=str
)
def test_a_value_in_yaml_is_the_same_in_an_override(value: Any) -> None:
    [override] = OverridesParser.create().parse_overrides(_overrides({"key": value}))
    assert not override.is_sweep_override()
    assert override.value() == value and type(override.value()) is type(value)


def test_text_in_yaml_is_in_hydras_syntax() -> None:
    assert expand(_overrides({"seed": "0,1", "lr": 0.5})) == [("seed=0", "lr=0.5"), ("seed=1", "lr=0.5")]
