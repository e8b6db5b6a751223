"""What the Markdown files promise: links that resolve, commands that exist, one version everywhere."""

import contextlib
import io
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from analysis.__main__ import main as run_analysis
from dynfilt.config.compose import register_schema

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
NOT_OURS = {"outputs", "data", "wandb", "build", "dist", "multirun"}
FENCE = re.compile(r"^( *)(```+|~~~+) *([\w-]*)[^\n]*\n(.*?)^\1\2 *$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(\s*(<[^>]*>|[^\s)]+)[^)]*\)|^\[[^\]]+\]:\s*(\S+)|(?:src|href)=\"([^\"]+)\"", re.MULTILINE)
CONF = f"hydra.searchpath=[file://{ROOT / 'conf'}]"
FLAGS_WITH_VALUE = {"-cd": "folder", "--config-dir": "folder", "-cn": "name", "--config-name": "name"}


def documents() -> list[Path]:
    found = []
    for path in sorted(ROOT.rglob("*.md")):
        inside = path.relative_to(ROOT).parts
        if inside[0] not in NOT_OURS and not any(part.startswith(".") for part in inside):
            found.append(path)
    return found


def prose(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "``", FENCE.sub("", text))


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of a file's headings."""
    headings = re.findall(r"^#{1,6} +(.+?) *#* *$", FENCE.sub("", text), re.MULTILINE)
    words = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in words}


def has_anchor(path: Path, anchor: str) -> bool:
    return not anchor or path.suffix != ".md" or anchor in anchors(path.read_text(encoding="utf-8"))


def broken_links(document: Path) -> Iterator[str]:
    for groups in LINK.findall(prose(document.read_text(encoding="utf-8"))):
        target = unquote("".join(groups).strip("<>"))
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        if not path.exists() or not has_anchor(path, anchor):
            yield target


def bash_commands(text: str) -> list[list[str]]:
    """The words of each command in the ```bash blocks, comments and leading VAR=value settings left out."""
    commands = []
    for _, _, language, body in FENCE.findall(text):
        if language not in {"bash", "sh"}:
            continue
        for line in body.replace("\\\n", " ").splitlines():
            for part in re.split(r"\s(?:&&|\|\||\||;|>)\s", line):
                words = shlex.split(part, comments=True)
                while words and re.fullmatch(r"[A-Z_][A-Z0-9_]*=.*", words[0]):
                    words.pop(0)
                if words:
                    commands.append(words)
    return commands


def check_run(words: list[str]) -> None:
    """Composes what `python run.py ...` names, each value of a sweep by itself."""
    named, overrides, words = {"name": "config"}, [], list(words)
    while words:
        word = words.pop(0)
        if word in FLAGS_WITH_VALUE:
            named[FLAGS_WITH_VALUE[word]] = words.pop(0)
        elif not word.startswith("-"):
            overrides.append(word)
    folder = ROOT / named.get("folder", "conf" if named["name"] == "config" else "sweeps")
    assert folder.is_dir(), f"no folder {folder}"
    parsed = OverridesParser.create().parse_overrides(overrides)
    fixed = [override.input_line or "" for override in parsed if not override.is_sweep_override()]
    swept = [
        f"{override.get_key_element()}={value}"
        for override in parsed
        if override.is_sweep_override()
        for value in override.sweep_string_iterator()
    ]
    for added in [[], *([word] for word in swept)]:
        composes(folder, named["name"], *fixed, *added)


@cache
def composes(folder: Path, name: str, *overrides: str) -> None:
    register_schema()
    with initialize_config_dir(str(folder), version_base="1.3"):
        compose(name, [CONF, *overrides])


