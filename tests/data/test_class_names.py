"""Every data set that a config chooses has names for its classes that analysis finds without torch."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dynfilt.data.class_names import CIFAR10_CLASSES, CIFAR100_CLASSES, CLASS_NAMES

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "conf" / "data").glob("*.yaml"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_each_config_has_names(config: Path) -> None:
    assert yaml.safe_load(config.read_text(encoding="utf-8"))["_target_"] in CLASS_NAMES


def test_there_are_as_many_as_the_data_sets_say() -> None:
    assert (len(set(CIFAR10_CLASSES)), len(set(CIFAR100_CLASSES))) == (10, 100)


def test_they_load_without_torch() -> None:
    code = "import sys, dynfilt.data.class_names; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
