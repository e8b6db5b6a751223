"""Photographs of every kind in lists and folders: their pixels, the cache, and one line for whatever is wrong."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dynfilt.data.image_cache import Fit, Preparation, decode
from tests.conftest import Command
from tests.data.photographs import SIZE, SOUND, Lists, colour, colours, load, write


def pixels_of(path: Path, size: int, fit: Fit) -> np.ndarray:
    return decode(path, Preparation(size, fit, denoise=0, min_max=False))


def test_the_lists_are_the_splits(tmp_path: Path) -> None:
    data = load(write(tmp_path, SOUND))
    assert data.image_shape == (3, SIZE, SIZE) and data.class_names == ("0", "1")
    assert colours(data.train) == [colour(0), colour(1), colour(2)] and data.train.labels.tolist() == [0, 1, 1]
    assert colours(data.val) == [colour(3)] and data.val.labels.tolist() == [0]
    assert colours(data.test) == [colour(4), colour(5)] and data.test.labels.tolist() == [1, 0]


def test_an_image_of_two_splits_is_a_warning(tmp_path: Path) -> None:
    lists = {**SOUND, "test.txt": "pics/e.png 1\n./pics/b.png 0\npics/d.png 0\n"}
    with pytest.warns(UserWarning, match=r"test\.txt, line 2: pics/b\.png is in train\.txt too; likewise 1 more"):
        load(write(tmp_path, lists))


def test_an_image_by_another_name_is_the_same_image(tmp_path: Path) -> None:
    write(tmp_path, SOUND)
    (tmp_path / "pics" / "link.png").symlink_to(tmp_path / "pics" / "b.png")
    (tmp_path / "test.txt").write_text("pics/e.png 1\npics/link.png 0\n")
    with pytest.warns(UserWarning, match=r"test\.txt, line 2: pics/link\.png is in train\.txt too$"):
        load(tmp_path)
    (tmp_path / "test.txt").write_text("pics/e.png 1\npics/f.png 0\npics/e.png 0\n")
    expected = r"test\.txt, line 3: pics/e\.png is listed already, at .*test\.txt, line 1$"
    with pytest.warns(UserWarning, match=expected):
        load(tmp_path)


def test_the_names_of_classes_are_text(tmp_path: Path) -> None:
    write(tmp_path, SOUND)
    (tmp_path / "classes.txt").write_bytes("\ufeffcat\ndog\n".encode())
    assert load(tmp_path).class_names == ("cat", "dog")
    (tmp_path / "classes.txt").write_bytes("k\u00e4tzchen\ndog\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"classes\.txt: is not UTF-8 text"):
        load(tmp_path)


def test_links_are_followed_once_and_hidden_folders_left_alone(tmp_path: Path) -> None:
    for name in (
        "train/cat/1.png",
        "elsewhere/2.png",
        "train/cat/.ipynb_checkpoints/3.png",
        "train/.ipynb_checkpoints/3.png",
        "test/.ipynb_checkpoints/3.png",
        "train/dog/4.png",
        "test/dog/5.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (SIZE, SIZE), colour(int(name[-5]))).save(tmp_path / name)
    (tmp_path / "train" / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "train" / "cat")
    data = load(tmp_path, validation_size=1)
    assert data.class_names == ("cat", "dog") and len(data.test) == 1
    assert sorted([*colours(data.train), *colours(data.val)]) == [colour(1), colour(2), colour(4)]


def test_folders_of_classes_are_splits_too(tmp_path: Path) -> None:
    for number, name in enumerate(("train/dog/x y.jpg", "train/cat/1.PNG", "train/cat/deep/2.png", "test/dog/1.png")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (SIZE, SIZE), colour(number)).save(tmp_path / name, quality=100)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    data = load(tmp_path, validation_size=1)
    assert data.class_names == ("cat", "dog")
    assert (len(data.train), len(data.val), data.test.labels.tolist()) == (2, 1, [1])
    (tmp_path / "test" / "cow").mkdir()
    with pytest.raises(ValueError, match=r"test/cow: is no class of the training images"):
        load(tmp_path, validation_size=1)


def test_every_mode_becomes_the_colours_that_it_shows(tmp_path: Path) -> None:
    grey = np.full((4, 4), 90, np.uint8)
    clear = np.dstack([np.full((4, 4), 7, np.uint8)] * 3 + [np.array([[0, 255]] * 4, np.uint8).repeat(2, 1)])
    red = Image.new("RGB", (4, 4), (255, 0, 0))
    pictures: dict[str, Image.Image] = {
        "grey.jpg": Image.fromarray(grey),
        "bits16.png": Image.fromarray(grey.astype(np.uint16) * 257),
        "bits16.tif": Image.fromarray(grey.astype(np.uint16) * 257),
        "cmyk.jpg": red.convert("CMYK"),
        "palette.gif": red.convert("P", palette=Image.Palette.ADAPTIVE),
        "clear.png": Image.fromarray(clear),
        "bit.png": Image.new("1", (4, 4), 1),
    }
    for name, picture in pictures.items():
        picture.save(tmp_path / name)
    seen = {name: pixels_of(tmp_path / name, 4, "stretch").astype(int) for name in pictures}
    for name in ("grey.jpg", "bits16.png", "bits16.tif"):
        assert np.abs(seen[name] - 90).max() <= 1, name
    for name in ("cmyk.jpg", "palette.gif"):
        assert np.abs(seen[name] - np.array([255, 0, 0])[:, None, None]).max() <= 2, name
    assert (seen["clear.png"] == np.array([255, 255, 7, 7])).all() and (seen["bit.png"] == 255).all()


def test_a_photograph_taken_sideways_stands_upright(tmp_path: Path) -> None:
    pixels = np.arange(0, 240, 10, np.uint8).reshape(4, 6)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera's right side was up: turn clockwise by 90 degrees
    Image.fromarray(pixels).save(tmp_path / "x.png", exif=exif)
    upright = Image.fromarray(np.rot90(pixels, -1)).resize((5, 5), Image.Resampling.BILINEAR)
    assert (pixels_of(tmp_path / "x.png", 5, "stretch") == np.asarray(upright)).all()


def test_crop_keeps_the_proportions_and_the_middle(tmp_path: Path) -> None:
    pixels = np.repeat(np.array([0, 50, 100, 150, 200, 250], np.uint8), 4).reshape(6, 4).T  # six columns
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert pixels_of(tmp_path / "x.png", 4, "crop")[0, 0].tolist() == [50, 100, 150, 200]
    assert pixels_of(tmp_path / "x.png", 6, "stretch")[0, 0].tolist() == [0, 50, 100, 150, 200, 250]


BAD_LINES: dict[str, tuple[Callable[[Lists], Lists], str]] = {
    "negative": (
        lambda s: {**s, "train.txt": "pics/b.png 0\npics/c.png -1\n"},
        "train.txt, line 2: the label '-1'",
    ),
    "no label": (
        lambda s: {**s, "val.txt": "pics/d.png\n"},
        "val.txt, line 1: 'pics/d.png' must be a path",
    ),
    "no number": (
        lambda s: {**s, "val.txt": "pics/a cat.png\n"},
        "val.txt, line 1: the label 'cat.png'",
    ),
    "out of range": (
        lambda s: {**s, "test.txt": "pics/b.png 1\n\npics/d.png 2\n"},
        "test.txt, line 3: the label 2 is out of range: ",
    ),
    "huge": (lambda s: {**s, "train.txt": f"pics/b.png 0\npics/c.png {10**12}\n"}, "train.txt, line 2: the label 1000"),
    "thousands of digits": (
        lambda s: {**s, "train.txt": f"pics/b.png 0\npics/c.png {'1' + '0' * 4999}\n"},
        f"train.txt, line 2: the label 1{'0' * 39}... has 5000 digits, of at most 40",
    ),
    "a NUL byte": (
        lambda s: {**s, "val.txt": "pics/\0.png 0\n"},
        "val.txt, line 1: the path 'pics/\\x00.png' holds a N",
    ),
    "of classes.txt": (lambda s: {**s, "classes.txt": "cat\n"}, "classes.txt names 1 classes"),
    "empty class": (lambda s: {**s, "classes.txt": "cat\ndog\ncow\n"}, "train.txt: no training image of the class cow"),
    "empty": (lambda s: {**s, "val.txt": "\n"}, "val.txt: lists no image"),
    "outside": (lambda s: {**s, "train.txt": "a/../../b.png 0\n"}, "train.txt, line 1: a/../../b.png lies outside"),
    "absolute": (lambda s: {**s, "train.txt": "/b.png 0\n"}, "train.txt, line 1: /b.png lies outside"),
    "missing": (
        lambda s: {**s, "val.txt": "no.png 0\npics/d.png 0\nno2.png 1\n"},
        "no.png is missing; likewise 1 more images",
    ),
    "no test": (lambda s: {"train.txt": s["train.txt"]}, "has no test.txt or folder test"),
    "nothing": (lambda s: {}, "has neither train.txt nor a folder train"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_what_is_wrong_with_a_list_is_one_line_that_names_it(case: str, tmp_path: Path) -> None:
    change, message = BAD_LINES[case]
    with pytest.raises(ValueError) as error:
        load(write(tmp_path, change(SOUND)))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_one_damaged_image_among_many_is_named_and_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    write(tmp_path, SOUND)
    whole = (tmp_path / "pics" / "b.png").read_bytes()
    (tmp_path / "pics" / "bad.png").write_bytes(whole[: len(whole) // 2])
    lines = ["pics/b.png 0"] * 400
    lines[297] = "pics/bad.png 1"
    (tmp_path / "train.txt").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"train\.txt, line 298: bad\.png cannot be read \(") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / ".image_cache").iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"root": None}, "data.root: must be the folder"),
        ({"name": ""}, "data.name: must not be empty"),
        ({"image_size": 0}, "data.image_size=0"),
        ({"fit": "pad"}, "data.fit='pad': choose one of stretch, crop"),
        ({"denoise": -1}, "data.denoise=-1: must be 0 (none) or a strength"),
        ({"validation_size": 1}, "data.validation_size must be 0, got 1"),
        ({"num_classes": 3}, "data.num_classes must be 2 for image_list, got 3"),
    ],
)
def test_a_wrong_setting_is_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as error:
        load(write(tmp_path, SOUND), **change)
    assert message in str(error.value)


def test_denoising_without_opencv_names_the_extra_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ValueError, match=r"data\.denoise needs OpenCV: pip install 'dynfilt\[denoise\]'"):
        load(write(tmp_path, SOUND), denoise=3)
    assert not (tmp_path / ".image_cache").exists()


def test_denoised_images_are_opencvs_and_have_a_cache_of_their_own(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="the extra `denoise` is not installed")
    write(tmp_path, SOUND)
    noise = np.random.default_rng(0).normal(120, 8, (SIZE, SIZE, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "pics" / "b.png")
    plain, denoised = load(tmp_path), load(tmp_path, denoise=9)
    assert len(list((tmp_path / ".image_cache").iterdir())) == 6
    assert (plain.train.images[1].permute(1, 2, 0).numpy() == noise).all()
    expected = cv2.fastNlMeansDenoisingColored(noise, None, h=9, hColor=9, templateWindowSize=7, searchWindowSize=21)
    assert (denoised.train.images[1].permute(1, 2, 0).numpy() == expected).all() and expected.std() < noise.std() / 2


def test_min_max_stretches_each_image_and_has_a_cache_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, SOUND)
    pixels = np.random.default_rng(0).integers(50, 178, (SIZE, SIZE, 3), dtype=np.uint8)
    pixels[0, 0, 0], pixels[1, 1, 2] = 50, 177
    Image.fromarray(pixels).save(tmp_path / "pics" / "b.png")
    plain, stretched = load(tmp_path), load(tmp_path, min_max=True)
    assert len(list((tmp_path / ".image_cache").iterdir())) == 6
    assert (plain.train.images[1].permute(1, 2, 0).numpy() == pixels).all()
    by_hand = [[[round(255 * (int(value) - 50) / 127) for value in pixel] for pixel in row] for row in pixels]
    assert stretched.train.images[1].permute(1, 2, 0).tolist() == by_hand
    Image.new("RGB", (SIZE, SIZE), (9, 9, 9)).save(tmp_path / "pics" / "b.png")
    assert load(tmp_path, min_max=True).train.images[1].unique().tolist() == [9]


@pytest.mark.slow
def test_a_run_trains_on_lists(tmp_path: Path, command: Command) -> None:
    root = write(tmp_path / "my pictures", SOUND)
    words = ("data=image_list", f"data.root={root}", "data.num_classes=2", "data.image_size=16", "data.cache=cache")
    small = ("trainer=smoke", "trainer.max_steps=1", "trainer.batch_size=2", "tracking=off")
    outcome = command("model=resnet8", "model.stem=stride2", *words, *small)
    assert outcome.code == 0, outcome.err
    assert len(list((tmp_path / "cache").iterdir())) == 3
