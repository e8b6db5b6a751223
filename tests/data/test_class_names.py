"""The published data sets have names for their classes, which analysis finds without torch."""

import subprocess
import sys
from pathlib import Path

import yaml

from dynfilt.data.class_names import CIFAR10_CLASSES, CIFAR100_CLASSES, CLASS_NAMES

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "conf" / "data").glob("*.yaml"))


def test_each_target_is_that_of_a_config() -> None:
    targets = {yaml.safe_load(config.read_text(encoding="utf-8"))["_target_"] for config in CONFIGS}
    assert CLASS_NAMES.keys() <= targets


def test_there_are_as_many_as_the_data_sets_say() -> None:
    assert (len(set(CIFAR10_CLASSES)), len(set(CIFAR100_CLASSES))) == (10, 100)


def test_they_load_without_torch() -> None:
    code = "import sys, dynfilt.data.class_names; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
