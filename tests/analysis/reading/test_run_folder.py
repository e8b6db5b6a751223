"""Reading run folders: what counts as a run, and what a damaged or unfinished one is worth."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.comparing.caveats import caveats
from analysis.comparing.comparison import compare
from analysis.reading import run_folder
from analysis.reading.find_runs import find_runs
from analysis.reading.run import NO_SEED, Run
from analysis.reading.sources import read_runs
from dynfilt.run.folder import CONFIG, PROVENANCE, RESULT, STATUS, RunFolder
from dynfilt.run.lock import FolderLock

WriteRun = Callable[..., Path]


def read(*sources: str) -> list[Run]:
    return read_runs(sources or ("outputs",))


def test_a_run_is_read_whole(write_run: WriteRun) -> None:
    write_run("dynamic_3x3", 3, 0.7125, dirty=True, digest="0123456789abcdef")
    (run,) = read()
    assert (run.study, run.variant, run.seed, run.state) == ("lab_3x3", "dynamic_3x3", 3, "completed")
    assert run.counts and run.number("test_accuracy") == 0.7125 and run.number("parameters") == 157514
    assert (run.digest, run.commits, run.dirty) == ("0123456789abcdef", ("1a2b3c4d5e6f7890",), True)
    assert (run.source, run.place) == ("outputs", "outputs/lab_3x3/dynamic_3x3/seed3")
    assert run.setting("trainer.epochs") == 20 and run.setting("trainer.none.such") is None


def test_runs_are_found_at_any_depth_and_a_run_is_a_source_itself(write_run: WriteRun) -> None:
    write_run("a", 0, 0.5)
    write_run("b", 1, 0.5, study="other", root="outputs/deeper/still")
    assert [run.variant for run in read()] == ["b", "a"]
    assert [run.variant for run in read("outputs/lab_3x3/a/seed0")] == ["a"]
    assert [run.variant for run in read(str(Path("outputs/lab_3x3").resolve()))] == ["a"]


def test_a_run_counts_once_when_sources_overlap(write_run: WriteRun) -> None:
    folder = write_run("a", 0, 0.5)
    Path("linked").symlink_to("outputs")
    assert len(read("outputs", "outputs/lab_3x3/", str(folder), "linked")) == 1


def test_what_is_no_run_of_its_own_is_passed_over(write_run: WriteRun) -> None:
    folder = write_run("a", 0, 0.5)
    for inside in (folder / "wandb/run-1", folder.with_name(".seed0.1"), Path("outputs/wandb/files")):
        inside.mkdir(parents=True)
        (inside / "result.json").write_text((folder / "result.json").read_text())
    Path("outputs/conf").mkdir()
    Path("outputs/conf/config.yaml").write_text("seed: 0\n")
    Path("outputs/lab_3x3/a/loop").symlink_to(Path("outputs").resolve())
    assert [run.place for run in read()] == [str(folder)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"test_accuracy": 0.7, "see', "not valid JSON"),
        ("", "not valid JSON"),
        ("[1, 2]", "no JSON object"),
        ("{}", "absent"),
        ('{"test_accuracy": NaN}', "nan"),
        ('{"test_accuracy": null}', "None"),
        ('{"test_accuracy": true}', "True"),
        ('{"test_accuracy": 71.25}', "71.25, not a fraction"),
        ('{"test_accuracy": -0.1}', "-0.1, not a fraction"),
    ],
)
def test_an_unusable_result_does_not_count_and_says_why(write_run: WriteRun, content: str, reason: str) -> None:
    (write_run("a", 2, 0.5) / "result.json").write_text(content)
    (run,) = read()
    assert not run.counts and run.state == "damaged" and reason in run.error
    assert (run.study, run.variant, run.seed) == ("lab_3x3", "a", 2)


def test_a_whole_number_is_an_accuracy_too(write_run: WriteRun) -> None:
    write_run("a", 0, 1)
    (run,) = read()
    assert type(run.number("test_accuracy")) is float and run.number("test_accuracy") == 1.0


def test_an_optional_number_may_be_missing(write_run: WriteRun) -> None:
    write_run("a", 0, 0.5, flops=None)
    (run,) = read()
    assert run.counts and run.number("flops") != run.number("flops")


def test_a_failure_is_told_in_one_line(write_run: WriteRun) -> None:
    error = {"type": "ValueError", "message": "loss is NaN\nat step 7", "traceback": "Traceback ..."}
    write_run("a", 0, None, state="failed", error=error)
    (run,) = read()
    assert (run.state, run.error, run.counts) == ("failed", "ValueError: loss is NaN", False)


@pytest.mark.parametrize("error", [None, "out of memory", {"message": "out of memory"}, ["x"], "x" * 500])
def test_any_shape_of_error_is_read(write_run: WriteRun, error: object) -> None:
    folder = write_run("a", 0, None)
    (folder / "status.json").write_text(json.dumps({"state": "failed", "error": error}))
    (run,) = read()
    assert run.state == "failed" and len(run.error) <= 160 and "\n" not in run.error


@pytest.mark.parametrize("said", ["running", "interrupted", "paused, as a newer version may say"])
def test_a_run_without_a_result_that_nobody_works_on_is_interrupted(write_run: WriteRun, said: str) -> None:
    folder = write_run("a", 0, None, state=said)
    assert [(run.state, run.counts) for run in read()] == [("interrupted", False)]
    with FolderLock(folder):
        assert [run.state for run in read()] == ["running"]


def test_a_run_that_says_completed_without_a_result_is_not_done(write_run: WriteRun) -> None:
    write_run("a", 0, None)
    (write_run("b", 0, None) / "status.json").unlink()
    (write_run("c", 0, None) / "status.json").write_text("{")
    runs = read()
    assert [run.state for run in runs] == ["interrupted", "to do", "interrupted"]
    assert [RunFolder(Path(run.place)).state() for run in runs] == [run.state for run in runs]
    assert runs[0].error == "status.json says completed, but there is no result.json"
    assert "status.json is not valid JSON" in runs[2].error


def test_the_result_decides_when_the_status_is_lost_or_behind(write_run: WriteRun) -> None:
    (write_run("a", 0, 0.5) / "status.json").unlink()
    write_run("b", 0, 0.5, state="running")
    assert [(run.state, run.counts) for run in read()] == [("completed", True), ("completed", True)]
    assert [run.error for run in read()] == ["", "its status.json says running"]


def test_a_run_without_provenance_or_config_is_still_a_run(write_run: WriteRun) -> None:
    folder = write_run("a", 4, 0.5)
    for name in ("config.yaml", "status.json", "provenance.json"):
        (folder / name).unlink()
    (run,) = read()
    assert (run.seed, run.commits, run.dirty, run.config) == (4, (), False, {})


@pytest.mark.parametrize("damage", ["trainer: [", "- a list", "", "a: !!python/name:os.system"])
def test_a_damaged_config_leaves_its_settings_unknown(write_run: WriteRun, damage: str) -> None:
    (write_run("a", 4, 0.5) / "config.yaml").write_text(damage)
    (run,) = read()
    assert run.counts and run.setting("trainer.epochs") is None


def test_attempts_on_other_commits_and_devices_are_all_told(write_run: WriteRun) -> None:
    folder = write_run("a", 0, 0.5)
    provenance = json.loads((folder / "provenance.json").read_text())
    provenance["resumed"] = [{"commit": "fedcba98", "dirty": True, "device": "NVIDIA H200"}]
    (folder / "provenance.json").write_text(json.dumps(provenance))
    (run,) = read()
    assert run.commits == ("1a2b3c4d5e6f7890", "fedcba98") and run.dirty
    assert run.devices == ("x86_64 CPU", "NVIDIA H200")


def test_the_study_of_an_unfinished_run_comes_from_its_config(write_run: WriteRun) -> None:
    folder = write_run("a", 0, None, state="running", study="lab%203x3")
    (folder / "config.yaml").write_text("study: 'lab 3x3'\nseed: 0\ntrainer: {epochs: 5}\n")
    (run,) = read()
    assert (run.study, run.seed, run.setting("trainer.epochs")) == ("lab 3x3", 0, 5)


def test_a_result_without_any_seed_does_not_count(write_run: WriteRun) -> None:
    folder = write_run("a", 0, 0.5)
    (folder / "result.json").write_text('{"test_accuracy": 0.5, "seed": null}')
    (folder / "config.yaml").unlink()
    folder.rename("outputs/nowhere")
    (run,) = read()
    assert run.seed == NO_SEED and not run.counts and "seed" in run.error


def test_numbers_in_a_variants_name_have_one_form(write_run: WriteRun) -> None:
    written = ("1", "1.0", "1e0")
    for seed, number in enumerate(written):
        write_run(f"a,optimizer.lr={number},trainer.epochs=2{'' if seed else '.0'}", seed, 0.5, digest="d")
    assert {run.variant for run in read()} == {"a,optimizer.lr=1,trainer.epochs=2"}
    (row,) = compare(read(), None).variants
    assert row.seeds == [0, 1, 2]


def test_a_key_that_came_later_has_the_value_that_means_what_was_done(write_run: WriteRun) -> None:
    write_run("a", 0, 0.5)
    write_run("a", 1, 0.5, settings={"trainer.decay_choice": True})
    write_run("a", 2, 0.5, settings={"trainer.decay_choice": False})
    assert [run.setting("trainer.decay_choice") for run in read()] == [True, True, False]


def test_runs_that_differ_in_study_and_seed_only_share_a_parsed_config(write_run: WriteRun) -> None:
    for seed in range(3):
        write_run("a", seed, 0.5)
    write_run("a", 0, 0.5, study="other")
    write_run("a", 3, 0.5, epochs=10)
    configs = {id(run.config): run.setting("trainer.epochs") for run in read()}
    assert sorted(configs.values()) == [10, 20]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "nowhere is not a folder"),
        ("empty", "no runs found in empty: looked at any depth for folders with result.json"),
        ("wandb:team", "wandb:team is no W&B project; write wandb:entity/project or wandb:entity/project/group"),
    ],
)
def test_a_source_without_runs_is_an_error(write_run: WriteRun, source: str, message: str) -> None:
    write_run("a", 0, 0.5)
    Path("empty/within").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"(?s)^(?!.*\n)") as caught:
        read("outputs", source)
    assert message in str(caught.value)


def test_an_unlistable_folder_is_an_error(write_run: WriteRun, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run("a", 0, 0.5)

    def refuse(folder: str) -> None:
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr("analysis.reading.find_runs.os.scandir", refuse)
    with pytest.raises(ValueError, match="cannot list outputs: Permission denied"):
        find_runs("outputs")


def test_a_folder_inside_that_cannot_be_listed_is_a_run_that_does_not_count(
    write_run: WriteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run("a", 0, 0.5)
    Path("outputs/lost+found").mkdir()
    scandir = os.scandir

    def refuse(folder: str) -> Any:
        if folder.endswith("lost+found"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr("analysis.reading.find_runs.os.scandir", refuse)
    closed, sound = sorted(read("outputs"), key=lambda run: run.counts)
    assert sound.counts and (closed.place, closed.error) == (
        "outputs/lost+found",
        "cannot be listed: Permission denied",
    )
    assert any("lost+found" in line and "cannot be listed" in line for line in caveats(compare([closed, sound], None)))


def test_each_file_is_opened_once_and_a_config_that_seeds_share_is_parsed_once(
    write_run: WriteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        write_run(f"variant_{number // 5}", number % 5, 0.5, epochs=10 + number // 5)
    opened: list[Path] = []
    parsed: list[str] = []
    read_text, parse = Path.read_text, run_folder.parse_config
    monkeypatch.setattr(
        Path, "read_text", lambda path, *args, **options: (opened.append(path), read_text(path, *args, **options))[1]
    )
    monkeypatch.setattr(run_folder, "parse_config", lambda text: (parsed.append(text), parse(text))[1])
    assert len(read("outputs", "outputs/lab_3x3")) == 20
    assert len(set(opened)) == len(opened)
    assert Counter(path.name for path in opened) == dict.fromkeys((RESULT, STATUS, CONFIG, PROVENANCE), 20)
    assert len(parsed) == 4
