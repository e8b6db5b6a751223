"""mode=test: evaluating a finished run again."""

import json
import shutil
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.conftest import Command
from tests.run_folders import contents, read_result


def test_mode_test_reproduces_the_test_accuracy_and_touches_nothing_else(command: Command, finished_copy: Path) -> None:
    before = contents(finished_copy)
    outcome = command("mode=test", f"run={finished_copy}", "trainer.device=cpu")
    assert outcome.code == 0, outcome.err
    result, test = read_result(finished_copy), json.loads((finished_copy / "test.json").read_text())
    assert test["test_accuracy"] == result["test_accuracy"]
    assert test["test_loss"] == result["test_loss"]
    assert test["test_accuracy_mean_choice"] == result["test_accuracy_mean_choice"]
    assert test["provenance"]["versions"]["torch"] == metadata.version("torch")
    after = contents(finished_copy)
    assert after.pop("test.json")
    assert after == before
    assert [path.name for path in (finished_copy.parents[3]).iterdir()] == ["outputs"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["seed=1"], "seed: "),
        (["trainer.epochs=3", "tracking=off"], "trainer.epochs, tracking: "),
        (["model=static_3x3"], "model: "),
        (["data.split_seed=1"], "data.split_seed: "),
    ],
)
def test_mode_test_refuses_other_overrides(
    overrides: list[str], named: str, command: Command, finished_run: Path
) -> None:
    outcome = command("mode=test", f"run={finished_run}", *overrides)
    assert (outcome.code, len(outcome.lines)) == (1, 1)
    assert f"{named}mode=test uses the run's own config; only data.root, data.cache, trainer.device, " in outcome.err
    assert not (finished_run / "test.json").exists()


def test_a_cache_that_is_gone_is_set_anew(command: Command, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for name, colour in (("a", 50), ("b", 150)):
        Image.new("RGB", (16, 16), (colour, 0, 0)).save(tmp_path / "pictures" / f"{name}.png")
    for split in ("train", "val", "test"):
        (tmp_path / "pictures" / f"{split}.txt").write_text("a.png 0\nb.png 1\n")
    words = ("data=image_list", "data.root=pictures", "data.num_classes=2", "data.image_size=16", "data.cache=cache")
    small = ("trainer.batch_size=2", "trainer.max_steps=2", "trainer.device=cpu", "tracking=off")
    assert command("model=resnet8", "model.stem=stride2", *words, *small).code == 0
    [run] = tmp_path.glob("outputs/*/*/seed0")
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").touch()
    refused = command("mode=test", f"run={run}")
    assert refused.code == 1 and "set data.cache to a folder that can be written" in refused.err
    for mode in (("mode=test",), ("mode=plan", "trainer.max_steps=3")):
        outcome = command(*mode, f"run={run}", "data.cache=elsewhere", "trainer.eval_batch_size=1")
        assert outcome.code == 0, outcome.err
    assert list((tmp_path / "elsewhere").iterdir())
    assert json.loads((run / "test.json").read_text())["test_accuracy"] == read_result(run)["test_accuracy"]
    wrong = command("mode=test", f"run={run}", "data.image_size=8")
    assert wrong.code == 2 and "data.image_size: no such key; conf/data/cifar10.yaml allows: " in wrong.err


@pytest.mark.parametrize("mode", ["test", "train"])
def test_a_run_whose_data_has_no_cache_is_not_given_one(mode: str, command: Command, finished_copy: Path) -> None:
    outcome = command(f"mode={mode}", f"run={finished_copy}", "data.cache=elsewhere")
    assert (outcome.code, len(outcome.lines)) == (1, 1)
    assert "data.cache: no such key; " in outcome.err and "did you mean" not in outcome.err


def test_data_from_no_folder_is_not_given_one(command: Command, finished_copy: Path) -> None:
    outcome = command("mode=test", f"run={finished_copy}", "data.root=elsewhere")
    assert (outcome.code, len(outcome.lines)) == (1, 1)
    assert f"data.root: the data of {finished_copy} has no such key; leave it out" in outcome.err


def test_mode_test_looks_for_the_data_where_it_is_told(command: Command, finished_copy: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((finished_copy / "config.yaml").read_text())
    lab = {"mean": [0.5] * 3, "std": [0.5] * 3, "flip": False, "pad": 0, "split_seed": 0}
    config["data"] = {"_target_": "dynfilt.data.cifar.cifar10", "root": None, "num_classes": 10, **lab}
    config["data"]["validation_size"] = 5000
    (finished_copy / "config.yaml").write_text(yaml.safe_dump(config))
    outcome = command("mode=test", f"run={finished_copy}", f"data.root={tmp_path / 'nowhere'}")
    assert (outcome.code, len(outcome.lines)) == (1, 1)
    assert f"data.root: {tmp_path / 'nowhere'} is no folder" in outcome.err
