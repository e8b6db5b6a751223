"""One clear line for whatever can go wrong between a command line and a run."""

from __future__ import annotations

import difflib
import errno
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from dynfilt.config.checks import MODES
from dynfilt.config.files import PRIMARY, base_of, file_of, group_files, group_folders, in_words, primary_folders
from dynfilt.installation import CONF
from dynfilt.wording import one_line, printable

LONGEST_LINE = 1200


def explain(error: BaseException) -> str:
    """The error as one line that names the key, the file and what is allowed.

    Errors of Hydra and OmegaConf are recognised by their text, which says what the user wrote.
    """
    return printable(_explained(error))


def _explained(error: BaseException) -> str:
    text = _full_text(error)
    for pattern, explanation in _EXPLANATIONS:
        if match := re.search(pattern, text, re.DOTALL):
            return explanation(match)
    if isinstance(error, OSError) and error.errno is not None:
        return _of_the_disk(error)
    line = one_line(error, LONGEST_LINE)
    return line if isinstance(error, (ValueError, FloatingPointError)) else f"{type(error).__name__}: {line}"


def _of_the_disk(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.strerror}: free some where output_root is; the same command goes on from the last checkpoint"
    return f"{error.filename or 'a file'}: {error.strerror}" if error.strerror else str(error)


def _full_text(error: BaseException) -> str:
    """The message with those of its causes: Hydra wraps what OmegaConf says about a key."""
    cause = f"\n{_full_text(error.__cause__)}" if error.__cause__ is not None else ""
    override = getattr(error, "override", None)  # what Hydra's parser stumbled over; its text may not say it
    unread = f"Error parsing override '{override}'\n" if override is not None else ""
    return f"{unread}{str(error).strip()}{cause}"


def _unknown_key(match: re.Match[str]) -> str:
    key = match["key"].lstrip("+~")
    group, _, rest = key.partition(".")
    if not rest:
        return _unknown_nested_group(key) if "/" in key else _unknown_top_level(key)
    file = _group_file(group)
    *inside, _ = rest.split(".")
    config = PRIMARY
    if file is None and isinstance(_keys(config).get(group), dict):
        file, inside = config, [group, *inside]
    if file is None:
        return _unknown_top_level(group)
    if inside and (nested := _group_file(f"{group}/{inside[0]}")):
        file, inside = nested, inside[1:]
    allowed = _keys(file)
    for number, part in enumerate(inside):
        allowed = allowed.get(part) or {}
        if not isinstance(allowed, dict):
            return f"{key}: no such key; {'.'.join([group, *inside[: number + 1]])} is a value, {allowed}"
    if allowed == {} and file == config:
        return _of_another_choice(key) or f"{key}: is not there yet; put a + before it, +{key}=..."
    names = [name for name in allowed if not name.startswith("_")]
    allowed_here = f"allows: {', '.join(names)}" if names else "has no keys to set"
    return f"{key}: no such key{_did_you_mean(rest.split('.')[-1], names)}; {in_words(file)} {allowed_here}"


def _of_another_choice(key: str) -> str:
    """That other choices of one of Hydra's own groups have a key, or one like it; empty where none has."""
    group, _, name = key.replace(".", "/").rpartition("/")
    names = {path.stem: _keys(path) for path in group_files(group)}
    having = [f"{group}={choice}" for choice, keys in names.items() if name in keys]
    if having:
        return f"{key}: the chosen {group} has no such key; these have: {', '.join(having)}"
    close = _did_you_mean(name, sorted({each for keys in names.values() for each in keys}))
    return f"{key}: no such key{close}" if close else ""


def _unknown_top_level(key: str) -> str:
    names = [name for name in _keys(PRIMARY) if name != "hydra"] + _groups()
    return f"{key}: no such key or group{_did_you_mean(key, names)}; conf/config.yaml allows: {', '.join(names)}"


def _unknown_nested_group(key: str) -> str:
    group, _, nested = key.rpartition("/")
    having = [path.stem for path in group_files(group) if nested in _nested_groups(path)]
    if not having:
        return _unknown_top_level(key)
    file = _group_file(group)
    chosen = f"{group}={file.stem} has no group {nested}" if file else f"there is no group {key}"
    return f"{key}: {chosen}; these have: {', '.join(having)}"


