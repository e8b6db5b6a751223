"""Export a data set of torchvision as list files: python -m dynfilt.data.export_lists CLASS ROOT OUT [KEY=VALUE ...].

CLASS is a name in torchvision.datasets, such as STL10, ROOT where its files are, KEY=VALUE what else its constructor is
to be given, such as split=letters of EMNIST. OUT gets an image file for each image, train.txt, test.txt, val.txt where
there is such a split, and classes.txt: what `data=image_list data.root=OUT` reads. Of a data set without splits every
fifth image of each class, in its order, is a test image.
"""

import argparse
import inspect
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from dynfilt.data.image_list import CLASSES, SPLITS

WHOLE, TEST_EVERY = "images", 5  # of a data set without splits


def export(name: str, root: str, out: Path, given: Mapping[str, str] | None = None) -> dict[str, int]:
    """Write the lists and images of a data set to a new folder `out`, whole or not at all; images by split.

    `given` goes to the constructor. Raises ValueError for a name that is no data set of torchvision, a data set that is
    not there or lacks the splits train and test, one whose items are no pairs of image and label, and an `out` that
    exists.
    """
    import torchvision

    if out.exists():
        raise ValueError(f"{out}: exists already; choose a new folder")
    build = getattr(torchvision.datasets, name, None)
    if not inspect.isclass(build) or not hasattr(build, "__getitem__"):
        raise ValueError(f"{name}: is no data set of torchvision.datasets; e.g. STL10, EuroSAT")
    sets = dict(_splits(name, partial(build, **(given or {})), root, _splitting_argument(build, given or {})))
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        written = Counter[str]()
        for split, images in sets.items():
            written.update(_write_images(scratch, split, images))
        classes = getattr(next(iter(sets.values())), "classes", None)
        if classes:
            (scratch / CLASSES).write_text("".join(f"{line}\n" for line in classes), encoding="utf-8")
        scratch.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return dict(written)


def _splitting_argument(build: Any, given: Mapping[str, str]) -> str | None:
    """The argument that says which split to give: `train`, `split` or none."""
    parameters = inspect.signature(build).parameters
    if "train" in parameters or "split" in given:  # EMNIST's split is a kind of its images, and train goes on to MNIST
        return "train"
    return "split" if "split" in parameters else None


def _splits(name: str, build: Any, root: str, argument: str | None) -> Iterable[tuple[str, Any]]:
    if argument is None:
        try:
            whole = build(root)
            len(whole)  # FakeData, which takes no root, has none
            yield WHOLE, whole
        except (ValueError, RuntimeError, OSError, TypeError) as error:
            raise ValueError(f"{name}: is not to be had from {root}: {error}") from error
        return
    for split in SPLITS:
        if argument == "train" and split == "val":
            continue
        try:
            yield split, _built(build, root, argument, split)
        except (ValueError, RuntimeError, OSError, TypeError) as error:
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


def _write_images(folder: Path, split: str, images: Any) -> dict[str, int]:
    """Write a split, or the whole as two; images by split."""
    (folder / split).mkdir()
    lists: dict[str, list[str]] = {"train": [], "test": []} if split == WHOLE else {split: []}
    of_class = Counter[int]()
    for number in tqdm(range(len(images)), desc=split, unit="image", disable=None, leave=False):
        item = images[number]
        if not (isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], Image.Image)):
            raise ValueError(f"item {number} of {split} is no pair of image and label")
        label, file = int(item[1]), f"{split}/{number:06}.png"
        item[0].save(folder / file)
        of_class[label] += 1
        is_test = of_class[label] % TEST_EVERY == 0
        lists[("test" if is_test else "train") if split == WHOLE else split].append(f"{file} {label}\n")
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("".join(lines), encoding="utf-8")
    return {name: len(lines) for name, lines in lists.items()}


def main() -> int:
    """Export what the command line says; one line, and 1, for what cannot be exported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for argument in ("CLASS", "ROOT", "OUT"):
        parser.add_argument(argument)
    parser.add_argument("given", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    if wrong := [word for word in arguments.given if "=" not in word]:
        parser.error(f"{wrong[0]!r} is no KEY=VALUE")
    given = dict(word.split("=", 1) for word in arguments.given)
    try:
        counts = export(arguments.CLASS, arguments.ROOT, Path(arguments.OUT), given)
    except ValueError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    print(f"{arguments.OUT}: " + ", ".join(f"{count:,} images of {split}" for split, count in counts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
