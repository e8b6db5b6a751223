"""Static pictures of a report: figures drawn small, and pictures that are there already."""

import base64
import html
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from dynfilt.run.identity import file_name

from ..drawing.sheets import METADATA, settle
from ..drawing.style import figure_style
from ..figures.study import Drawing, StudyFigures
from ..reading.metrics import REPORTED

# Names of the figures: the curves stand in for the interactive ones where these cannot be.
CURVES = tuple(metric.name for metric in REPORTED)
DIFFERENCES, COST, CONFUSION = "differences", "accuracy_against_cost", "confusion"
DOTS_PER_INCH = 160
LARGEST = (1200, 2400)
# Colours of the figures that follow the page's light or dark.
THEME = {"#000000": "currentColor", "#ffffff": "var(--paper)", "#e4e4e4": "var(--rule)", "#6e6e6e": "var(--soft)"}
SVG_METADATA = re.compile(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", re.DOTALL)
SIZE = re.compile(r' (?:width|height)="[^"]*pt"')
REFERENCE = re.compile(r'(\bid="|href="#|url\(#)')
# As `write_captions` writes them.
CAPTION = re.compile(r"^\*\*(.+?)\*\* (.+)$", re.MULTILINE)
NO_ID = re.compile(r"[^A-Za-z0-9]")


@dataclass(frozen=True)
class Picture:
    """A PNG file and its caption; `wide` and `narrow` are the same drawn inside a page, for a screen and a phone."""

    file: str
    caption: str
    png: bytes
    wide: str = ""
    narrow: str = ""

    @property
    def data(self) -> str:
        """The PNG as an address that holds it."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")

    @property
    def embedded_size(self) -> int:
        """Bytes that it takes in a page."""
        return len(self.wide) + len(self.narrow) or len(self.data)


def drawn(study: StudyFigures) -> dict[str, Picture]:
    """The study's figures by name, as far as there are numbers for them."""
    with figure_style():
        curves = [drawing for metric in REPORTED if (drawing := study.overlay(metric))]
        confusion = study.confusion()
        drawings = [*curves, *study.accuracies("page"), *([confusion] if confusion else [])]
        narrow = {drawing.name: drawing.figure for drawing in study.accuracies("column")}
        return {
            drawing.name: _picture(f"{file_name(study.heading)}_{drawing.name}", drawing, narrow.get(drawing.name))
            for drawing in drawings
        }


def existing(folder: str) -> Iterator[Picture]:
    """The PNG files of a folder at any depth, by path, scaled to at most 1200 dots across, in all their colours.

    A picture's caption begins with its path; the command that drew it may have written more beside it.
    Raises ValueError when it is no folder, holds none, or one that cannot be read.
    """
    paths = sorted(Path(folder).rglob("*.png"))
    if not paths:
        raise ValueError(f"no PNG files in {folder}; --pictures takes a folder with pictures, e.g. pictures/lab_3x3")
    for path in paths:
        try:
            with Image.open(path) as image:
                image.thumbnail(LARGEST)
                png = _png(_on_white(image))
        except OSError as error:
            raise ValueError(f"{path} is no picture that can be read: {error}") from error
        name = path.relative_to(folder).with_suffix("").as_posix()
        caption = captions_beside(path.parent).get(path.stem, "")
        yield Picture(f"picture_{file_name(name)}.png", f"{name}: {caption}" if caption else name, png)


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    dots = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", dots.size, "white"), dots).convert("RGB")


def captions_beside(folder: Path) -> dict[str, str]:
    """The captions in a folder's files captions*.md, by the names of the pictures."""
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.glob("captions*.md"))]
    return dict(pair for text in texts for pair in CAPTION.findall(text))


def _picture(name: str, drawing: Drawing, narrow: Figure | None) -> Picture:
    """A figure as a file, and where there is a narrow one of it, both as drawings too."""
    for figure in (drawing.figure, *([narrow] if narrow else [])):
        settle(figure)
    png = _drawn_png(drawing.figure)
    if narrow is None:
        return Picture(f"{name}.png", drawing.caption, png)
    wide = _svg(drawing.figure, name, drawing.caption)
    return Picture(f"{name}.png", drawing.caption, png, wide, _svg(narrow, f"{name}-narrow", drawing.caption))


def _drawn_png(figure: Figure) -> bytes:
    """A drawing in 256 colours, its own extremes among them: no dot differs by what anybody sees."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata=METADATA["png"])
    with Image.open(buffer) as image:
        return _png(image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE))


def _png(image: Image.Image) -> bytes:
    """The picture, at half the size by a palette where it has no more colours than one holds; each stays what it is."""
    if image.mode == "RGB" and image.getcolors(256):
        red, green, blue = np.moveaxis(np.asarray(image, np.uint32), 2, 0)
        colours, indices = np.unique(red << 16 | green << 8 | blue, return_inverse=True)
        image = Image.fromarray(indices.reshape(red.shape).astype(np.uint8), "P")
        image.putpalette(b"".join(int(colour).to_bytes(3, "big") for colour in colours))
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _svg(figure: Figure, name: str, caption: str) -> str:
    """A drawing for the inside of a page: its ids are its own, its size and ink the page's, its caption its name."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata=METADATA["svg"])
    text = SVG_METADATA.sub("", buffer.getvalue())
    text = text[text.index("<svg") :]
    text = SIZE.sub("", text, count=2)
    own = NO_ID.sub("-", name)
    text = REFERENCE.sub(lambda match: f"{match[1]}{own}-", text)
    for colour, theme in THEME.items():
        text = text.replace(colour, theme)
    label = html.escape(caption)
    return text.replace("<svg", f'<svg fill="currentColor" role="img" aria-label="{label}"', 1).strip()
