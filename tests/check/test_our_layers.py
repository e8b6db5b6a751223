"""Every layer of ours that takes a convolution's place passes the check; its deviations are named numbers."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra.utils import get_object

from dynfilt.check.layer import CHEAP, PROPERTIES, assert_layer, check_layer
from dynfilt.layers.generated import GeneratedConv2d, SharedConv2d

CONVOLUTIONS = Path(__file__).resolve().parents[2] / "conf" / "model" / "conv"
CHOICES = sorted(path.stem for path in CONVOLUTIONS.glob("*.yaml"))
IN_FULL = ("dyconv", "dcd", "static")  # a bank with a schedule, BatchNorm without a bank, nothing dynamic
NOT_CHEAP = [name for name in PROPERTIES if name not in CHEAP]
LAB = {"condition_features": 4096, "normalisation": "per_image", "gradient": "full", "out_channels": 1}
# Its filter has length 1 by definition, and is generated from all of an image's features.
OF_THE_LAB = ("initial variance", "initial gradient")


def choice(name: str) -> tuple[Any, dict[str, Any]]:
    """The class and the arguments of a file in conf/model/conv."""
    content = yaml.safe_load((CONVOLUTIONS / f"{name}.yaml").read_text(encoding="utf-8"))
    if "model" in content:  # it brings a schedule beside the layer
        content = content["model"]["conv"]
    bases = [choice(base) for base in content.pop("defaults", []) if base != "_self_"]
    for layer, arguments in bases:
        return layer, {**arguments, **content}
    del content["_partial_"]
    return get_object(content.pop("_target_")), content


@pytest.mark.slow
@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_of_convolution_passes_what_is_checked_before_training(name: str) -> None:
    layer, arguments = choice(name)
    assert_layer(layer, only=CHEAP, **arguments)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name if name in IN_FULL else pytest.param(name, marks=pytest.mark.slow) for name in CHOICES]
)
def test_a_choice_of_convolution_passes_all_else(name: str) -> None:
    layer, arguments = choice(name)
    report = check_layer(layer, only=NOT_CHEAP, **arguments)
    assert report.passed, str(report)
    deviates = report["initial variance"].status == "note"
    assert deviates == (arguments.get("initial_scale") == "published")
    if deviates:
        assert "initial_scale=published" in report["initial variance"].words
    assert report["dynamic"].number is not None
    # Gates alone explain little more than a static filter: se leaves 0.8 % of the variance, a static layer rounding.
    assert report["dynamic"].number < 1e-9 if name == "static" else report["dynamic"].number > 1e-3


def test_the_deviation_is_the_published_number() -> None:
    layer, arguments = choice("dyconv")
    report = check_layer(layer, only=["initial variance"], **arguments)
    assert report["initial variance"].number == pytest.approx(1 / 4, rel=0.03)  # 1 / K


@pytest.mark.slow
def test_the_lab_layer_passes_and_its_faults_do_not() -> None:
    few = [name for name in PROPERTIES if name not in ("compile", "export", "step time", "FLOPs")]
    assert_layer(GeneratedConv2d, only=few, allow=OF_THE_LAB, **LAB)
    assert_layer(SharedConv2d, only=few)
    for fault, properties in (
        ({"gradient": "cut"}, {"gradients", "training steps", "autocast"}),
        ({"gradient": "cut", "normalisation": "over_batch"}, {"gradients", "training steps", "autocast", "own image"}),
    ):
        report = check_layer(GeneratedConv2d, only=(*CHEAP, "autocast"), **{**LAB, **fault})
        assert {finding.property for finding in report.failures} == properties


def test_the_caller_keeps_its_random_numbers() -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    check_layer(SharedConv2d, only=CHEAP)
    assert torch.equal(torch.rand(3), expected)
