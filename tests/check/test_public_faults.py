"""Every fault of public code is rejected by the line that is there for it, and a right layer by none."""

import re

import pytest
from torch import nn

from dynfilt.check.layer import CHEAP, check_layer
from dynfilt.layers.dcd import DCDConv2d
from dynfilt.layers.involution import InvolutionConv2d
from dynfilt.layers.se import SEConv2d
from tests.check import public_faults as faults
from tests.check.public_faults import FixedBasis, Hangs, NormOverBatch, UndefinedBias
from tests.check.sound_layer import Filter

# Each fault, the property that must reject it, and what its line must say.
FAULTS: dict[type[nn.Module], tuple[str, str]] = {
    faults.AssignsData: ("gradients", r"generator\.(weight|bias) gets no gradient|no effect"),
    faults.NormOverBatch: ("own image", "depends on other images"),
    faults.ScaledByBatchSize: ("own image", "depends on the batch size"),
    faults.ReadsEmbeddingData: ("gradients", r"embeds\.weight gets no gradient, though the output depends on it"),
    faults.DetachedNorm: ("gradients", r"weight: gradient .*, finite difference"),
    faults.DetachedAttention: ("gradients", r"the input: gradient .*, finite difference"),
    faults.DetachedInTraining: ("gradients", r"in training the input: gradient .*, finite difference"),
    faults.RandomInForward: ("repeat", "two forwards of one batch differ"),
    faults.BuildsInForward: ("registered", r"gate.*: made in forward"),
    faults.PlainTemperature: ("copies", r"a state dict gives an output that differs .* misses temperature"),
    faults.UndefinedBias: ("output shape", "NameError: name 'aggregate_bias' is not defined"),
    faults.HalfTheHeads: ("schedules", r"update_temperature\(\) leaves temperature at"),
    faults.BrokenUpdate: ("schedules", r"updata_temperature\(\) raises NameError"),
    faults.IgnoredTemperature: ("schedules", "1 of 2 softmaxes ignore temperature"),
    faults.RandomStart: ("initial variance", "of nn.Conv2d's output's variance"),
    faults.WrongGroups: ("geometry", "groups=2: forward raises|groups=2: gives"),
    faults.FourierWithoutSize: ("geometry", "in_channels=17: forward raises"),
    faults.MissingAttribute: ("output shape", "AttributeError: .* has no attribute 'phi'"),
    faults.NotANumber: ("autocast", "not finite"),
    faults.SharedNorm: ("train and eval", "differ by"),
    faults.KeptInAList: ("registered", "heads: in a plain container"),
    faults.DeadParameters: ("dynamic", "parameters more than nn.Conv2d's do nothing for it"),
    faults.ViewsMemory: ("layouts", "view size is not compatible"),
    faults.NormOfOneImage: ("small batches", "a batch of 1 in training raises ValueError"),
    faults.KnowsTwoTypes: ("autocast", "KeyError: torch.bfloat16"),
    faults.WholeStrides: ("odd sizes", r"5x7, stride=2: gives \(2, 16, 2, 3\), nn.Conv2d \(2, 16, 3, 4\)"),
    faults.OutputOfInputSize: ("geometry", "stride=2: forward raises RuntimeError"),
    faults.FlatGates: ("initial variance", "of nn.Conv2d's output's variance"),
    faults.SmallBank: ("initial variance", "of nn.Conv2d's output's variance"),
    faults.Prints: ("compile", "makes no whole graph"),
    faults.WrongShape: ("output shape", r"\(2, 16, 7, 8\) where nn.Conv2d gives \(2, 16, 8, 8\)"),
}


IMAGES = (16, 8, 8)


@pytest.mark.slow
def test_without_a_fault_the_layer_passes() -> None:
    report = check_layer(Filter, IMAGES)
    assert report.passed, str(report)
    assert {finding.property: finding.status for finding in report.findings}["geometry"] == "note"  # refuses groups


def test_what_is_frozen_is_named_and_is_no_fault() -> None:
    report = check_layer(FixedBasis, IMAGES, only=(*CHEAP, "autocast"))
    assert report.passed, str(report)
    assert report["training steps"].status == "note"
    assert "4 parameters move in one step of SGD; frozen: basis, order" in report["training steps"].words


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_public_fault_is_rejected(fault: type[nn.Module]) -> None:
    name, words = FAULTS[fault]
    finding = check_layer(fault, IMAGES, only=[name])[name]
    assert finding.status == "FAIL"
    assert re.search(words, finding.words), finding.words
    assert "\n" not in finding.words


def test_what_grows_with_an_images_square_is_noted() -> None:
    for layer, options, status, number in (
        (SEConv2d, {}, "ok", 2),
        (DCDConv2d, {}, "note", 4),
        (DCDConv2d, {"feature_norm": "rms"}, "ok", 2),
        (InvolutionConv2d, {}, "note", 4),
        (InvolutionConv2d, {"feature_norm": "rms"}, "ok", 2),
    ):
        finding = check_layer(layer, IMAGES, only=["growth"], **options)["growth"]
        assert finding.status == status
        assert finding.number == pytest.approx(number, rel=0.05)


def test_a_layer_that_raises_in_one_case_is_checked_in_the_others() -> None:
    report = check_layer(UndefinedBias, IMAGES, only=("repeat", "own image", "geometry"), bias=False)
    assert [str(finding)[:16].split() for finding in report.findings[:2]] == [["ok", "repeat"], ["ok", "own", "image"]]
    assert "bias=True: forward raises NameError" in report["geometry"].words


@pytest.mark.slow
def test_a_layer_that_hangs_is_stopped_and_named() -> None:
    report = check_layer(Hangs, IMAGES, only=("repeat", "registered", "parameters"), limit_seconds=1.0)
    assert report["repeat"].words == "TookTooLong: takes more than 1 s"
    assert report["registered"].status == "FAIL" and report["parameters"].status == "ok"


def test_a_failure_that_is_allowed_is_reported_and_does_not_decide() -> None:
    report = check_layer(NormOverBatch, IMAGES, only=["own image"], allow=["own image"])
    assert report.passed and report["own image"].status == "note"
