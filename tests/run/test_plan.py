"""mode=plan: the jobs of a command, their state and the time left."""

import json
import shutil
from pathlib import Path

import yaml

from dynfilt.run.folder import RunState
from dynfilt.run.plan import PlannedRun, epochs_of, format_plan
from dynfilt.run.record import RunRecord
from tests.conftest import TINY, Command
from tests.run_folders import contents, read_rows


def test_a_plan_runs_and_creates_nothing(command: Command, finished_copy: Path, tmp_path: Path) -> None:
    (finished_copy.with_name("seed1")).mkdir()
    (finished_copy.with_name("seed1") / "status.json").write_text('{"state": "failed"}')
    for number in (2, 3):
        shutil.copytree(finished_copy, finished_copy.with_name(f"seed{number}"))
        folder = finished_copy.with_name(f"seed{number}")
        (folder / "result.json").unlink()
        (folder / "status.json").write_text('{"state": "running"}')
        rows = (folder / "metrics.jsonl").read_text().splitlines()[:2]
        (folder / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    before = contents(tmp_path)
    with RunRecord(finished_copy.with_name("seed3"), yaml.safe_load((finished_copy / "config.yaml").read_text())):
        outcome = command(*TINY, "-m", "mode=plan", "seed=0,1,2,3,4")
    before["outputs/tests/tiny/seed3/lock"] = contents(tmp_path)["outputs/tests/tiny/seed3/lock"]
    assert contents(tmp_path) == before
    assert outcome.code == 0, outcome.err
    states = {line.split()[0]: line.split()[1] for line in outcome.lines[1:-1] if line.startswith("tiny/")}
    assert states == {
        "tiny/seed0": "completed",
        "tiny/seed1": "failed",
        "tiny/seed2": "interrupted",
        "tiny/seed3": "running",
        "tiny/seed4": "to" if "to do" in outcome.out else "",
    }
    assert "1.53333/3" in outcome.out
    assert outcome.lines[-1].startswith("1 of 5 done; time left 0 min ")


def test_the_time_left_is_judged_by_the_epochs_that_were_timed(command: Command, finished_copy: Path) -> None:
    rows = read_rows(finished_copy)
    rows[-1]["seconds"] = 3 * 600.0
    (finished_copy / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome = command(*TINY, "-m", "mode=plan", "seed=0,1,2")
    assert [line.split("  ")[-1].strip() for line in outcome.lines[1:4]] == ["0 min 00 s", "30 min 00 s", "30 min 00 s"]
    assert outcome.lines[-1] == "1 of 3 done; time left 1 h 00 min"


def test_a_cap_on_steps_leaves_fewer_epochs() -> None:
    row = {"epoch": 0.5, "step": 30}
    assert epochs_of({"epochs": 20, "max_steps": 120}, row) == 2
    assert epochs_of({"epochs": 20, "max_steps": 10_000}, row) == 20
    assert epochs_of({"epochs": 20, "max_steps": 120}, {}) == 20
    assert epochs_of({"epochs": 20, "max_steps": None}, row) == 20


def test_no_time_left_is_claimed_for_runs_that_were_never_timed() -> None:
    done, timed = (
        PlannedRun("a/seed0", RunState.COMPLETED, 2, 2, 0.0),
        PlannedRun("a/seed1", RunState.TO_DO, 0, 2, 60.0),
    )
    unknown = PlannedRun("b/seed0", RunState.TO_DO, 0, 2, None)
    lines = {
        format_plan(runs).splitlines()[-1] for runs in ([done, unknown], [done, timed, unknown], [done, timed], [done])
    }
    never = "not known of variants that were never timed (1 of these runs)"
    assert lines == {
        f"1 of 2 done; time left {never}",
        f"1 of 3 done; time left 1 min 00 s; {never}",
        "1 of 2 done; time left 1 min 00 s",
        "1 of 1 done; time left 0 min 00 s",
    }
