"""The mode of tracking: what the user forces, what the environment asks for, and what the config offers."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dynfilt.config.compose import compose
from dynfilt.tracking import mirror
from dynfilt.tracking.mirror import Tracking
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
