"""The mode of tracking: what the user forces, what the environment asks for, and what the config offers."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

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
    monkeypatch.setenv("WANDB_MODE", "offline")
    train(mirror_in(tmp_path))
    assert_mirrored(read_offline(tmp_path))
    told = capfd.readouterr().out.splitlines()
    assert told[0] == "tracking: off (WANDB_MODE=disabled)"
    assert told[1].startswith("tracking: offline (WANDB_MODE=offline)")
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
    files = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "conf/tracking").glob("*.yaml")}
    assert set(files) == set(mirror.MODES)
    for name, content in files.items():
        assert content.pop("_target_") == "dynfilt.tracking.mirror.Tracking"
        assert Tracking(**content) == Tracking(name, "dynfilt", None)
