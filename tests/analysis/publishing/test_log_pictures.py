"""Pictures on the W&B run of a trained run: they arrive, and every number, setting and state stays what it was."""

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from analysis.__main__ import main
from analysis.publishing.log_pictures import log_pictures
from analysis.reading.run import Run
from analysis.reading.sources import read_runs
from analysis.reading.wandb.log_records import TransactionLog, history_rows
from analysis.reading.wandb.offline import read_log
from dynfilt.tracking import mirror
from tests.conftest import TINY, Command
from tests.wandb_logs import exit_record, log_folder, run_record, write_log
from tests.wandb_server import WandbServer

pytestmark = pytest.mark.slow

FOLDER = Path("outputs/tests/tiny/seed0")
PROJECT = "wandb:tester/dynfilt"
CAPTION = "tiny, seed 0, best weights"


@pytest.fixture
def drawn() -> list[Path]:
    """Two small PNGs, red and blue."""
    pictures = [Path("kernels.png"), Path("kernels-differences.png")]
    for path, colour in zip(pictures, ("red", "blue"), strict=True):
        Image.new("RGB", (6, 4), colour).save(path)
    return pictures


@pytest.fixture
def train(command: Command) -> Callable[[str], None]:
    """train("offline") makes the tiny run with that tracking."""

    def call(mode: str) -> None:
        assert command(*TINY, f"tracking={mode}").code == 0

    return call


def told(source: str) -> dict[str, object]:
    """All that analysis learns of the only run of a source, but where it was found."""
    (run,) = read_runs([source])
    names = set(Run.__dataclass_fields__) - {"source", "place", "logged"}
    return {**{name: getattr(run, name) for name in names}, "curves": run.evaluations()}


def bare() -> str:
    """A folder that holds nothing but the W&B logs."""
    mirror.end_service()  # until then the client may still be writing
    shutil.rmtree("bare", ignore_errors=True)
    shutil.copytree(FOLDER / "wandb", "bare/wandb", symlinks=True)
    return "bare"


def logs() -> list[Path]:
    return sorted(FOLDER.rglob("*.wandb"), key=lambda path: path.parent.name.removeprefix("offline-"))


def test_an_offline_run_gets_a_further_log_and_stays_what_it_was(
    train: Callable, drawn: list[Path], server: WandbServer, capfd: pytest.CaptureFixture[str]
) -> None:
    train("offline")
    before = told(bare())
    assert before["state"] == "completed" and len(before["curves"]) == 4
    capfd.readouterr()
    log_pictures(FOLDER, drawn, CAPTION)
    said = capfd.readouterr()
    assert said.out == "" and said.err.startswith("tracking: offline; upload later with: wandb sync ")
    assert not server.operations, "its own log waits for its upload, so nothing may come before it"
    assert len(logs()) == 2 and told(bare()) == before

    (row,) = history_rows(TransactionLog(str(logs()[1])))
    assert row["epoch"] == 3 and row["pictures/kernels.caption"] == CAPTION
    kept = logs()[1].parent / "files" / row["pictures/kernels-differences.path"]
    assert kept.read_bytes() == Path("kernels-differences.png").read_bytes()

    assert main(["sync", "outputs"]) == 0
    assert told(PROJECT) == before
    (stored,) = server.runs.values()
    assert stored.starts == 2 and stored.exit_code == 0
    assert server.files[f"{stored.name}/{stored.summary['pictures/kernels']['path']}"] == drawn[0].read_bytes()


def test_a_run_that_is_on_the_server_gets_them_there(
    train: Callable, drawn: list[Path], server: WandbServer, capfd: pytest.CaptureFixture[str]
) -> None:
    train("online")
    before = told(PROJECT)
    assert before["state"] == "completed"
    (stored,) = server.runs.values()
    keys = set(stored.summary)
    log_pictures(FOLDER, drawn, CAPTION)
    assert "tracking: online at " in capfd.readouterr().err
    assert set(stored.summary) - keys == {"pictures/kernels", "pictures/kernels-differences"}
    assert stored.history[-1]["pictures/kernels"]["caption"] == CAPTION and stored.history[-1]["epoch"] == 3
    sent = {path: content for path, content in server.files.items() if path.endswith(".png")}
    assert sorted(sent.values()) == sorted(path.read_bytes() for path in drawn)
    server.runs[stored.name].heard += 1
    assert told(PROJECT) == before == told(bare())


def test_without_a_server_they_wait_beside_a_run_that_was_online(
    train: Callable, drawn: list[Path], server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("online")
    before = told(PROJECT)
    mirror.end_service()  # it remembers its server
    with monkeypatch.context() as patch:
        patch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        log_pictures(FOLDER, drawn, CAPTION)
    assert [log.parent.name.startswith("offline-") for log in logs()] == [False, True]
    mirror.end_service()
    assert main(["sync", "outputs"]) == 0
    assert told(PROJECT) == before
    (stored,) = server.runs.values()
    assert "pictures/kernels" in stored.summary and stored.starts == 2


def test_a_failure_of_wandb_is_an_error_and_the_next_attempt_repairs_it(
    train: Callable, drawn: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    train("offline")
    before = told(bare())
    with monkeypatch.context() as patch:
        patch.setattr("wandb.Run.log", lambda *arguments: 1 / 0)
        with pytest.raises(ValueError, match="W&B did not take the pictures, as said above"):
            log_pictures(FOLDER, drawn, CAPTION)
    log_pictures(FOLDER, drawn, CAPTION)
    assert told(bare()) == before


def test_the_config_of_an_older_run_gains_no_keys(finished_copy: Path, drawn: list[Path]) -> None:
    write_log(log_folder(FOLDER / "wandb", "abc"), [run_record("abc", {}), exit_record(0)])
    config = yaml.safe_load((FOLDER / "config.yaml").read_text())
    del config["trainer"]["formulation"]
    (FOLDER / "config.yaml").write_text(yaml.safe_dump(config))
    log_pictures(FOLDER, drawn, CAPTION)
    (written,) = (read_log(str(log)) for log in logs() if "20260101" not in str(log))
    assert written.config["trainer"] == config["trainer"]


@pytest.mark.parametrize(
    ("absent", "message"),
    [
        ("result.json", "has no result.json; --wandb adds pictures to finished runs"),
        ("wandb", "has no wandb/ with a run to add pictures to; it was trained with tracking=off"),
    ],
)
def test_a_run_that_cannot_take_pictures_is_refused(
    finished_copy: Path, drawn: list[Path], absent: str, message: str
) -> None:
    write_log(log_folder(FOLDER / "wandb", "abc"), [run_record("abc", {}), exit_record(0)])
    (FOLDER / absent).rename("elsewhere")
    with pytest.raises(ValueError, match=message):
        log_pictures(FOLDER, drawn, CAPTION)


def test_a_run_in_use_is_left_alone(finished_copy: Path, drawn: list[Path]) -> None:
    write_log(log_folder(FOLDER / "wandb", "abc"), [run_record("abc", {}), exit_record(0)])
    with open(FOLDER / "lock", "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="in use by another process"):
            log_pictures(FOLDER, drawn, CAPTION)
    assert len(logs()) == 1
