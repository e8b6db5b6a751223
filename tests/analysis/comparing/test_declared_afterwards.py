"""A sweep file that declares for runs that are there already."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.comparing.caveats import caveats
from analysis.comparing.claims import INTERIM
from analysis.comparing.comparison import compare
from analysis.comparing.declaration import NoDeclaration, _declaration, read_declaration
from dynfilt.installation import SWEEPS
from tests.analysis.comparing.declared_runs import study
from tests.conftest import ROOT


def test_a_sweep_file_may_declare_for_runs_that_did_not(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("study: lab\nabout:\n  baseline: up\n  looks: [3, 5]\n  margin: 1\n")
    comparison = compare(study(4, None), None, about=str(path))
    assert comparison.declared["lab"].looks == (3, 5) and comparison.variants[0].label == "up"
    assert {claim.verdict for claim in comparison.claims} == {INTERIM}
    assert f"claims and looks are those of {path}, applied afterwards: these runs did not record them" in caveats(
        comparison
    )


def test_of_a_sweep_file_the_runs_that_did_not_record_its_claims_are_named(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("study: lab\nabout:\n  baseline: up\n  looks: [3, 5]\n  margin: 1\n")

    def told(*abouts: Any) -> list[str]:
        made = [replace(run, config={"about": abouts[run.seed]}) for run in study(len(abouts), None)]
        lines = caveats(compare(made, None, about=str(path)))
        return [line.partition("applied afterwards: ")[2] for line in lines if "applied afterwards" in line]

    same = {"baseline": "up", "looks": [3, 5], "margin": 1.0, "question": "Why?"}
    each = "all 4 rows ({0})"
    assert told(same, same, same) == []
    assert told(None, {}, same) == [f"{each.format('seeds 0, 1')} did not record them"]
    for other in ({"looks": [3, 9]}, {"margin": 2}, {"margin": None}, {"ratio": 0.9}, {"looks": [9, 3]}):
        both = f"{each.format('seed 1')} did not record them; {each.format('seed 2')} recorded others"
        assert told(same, None, same | other) == [both]


def test_a_sweep_file_declares_what_it_inherits_too(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "first.yaml").write_text(
        "defaults: [second, _self_]\nstudy: first\nabout: {looks: [4], controls: {side: up}}\n"
    )
    (own / "second.yaml").write_text("defaults: [lab_3x3, _self_]\nabout: {margin: 2, controls: {side: down}}\n")
    found = read_declaration(str(own / "first.yaml"), ["first"])["first"]
    ours = read_declaration(str(ROOT / "sweeps" / "lab_3x3.yaml"), ["lab_3x3"])["lab_3x3"]  # a sweep of the project
    assert (found.baseline, found.question, found.looks, found.margin) == (ours.baseline, ours.question, (4,), 0.02)
    assert found.controls == {**ours.controls, "side": ("up",)}
    (own / "second.yaml").write_text("defaults: [first]\nabout: {margin: 2}\n")  # a circle ends
    assert read_declaration(str(own / "first.yaml"), ["first"])["first"].margin == 0.02
    bare = own / "bare.yaml"
    bare.write_text("defaults: [lab]\nstudy: bare\n")
    with pytest.raises(NoDeclaration, match="no sweep file with a block"):
        read_declaration(str(bare), ["bare"])


INHERITING = [
    path for path in sorted((ROOT / "sweeps").rglob("*.yaml")) if "defaults:\n  - config\n" not in path.read_text()
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [path for path in INHERITING if "study:" in path.read_text()], ids=lambda path: path.stem
)
def test_a_sweep_that_builds_on_another_is_read_as_its_runs_record_it(path: Path, compose: Any) -> None:
    job = compose("-cd", str(path.parent), "-cn", path.stem, "seed=0", "mode=plan")[0]
    declared = read_declaration(str(path), [job.config["study"]])[job.config["study"]]
    assert replace(declared, origin="") == _declaration(job.config["about"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("study: lab\n", "is no sweep file with a block `about:`"),
        (
            "study: lab\nabout: {looks: [3], lokos: 3}\n",
            "a block `about:`; its keys may be question",
        ),
        ("study: other\nabout: {looks: [3]}\n", "is of the study other; the sources hold lab"),
        ("study: lab\nabout: {looks: [5, 3]}\n", r"about.looks=\[5, 3\]: must be rising"),
        ("study: lab\nabout: {margin: 0}\n", "about.margin=0: must be more than 0"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_a_sweep_file_that_declares_nothing_usable_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_declaration(str(path), ["lab"])
    with pytest.raises(ValueError, match="is no file and no declared sweep; the sweeps are: channels_photographs, "):
        read_declaration(str(tmp_path / "absent.yaml"), ["lab"])


def test_a_declared_sweep_may_be_given_by_its_name_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_file = read_declaration(str(SWEEPS / "lab_3x3.yaml"), ["lab_3x3"])["lab_3x3"]
    monkeypatch.chdir(tmp_path)
    by_name = read_declaration("lab_3x3", ["lab_3x3"])["lab_3x3"]
    assert by_name.looks == (3, 5, 10) and by_name == replace(by_file, origin="lab_3x3")
