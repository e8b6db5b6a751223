"""Pictures of a report: small files, and drawings that take the page's colours and nobody else's ids."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.comparing.comparison import compare
from analysis.drawing.sheets import write_captions
from analysis.figures.study import StudyFigures
from analysis.reading.sources import read_runs
from analysis.report.contents import FIGURES
from analysis.report.embedded import Picture, drawn, existing
from tests.analysis.figures.looks import looks

WriteRun = Callable[..., Path]


def pictures() -> dict[str, Picture]:
    ((heading, rows),) = compare(read_runs(["outputs"]), None).groups.items()
    return drawn(StudyFigures(heading, rows, looks(row.label for row in rows), FIGURES))


@pytest.mark.slow
def test_a_study_has_its_figures(study: WriteRun) -> None:
    found = pictures()
    assert {picture.file for picture in found.values()} == {
        f"lab_3x3_{name}.png" for name in ("accuracy", "loss", "differences", "accuracy_against_cost")
    }
    for picture in found.values():
        with Image.open(io.BytesIO(picture.png)) as image:
            assert image.width >= 1000 and len(picture.png) < 100_000
    assert {name for name, picture in found.items() if picture.wide} == {"differences", "accuracy_against_cost"}


@pytest.mark.slow
def test_drawings_are_themed_and_keep_to_themselves(study: WriteRun) -> None:
    found = pictures()
    drawings = [svg for picture in found.values() for svg in (picture.wide, picture.narrow) if svg]
    ids = [re.findall(r'\bid="([^"]+)"', svg) for svg in drawings]
    assert len(drawings) == 4 and len({each for some in ids for each in some}) == sum(len(set(some)) for some in ids)
    for svg, own in zip(drawings, ids, strict=True):
        assert svg.startswith("<svg") and svg.endswith("</svg>")
        assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg)) <= {(each, "") for each in own} | {
            ("", each) for each in own
        }
        assert not re.search(r'#000000|#ffffff|width="\d+(\.\d+)?pt"|<metadata|<style|<!--', svg)
        assert re.match(r'<svg [^>]*role="img" aria-label="lab_3x3: test accuracy', svg)
        assert "currentColor" in svg and "var(--rule)" in svg
        assert set(re.findall(r"https?://[^/\"]+", svg)) == {"http://www.w3.org"}


def test_pictures_that_are_there_are_taken_along_and_made_smaller(tmp_path: Path) -> None:
    folder = tmp_path / "static,a=1" / "seed0"
    folder.mkdir(parents=True)
    Image.effect_noise((3000, 300), 40).save(folder / "kernels.png")
    (picture,) = existing(str(tmp_path))
    assert (picture.file, picture.caption) == ("picture_static%2Ca=1%2Fseed0%2Fkernels.png", "static,a=1/seed0/kernels")
    with Image.open(io.BytesIO(picture.png)) as image:
        assert image.size == (1200, 120)


@pytest.mark.parametrize(("number", "mode"), [(256, "P"), (257, "RGB")])
def test_pictures_that_are_there_keep_every_colour_and_their_captions(number: int, mode: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).permutation(64 * 64) % number
    colours = np.stack([255 - pixels % 256, pixels // 256, pixels % 7], axis=1).astype(np.uint8).reshape(64, 64, 3)
    Image.fromarray(colours).save(tmp_path / "map.png")
    write_captions(tmp_path / "captions-kernels.md", "Kernels", {"map": "All *colours*.\nAnd more."}, ["**no** note"])
    (picture,) = existing(str(tmp_path))
    assert picture.caption == "map: All *colours*. And more."
    with Image.open(io.BytesIO(picture.png)) as image:
        assert image.mode == mode
        assert np.array_equal(np.asarray(image.convert("RGB")), colours)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_dots_that_show_what_is_behind_them_lie_on_white(mode: str, tmp_path: Path) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (60, 60, 60, 255))
    (image.quantize(2) if mode == "P" else image.convert(mode)).save(tmp_path / "map.png")
    (picture,) = existing(str(tmp_path))
    with Image.open(io.BytesIO(picture.png)) as drawn_image:
        dots = drawn_image.convert("RGB")
        assert [dots.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (60, 60, 60)]


def test_a_folder_without_pictures_and_one_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no PNG files in .*--pictures takes a folder"):
        list(existing(str(tmp_path)))
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    with pytest.raises(ValueError, match=r"torn\.png is no picture"):
        list(existing(str(tmp_path)))
