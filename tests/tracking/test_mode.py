"""The mode of tracking: what the user forces, what the environment asks for, and what the config offers."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dynfilt.config.compose import compose
from dynfilt.tracking import mirror
from dynfilt.tracking.mirror import Tracking, open_mirror
from tests.conftest import ROOT
from tests.tracking.mirrored import assert_mirrored, mirror_in, read_offline, train
from tests.wandb_server import API_KEY, WandbServer


@pytest.mark.parametrize(("key", "complaint"), [("", "no API key"), ("k", "40"), (API_KEY, "no answer from")])
def test_forced_online_without_key_or_server_is_an_error(
    key: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", key)
    with pytest.raises(ValueError, match=rf"(?s)^tracking=online fails \(.*{complaint}.*auto or offline$"):
        mirror_in(tmp_path, "online")
    assert not list(tmp_path.glob("wandb/*"))


def test_auto_obeys_the_environment(
    tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    train(mirror_in(tmp_path))
    assert not (tmp_path / "wandb").exists()
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_DISABLED", "true")
    train(mirror_in(tmp_path))
    assert not (tmp_path / "wandb").exists()
    monkeypatch.delenv("WANDB_DISABLED")
    monkeypatch.setenv("WANDB_MODE", "offline")
    train(mirror_in(tmp_path))
    assert_mirrored(read_offline(tmp_path))
    told = capfd.readouterr().out.splitlines()
    assert told[0] == "tracking: off (WANDB_MODE=disabled)"
    assert told[1] == "tracking: off (WANDB_DISABLED=true)"
    assert told[2].startswith("tracking: offline (WANDB_MODE=offline)")
    assert not server.runs


@pytest.mark.parametrize(
    ("name", "value"), [("WANDB_SILENT", "maybe"), ("WANDB_BASE_URL", "api.wandb.ai"), ("WANDB_INIT_TIMEOUT", "x")]
)
def test_what_the_client_does_not_take_ends_no_training(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv(name, value)
    train(mirror_in(tmp_path))
    assert "tracking: off, W&B does not start" in capfd.readouterr().out


@pytest.mark.parametrize("wish", ["disabled", "online"])
def test_a_forced_mode_beats_the_environment(
    wish: str, tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", wish)
    train(mirror_in(tmp_path, "offline"))
    assert_mirrored(read_offline(tmp_path))
    assert not server.runs


def test_off_does_not_import_wandb(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom dynfilt.tracking.mirror import Tracking, open_mirror\n"
        f"with open_mirror(Tracking('off', 'dynfilt', None), folder=Path({str(tmp_path)!r}), run_id='abc',\n"
        "        study='s', variant='v', seed=0, config={}) as mirror:\n"
        "    mirror.log({'epoch': 1.0})\n    mirror.finish({'test_accuracy': 1.0})\n"
        "assert 'wandb' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("mode", "hint"), [("onlin", "offline, off$"), (False, "write 'off' with quotes")])
def test_a_wrong_mode_names_the_right_ones(mode: Any, hint: str) -> None:
    with pytest.raises(ValueError, match=f"tracking.mode={mode!r} is not one of auto, online, .*{hint}"):
        Tracking(mode, "dynfilt", None)


def test_every_mode_is_a_choice_of_the_config() -> None:
    assert {path.stem for path in (ROOT / "conf/tracking").glob("*.yaml")} == set(mirror.MODES)
    for name in mirror.MODES:
        content = compose([f"tracking={name}"])["tracking"]
        assert content.pop("_target_") == "dynfilt.tracking.mirror.Tracking"
        assert Tracking(**content) == Tracking(name, "dynfilt", None)


def test_project_and_entity_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "my-thesis")
    monkeypatch.setenv("WANDB_ENTITY", "lab")
    assert compose([])["tracking"]["project"] == "my-thesis"
    tracking = compose(["tracking.project=chosen"])["tracking"]
    assert (tracking["project"], tracking["entity"]) == ("chosen", "lab")


@pytest.mark.slow
@pytest.mark.parametrize(("wish", "where"), [("disabled", "off"), ("offline", "offline")])
def test_auto_obeys_what_the_wandb_command_left_in_the_folder(
    wish: str, where: str, tmp_path: Path, server: WandbServer
) -> None:
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "settings").write_text(f"[default]\nmode = {wish}\n")
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\nfrom tests.tracking.mirrored import mirror_in, train\n"
        "train(mirror_in(Path('run')))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"tracking: {where} (`wandb {wish}` in this folder)")
    assert not server.runs


def test_a_run_that_was_deleted_on_the_server_begins_anew_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def start(identity: dict[str, Any]) -> SimpleNamespace:
        asked.append(identity["id"])
        if len(asked) == 1:
            raise ConnectionError("run abc was previously created and deleted; try a new run name")
        return SimpleNamespace(id=identity["id"], dir=str(tmp_path / "wandb" / "run-1" / "files"), url="there")

    monkeypatch.setattr(mirror, "_start_online", start)
    run = mirror_in(tmp_path)
    assert asked == ["abc", run.run_id] and run.run_id != "abc"
    assert "its run was deleted on the server; a new one begins there" in capsys.readouterr().out


def test_the_client_notes_no_secret_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[list[str]] = []

    def start(**_: Any) -> None:
        noted.append(list(sys.argv))
        raise ConnectionError

    monkeypatch.setenv("MY_API_KEY", "0123456789abcdef")
    monkeypatch.setattr(sys, "argv", typed := ["run.py", "study=x0123456789abcdef"])
    monkeypatch.setattr("wandb.init", start)
    with pytest.raises(ConnectionError):
        mirror._init({})
    assert noted == [["run.py", "study=x$MY_API_KEY"]] and sys.argv is typed


def test_names_fit_what_the_server_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(mirror, "_start_online", lambda identity: asked.append(identity) or refuse())
    monkeypatch.setattr(mirror, "_open_offline", lambda identity, folder, reason: mirror.Mirror(None, folder))

    def refuse() -> None:
        raise ConnectionError("no")

    for variant in ("v" * 64, "v" * 65, "v" * 119 + "a", "v" * 119 + "b"):
        open_mirror(
            Tracking("auto", "dynfilt", None),
            folder=tmp_path, run_id="i", study="s" * 300, variant=variant, seed=7, config={},
        )  # fmt: skip
    assert [len(each["job_type"]) for each in asked] == [64] * 4
    assert all(len(each["group"]) == 128 and len(each["name"]) <= 128 for each in asked)
    assert asked[0]["job_type"] == "v" * 64
    assert len({each["job_type"] for each in asked}) == len({each["name"] for each in asked}) == 4
