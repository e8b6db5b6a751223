"""Runs of a project, by the real client from a server on the loopback."""

import math
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import wandb

from analysis.reading.sources import read_runs
from analysis.reading.wandb import online
from analysis.reading.wandb import server as access
from tests.wandb_server import Run, WandbServer

SOURCE = "wandb:tester/dynfilt"
HISTORY = ("RunHistoryKeys", "RunParquetHistory", "HistoryPage")


def stored(name: str = "abc", seed: int = 0, group: str = "lab", exit_code: int | None = 0, **summary: Any) -> Run:
    """A run as the server has it."""
    run = Run(name, "dynfilt", group=group, job_type="dynamic_3x3", exit_code=exit_code)
    run.config = {"study": group, "seed": seed, "schedule": {"_target_": "Constant", "value": 1}}
    run.summary = {"seed": seed, "test_accuracy": 1, "config_digest": "d", "epoch": 2, "_step": 1, **summary}
    run.history = [{"_step": step, "epoch": step / 2, "val_accuracy": 1} for step in range(3)]
    return run


@pytest.fixture
def project(server: WandbServer) -> WandbServer:
    server.runs = {"abc": stored()}
    return server


def test_a_run_is_read_whole_and_its_history_only_when_asked_for(project: WandbServer) -> None:
    (run,) = read_runs([SOURCE])
    assert (run.study, run.variant, run.seed, run.state, run.digest) == ("lab", "dynamic_3x3", 0, "completed", "d")
    assert run.numbers == {"seed": 0.0, "test_accuracy": 1.0}
    assert (run.source, run.place) == (SOURCE, f"{SOURCE}/abc")
    assert not set(HISTORY) & set(project.operations)
    assert run.evaluations() == [{"epoch": step / 2, "val_accuracy": 1.0} for step in range(3)]


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_runs_that_stay_offline_keep_nobody_from_the_server(
    mode: str, project: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", mode)
    assert [run.seed for run in read_runs([SOURCE])] == [0]


def test_a_setting_called_value_survives_the_client(project: WandbServer) -> None:
    (run,) = read_runs([SOURCE])
    assert run.config == {"schedule": {"_target_": "Constant", "value": 1}}


@pytest.mark.parametrize(
    ("exit_code", "summary", "state"),
    [(None, {}, "running"), (1, {}, "interrupted"), (1, {"error": "OSError: full"}, "failed")],
)
def test_a_run_that_did_not_finish_does_not_count(
    project: WandbServer, exit_code: int | None, summary: dict[str, str], state: str
) -> None:
    project.runs["abc"] = stored(exit_code=exit_code, **summary)
    (run,) = read_runs([SOURCE])
    assert (run.state, run.counts, run.error) == (state, False, summary.get("error", ""))


def test_a_project_of_several_pages_is_read_with_one_query_a_page(
    project: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(online, "PAGE", 2)
    project.runs = {f"id{seed}": stored(f"id{seed}", seed) for seed in (3, 0, 4, 1, 2)}
    project.runs["other"] = stored("other", 7, group="another")
    assert [run.seed for run in read_runs([f"{SOURCE}/lab"])] == [0, 1, 2, 3, 4]
    assert project.operations.count("Runs") == 3 and not project.unknown
    assert len(read_runs([SOURCE])) == 6


@pytest.mark.parametrize("exports", [False, True])
def test_every_row_arrives_whether_or_not_the_server_exported_them(project: WandbServer, exports: bool) -> None:
    project.exports = exports
    odd = {1234: math.nan, 1235: math.inf}
    project.runs["abc"].history = [
        {"_step": step, "epoch": 1 + step, "val_loss": odd.get(step, step / 7), **({"late": 1} if step > 2000 else {})}
        for step in range(2500)
    ]
    rows = read_runs([SOURCE])[0].evaluations()
    assert [row["epoch"] for row in rows] == list(range(1, 2501))
    assert math.isnan(rows[1234].pop("val_loss")) and rows[1235]["val_loss"] == math.inf
    assert rows[5] == {"epoch": 6.0, "val_loss": 5 / 7} and rows[2400]["late"] == 1.0


def test_curves_are_cached_until_the_run_goes_on(project: WandbServer) -> None:
    first = read_runs([SOURCE])[0].evaluations()
    project.operations.clear()
    assert read_runs([SOURCE])[0].evaluations() == first and not set(HISTORY) & set(project.operations)
    project.runs["abc"].heard += 1
    project.runs["abc"].history.append({"_step": 3, "epoch": 2, "val_accuracy": 0.5})
    assert len(read_runs([SOURCE])[0].evaluations()) == 4
    assert len(list(Path(os.environ["HOME"]).rglob("abc@*.parquet"))) == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("wandb:", "is no W&B project; write wandb:entity/project or wandb:entity/project/group"),
        ("wandb:tester", "is no W&B project"),
        ("wandb:tester/nothing", "wandb:tester/nothing: Could not find project nothing"),
        (f"{SOURCE}/nothing", f"no runs found in {SOURCE}/nothing"),
    ],
)
def test_a_project_without_runs_is_an_error(project: WandbServer, source: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"(?s)^(?!.*\n)") as caught:
        read_runs([source])
    assert message in str(caught.value)


def test_without_a_key_nobody_is_asked_for_one() -> None:
    with pytest.raises(ValueError, match=f"{SOURCE}: no API key for http://127.0.0.1:9; run `wandb login`"):
        read_runs([SOURCE])


def test_a_server_that_is_not_there_is_not_asked(project: WandbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match=r"no answer from http://127\.0\.0\.1:9 within 1\.5 s"):
        read_runs([SOURCE])


@pytest.mark.parametrize("failure", ["hang", 401])
def test_a_server_that_refuses_is_told_in_one_line(
    project: WandbServer, failure: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "VERIFY_SECONDS", 1)
    project.failure = failure
    with pytest.raises(ValueError, match=r"^wandb:tester/dynfilt: Failed to verify credentials [^\n]+$"):
        read_runs([SOURCE])


def test_a_client_that_never_comes_back_is_not_waited_for(
    project: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = threading.Event()
    monkeypatch.setattr(access, "VERIFY_SECONDS", 0.1)
    monkeypatch.setattr(wandb, "Api", lambda **options: never.wait())
    with pytest.raises(ValueError, match=rf"^{SOURCE}: no answer from {project.url} within 0\.2 s$"):
        read_runs([SOURCE])
    never.set()


def test_a_history_that_cannot_be_fetched_is_an_error_and_not_cached(project: WandbServer) -> None:
    (run,) = read_runs([SOURCE])
    project.failure = 404
    with pytest.raises(ValueError, match=r"^tester/dynfilt/abc: [^\n]+$"):
        run.evaluations()
    project.failure = None
    assert len(run.evaluations()) == 3
