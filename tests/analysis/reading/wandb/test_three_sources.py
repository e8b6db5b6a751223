"""One study, trained for real, read from run folders, from offline W&B logs and from a W&B project: same numbers.

One run is interrupted and resumed, so that it is two logs, and one variant diverges.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.reading.run import Run
from analysis.reading.sources import read_runs
from dynfilt.tracking import mirror
from tests.conftest import TINY, Command
from tests.tiny_run import SIGNAL_AT_STEP
from tests.wandb_server import WandbServer

SOURCES = ("outputs", "bare", "wandb:tester/dynfilt/tests")
TRACKED = (*TINY, "tracking=offline", "trainer.evaluate_every_steps=5")


@pytest.fixture
def study(command: Command, server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes outputs/, copies only the W&B logs of it to bare/ and uploads those to the server."""
    with monkeypatch.context() as patch:
        patch.setenv(SIGNAL_AT_STEP, "15@8")
        assert command(*TRACKED, "optimizer.lr=0.2", "seed=1").code
    assert command(*TRACKED, "optimizer.lr=1e38").code
    assert command("-m", *TRACKED, "optimizer.lr=0.2,0.3", "seed=0,1").code == 0
    mirror.end_service()  # until then the client may still be writing
    for folder in Path("outputs").glob("*/*/*/wandb"):
        shutil.copytree(folder, "bare" / folder.relative_to("outputs"), symlinks=True)
    logs = sorted(Path("bare").rglob("*.wandb"), key=lambda path: path.parent.name)
    assert len(logs) == 6
    subprocess.run([sys.executable, "-m", "wandb", "sync", *logs], check=True, capture_output=True)
    # Predictions are in run folders alone.
    for file in Path("outputs").rglob("test_predictions.npz"):
        file.unlink()


def told(run: Run) -> dict[str, object]:
    """All of a run but where it was found."""
    names = ("study", "variant", "seed", "state", "error", "numbers", "digest", "commits", "devices", "dirty", "config")
    return {name: getattr(run, name) for name in names} | {"versions": str(run.provenance["versions"])}


@pytest.mark.slow
def test_the_three_sources_tell_the_same(study: None, capsys: pytest.CaptureFixture[str]) -> None:
    folders, logs, project = (sorted(read_runs([source]), key=lambda run: run.place) for source in SOURCES)
    project.sort(key=lambda run: (run.variant, run.seed))
    assert [run.state for run in folders] == ["completed"] * 4 + ["failed"]
    assert "FloatingPointError" in folders[-1].error
    for runs in (folders, logs, project):
        assert [run.diverged for run in runs] == [False] * 4 + [True]
        assert runs[-1].failure["message"] == folders[-1].failure["message"]
    for mine, others in ((folders, logs), (folders, project)):
        assert [told(run) for run in mine] == [told(run) for run in others]
        assert [run.evaluations() for run in mine] == [run.evaluations() for run in others]
    assert len(folders[1].evaluations()) == 3 and {type(v) for v in folders[0].evaluations()[0].values()} == {float}

    for form in ("md", "csv", "tex", "html"):
        printed = []
        for source in SOURCES:
            assert main(["table", source, "--format", form]) == 0
            printed.append(tuple(_without_places(text) for text in capsys.readouterr()))
        assert printed[0] == printed[1] == printed[2] and "FloatingPointError" in "".join(printed[0]), form
    for source in SOURCES:
        assert main(["table", source]) == 0
        assert ("W&B, which keeps no test_predictions.npz" in capsys.readouterr().out) == (source != "outputs")

    assert len(read_runs(["outputs", "outputs/tests"])) == 5  # a run folder with its own wandb/ counts once


def _without_places(text: str) -> str:
    """A printed table without the lines on its source, and without where a caveat's runs lie."""
    lines = [line for line in text.splitlines() if "Source: " not in line and "which keeps no" not in line]
    return re.sub(r" \((outputs|bare|wandb:)[^()]*\)", "", "\n".join(lines))
