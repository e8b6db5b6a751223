"""What is found below a folder: run folders, W&B logs outside of them, and nothing twice."""

from pathlib import Path

import pytest

from analysis.reading.find_runs import find_logs, find_runs

LOG = "offline-run-20260101_000000-abc"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def touch(*paths: str) -> None:
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text("")


def test_the_wandb_folder_of_a_run_folder_is_not_a_second_run() -> None:
    touch("out/s/v/seed0/result.json", f"out/s/v/seed0/wandb/{LOG}/run-abc.wandb")
    found = find_runs("out")
    assert (found.run_folders, found.logs) == (["out/s/v/seed0"], [])
    assert find_logs("out") == [f"out/s/v/seed0/wandb/{LOG}/run-abc.wandb"]


@pytest.mark.parametrize("source", ["out", "out/s/v/seed0", "out/s/v/seed0/wandb", f"out/s/v/seed0/wandb/{LOG}"])
def test_a_log_without_a_run_folder_is_found_from_anywhere_above(source: str) -> None:
    online = LOG.removeprefix("offline-").replace("abc", "xyz")
    touch(f"out/s/v/seed0/wandb/{LOG}/run-abc.wandb", f"out/s/v/seed0/wandb/{online}/run-xyz.wandb")
    touch(f"out/s/v/seed0/wandb/{LOG}/files/media/result.json", f"out/s/v/seed0/wandb/{LOG}/files/x.wandb")
    Path("out/s/v/seed0/wandb/latest-run").symlink_to(LOG)
    assert find_runs(source).run_folders == []
    both = [f"out/s/v/seed0/wandb/{name}" for name in (f"{LOG}/run-abc.wandb", f"{online}/run-xyz.wandb")]
    assert find_runs(source).logs == (both if LOG not in source else both[:1])


def test_logs_that_were_gathered_elsewhere_are_found_too() -> None:
    touch(f"gathered/{LOG}/run-abc.wandb", f"gathered/.hidden/{LOG}/run-abc.wandb", "gathered/other/run-abc.wandb")
    assert find_runs("gathered").logs == [f"gathered/{LOG}/run-abc.wandb"]


def test_a_folder_that_happens_to_be_called_wandb_is_searched() -> None:
    touch("wandb/outputs/s/v/seed0/status.json")
    assert find_runs("wandb").run_folders == ["wandb/outputs/s/v/seed0"]
    assert not find_runs("wandb/outputs/s").logs


def test_nothing_is_found_in_an_empty_folder() -> None:
    Path("empty").mkdir()
    with pytest.raises(ValueError, match=r"no runs found in empty: .*, and for W&B logs"):
        find_runs("empty")
    assert find_logs("empty") == []
    with pytest.raises(ValueError, match=r"nowhere is not a folder; .* or wandb:entity/project"):
        find_runs("nowhere")
