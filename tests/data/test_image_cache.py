"""The cache of photographs: made once, whole or not at all, and anew when it is damaged."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dynfilt.data import image_cache
from dynfilt.data.image_cache import Preparation, decode
from tests.conftest import Command
from tests.data.photographs import SIZE, SOUND, colour, colours, load, write


def test_two_folders_whose_files_look_alike_share_a_cache_and_no_image(tmp_path: Path) -> None:
    roots = [tmp_path / "one", tmp_path / "two"]
    for number, root in enumerate(roots):
        root.mkdir()
        for name in "ab":
            Image.new("RGB", (SIZE, SIZE), colour(number)).save(root / f"{name}.ppm")
            os.utime(root / f"{name}.ppm", ns=(0, 0))  # as an archive without times is unpacked
        for part in ("train", "val", "test"):
            (root / f"{part}.txt").write_text("a.ppm 0\nb.ppm 1\n")
    with pytest.warns(UserWarning, match="too"):
        seen = [colours(load(root, cache=str(tmp_path / "cache")).train)[0] for root in roots]
    assert seen == [colour(0), colour(1)]


def test_a_cache_that_was_cut_is_made_anew(tmp_path: Path) -> None:
    first = colours(load(write(tmp_path, SOUND)).train)
    for path in (tmp_path / ".image_cache").glob("*.bin"):
        os.truncate(path, 7)
    assert colours(load(tmp_path).train) == first


@pytest.mark.parametrize("place", ["all", "middle"])
def test_a_cache_that_was_damaged_is_made_anew(place: str, tmp_path: Path) -> None:
    data = load(write(tmp_path, SOUND))
    first = [split.images.clone() for split in (data.train, data.val, data.test)]  # away from the file
    for path in (tmp_path / ".image_cache").glob("*.bin"):
        content = bytearray(path.read_bytes())
        if place == "all":
            content = bytearray(len(content))
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    data = load(tmp_path)
    assert all(map(torch.equal, first, (data.train.images, data.val.images, data.test.images)))


def test_a_cache_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    fsync = os.fsync

    def noted(file: int) -> None:
        fsync(file)
        [partial] = (tmp_path / ".image_cache").glob("*.partial")
        synced.append(partial.read_bytes())

    monkeypatch.setattr(os, "fsync", noted)
    load(write(tmp_path, SOUND))
    assert sorted(synced) == sorted(path.read_bytes() for path in (tmp_path / ".image_cache").glob("*.bin"))


def test_without_locks_no_process_removes_what_another_one_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_cache, "fcntl", None)
    load(write(tmp_path, SOUND))
    for path in (tmp_path / ".image_cache").glob("*.bin"):
        path.rename(path.with_suffix(".1.partial"))  # as another process has just begun
    load(tmp_path)
    assert len(list((tmp_path / ".image_cache").glob("*.1.partial"))) == 3


def test_the_cache_is_made_once_and_anew_when_an_image_or_a_setting_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    monkeypatch.setattr(image_cache, "decode", lambda path, *rest: (decoded.append(path.name), decode(path, *rest))[1])
    write(tmp_path, SOUND)
    load(tmp_path)
    assert len(decoded) == 6
    first = load(tmp_path)
    assert len(decoded) == 6 and not list((tmp_path / ".image_cache").glob("*.partial"))
    first.train.images.zero_()  # a run's own pages
    assert colours(load(tmp_path).train)[0] == colour(0)
    (tmp_path / "train.txt").write_text(
        SOUND["train.txt"].replace("a cat.png 0", "a cat.png 1").replace("c.png\t1", "c.png 0")
    )
    assert load(tmp_path).train.labels.tolist() == [1, 1, 0] and len(decoded) == 6
    os.utime(tmp_path / "pics" / "c.png", ns=(1, 1))
    load(tmp_path)
    assert decoded[6:] == ["a cat.png", "b.png", "c.png"]
    load(tmp_path, image_size=5)
    assert len(decoded) == 15


def test_two_runs_at_once_make_the_cache_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    write_ = image_cache._write
    monkeypatch.setattr(image_cache, "_write", lambda path, *rest: (written.append(path), write_(path, *rest)))
    write(tmp_path, SOUND)
    runs = [threading.Thread(target=load, args=(tmp_path,)) for _ in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len(written) == len(set(written)) == 3


def test_a_run_is_stopped_while_it_decodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []

    def stop() -> None:
        if len(decoded) >= 3:
            raise KeyboardInterrupt

    def slow(path: Path, preparation: Preparation) -> np.ndarray:
        decoded.append(path.name)
        time.sleep(0.01)
        return decode(path, preparation)

    monkeypatch.setattr(image_cache, "decode", slow)
    write(tmp_path, {**SOUND, "train.txt": "pics/b.png 0\npics/c.png 1\n" * 500})
    with pytest.raises(KeyboardInterrupt), image_cache.stopped_by(stop):
        load(tmp_path)
    assert len(decoded) < 900 and not list((tmp_path / ".image_cache").iterdir())
    load(tmp_path)


def test_a_run_is_stopped_while_another_one_decodes(tmp_path: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    write(tmp_path, SOUND)
    with image_cache._alone(tmp_path), image_cache.stopped_by(stop), pytest.raises(KeyboardInterrupt):
        load(tmp_path, cache=str(tmp_path))


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path, unwritable: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.cache: .*set data\.cache to a folder that can be written"):
        load(write(tmp_path, SOUND), cache=str(unwritable))


@pytest.mark.slow
def test_a_signal_stops_a_run_that_decodes(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_cache, "decode", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    words = ("data=image_list", f"data.root={write(tmp_path / 'pictures', SOUND)}", "data.num_classes=2")
    outcome = command("model=static_3x3", *words, "data.image_size=16", "trainer=smoke", "tracking=off")
    assert (outcome.code, outcome.lines) == (75, ["interrupted; the same command goes on from the last checkpoint"])
    [status] = tmp_path.glob("outputs/**/status.json")
    assert json.loads(status.read_text())["state"] == "interrupted"
