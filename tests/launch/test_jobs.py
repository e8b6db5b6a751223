"""The jobs of a sweep are those that Hydra itself composes, value by value and type by type."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynfilt.config.compose import Job
from dynfilt.launch.jobs import _references, expand
from dynfilt.run.identity import variant_name
from tests.conftest import ROOT, TINY, Command

Compose = Callable[..., list[Job]]
# A grid of models and variants of several keys; the others are like these.
SWEEPS = ("lab_3x3", "label_backbone")
POOLED = "model.filter.condition_features=64,model.filter.pooled=true"


def assert_as_hydra_composes(compose: Compose, *words: str) -> list[Job]:
    """A multirun through Hydra's own launcher composes each job anew; a plan does not."""
    plain = compose(*words, "hydra/launcher=basic")
    ours = compose(*words, "mode=plan")
    assert len(ours) == len(plain)
    for job, oracle in zip(ours, plain, strict=True):
        assert _typed({**job.config, "mode": "train"}) == _typed(oracle.config)
        assert job.choices == oracle.choices
        assert job.differences == {**oracle.differences, "mode": "plan"}
    return ours


def _typed(value: Any) -> Any:
    """1, 1.0 and True are different values, and the order of keys is part of a config."""
    if isinstance(value, dict):
        return [(key, _typed(item)) for key, item in value.items()]
    if isinstance(value, list):
        return [_typed(item) for item in value]
    return type(value), value


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEPS)
def test_a_declared_sweep(name: str, compose: Compose) -> None:
    words = ("-cd", str(ROOT / "sweeps"), "-cn", name, "seed=3", "trainer.max_steps=2", "optimizer.lr=1e-2")
    assert_as_hydra_composes(compose, *words)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("model=tiny,faulty", "data.num_classes=4,5", "seed=1"),  # values that others refer to
        ("data.flip=true,false", "optimizer.lr=1,0.5", "study=1", "trainer.epochs=2"),  # types that a schema asks for
        ("schedule=multistep", "schedule.milestones=[0.5],[0.25,0.75]", "trainer.max_steps=null,4"),
        ("model=resnet8", "model/conv=static,dyconv", "model.width=0.5", "model.dynamic_layers=[],all"),
        ("++model.conv.num_kernels=2,4", "model=resnet8", "model/conv=dyconv", "seed=0"),
        ("data.split_seed=${seed}", "seed=2,3"),  # stays one variant
        ("study=${model.dropout},a", "model.dropout=0.1,0.2"),  # a reference in an override
        ("seed=range(2,4)", "tracking=off,offline"),
        ("about.margin=1,2", "about={metric:val_loss}"),  # the second keeps what the first has set
        ("model=glob([tiny,faulty])", "seed=0"),
    ],
)
def test_overrides_of_every_kind(words: tuple[str, ...], compose: Compose) -> None:
    jobs = assert_as_hydra_composes(compose, *TINY, "-m", *words)
    assert len(jobs) > 1


@pytest.mark.slow
def test_a_key_without_a_value_gets_it_from_the_sweep(command: Command, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tests" / "conf", tmp_path / "conf")
    tiny = (tmp_path / "conf" / "model" / "tiny.yaml").read_text()
    (tmp_path / "conf" / "model" / "open.yaml").write_text(re.sub("dropout: .*", "dropout: ???", tiny))
    words = ("-cd", str(tmp_path / "conf"), "-cn", "tiny", "-m", "mode=plan", "model=open")
    outcome = command(*words, "model.dropout=0.1,0.3")
    assert outcome.code == 0, outcome.err
    assert "open,model.dropout=0.3/seed0" in outcome.out
    assert command(*words, "seed=0,1").err == "error: model.dropout: is missing; give it a value\n"


@pytest.mark.parametrize(
    ("value", "reference"),
    [("${a.b}", "a.b"), ("${..c}", "y.c"), ("${a[0]}", "*"), ("${f:a}", "*"), ("x", None), ("${oc.env:HOME}", None)],
)
def test_what_a_value_refers_to(value: str, reference: str | None) -> None:
    assert list(_references({"y": {"x": {"z": value}}})) == ([] if reference is None else [reference])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("static_3x3", ["static_3x3"] * 2),  # that very row, not those with more settings
        ("['dynamic_3x3,model.filter.rank=16',static_3x3]", ["dynamic_3x3,model.filter.rank=16", "static_3x3"] * 2),
        ("'dynamic_3x3,model.filter.pooled=true'", [f"dynamic_3x3,{POOLED}"] * 2),  # as `about` names a row, in short
        ("'dynamic_3x3,model.dropout=0.30'", ["dynamic_3x3,model.dropout=0.3"] * 2),
    ],
)
def test_rows_of_a_sweep_keep_its_order_and_declaration(rows: str, expected: list[str], compose: Compose) -> None:
    whole = compose("-cn", "lab_improvements", "seed=3,4", "mode=plan")
    chosen = compose("-cn", "lab_improvements", "seed=3,4", "mode=plan", f"hydra.sweeper.rows={rows}")
    assert [variant_name(job.choices["model"], job.differences) for job in chosen] == expected
    assert [job for job in whole if job in chosen] == chosen


def test_the_first_key_changes_slowest() -> None:
    assert expand(["seed=0,1", "study=x", "model=a,b"]) == [
        (f"seed={seed}", "study=x", f"model={model}") for seed in (0, 1) for model in ("a", "b")
    ]
    assert expand(["seed=3"]) == [("seed=3",)]
    assert expand(["seed=0,1", "seed=5"]) == [("seed=5",)]  # what comes later wins


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("seed=1,2,1", "names seed=1 more than once"),
        ("seed=1,'1'", "error: seed=1 and seed='1' are one run; name it once"),
        ("trainer.epochs=2,2.0", "error: trainer.epochs=2 and trainer.epochs=2.0 are one run; name it once"),
        (
            "trainer.deterministic=true,false",
            "are one run, to which trainer.deterministic does not belong; give each a study=NAME",
        ),
        ("seed=range(3,3)", "the sweep is empty"),
        ("optimizer.lr=interval(0,1)", "a sweep is a list of values, e.g. optimizer.lr=1,2,3"),
    ],
)
def test_a_sweep_that_is_none(word: str, line: str, command: Command, tmp_path: Path) -> None:
    outcome = command(*TINY, "-m", word)
    assert outcome.code == 2
    assert line in outcome.err
    assert not list(tmp_path.iterdir())
