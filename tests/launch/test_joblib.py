"""Hydra's joblib launcher, whose jobs run in processes that share nothing with the command."""

from pathlib import Path

import pytest

from tests.conftest import TINY, Command
from tests.run_folders import read_status

pytest.importorskip("hydra_plugins.hydra_joblib_launcher")

JOBLIB = (*TINY, "-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "model=faulty", "model.faults='1:raise'")


@pytest.mark.slow
def test_failures_exit_code_and_plan_are_right(command: Command, tmp_path: Path) -> None:
    outcome = command(*JOBLIB, "seed=0,1,-1")
    assert outcome.code == 1, outcome.err
    first, broken, bad = outcome.err.splitlines()[-3:]
    assert first == "2 jobs failed:"
    assert "seed=1" in broken and broken.endswith(": RuntimeError: this layer is broken")
    assert bad.endswith(" seed=-1: seed=-1: must be a whole number from 0 to 9007199254740991")
    runs = {path.name: read_status(path)["state"] for path in (tmp_path / "outputs" / "tests").glob("*/seed*")}
    assert runs == {"seed0": "completed", "seed1": "failed"}
    plan = command(*JOBLIB, "seed=0,1,2", "mode=plan")
    assert (plan.code, plan.err) == (0, "")
    assert [line.split()[1:3] for line in plan.lines[1:4]] == [["completed", "3/3"], ["failed", "0.8/3"], ["to", "do"]]
    assert plan.lines[-1].startswith("1 of 3 done; time left ")