def _unknown_choice(match: re.Match[str]) -> str:
    group, choice = match["group"], match["choice"]
    names = match["options"].split()
    return f"{group}={choice}: no such file in conf/{group}/{_did_you_mean(choice, names)}; allowed: {', '.join(names)}"


def _unknown_primary(match: re.Match[str]) -> str:
    found = _sweeps()
    allowed = "; ".join(f"{folder}/ has: {', '.join(names) or 'none'}" for folder, names in found.items())
    known, stem = [name for names in found.values() for name in names], Path(match["name"]).stem
    close = f" (did you mean {stem}?)" if stem in known else _did_you_mean(match["name"], known)
    return f"-cn {match['name']}: no such sweep{close}; {allowed}"


def _sweeps() -> dict[str, list[str]]:
    """The names that -cn takes, by folder."""
    return {in_words(folder): sorted(path.stem for path in folder.glob("*.yaml")) for folder in primary_folders()}


def _wrong_type(match: re.Match[str]) -> str:
    wanted = _ARTICLES.get(match["type"], match["type"])
    return f"{match['key']}={match['value']}: must be {wanted}; set in conf/config.yaml"


def _null(match: re.Match[str]) -> str:
    return f"{match['key']}=null: must have a value; set in conf/config.yaml"


def _no_group(match: re.Match[str]) -> str:
    return f"a group is null: choose one of its files instead; groups: {', '.join(_groups())}"


def _missing(match: re.Match[str]) -> str:
    key = match["key"]
    names = [path.stem for path in group_files(key)]
    return f"{key}: is missing; " + (f"conf/{key}/ has: {', '.join(names)}" if names else "give it a value")


def _other_shape(match: re.Match[str]) -> str:
    key, _, value = match["override"].lstrip("+").partition("=")
    default: Any = _keys(PRIMARY)
    for part in key.split("."):
        default = default.get(part) if isinstance(default, dict) else None
    wanted = "a mapping, {KEY: VALUE}" if isinstance(default, dict) else "a list, [VALUE, ...]"
    return f"{key}={value}: must be {wanted}; set in conf/config.yaml"


def _no_reference(match: re.Match[str]) -> str:
    return f"{match['key']}: refers to {match['reference']}, which is no key here"


def _no_variable(match: re.Match[str]) -> str:
    name = match["name"]
    return f"{match['key']}: the environment variable {name} is not set; ${{oc.env:{name},VALUE}} has a default"


def _no_resolver(match: re.Match[str]) -> str:
    return f"{match['key']}: there is no ${{{match['name']}:...}}; ${{KEY}} and ${{oc.env:NAME}} are understood"


def _not_a_text(match: re.Match[str]) -> str:
    return f"{match['key']}={match['value']}: must be a text, not a {match['type']}; set in conf/config.yaml"


def _already_there(match: re.Match[str]) -> str:
    return f"+{match['key']}: this key is there already; leave out the +"


def _several_values(match: re.Match[str]) -> str:
    return f"{match['override']}: several values; add -m to run each of them, or write KEY=[...] for a list"


def _no_folder(match: re.Match[str]) -> str:
    return f"-cd: there is no folder {match['folder']}; declared ablations such as -cn lab_3x3 need no -cd"


def _bad_override(match: re.Match[str]) -> str:
    override = match["override"]
    stem, hint = Path(override).stem, ""
    if any(stem in names for names in _sweeps().values()):
        hint = f"; a sweep is -cn {stem}"
    elif override in MODES:
        hint = f"; a mode is mode={override}"
    elif "=" not in override or override.endswith(","):  # words that blanks have torn from each other
        hint = "; no blanks around = and ,"
    return f"cannot read the override {override}; write KEY=VALUE or GROUP=CHOICE, quote special characters{hint}"


