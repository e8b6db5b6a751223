"""What a study declares: one clear line for what cannot be meant, and kept with the run, outside its digest."""

from typing import Any

import pytest
import yaml

from dynfilt.config.about import check_about, check_rows
from dynfilt.config.compose import CONF
from tests.conftest import ROOT, TINY, Command
from tests.run_folders import contents

DEFAULTS = yaml.safe_load((CONF / "config.yaml").read_text())["about"]
SWEEP = ("-cd", str(ROOT / "sweeps"), "-cn", "lab_3x3", "mode=plan", "tracking=off")


def about(**changes: Any) -> dict[str, Any]:
    return {**DEFAULTS, **changes}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"controls": {"a": "b", "c": ["d", "e"]}, "margin": 0.5, "looks": [3, 5, 10]},
        {"looks": [2], "tuning": [100, 101], "margin": 99},
        {"tuning": "lab_3x3_tuning"},
        {"ratio": 0.9, "baseline": "a"},
        {"tuning": []},
        {"baseline": "b", "gains": {"a": {"over": "b", "more_than": {"c": "d", "e": "b"}}}},
    ],
)
def test_what_may_be_declared(changes: dict[str, Any]) -> None:
    check_about(about(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"margin": 0}, "about.margin=0: must be more than 0 and less than 100 points, or null for none"),
        ({"margin": 200.0}, "about.margin=200: must be more than 0"),
        ({"margin": float("nan")}, "about.margin=nan: must be more than 0"),
        (
            {"ratio": 0, "baseline": "a"},
            "about.ratio=0: must be the part of the baseline's test_accuracy to reach, e.g. 0.9",
        ),
        ({"ratio": 0.9}, "about.ratio=0.9: needs about.baseline, the row of which it is a part"),
        ({"looks": [5, 3]}, r"about.looks=\[5, 3\]: must be rising numbers of seeds from 2 on, e.g. \[3, 5, 10\]"),
        ({"looks": [5, 5]}, "must be rising"),
        ({"looks": [1, 5]}, "must be rising"),
        ({"looks": []}, "must be rising"),
        ({"controls": {"a": "a"}}, "about.controls: a cannot be its own control"),
        ({"controls": {"a": []}}, r"about.controls.a=\[\]: must be a variant or a list of variants"),
        ({"controls": {"a": [3]}}, r"about.controls.a=\[3\]: must be a variant"),
        ({"gains": {"a": "b"}}, r"about.gains.a='b': must be {over: VARIANT, more_than: {VARIANT: VARIANT}}"),
        ({"gains": {"a": {"over": "b", "more_than": {}}}}, "about.gains.a=.*: must be"),
        ({"gains": {"a": {"over": "b", "more_than": {"c": 3}}}}, "about.gains.a=.*: must be"),
        ({"gains": {"a": {"over": "b", "more_than": {"c": "c"}}}}, "about.gains.a: c has no gain over itself"),
        (
            {"baseline": "a", "controls": {"a": "b"}},
            "about: a is the baseline and claims nothing; declare 'b' the other",
        ),
        ({"metric": "val_los"}, "about.metric=val_los: must be test_accuracy, val_accuracy"),
        ({"names": {"a": "x", "b": "x"}}, "about.names=.*: each variant must have a name of its own"),
        ({"tuning": 100}, "about.tuning=100: must be a list of this study's seeds, another study's name"),
        ({"tuning": ["a"]}, r"about.tuning=\['a'\]: must be"),
    ],
)
def test_what_cannot_be_meant_is_one_clear_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_about(about(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"controls": {"a": ["b", "c"]}}, "about.controls.a: c is no row of this sweep; its rows are: a, b,lr=1"),
        ({"controls": {"d": "a"}}, "about.controls.d: d is no row of this sweep"),
        ({"baseline": "static"}, "about.baseline: static is no row of this sweep"),
        ({"names": {"x": "X"}}, "about.names: x is no row of this sweep"),
        ({"names": {"b": "a"}}, "about.names.b: a is another row of this sweep"),
    ],
)
def test_a_row_that_the_sweep_does_not_make_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_rows(about(**changes), ["b,lr=1", "a", "a"])
    check_rows(about(baseline="b", controls={"a": "b"}), ["b,lr=1", "a"])


@pytest.mark.slow
def test_a_sweep_is_refused_before_any_work(command: Command) -> None:
    for override, line in (
        ("about.controls.dynamic_3x3=bypass_3x4", "about.controls.dynamic_3x3: bypass_3x4 is no row of this sweep"),
        (
            "about.controls.dynamic=bypass",
            "about.controls.dynamic: is not there yet; put a + before it, +about.controls.d",
        ),
        ("about.looks=[5,3]", "about.looks=[5, 3]: must be rising"),
        ("about.margin=200", "about.margin=200: must be more than 0"),
        (
            "about.margn=1",
            "about.margn: no such key (did you mean margin?); conf/config.yaml allows: question, baseline",
        ),
        ("about.looks=5", "about.looks"),
    ):
        outcome = command(*SWEEP, "seed=0", "model=dynamic_3x3", override)
        assert outcome.code == 2 and len(outcome.lines) == 1 and line in outcome.err, outcome.err


@pytest.mark.slow
def test_a_sweep_narrowed_to_a_part_of_its_rows_keeps_its_declaration(command: Command) -> None:
    outcome = command(*SWEEP, "model=dynamic_3x3", "seed=0", "about.controls.dynamic_3x3=[bypass_3x3]")
    assert outcome.code == 0, outcome.err


@pytest.mark.slow
def test_a_declaration_is_kept_with_the_run_and_does_not_make_it_another(command: Command, tmp_path: Any) -> None:
    assert command(*TINY, "about.margin=0.5", "about.looks=[3,5]").code == 0
    folder = tmp_path / "outputs" / "tests" / "tiny" / "seed0"
    kept = yaml.safe_load((folder / "config.yaml").read_text())["about"]
    assert kept == about(margin=0.5, looks=[3, 5])
    before = contents(folder)
    outcome = command(*TINY, "about.margin=1")
    assert outcome.code == 0 and "already done" in outcome.out
    assert contents(folder) == before
