"""A sweep as the command line names it: by its name, as `-cn` does, or by its file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from dynfilt.config.files import primary_folders
from dynfilt.installation import SWEEPS

SELF = "_self_"  # where a file's own keys stand among its defaults


def sweep_file(words: str, option: str) -> Path:
    """The file of a sweep; raises ValueError where the words of the option are neither a file nor a declared sweep."""
    file, declared = Path(words), SWEEPS / f"{words}.yaml"
    if file.is_file():
        return file
    if declared.is_file():
        return declared
    names = ", ".join(sorted(path.stem for path in SWEEPS.glob("*.yaml")))
    raise ValueError(f"{option} {words}: is no file and no declared sweep; the sweeps are: {names}")


def read_sweep(words: str, option: str) -> Any:
    """The content of a sweep's file, whatever it is; raises ValueError as `sweep_file`, and where it is no YAML."""
    file = sweep_file(words, option)
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{option} {words}: cannot be read as YAML ({type(error).__name__})") from error


def study_and_about(words: str, option: str) -> Any:
    """`study` and `about` of a sweep, merged as Hydra does with those of the sweeps that its defaults name, which lie
    beside it or are ours; raises ValueError as `read_sweep`."""
    return _merged(sweep_file(words, option), option, ())


def _merged(file: Path, option: str, above: tuple[Path, ...]) -> Any:
    content = read_sweep(str(file), option)
    if not isinstance(content, Mapping) or file in above:
        return {}
    own = {key: content[key] for key in ("study", "about") if key in content}
    defaults = content.get("defaults")
    named = [entry for entry in defaults if isinstance(entry, str)] if isinstance(defaults, list) else []
    merged: dict[str, Any] = {}
    for entry in named if SELF in named else [*named, SELF]:
        places = [folder / f"{entry}.yaml" for folder in (file.parent, *primary_folders())]
        base = next(filter(Path.is_file, places), None)
        merged = _over(merged, own if entry == SELF else _merged(base, option, (*above, file)) if base else {})
    return merged


def _over(below: Any, above: Any) -> Any:
    """Nested keys of `above` over those of `below`; anything else of it replaces what lies below."""
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)):
        return above
    return {**below, **{key: _over(below.get(key), value) for key, value in above.items()}}
