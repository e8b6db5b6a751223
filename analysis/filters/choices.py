"""How a DY-Conv layer spreads its attention: over kernels, over images, over classes."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dynfilt.data.bundle import Split
from dynfilt.layers.dyconv import DYConv2d

from ..tables import numbers
from ..tables.sheet import Column, Sheet
from .diversity import diversity
from .replacement import dynamic_layers, recorded
from .trained import TrainedRun

MEANINGS = {
    "entropy": "of an image's attention, mean over images; 1 all kernels alike, 0 one kernel alone",
    "5 %, 95 %": "percentiles of that entropy over images",
    "entropy of the mean": "of the attention averaged over images; 1 when all kernels are used equally",
    "told by the image": "entropy of the mean - entropy: what knowing the image says about the kernel; "
    "0 when every image gets the same attention",
    "by class": "part of the attention's variance over images that the classes' means account for",
    "by chance": "what that part is expected to be with labels dealt out at random",
}


@dataclass(frozen=True)
class Choices:
    """The attention pi (N, K) that a layer gives to N images, at the layer's temperature.

    Entropies are shares of log K, so 1 is uniform and 0 is one kernel alone. Sigmoid attention is divided by its
    sum for them.
    """

    layer: str
    pi: Tensor
    temperature: float

    @property
    def entropies(self) -> Tensor:
        """Of each image's attention, (N,)."""
        return entropy(self.pi / self.pi.sum(1, keepdim=True))

    @property
    def entropy_range(self) -> tuple[float, float]:
        """5th and 95th percentile of the images' entropies."""
        low, high = self.entropies.quantile(torch.tensor([0.05, 0.95], dtype=torch.float64)).tolist()
        return low, high

    @property
    def entropy_of_mean(self) -> float:
        """Of the attention averaged over images."""
        shares = self.pi / self.pi.sum(1, keepdim=True)
        return entropy(shares.mean(0, keepdim=True)).item()

    @property
    def spread(self) -> float:
        """Root of the variance of pi over images, summed over kernels: how much the image decides."""
        return self.pi.double().var(0, correction=0).sum().sqrt().item()


def entropy(shares: Tensor) -> Tensor:
    """Entropy of each row of shares (N, K) that add up to 1, as a part of log K, (N,); 0 for K = 1."""
    shares = shares.double()
    nats = -(shares * shares.clamp_min(1e-300).log()).sum(1)
    return nats / math.log(shares.shape[1]) if shares.shape[1] > 1 else torch.zeros_like(nats)


@torch.inference_mode()
def choices(run: TrainedRun, split: Split) -> list[Choices]:
    """The attention of every DY-Conv layer for every image, in the split's order."""
    with recorded(run.model) as caught:
        run.scores(split)
    layers = dynamic_layers(run.model)
    return [
        Choices(name, torch.cat(batches), float(layer.temperature))
        for name, batches in caught.items()
        if isinstance(layer := layers[name], DYConv2d)
    ]


def class_means(pi: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean attention of each class, (classes, K); NaN for a class without images."""
    sums = pi.new_zeros(classes, pi.shape[1]).index_add_(0, labels, pi)
    return sums / torch.bincount(labels, minlength=classes)[:, None]


def layer_sheet(found: list[Choices], labels: Tensor) -> Sheet:
    """One row a layer."""
    three = "{:.3f}".format
    columns = [
        Column("layer", "layer", left=True),
        Column("K", "kernels"),
        Column("temperature", "temperature", "{:g}".format),
        Column("entropy", "entropy", three),
        Column("5 %", "entropy_p05", three),
        Column("95 %", "entropy_p95", three),
        Column("entropy of the mean", "entropy_of_mean", three),
        Column("told by the image", "information", "{:.4f}".format),
        Column("by class", "class_share", lambda v: numbers.MISSING if math.isnan(v) else three(v)),
        Column("by chance", "class_share_by_chance", three),
    ]
    rows = []
    for choice in found:
        entropies, of_mean = choice.entropies, choice.entropy_of_mean
        told = diversity(choice.pi, labels)
        rows.append(
            (
                choice.layer,
                choice.pi.shape[1],
                choice.temperature,
                entropies.mean().item(),
                *choice.entropy_range,
                of_mean,
                max(of_mean - entropies.mean().item(), 0.0),
                told.class_share,
                told.class_share_by_chance,
            )
        )
    return Sheet(columns, rows)


def class_sheet(found: list[Choices], labels: Tensor, names: tuple[str, ...]) -> Sheet:
    """One row a layer, class and kernel: the mean attention."""
    columns = [Column(key, key) for key in ("layer", "class", "kernel", "mean_attention")]
    rows = [
        (choice.layer, names[label], kernel, value)
        for choice in found
        for label, means in enumerate(class_means(choice.pi, labels, len(names)).tolist())
        for kernel, value in enumerate(means)
    ]
    return Sheet(columns, rows)
