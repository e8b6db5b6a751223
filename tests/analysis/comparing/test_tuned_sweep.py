"""The sweep that tuning makes of a published one: each arm with its best recipe by validation, edges flagged."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.__main__ import main
from analysis.comparing.comparison import compare
from analysis.comparing.tuned_sweep import leave_out_untuned, tuned_sweep
from analysis.comparing.tuning import TUNED_KEYS, choices
from analysis.reading.sources import read_runs
from dynfilt.config.compose import Job
from dynfilt.installation import SWEEPS
from dynfilt.run.identity import flatten, variant_name

Write = Callable[..., None]
PUBLISHED = {"optimizer.lr": 5e-4, "optimizer.weight_decay": 0.0}

SWEEP_NAMES = sorted(path.stem for path in SWEEPS.glob("*.yaml"))


@pytest.fixture
def write(write_run: Callable[..., Path]) -> Iterator[Write]:
    """write("static_3x3", 1e-3, 0, 100, accuracy) is a run of lab_3x3_tuning, as training leaves it."""

    def call(
        model: str, lr: float, decay: float, seed: int, accuracy: float | None, study: str = "lab_3x3_tuning"
    ) -> None:
        recipe = {"optimizer.lr": lr, "optimizer.weight_decay": decay}
        differences = {key: value for key, value in recipe.items() if value != PUBLISHED[key]}
        settings = {
            "model.name": model,
            **recipe,
            "about.tuning": "lab_3x3_tuning" if study.endswith("_tuned") else None,
        }
        folder = write_run(
            variant_name(model, differences),
            seed,
            None if accuracy is None else 0.5,
            study,
            settings=settings,
            state="completed" if accuracy else "failed",
            val_accuracy=accuracy,
            digest=f"{model}{lr}{decay}",
        )
        noted = {"model": model, "differences": {"data.root": "data", **differences}}
        (folder / "provenance.json").write_text(json.dumps(noted))

    yield call


@pytest.fixture
def grid(write: Write) -> Write:
    """Two arms over three rates and two decays; static is best inside its grid, dynamic at its largest rate."""
    for seed in (100, 101):
        for decay in (0.0, 5e-4):
            for lr, static, dynamic in ((2.5e-4, 0.6, 0.5), (5e-4, 0.7, 0.6), (1e-3, 0.65, 0.8)):
                write("static_3x3", lr, decay, seed, static + (decay == 0) / 100 + seed / 1e5)
                write("dynamic_3x3", lr, decay, seed, dynamic - (decay == 0) / 100)
    return write


def test_each_arm_has_its_best_recipe(grid: Write, capsys: pytest.CaptureFixture[str]) -> None:
    grid("static_3x3", 4e-3, 0.0, 100, 0.99)  # its other seed is missing
    grid("static_3x3", 4e-3, 0.0, 101, None)
    assert main(["tuned", "outputs/lab_3x3_tuning", "--sweep", "lab_3x3"]) == 0
    printed = capsys.readouterr()
    sweep = yaml.safe_load(printed.out)
    assert sweep["study"] == "lab_3x3_tuned" and sweep["trainer"] == {"epochs": 20, "batch_size": 64}
    assert sweep["hydra"]["sweeper"]["params"] == {"seed": "0,1,2,3,4,5,6,7,8,9"}
    assert sweep["hydra"]["sweeper"]["variants"] == [
        {"model": "dynamic_3x3", "optimizer.lr": 0.001, "optimizer.weight_decay": 0.0005},
        {"model": "static_3x3", "optimizer.lr": 0.0005, "optimizer.weight_decay": 0.0},
    ]
    tuned = "dynamic_3x3,optimizer.lr=0.001,optimizer.weight_decay=0.0005"
    about = sweep["about"]
    assert about["baseline"] == "static_3x3" and "controls" not in about  # run.py refuses a control without a row
    assert about["names"] == {tuned: "dynamic_3x3"} and about["tuning"] == "lab_3x3_tuning"
    assert printed.out.startswith(
        "# Command   python run.py -cn lab_3x3_tuned\n# Cost      1 run for each run of lab_3x3\n"
    )
    assert (
        "static_3x3: optimizer.lr 0.0005, optimizer.weight_decay 0 (71.10%, best of 6)\n" in printed.out
        and "(80.00%, best of 6; optimizer.lr and optimizer.weight_decay at the grid's edge)" in printed.out
    )
    assert printed.err.splitlines() == [
        f"warning: dynamic_3x3: the best {key}, {value}, is at the edge of its grid; tune further out first"
        for key, value in (("optimizer.lr", 0.001), ("optimizer.weight_decay", 0.0005))
    ] + [
        "warning: static_3x3: 1 recipe without a result of every seed, left out",
        "warning: not tuned, so that no claim names them: bypass_3x3",
    ]


@pytest.mark.slow
def test_the_tuned_sweep_composes_into_the_runs_that_were_tuned(
    grid: Write, compose: Callable[..., list[Job]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tuned")
    grid("bypass_3x3", 5e-4, 0.0, 100, 0.6)  # the control that lab_3x3 declares
    grid("bypass_3x3", 5e-4, 0.0, 101, 0.6)
    out = folder / "lab_3x3_tuned.yaml"
    assert main(["tuned", "outputs/lab_3x3_tuning", "--sweep", "lab_3x3", "--out", str(out)]) == 0
    assert out.read_text().startswith(f"# Command   python run.py -cd {folder} -cn lab_3x3_tuned\n")
    jobs = compose("-cd", str(folder), "-cn", "lab_3x3_tuned", "seed=0")
    assert [variant_name(job.choices["model"], job.differences) for job in jobs] == [
        "bypass_3x3",
        "dynamic_3x3,optimizer.lr=0.001,optimizer.weight_decay=0.0005",
        "static_3x3",
    ]
    assert {job.config["study"] for job in jobs} == {"lab_3x3_tuned"}


def test_published_and_tuned_stand_side_by_side(grid: Write, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        for study, recipes in (("lab_3x3", [(5e-4, 0.0)] * 2), ("lab_3x3_tuned", [(5e-4, 0.0), (1e-3, 5e-4)])):
            for model, (lr, decay) in zip(("static_3x3", "dynamic_3x3"), recipes, strict=True):
                grid(model, lr, decay, seed, 0.7, study)
    comparison = compare(read_runs(["outputs"]), None)
    assert {heading: len(group) for heading, group in comparison.groups.items()} == {"lab_3x3": 2, "lab_3x3_tuned": 2}
    answers = {claim.tuned for variant in comparison.groups["lab_3x3_tuned"] for claim in variant.claims}
    assert answers == {"yes, at the grid's edge"} and len(comparison.tuning) == 24


def test_declared_gains_are_of_the_tuned_rows(grid: Write) -> None:
    published = {
        "defaults": [],
        "study": "lab_3x3",
        "about": {"gains": {"dynamic_3x3": {"over": "static_3x3", "more_than": {"bypass_3x3": "dynamic_3x3"}}}},
        "hydra": {"sweeper": {"params": {"seed": "0,1"}}},
    }
    tuned = "dynamic_3x3,optimizer.lr=0.001,optimizer.weight_decay=0.0005"
    sweep = tuned_sweep(published, choices(read_runs(["outputs"])))
    assert sweep["about"]["gains"] == {tuned: {"over": "static_3x3", "more_than": {"bypass_3x3": tuned}}}


def test_claims_on_rows_that_were_not_tuned_are_left_out() -> None:
    about = {
        "baseline": "static",
        "controls": {"dynamic": ["bypass", "constant"], "constant": ["bypass"], "bypass": ["dynamic"]},
        "gains": {
            "dynamic": {"over": "static", "more_than": {"bypass": "static", "constant": "static"}},
            "constant": {"over": "shuffled", "more_than": {"dynamic": "static"}},
        },
        "margin": 0.5,
    }
    sweep: dict[str, Any] = {"about": about}
    rows = ["static,optimizer.lr=0.2", "dynamic", "constant,optimizer.lr=0.2"]
    assert leave_out_untuned(sweep, rows) == ["bypass", "shuffled"]
    assert sweep["about"] == {
        "baseline": "static",
        "margin": 0.5,
        "controls": {"dynamic": ["constant"]},
        "gains": {"dynamic": {"over": "static", "more_than": {"constant": "static"}}},
    }
    with pytest.raises(ValueError, match="static: the baseline was not tuned"):
        leave_out_untuned({"about": {"baseline": "static"}}, ["dynamic"])


@pytest.mark.parametrize(
    ("sweep", "line"),
    [
        ("lab_4x4", f"lab_4x4: is no file and no declared sweep; the sweeps are: {', '.join(SWEEP_NAMES)}"),
        ("field_cifar100", "field_cifar100: is no sweep with defaults, a study and seeds of its own"),
    ],
)
def test_a_sweep_that_cannot_be_tuned_is_one_line(
    sweep: str, line: str, grid: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tuned", "outputs/lab_3x3_tuning", "--sweep", sweep]) == 2
    assert capsys.readouterr().err.endswith(f"error: --sweep {line}\n")


def test_runs_that_chose_nothing_are_one_line(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write("static_3x3", 1e-3, 0.0, 100, 0.5)
    write("static_3x3", 5e-4, 0.0, 101, 0.5)
    assert main(["tuned", "outputs", "--sweep", "lab_3x3"]) == 2
    assert "no recipe has ended with all of its 2 tuning seeds yet" in capsys.readouterr().err
    write("static_3x3", 5e-4, 0.0, 100, 0.5, "other")
    assert main(["tuned", "outputs", "--sweep", "lab_3x3"]) == 2
    assert "outputs: holds lab_3x3_tuning, other; give the folder of one" in capsys.readouterr().err
    Path("outputs/other/static_3x3/seed100/provenance.json").unlink()
    assert main(["tuned", "outputs/other", "--sweep", "lab_3x3"]) == 2
    assert "does not say by which choices it was made" in capsys.readouterr().err


def arm_of(job: Job) -> str:
    """A row's name without its recipe."""
    return variant_name(job.choices["model"], {k: v for k, v in job.differences.items() if k not in TUNED_KEYS})


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((SWEEPS / "tuned").iterdir()), ids=lambda path: path.stem)
def test_a_tuned_study_has_rows_of_the_published_one_with_other_recipes(
    path: Path, compose: Callable[..., list[Job]]
) -> None:
    base = path.stem.removesuffix("_tuned")
    assert f"python run.py -cd sweeps/tuned -cn {path.stem}" in path.read_text()
    published = {arm_of(job): flatten(job.config) for job in compose("-cn", base, "seed=0", "mode=plan")}
    for job in compose("-cd", str(path.parent), "-cn", path.stem, "seed=0", "mode=plan"):
        config, twin = flatten(job.config), published[arm_of(job)]
        differing = {key for key in config.keys() | twin.keys() if config.get(key) != twin.get(key)}
        assert {key for key in differing if not key.startswith(("study", "about."))} <= set(TUNED_KEYS)
        assert job.config["about"]["tuning"] in SWEEP_NAMES
