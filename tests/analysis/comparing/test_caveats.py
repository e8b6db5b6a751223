"""Everything a table must not hide is said, and nothing else."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.comparing.arrangement import Layout
from analysis.comparing.caveats import caveats
from analysis.comparing.comparison import compare
from analysis.reading.sources import read_runs

WriteRun = Callable[..., Path]


@pytest.fixture
def study(write_run: WriteRun) -> WriteRun:
    """Two variants with two seeds each, which need no caveat."""
    for seed in range(2):
        write_run("static_3x3", seed, 0.66 + seed / 100)
        write_run("dynamic_3x3", seed, 0.68 + seed / 90)
    return write_run


def told(*sources: str) -> list[str]:
    return caveats(compare(read_runs(sources or ("outputs",)), None))


def test_a_sound_study_needs_no_caveat(study: WriteRun) -> None:
    assert told() == []


def test_runs_that_do_not_count_are_named_with_state_error_and_place(study: WriteRun) -> None:
    error = {"type": "RuntimeError", "message": "out of memory", "traceback": "..."}
    study("dynamic_3x3", 2, None, state="failed", error=error)
    study("dynamic_3x3", 3, None, state="failed", error=error)
    study("static_3x3", 2, None, state="interrupted")
    study("static_3x3", 3, None, state="running")
    study("static_3x3", 4, None)
    (study("static_3x3", 5, 0.5) / "result.json").write_text('{"test_accuracy": 0.6')
    assert told() == [
        "not counted: dynamic_3x3 seeds 2, 3, failed: RuntimeError: out of memory "
        "(outputs/lab_3x3/dynamic_3x3/seed2 and 1 more)",
        "not counted: static_3x3 seeds 2, 3, interrupted (outputs/lab_3x3/static_3x3/seed2 and 1 more)",
        "not counted: static_3x3 seed 4, interrupted: status.json says completed, but there is no result.json "
        "(outputs/lab_3x3/static_3x3/seed4)",
        "not counted: static_3x3 seed 5, damaged: result.json is not valid JSON; was its writing cut off? "
        "(outputs/lab_3x3/static_3x3/seed5)",
    ]


def test_numbers_that_are_none(study: WriteRun) -> None:
    study("dynamic_3x3", 2, 0.6, test_loss=math.nan)
    study("static_3x3", 2, 0.6, test_loss=math.inf, val_loss=math.nan)
    expected = [
        "val_loss is NaN, and so is its mean over the seeds: static_3x3 (seed 2)",
        "test_loss is infinite, and so is its mean over the seeds: static_3x3 (seed 2)",
        "test_loss is NaN, and so is its mean over the seeds: dynamic_3x3 (seed 2)",
    ]
    assert sorted(told()) == sorted(expected)
    assert set(expected) <= set(caveats(compare(read_runs(["outputs"]), None, metric="test_loss")))


def test_a_result_that_its_status_denies(study: WriteRun) -> None:
    study("static_3x3", 2, 0.67, state="failed")
    study("dynamic_3x3", 2, 0.67)
    (line,) = told()
    assert line.startswith("static_3x3 seed 2 has a result and counts, but its status.json says failed")


def test_missing_seeds(study: WriteRun) -> None:
    for seed in (2, 3, 5):
        study("static_3x3", seed, 0.6)
    study("other_3x3", 0, 0.61)
    study("other_3x3", 1, 0.63)
    assert told() == ["without seeds 2, 3, 5, which others have: dynamic_3x3, other_3x3"]


def test_several_digests(study: WriteRun) -> None:
    study("static_3x3", 2, 0.6, digest="abcdef0123456789")
    assert told()[0] == (
        "static_3x3 has runs of 2 different configs, which are not averaged: static_3x3 @abcdef01, static_3x3 @digest-o"
    )


def test_a_repeated_run(study: WriteRun) -> None:
    study("static_3x3", 1, 0.67, root="copies")
    study("static_3x3", 0, 0.9, root="copies")
    assert told("outputs", "copies") == [
        f"static_3x3 seed {seed} is there twice, with {how} test accuracy: "
        f"outputs/lab_3x3/static_3x3/seed{seed} is used, copies/lab_3x3/static_3x3/seed{seed} is not"
        for seed, how in ((0, "another"), (1, "the same"))
    ]


def test_unequal_epochs(study: WriteRun) -> None:
    study("other_3x3", 0, 0.6, epochs=10)
    study("other_3x3", 1, 0.62, epochs=20)
    assert told() == [
        "trainer.epochs differs: 20 for static_3x3, dynamic_3x3, other_3x3 (seed 1); 10 for other_3x3 (seed 0)"
    ]


def test_what_makes_rows_or_groups_is_meant_to_differ(write_run: WriteRun) -> None:
    for epochs in (5, 20):
        write_run(f"d,trainer.epochs={epochs}", 0, 0.5 + epochs / 100, epochs=epochs)
    for layout in (Layout("trainer.epochs", None), Layout("variant", "trainer.epochs")):
        assert caveats(compare(read_runs(["outputs"]), None, layout)) == []
    assert told()[0].startswith("trainer.epochs differs")


def test_caveats_of_groups_name_the_key_and_its_value(write_run: WriteRun) -> None:
    for epochs in (5, 20):
        write_run(f"d,trainer.epochs={epochs}", 0, 0.5, epochs=epochs, dirty=epochs == 5)
    layout = Layout("variant", "trainer.epochs")
    assert caveats(compare(read_runs(["outputs"]), None, layout)) == [
        "trainer.epochs 5: run with uncommitted changes: all"
    ]


def test_other_data_and_an_unreadable_config(study: WriteRun) -> None:
    first, second = study("other_3x3", 0, 0.6), study("other_3x3", 1, 0.62)
    first.joinpath("config.yaml").write_text("data: {_target_: dynfilt.data.sample.cifar10_sample}")
    second.joinpath("config.yaml").unlink()
    assert [line.split(":")[0] for line in told()] == [
        "trainer.epochs differs",
        "data._target_ differs",
        "data.split_seed differs",
    ]
    assert "unset for other_3x3" in told()[0]


def test_a_model_that_changed_its_size(study: WriteRun) -> None:
    study("static_3x3", 2, 0.6, parameters=157_515)
    study("dynamic_3x3", 2, 0.6)
    assert told() == ["static_3x3: parameters differ between its seeds (157514, 157515)"]


def test_several_commits_devices_and_uncommitted_changes(study: WriteRun) -> None:
    study("static_3x3", 2, 0.6, commit="fedcba9876", dirty=True, device="NVIDIA H200")
    study("dynamic_3x3", 2, 0.63)
    assert told() == [
        "runs of several commits: 1a2b3c4 for static_3x3 (seeds 0, 1), dynamic_3x3; fedcba9 for static_3x3 (seed 2)",
        "run with uncommitted changes: static_3x3 (seed 2)",
        "training times of several devices: x86_64 CPU for static_3x3 (seeds 0, 1), dynamic_3x3; "
        "NVIDIA H200 for static_3x3 (seed 2)",
    ]


CODE = {"dynfilt.train.trainer": "aaaa", "dynfilt.layers.mixture": "bbbb"}


def note(folder: Path, **facts: object) -> None:
    """Add to a run's provenance."""
    file = folder / "provenance.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **facts}))


