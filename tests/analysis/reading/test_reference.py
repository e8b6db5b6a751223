"""`reference:` names the runs of the repository, and nothing else."""

from pathlib import Path

import pytest

from analysis.reading import reference
from analysis.reading.sources import read_runs


def test_a_study_of_the_repository_is_a_source_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = read_runs(["reference:lab_3x3", "reference:runs_h100/label_guided/static_1x1"])
    assert {(run.source, run.study, run.devices) for run in runs if run.counts} == {
        ("reference:lab_3x3", "lab_3x3", ("x86_64 CPU",)),
        ("reference:runs_h100/label_guided/static_1x1", "label_guided", ("NVIDIA H100 80GB HBM3",)),
    }
    assert reference.studies()[:3] == ["runs/channels_small", "runs/cnn_ablation", "runs/cnn_course"]


@pytest.mark.parametrize(
    "name", ["", "lab", "report", "report/lab_3x3", "lab_3x3/../../report", "runs", "/", "runs/../runs"]
)
def test_what_is_no_study_of_it_is_one_line(name: str) -> None:
    with pytest.raises(
        ValueError, match=r"no such runs in the repository; its studies are channels_small, cnn_ablation, cnn_course"
    ):
        read_runs([f"reference:{name}"])


def test_an_installation_without_them_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "FOLDER", tmp_path / "docs")
    with pytest.raises(ValueError, match="reference:lab_3x3: this installation came without the repository's runs"):
        read_runs(["reference:lab_3x3"])
