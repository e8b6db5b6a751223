"""`python -m analysis dashboard`: the workspace that the real library makes, and what the server gets."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from analysis.__main__ import main
from analysis.publishing import dashboard
from tests.wandb_server import Run as StoredRun
from tests.wandb_server import WandbServer

ROOT = Path(__file__).resolve().parents[3]
SOURCE = "wandb:tester/dynfilt"


@pytest.fixture
def library() -> None:
    pytest.importorskip("wandb_workspaces")


def spec(study: str = "lab_3x3") -> dict[str, Any]:
    """The section of a view that holds everything, as the library sends it."""
    view = dashboard.workspace("tester", "dynfilt", study)._to_model()
    return json.loads(view.spec.model_dump_json(by_alias=True, exclude_none=True))["section"]


def panels(found: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    return {section["name"]: section["panels"] for section in found["panelBankConfig"]["sections"]}


def test_runs_of_a_study_are_grouped_by_variant_and_config(library: None) -> None:
    (runs,) = spec()["runSets"]
    rows = [{"section": "run", "name": "jobType"}, {"section": "summary", "name": "config_digest"}]
    assert runs["grouping"] == rows
    (rule,) = runs["filters"]["filters"]
    assert (rule["key"], rule["op"], rule["value"]) == ({"section": "run", "name": "group"}, "=", "lab_3x3")
    (every,) = spec(study="")["runSets"]
    assert every["grouping"] == [{"section": "run", "name": "group"}, *rows] and not every["filters"]["filters"]


def test_a_line_is_the_mean_over_seeds_with_its_sd_over_our_own_epoch(library: None) -> None:
    found = spec()
    assert found["settings"]["xAxis"] == "epoch" and found["settings"]["useRunsTableGroupingInPanels"]
    lines = [panel["config"] for name in ("Accuracy", "Loss") for panel in panels(found)[name]]
    assert {(line["groupAgg"], line["groupArea"]) for line in lines} == {("mean", "stddev")}
    assert {line.get("xAxis", "epoch") for line in lines} == {"epoch"}


def test_every_key_is_one_that_runs_and_pictures_have(library: None, finished_run: Path) -> None:
    result = json.loads((finished_run / "result.json").read_text()).keys()
    row = json.loads((finished_run / "metrics.jsonl").read_text().splitlines()[0]).keys()
    found = panels(spec())
    lines = [panel["config"]["metrics"] for name in ("Accuracy", "Loss") for panel in found[name]]
    assert {key for (key,) in lines} <= result | row
    axes = {panel["config"][axis] for panel in found["Cost"] for axis in ("xAxis", "yAxis")}
    columns = spec()["runSets"][0]["runFeed"]["columnOrder"][1:]
    assert {axis.removeprefix("summary:") for axis in axes | set(columns)} <= result
    source = "".join(path.read_text() for path in (ROOT / "analysis" / "filters").glob("*.py"))
    media = [key for panel in found["Pictures"] for key in panel["config"]["mediaKeys"]]
    assert len(media) == 9
    assert all(key.startswith("pictures/") and f'"{key.removeprefix("pictures/")}"' in source for key in media)


def test_variants_are_compared_by_what_the_runs_declare(library: None, server: WandbServer) -> None:
    assert main(["dashboard", SOURCE, "--metric", "calibration_error"]) == 2
    server.runs["abc"] = StoredRun("abc", "dynfilt", config={"about": {"metric": "val_loss"}})
    assert main(["dashboard", SOURCE]) == 0
    found = json.loads(server.views[-1]["spec"])["section"]
    assert panels(found)["Loss"][0]["config"]["metrics"] == ["val_loss"]
    assert {panel["config"]["yAxis"] for panel in panels(found)["Cost"]} == {"summary:val_loss"}
    (runs,) = found["runSets"]
    assert runs["sort"]["keys"][0] == {"key": {"section": "summary", "name": "val_loss"}, "ascending": True}


def test_it_is_saved_and_its_address_printed(
    library: None, server: WandbServer, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["dashboard", f"{SOURCE}/lab_3x3"]) == 0
    (view,) = server.views
    assert (view["entityName"], view["projectName"], view["type"]) == ("tester", "dynfilt", "project-view")
    assert view["displayName"] == "Variants of lab_3x3"
    assert set(panels(json.loads(view["spec"])["section"])) == {"Accuracy", "Loss", "Cost", "Pictures"}
    name = view["name"].removeprefix("nw-").removesuffix("-v")
    assert capfd.readouterr().out == f"{server.url}/tester/dynfilt?nw={name}\n"


@pytest.mark.parametrize("source", ["wandb:tester", "outputs/lab_3x3"])
def test_what_is_no_project_is_an_error(source: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", source]) == 2
    assert capfd.readouterr().err == (
        f"error: {source} is no W&B project; write wandb:entity/project or wandb:entity/project/group\n"
    )


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    for name in [name for name in sys.modules if name.startswith("wandb_workspaces")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    assert main(["dashboard", SOURCE]) == 2
    assert capfd.readouterr().err == (
        "error: the dashboard needs wandb-workspaces; install it with: pip install wandb-workspaces\n"
    )


def test_without_a_key_it_is_one_line(library: None, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", SOURCE]) == 2
    printed = capfd.readouterr()
    assert printed.out == "" and printed.err == (
        f"error: {SOURCE}: no API key for http://127.0.0.1:9; run `wandb login` or set WANDB_API_KEY\n"
    )


def test_a_server_that_refuses_is_told_in_one_line(
    library: None, server: WandbServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(WandbServer, "_UpsertView2", None)
    assert main(["dashboard", SOURCE]) == 2
    printed = capfd.readouterr()
    assert printed.out == "" and printed.err.splitlines()[-1].startswith(f"error: {SOURCE}: ")
    assert "unknown operation UpsertView2" in printed.err.splitlines()[-1]
