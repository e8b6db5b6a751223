"""What Hydra reads and finds out again for every command of a process is kept from one test to the next."""

import copy
import os
from typing import Any

import pytest
from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource

WITHOUT_MODE = ("config", "tiny")  # hydra.mode is in none of their files: one run unless the words say otherwise


def remember_configs(patch: pytest.MonkeyPatch) -> None:
    """Parse a config file once, as long as it stays the same, and compose no config only to learn its mode."""
    Plugins.instance()  # finds the sources
    for scheme in ("file", "pkg"):
        _read_once(SourcesRegistry.instance().resolve(scheme), patch)
    get_mode = Hydra.get_mode

    def mode_of(hydra: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        if config_name in WITHOUT_MODE and not any("hydra.mode" in override for override in overrides):
            return None
        return get_mode(hydra, config_name, overrides)

    patch.setattr(Hydra, "get_mode", mode_of)


def _read_once(kind: type[ConfigSource], patch: pytest.MonkeyPatch) -> None:
    load_config = kind.load_config
    read: dict[tuple[str, str, int, int], ConfigResult] = {}

    def load_once(source: ConfigSource, config_path: str) -> ConfigResult:
        version = (0, 0)  # the files of a package stay what they are
        if source.scheme() == "file":
            try:
                state = os.stat(os.path.join(source.path, source._normalize_file_name(config_path)))
            except OSError:
                return load_config(source, config_path)
            version = (state.st_mtime_ns, state.st_size)
        key = (os.path.abspath(source.path), config_path, *version)
        if key not in read:
            read[key] = load_config(source, config_path)
        found = copy.copy(read[key])
        found.config, found.header, found.provider = copy.deepcopy(found.config), dict(found.header), source.provider
        return found

    patch.setattr(kind, "load_config", load_once)
