"""Export a data set of torchvision as list files: python -m dynfilt.data.export_lists CLASS ROOT OUT.

CLASS is a name in torchvision.datasets whose constructor takes `train` or `split`, such as STL10, ROOT where its files
are. OUT gets an image file for each image, train.txt, test.txt, val.txt where there is such a split, and classes.txt:
what `data=image_list data.root=OUT` reads.
"""

import argparse
import inspect
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from dynfilt.data.image_list import CLASSES, SPLITS


def export(name: str, root: str, out: Path) -> dict[str, int]:
    """Write the lists and images of a data set to a new folder `out`, whole or not at all; images by split.

    Raises ValueError for a name that is no data set of torchvision with these splits, a data set that is not there, one
    whose items are no pairs of image and label, and an `out` that exists.
    """
    import torchvision

    if out.exists():
        raise ValueError(f"{out}: exists already; choose a new folder")
    build = getattr(torchvision.datasets, name, None)
    parameters = inspect.signature(build).parameters if inspect.isclass(build) else {}
    if build is None or not {"train", "split"} & parameters.keys():
        raise ValueError(f"{name}: is no class of torchvision.datasets that takes `train` or `split`")
    sets = dict(_splits(name, build, root, "train" if "train" in parameters else "split"))
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        for split, images in sets.items():
            _write_split(scratch, split, images)
        classes = getattr(sets["train"], "classes", None)
        if classes:
            (scratch / CLASSES).write_text("".join(f"{line}\n" for line in classes), encoding="utf-8")
        scratch.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return {split: len(images) for split, images in sets.items()}


def _splits(name: str, build: Any, root: str, argument: str) -> Iterable[tuple[str, Any]]:
    for split in SPLITS:
        if argument == "train" and split == "val":
            continue
        try:
            yield split, _built(build, root, argument, split)
        except (ValueError, RuntimeError, OSError) as error:
            # A split of another name is none; one that cannot be read must not be left out in silence.
            if split != "val" or not isinstance(error, ValueError):
                raise ValueError(f"{name}: its split {split} is not to be had from {root}: {error}") from error


def _built(build: Any, root: str, argument: str, split: str) -> Any:
    if argument == "train":
        return build(root, train=split == "train")
    try:
        return build(root, split=split)
    except ValueError:
        if split != "val":
            raise
        return build(root, split="valid")  # as Country211 calls it


def _write_split(folder: Path, split: str, images: Any) -> None:
    (folder / split).mkdir()
    lines = []
    for number in tqdm(range(len(images)), desc=split, unit="image", disable=None, leave=False):
        item = images[number]
        if not (isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], Image.Image)):
            raise ValueError(f"item {number} of {split} is no pair of image and label")
        file = f"{split}/{number:06}.png"
        item[0].save(folder / file)
        lines.append(f"{file} {int(item[1])}\n")
    (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8")


def main() -> int:
    """Export what the command line says; one line, and 1, for what cannot be exported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for argument in ("CLASS", "ROOT", "OUT"):
        parser.add_argument(argument)
    arguments = parser.parse_args()
    try:
        counts = export(arguments.CLASS, arguments.ROOT, Path(arguments.OUT))
    except ValueError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    print(f"{arguments.OUT}: " + ", ".join(f"{count:,} images of {split}" for split, count in counts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