@pytest.mark.parametrize(
    ("code", "caveat"),
    [
        (CODE, []),
        ({"dynfilt.train.trainer": "aaaa"}, []),  # another network, without that layer
        (
            {**CODE, "dynfilt.layers.mixture": "cccc"},
            ["runs of several versions of dynfilt.layers.mixture: 1a2b3c4 for static_3x3; fedcba9 for dynamic_3x3"],
        ),
        ({}, ["runs of several commits: 1a2b3c4 for static_3x3; fedcba9 for dynamic_3x3"]),
    ],
)
def test_several_commits_matter_where_the_code_of_the_numbers_differs(
    code: dict[str, str], caveat: list[str], write_run: WriteRun
) -> None:
    for seed in range(2):
        note(write_run("static_3x3", seed, 0.66 + seed / 100), source=CODE)
        note(write_run("dynamic_3x3", seed, 0.68 + seed / 90, commit="fedcba9876"), source=code)
    assert told() == caveat


def test_a_run_resumed_on_another_number_of_threads(study: WriteRun) -> None:
    note(Path("outputs/lab_3x3/dynamic_3x3/seed1"), threads=2, resumed=[{"threads": 2}, {"threads": 4}])
    assert told() == [
        "resumed on another number of threads (2 + 4), so its last bits are not those of an uninterrupted run: "
        "dynamic_3x3 (seed 1)"
    ]


