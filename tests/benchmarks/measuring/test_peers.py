"""A peer is timed only because it computes the same."""

import copy
import dataclasses
import sys

import pytest
import torch
from torch import Tensor, nn

from benchmarks.commands.step import NETWORKS
from benchmarks.measuring.arm import Arm
from benchmarks.measuring.peers import PictureDataset, public_loader
from dynfilt.assembly import build_data
from dynfilt.config.checks import make
from dynfilt.config.compose import compose
from dynfilt.data.augment import normalise
from dynfilt.data.bundle import ImageData
from dynfilt.layers.dropout import Dropout

CPU = torch.device("cpu")
ARMS = [arm for network in NETWORKS.values() for arm in (*network.public, *network.on_cuda)]
PEERS = [arm for arm in ARMS if "_target_" in " ".join(arm.overrides)]


@pytest.fixture(scope="module")
def sample() -> ImageData:
    return build_data(compose(["data=cifar10_sample"]), CPU)


def scores_and_gradients(model: nn.Module, images: Tensor) -> list[Tensor]:
    scores = model(images)
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(scores.square().sum(), parameters)
    return [scores, *(gradient for _, gradient in sorted(zip(names, gradients, strict=True)))]


@pytest.mark.parametrize("arm", PEERS, ids=[arm.name for arm in PEERS])
def test_a_peer_has_our_scores_and_gradients(arm: Arm) -> None:
    config = arm.config(CPU)
    ours = make(compose([o for o in arm.overrides if o.startswith("model=")])["model"], "model")
    peer = make(config["model"], "model")
    assert {type(module) for module in peer.modules()} != {type(module) for module in ours.modules()}
    peer.load_state_dict(copy.deepcopy(ours.state_dict()))
    images = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    for model in (ours, peer):
        model.double().train()
        for layer in model.modules():
            if isinstance(layer, Dropout):
                layer.p = 0.0
    for a, b in zip(scores_and_gradients(ours, images), scores_and_gradients(peer, images), strict=True):
        torch.testing.assert_close(a, b)


def test_the_ten_passes_are_ten() -> None:
    arm = NETWORKS["label"].public[0]
    model = make(arm.config(CPU)["model"], "model")
    passes = []
    model.backbone.register_forward_hook(lambda *_: passes.append(1))
    model(torch.randn(2, 3, 32, 32))
    assert len(passes) == 10


def test_pictures_are_the_images_that_we_feed(sample: ImageData) -> None:
    sample = dataclasses.replace(sample, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    pictures = PictureDataset(sample)
    few = sample.train.subset(torch.arange(3))
    ours = normalise(few.images, sample.mean, sample.std)
    theirs = torch.stack([pictures[i][0] for i in range(3)])
    torch.testing.assert_close(theirs, ours)
    assert [pictures[i][1] for i in range(3)] == few.labels.tolist()
    assert len(pictures) == len(sample.train)


@pytest.mark.parametrize(("flip", "pad", "most"), [(False, 0, 1), (True, 0, 2), (False, 2, 25), (True, 2, 50)])
def test_the_public_loader_augments_as_we_do(flip: bool, pad: int, most: int, sample: ImageData) -> None:
    augmented = PictureDataset(dataclasses.replace(sample, flip=flip, pad=pad))
    seen = {augmented[0][0].numpy().tobytes() for _ in range(400)}
    assert most / 2 < len(seen) <= most
    if flip and not pad:
        first, second = (torch.frombuffer(bytearray(raw), dtype=torch.float32).view(3, 32, 32) for raw in seen)
        assert torch.equal(first.flip(2), second)


def test_the_public_loader_shuffles_full_batches(sample: ImageData) -> None:
    batches = [labels for _, labels in public_loader(sample, 700, 0, CPU)]
    assert [len(labels) for labels in batches] == [700, 700]
    assert len(batches[0].unique()) == 10  # the images are stored by class


def test_without_torchvision_it_is_one_line(sample: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ValueError, match="needs torchvision"):
        PictureDataset(sample)
