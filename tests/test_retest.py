"""mode=test: evaluating a finished run again."""

import json
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from tests.conftest import Command
from tests.run_folders import contents, read_result


def test_mode_test_reproduces_the_test_accuracy_and_touches_nothing_else(command: Command, finished_copy: Path) -> None:
    before = contents(finished_copy)
    outcome = command("mode=test", f"run={finished_copy}", "trainer.device=cpu")
    assert outcome.code == 0, outcome.err
    result, test = read_result(finished_copy), json.loads((finished_copy / "test.json").read_text())
    assert test["test_accuracy"] == result["test_accuracy"]
    assert test["test_loss"] == result["test_loss"]
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
    assert f"{named}mode=test uses the run's own config; only data.root, trainer.device may differ" in outcome.err
    assert not (finished_run / "test.json").exists()


def test_mode_test_looks_for_the_data_where_it_is_told(command: Command, finished_copy: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((finished_copy / "config.yaml").read_text())
    lab = {"mean": [0.5] * 3, "std": [0.5] * 3, "flip": False, "pad": 0, "split_seed": 0}
    config["data"] = {"_target_": "dynfilt.data.cifar.cifar10", "root": None, "num_classes": 10, **lab}
    config["data"]["validation_size"] = 5000
    (finished_copy / "config.yaml").write_text(yaml.safe_dump(config))
    outcome = command("mode=test", f"run={finished_copy}", f"data.root={tmp_path / 'nowhere'}")
    assert (outcome.code, len(outcome.lines)) == (1, 1)
    assert f"data.root: {tmp_path / 'nowhere'} is no folder" in outcome.err