def test_annealing_that_training_left_before_its_end(write_run: WriteRun) -> None:
    settings = {"temperature.final": 1.0, "temperature.epochs": 40}
    for seed in range(2):
        write_run("static_3x3", seed, 0.66 + seed / 100, settings=settings)
        folder = write_run("dynamic_3x3", seed, 0.68 + seed / 90, settings=settings)
        (folder / "metrics.jsonl").write_text('{"epoch": 20.0, "step": 9, "temperature": 15.5}\n')
    assert told() == ["training ended at temperature 15.5, before its annealing to 1: dynamic_3x3"]


def test_several_versions_of_torch(study: WriteRun) -> None:
    for seed, versions in enumerate(({"torch": "2.11.0", "numpy": "2.4"}, {"numpy": "2.4", "torch": "2.11.0"})):
        note(Path("outputs/lab_3x3/static_3x3") / f"seed{seed}", versions=versions)
    assert told() == ["runs with several versions of torch: 2.11.0 for static_3x3; unknown for dynamic_3x3"]


def test_when_every_run_had_uncommitted_changes_they_need_no_list(write_run: WriteRun) -> None:
    write_run("static_3x3", 0, 0.5, dirty=True)
    write_run("dynamic_3x3", 0, 0.6, dirty=True)
    assert told() == ["run with uncommitted changes: all"]


def test_names_with_commas_are_quoted_in_lists(study: WriteRun) -> None:
    study("dynamic_3x3,optimizer.lr=0.01", 0, 0.6)
    study("other", 0, 0.6)
    assert told() == ["without seed 1, which others have: 'dynamic_3x3,optimizer.lr=0.01', other"]


def test_a_difference_without_spread(study: WriteRun) -> None:
    study("copy_3x3", 0, 0.66)
    study("copy_3x3", 1, 0.67)
    assert told() == ["the same Δ at every seed, which leaves p and interval undefined: copy_3x3"]


def test_a_setting_that_changes_nothing(study: WriteRun) -> None:
    for variant in ("dynamic_3x3,temperature.initial=5.0", "dynamic_3x3,temperature.initial=30.0"):
        for seed in (0, 1):
            study(variant, seed, 0.66 + seed / 7, test_loss=0.9, test_accuracy_RG=0.5)
    same = "every loss and accuracy is the same to the last digit"
    effect = "so that the settings in which these differ had no effect"
    rows = "'dynamic_3x3,temperature.initial=30.0', 'dynamic_3x3,temperature.initial=5.0'"
    assert f"{same}, {effect}: {rows} (seeds 0, 1)" in told()
    study("zero_filled", 0, 0.66, test_loss=0.9, test_accuracy_RG=0.4)
    assert not any("zero_filled" in line and same in line for line in told())


def test_caveats_of_several_studies_name_theirs_and_long_lists_are_cut(study: WriteRun) -> None:
    study("static", 0, 0.5, study="many")
    study("static", 1, 0.5, study="many")
    for number in range(9):
        study(f"v{number}", 0, 0.5, study="many")
    assert told() == ["many: without seed 1, which others have: v0, v1, v2, v3, v4, v5 and 3 more"]
