"""A half-broken results folder: a table of what is sound, a list of what is not, and one word that mends it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.__main__ import main as analysis
from analysis.drawing import style
from analysis.frames import curves_frame, predictions_frame
from analysis.reading.sources import read_runs
from dynfilt import cost, experiment
from dynfilt.config.compose import Job
from dynfilt.run.folder import RunState
from tests.half_broken import DAMAGE, half_broken, made_a_folder, truncated


@pytest.fixture
def jobs(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(style.FIGURE_STYLE, "savefig.dpi", 100)  # pixels take most of a figure's time
    for name, value in (("count_flops", 0), ("measure_latency_ms", 1.0)):
        monkeypatch.setattr(cost, name, lambda *_, value=value: value)
    monkeypatch.setattr(experiment, "collect_provenance", lambda device: {})
    return half_broken(tmp_path, finished_run)


@pytest.mark.slow
def test_one_command_tells_what_is_sound_and_what_is_not_and_another_mends_it(
    jobs: list[Job], capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(jobs) == 30 and len(DAMAGE) == 10
    assert analysis(["table", "outputs"]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"Study tests: 20 runs ", out)
    lines = [line for line in out.splitlines() if line.startswith("- not counted: ")]
    assert len(lines) + sum(int(more) for more in re.findall(r" and (\d+) more\)$", out, re.MULTILINE)) == 10
    assert "Traceback" not in err
    for words in (
        "damaged: test_accuracy in result.json is 0.95, but test_predictions.npz says 0.45",
        "damaged: test_accuracy in result.json is 45.0, not a fraction",
        "damaged: result.json holds no JSON object",
        "damaged: result.json cannot be read: Is a directory",
        "interrupted: config.yaml: not the config of a run (more than 10,000 values)",
        "interrupted: status.json is not valid JSON",
    ):
        assert any(words in line for line in lines), words
    for job in jobs:
        experiment.run(job)
    assert {(run.state, run.counts) for run in read_runs(["outputs"])} == {(RunState.COMPLETED, True)}
    assert len({run.number("test_accuracy") for run in read_runs(["outputs"])}) <= 2  # of the seed, or of the copy


COMMANDS: dict[str, Callable[[Path], list[str]]] = {
    "runs": lambda out: [],
    "curves": lambda out: [],
    "figures": lambda out: ["--out", str(out)],
    "report": lambda out: ["--out", str(out)],
}


@pytest.mark.slow
def test_every_command_goes_on_beside_broken_runs(
    jobs: list[Job], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = [Path(run.place) for run in read_runs(["outputs"]) if run.counts]
    made_a_folder(sound[0] / "metrics.jsonl")
    truncated(sound[1] / "test_predictions.npz")
    with pytest.warns(UserWarning, match=rf"{sound[0]}: .*metrics.jsonl cannot be read.*; left out"):
        assert curves_frame("outputs")["seed"].nunique() == 10
    with pytest.warns(UserWarning, match=rf"{sound[1]}: .*test_predictions.npz cannot be read.*; left out"):
        assert len(predictions_frame("outputs")) == 19 * 20
    for command, options in COMMANDS.items():
        assert analysis([command, "outputs", *options(tmp_path / command)]) == 0, capsys.readouterr().err
    assert "Traceback" not in capsys.readouterr().err
