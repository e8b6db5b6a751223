"""Plain pictures in list files, and the data that is read from them."""

from pathlib import Path
from typing import Any

from PIL import Image

from dynfilt.data.bundle import ImageData
from dynfilt.data.image_list import image_list

SIZE = 6
Lists = dict[str, str]
SOUND: Lists = {
    "train.txt": "pics/a cat.png 0\npics/b.png 1\r\n\npics/c.png\t1\n",
    "val.txt": "pics/d.png 0\n",
    "test.txt": "pics/e.png 1\n./pics/f.png 0\n",
}


def colour(number: int) -> tuple[int, int, int]:
    return (10 + number, 100 + number, 200 - number)


def write(root: Path, lists: Lists) -> Path:
    """Plain pictures a cat, b, c, d, e, f and the given lists."""
    (root / "pics").mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(("a cat", "b", "c", "d", "e", "f")):
        Image.new("RGB", (9, 5 + number), colour(number)).save(root / "pics" / f"{name}.png")
    for name, text in lists.items():
        (root / name).write_bytes(text.encode())
    return root


def load(folder: Path, **changes: Any) -> ImageData:
    own: dict[str, Any] = {"root": str(folder), "name": "tiny", "image_size": SIZE, "fit": "stretch"}
    own |= {"cache": None, "denoise": 0, "min_max": False}
    common = {"num_classes": 2, "validation_size": 0, "split_seed": 0, "flip": False, "pad": 0}
    return image_list(**{**own, **common, "mean": [0.5] * 3, "std": [0.5] * 3, **changes})


def colours(split: Any) -> list[tuple[int, ...]]:
    return [tuple(pixels) for pixels in split.images[:, :, 2, 3].tolist()]