_ARTICLES = {
    "Integer": "a whole number",
    "Boolean": "true or false",
    "bool": "true or false",
    "Float": "a number",
    "String": "a text",
}
_EXPLANATIONS = (
    (
        r"Could not find '(?P<group>[^']+)/(?P<choice>[^'/]*)'.*Available options in '[^']*':(?P<options>(\n\t\S+)*)",
        _unknown_choice,
    ),
    (r"Key '[^']*' (?:is )?not in .*full_key: (?P<key>\S+)", _unknown_key),
    (r"Could not override '(?P<key>[^']*)'", _unknown_key),
    (r"Could not delete from config\. '(?P<key>[^']*)' does not exist", _unknown_key),
    (r"An item is already at '(?P<key>[^']*)'", _already_there),
    (r"Ambiguous value for argument '(?P<override>[^']*)'", _several_values),
    (r"Additional config directory '(?P<folder>[^']*)' not found", _no_folder),
    (r"Cannot find primary config '(?P<name>[^']*)'", _unknown_primary),
    (
        r"Value '(?P<value>[^']*)'(?: of type '[^']*')? (?:could not be converted to|is not a valid) "
        r"(?P<type>\w+).*full_key: (?P<key>\S+)",
        _wrong_type,
    ),
    (r"Config group override must be a string or a list", _no_group),
    (r"Missing mandatory value: .*full_key: (?P<key>\S+)", _missing),
    (r"field '[^']*' is not Optional\s+full_key: (?P<key>\S+)", _null),
    (r"Cannot convert '(?P<type>\w+)' to string: '(?P<value>[^\n]*)'\s+full_key: (?P<key>\S+)", _not_a_text),
    (r"Error parsing override '(?P<override>[^\n]*)'", _bad_override),
    (r"Interpolation key '(?P<reference>[^']*)' not found\s+full_key: (?P<key>\S+)", _no_reference),
    (r"Recursive interpolation detected\s+full_key: (?P<key>\S+)", lambda match: f"{match['key']}: refers to itself"),
    (r"Environment variable '(?P<name>[^']*)' not found.*full_key: (?P<key>\S+)", _no_variable),
    (r"Unsupported interpolation type (?P<name>\S+)\s+full_key: (?P<key>\S+)", _no_resolver),
    (
        r"^Error in call to target '[^']*':\nValueError\((?P<quote>['\"])(?P<line>.*)(?P=quote)\)",
        lambda match: match["line"],
    ),
    (
        r"(?P<operation>\S+) does not have a deterministic implementation",
        lambda match: (
            f"trainer.deterministic=true: {match['operation']} has no deterministic implementation in torch; "
            "choose trainer.deterministic=false or a model without it"
        ),
    ),
    (r"Primary config module '[^']*' not found", lambda match: "-cp: is not for use; -cd FOLDER adds your own configs"),
    (r"^Error merging override (?P<override>[^\n]*)", _other_shape),
)


def _group_file(group: str) -> Path | None:
    """The file that a group's keys come from on this command line."""
    if not group_folders(group):
        return None
    words = (word for word in sys.argv if not word.startswith("run="))  # that folder's name tells another run's choices
    for text in (" ".join(words), *_primary_texts()):
        for choice in re.findall(rf"\b{group}[=:]\s*([\w.]+)", text):
            if file := file_of(group, choice):
                return file
    outer, _, nested = group.rpartition("/")
    by_default = _nested_groups(_group_file(outer)).get(nested) if outer else None
    return file_of(group, by_default) if by_default else None


def _nested_groups(file: Path | None) -> dict[str, str]:
    """The groups that a group's file holds by its defaults, with their choices."""
    if file is None:
        return {}
    found: dict[str, str] = {}
    for entry in (yaml.safe_load(file.read_text()) or {}).get("defaults", []):
        found |= entry if isinstance(entry, dict) else _nested_groups(base_of(file, entry))
    return found


def _primary_texts() -> list[str]:
    named = [folder / f"{argument}.yaml" for argument in sys.argv for folder in primary_folders()]
    return [path.read_text() for path in (*named, PRIMARY) if path.exists()]


def _keys(file: Path) -> dict:
    """The keys of a group's file with those of the files that it builds on."""
    content = yaml.safe_load(file.read_text()) or {}
    merged: dict = {}
    for entry in content.pop("defaults", []):
        if isinstance(entry, str) and (base := base_of(file, entry)):
            merged = _keys(base)
    for key, value in content.items():
        nested = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **value} if nested else value
    return merged


def _groups() -> list[str]:
    return sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name != "hydra")


def _did_you_mean(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, [other for other in names if other != name], n=1)
    return f" (did you mean {close[0]}?)" if close else ""