@cache
def analysis_help(command: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            code: object = run_analysis([command, "--help"])
        except SystemExit as end:
            code = end.code
    assert code == 0, f"no command python -m analysis {command}"
    return printed.getvalue()


def check_analysis(words: list[str]) -> None:
    command, *rest = words or ["--help"]
    for word in rest:
        if word.startswith("-"):
            assert re.search(rf"(?<![\w-]){re.escape(word.partition('=')[0])}\b", analysis_help(command)), word
    analysis_help(command)


def check_make(words: list[str]) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    asked = {word for word in words if "=" not in word and not word.startswith("-")}
    assert asked <= targets, f"no target {asked - targets}"


def check(words: list[str]) -> None:
    """Fails for a command that names a file, module, config choice or target which does not exist."""
    match words:
        case ["python" | ".venv/bin/python", "run.py", "status", *_] | ["dynfilt", "status", *_]:
            pass
        case ["python" | ".venv/bin/python", "run.py", *rest] | ["dynfilt", "run" | "plan", *rest]:
            check_run(rest)
        case ["python" | ".venv/bin/python", "-m", "analysis", *rest] | ["dynfilt", *rest]:
            check_analysis(rest)
        case ["python" | ".venv/bin/python", "-m", module, *_] if module.split(".")[0] in {
            "dynfilt",
            "benchmarks",
        }:
            place = ROOT / module.replace(".", "/")
            assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file(), f"no module {module}"
        case ["make", *rest]:
            check_make(rest)
        case ["python" | "bash" | "sh", script, *_] if not script.startswith("-"):
            assert (ROOT / script).is_file(), f"no file {script}"
        case [script, *_] if script.startswith("./"):
            assert (ROOT / script).is_file(), f"no file {script}"


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_resolve(document: Path) -> None:
    assert not list(broken_links(document))


@pytest.mark.slow
@pytest.mark.parametrize("document", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_name_things_that_exist(document: Path) -> None:
    for words in bash_commands(document.read_text(encoding="utf-8")):
        try:
            check(words)
        except Exception as error:
            pytest.fail(f"{shlex.join(words)}: {error}")


def test_the_readme_shows_each_entry_point() -> None:
    heads = {tuple(words[:3]) for words in bash_commands(README.read_text(encoding="utf-8"))}
    assert {("make", "demo"), ("make", "test")} <= {head[:2] for head in heads}
    assert ("python", "run.py") in {head[:2] for head in heads}
    assert ("python", "-m", "analysis") in heads


@pytest.mark.parametrize("house", ["dynfilt", "analysis"])
def test_the_readme_names_each_room(house: str) -> None:
    tree = README.read_text(encoding="utf-8").partition(f"\n{house}/")[2].partition("\n```")[0]
    named = re.findall(r"^  (\w+)/ ", re.split(r"\n\S", tree)[0], re.MULTILINE)
    assert sorted(named) == sorted(path.parent.name for path in (ROOT / house).glob("*/__init__.py"))


@pytest.mark.parametrize(
    "group", ["model", "model/conv", "data", "optimizer", "schedule", "temperature", "trainer", "tracking"]
)
def test_the_readme_names_each_choice_of_a_group(group: str) -> None:
    text = README.read_text(encoding="utf-8")
    assert not [path.stem for path in (ROOT / "conf" / group).glob("*.yaml") if f"`{path.stem}`" not in text]


@pytest.mark.parametrize(
    "command",
    [
        "python run.py model=no_such_model",
        "python run.py -m seed=0,1 model=static_3x3,no_such_model",
        "python run.py trainer.epocs=3",
        "python run.py -cd sweeps -cn no_such_sweep",
        "python run.py -cd no_such_folder -cn demo",
        "dynfilt run -cn no_such_sweep",
        "dynfilt no_such_command outputs",
        "python -m analysis no_such_command outputs",
        "python -m analysis table outputs --no-such-flag",
        "python -m dynfilt.no_such_module",
        "make no_such_target",
        "bash no_such_script.sh",
    ],
)
def test_a_wrong_command_is_noticed(command: str) -> None:
    (words,) = bash_commands(f"```bash\n{command}  # a comment\n```\n")
    with pytest.raises(Exception, match=r"no_such|epocs|no-such"):
        check(words)


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(
        "# A `code` heading\n[x](gone.md) [y](#a-code-heading) [z](#lost) ![p](gone.png)\n```\n[q](no)\n```\n"
    )
    assert list(broken_links(document)) == ["gone.md", "#lost", "gone.png"]


def test_the_version_is_the_same_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == version
    newest = re.search(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest and version in newest[1]
