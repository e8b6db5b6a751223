"""What Hydra reads and finds out again for every command of a process is kept from one test to the next."""

import copy
import os
from typing import Any

import pytest
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.hydra import Hydra
from hydra.plugins.config_source import ConfigResult

WITHOUT_MODE = ("config", "tiny")  # hydra.mode is in none of their files: one run unless the words say otherwise

_load_config, _get_mode = FileConfigSource.load_config, Hydra.get_mode
_read: dict[tuple[str, int, int], ConfigResult] = {}


def remember_configs(patch: pytest.MonkeyPatch) -> None:
    """Parse a file of configs once, as long as it stays the same, and compose no config only to learn its mode."""
    patch.setattr(FileConfigSource, "load_config", _load_config_once)
    patch.setattr(Hydra, "get_mode", _mode_without_composing)


def _load_config_once(source: FileConfigSource, config_path: str) -> ConfigResult:
    path = os.path.join(source.path, source._normalize_file_name(config_path))
    try:
        state = os.stat(path)
    except OSError:
        return _load_config(source, config_path)
    key = (os.path.abspath(path), state.st_mtime_ns, state.st_size)
    if key not in _read:
        _read[key] = _load_config(source, config_path)
    found = copy.copy(_read[key])
    found.config, found.header = copy.deepcopy(found.config), dict(found.header)
    found.path, found.provider = f"{source.scheme()}://{source.path}", source.provider
    return found


def _mode_without_composing(hydra: Hydra, config_name: str | None, overrides: list[str]) -> Any:
    if config_name in WITHOUT_MODE and not any("hydra.mode" in override for override in overrides):
        return None
    return _get_mode(hydra, config_name, overrides)
