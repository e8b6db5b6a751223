import inspect
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import yaml
from hydra.utils import get_object

from dynfilt.data import cifar
from dynfilt.data.published import CIFAR10, CIFAR100

from .conftest import binary_records, python3_pickle

GROUP = Path(__file__).parents[2] / "conf" / "data"
DATA_ROOT = os.environ.get("DYNFILT_DATA_ROOT")
needs_data = pytest.mark.skipif(DATA_ROOT is None, reason="set DYNFILT_DATA_ROOT to a folder with the real data")


def settings(**changes: Any) -> dict[str, Any]:
    lab = {"num_classes": 10, "validation_size": 20, "split_seed": 0, "flip": False, "pad": 0}
    return {**lab, "mean": [0.5] * 3, "std": [0.5] * 3, **changes}


@pytest.fixture
def small(fake: Callable, monkeypatch: pytest.MonkeyPatch) -> Any:
    files = fake(CIFAR10, 0, python3_pickle)
    monkeypatch.setattr(cifar, "CIFAR10", files.data)
    return files


@pytest.mark.parametrize("file", sorted(GROUP.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_group_sets_every_argument_of_its_target_and_no_other(file: Path) -> None:
    config = yaml.safe_load(file.read_text())
    for base in config.pop("defaults", [])[:-1]:
        config = {**yaml.safe_load((GROUP / f"{base}.yaml").read_text()), **config}
    target = get_object(config.pop("_target_"))
    assert target.__name__ == file.stem
    assert list(config) == list(inspect.signature(target).parameters)


def test_cifar10_is_read_and_split(small: Any) -> None:
    data = cifar.cifar10(root=str(small.root), **settings())
    assert (len(data.train), len(data.val), len(data.test)) == (80, 20, 20)
    assert torch.bincount(data.val.labels).tolist() == [2] * 10
    assert data.class_names[8] == "ship"
    assert torch.equal(data.test.images, torch.from_numpy(small.test[0]))
    every = torch.cat([data.train.images, data.val.images]).flatten(1).long().sum(1).sort().values
    assert torch.equal(every, torch.from_numpy(small.train[0]).flatten(1).long().sum(1).sort().values)


def test_cifar100_takes_the_fine_labels(fake: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    files = fake(CIFAR100, 1, binary_records)
    monkeypatch.setattr(cifar, "CIFAR100", files.data)
    data = cifar.cifar100(root=str(files.root), **settings(num_classes=100, validation_size=5))
    assert data.test.labels.tolist() == files.test[1].tolist()
    assert (data.num_classes, data.class_names[99]) == (100, "worm")


def test_a_wrong_number_of_classes_names_its_key(small: Any) -> None:
    with pytest.raises(ValueError, match=r"data.num_classes must be 10 for cifar10, got 100"):
        cifar.cifar10(root=str(small.root), **settings(num_classes=100))


def test_a_root_that_does_not_exist_is_an_error_and_is_not_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", lambda *_, **__: pytest.fail("downloads"))
    with pytest.raises(ValueError, match=r"data.root: .*nowhere is no folder.*data=cifar10_sample"):
        cifar.cifar10(root=str(tmp_path / "nowhere"), **settings())
    assert list(tmp_path.iterdir()) == []


def test_a_root_without_the_data_says_what_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", lambda *_, **__: pytest.fail("downloads"))
    looked_for = r"no cifar-10-batches-py/data_batch_1 and no cifar-10-batches-bin/data_batch_1.bin"
    with pytest.raises(ValueError, match=rf"data.root: .*{looked_for}; .*unset.*data=cifar10_sample"):
        cifar.cifar10(root=str(tmp_path), **settings())
    assert list(tmp_path.iterdir()) == []


def test_an_incomplete_root_names_the_missing_file(small: Any) -> None:
    small.file(5).unlink()
    with pytest.raises(ValueError, match="no cifar-10-batches-py/test_batch;"):
        cifar.cifar10(root=str(small.root), **settings())


def test_without_a_root_the_data_folder_is_used(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", lambda *_, **__: pytest.fail("downloads"))
    small.root.rename(small.root.with_name("data"))
    monkeypatch.chdir(small.root.parent)
    assert len(cifar.cifar10(root=None, **settings()).train) == 80


def test_without_root_and_data_it_downloads_through_torchvision(
    small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(root: str, download: bool) -> None:
        assert download
        shutil.copytree(small.root, root, dirs_exist_ok=True)
        (Path(root) / "cifar-10-python.tar.gz").touch()

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", download)
    work = tmp_path / "work"
    half = work / "data" / "cifar-10-batches-py"
    half.mkdir(parents=True)
    (half / "data_batch_1").write_bytes(b"left by an interrupted download")
    monkeypatch.chdir(work)
    assert len(cifar.cifar10(root=None, **settings()).train) == 80
    assert [path.name for path in (work / "data").iterdir()] == ["cifar-10-batches-py"]


@pytest.mark.parametrize("failure", [OSError("no route to host"), RuntimeError("File not found or corrupted.")])
def test_a_failed_download_is_one_line_with_the_choices(
    failure: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(root: str, download: bool) -> None:
        (Path(root) / "half.tar.gz").touch()
        raise failure

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", fail)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"could not download CIFAR-10 .*data.root.*data=cifar10_sample") as caught:
        cifar.cifar10(root=None, **settings())
    assert str(failure) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "data").iterdir()) == []


@needs_data
@pytest.mark.parametrize(("load", "classes"), [(cifar.cifar10, 10), (cifar.cifar100, 100)])
@pytest.mark.filterwarnings("ignore:.*test_batch.bin")
def test_the_real_data_are_balanced(load: Callable, classes: int) -> None:
    data = load(root=DATA_ROOT, **settings(num_classes=classes, validation_size=5000))
    for split, count in ((data.train, 45_000), (data.val, 5_000), (data.test, 10_000)):
        assert torch.bincount(split.labels).tolist() == [count // classes] * classes
