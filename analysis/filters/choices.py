"""How the choices of dynamic layers spread: over images and classes, and an attention over its kernels."""

import math
from dataclasses import dataclass
from operator import itemgetter

import torch
from torch import Tensor, nn

from dynfilt.data.bundle import Split
from dynfilt.layers.choice import KERNEL_ATTENTION, replaced

from ..tables.table import Column, Heading, Sheet, column
from .diversity import Diversity, diversity
from .trained import TrainedRun, evenly_spread

# Of a larger choice, e.g. filters, so many numbers are looked at: all images' filters would not fit in memory.
NUMBERS = 128
CHOICE_MEANINGS = {
    "by image": "mean squared distance to the mean choice / mean squared norm; 0 when every image decides the same",
    "of it by class": "the part of those squared distances that the classes' mean choices account for",
    "by chance": "what that part is expected to be with labels dealt out at random",
}
ATTENTION_MEANINGS = {
    "entropy": "of an image's attention, mean over images; 1 all kernels alike, 0 one kernel alone",
    "5 %, 95 %": "percentiles of that entropy over images",
    "entropy of the mean": "of the attention averaged over images; 1 when all kernels are used equally",
    "information": "entropy of the mean - entropy: the mutual information of image and kernel, as a part of log K; "
    "0 when every image gets the same attention",
    "by class": "part of the attention's variance over images that the classes' means account for",
    "by chance": "what that part is expected to be with labels dealt out at random",
}


@dataclass(frozen=True)
class Choice:
    """One tensor of a layer's choice: its name, how many numbers an image has of it, and for N images up to NUMBERS of
    them, evenly spread, (N, numbers)."""

    layer: str
    name: str
    size: int
    values: Tensor


@dataclass(frozen=True)
class Attention:
    """The attention pi (N, K) that a layer gives to N images, at the layer's temperature, NaN where it has none.

    Entropies are shares of log K, so 1 is uniform and 0 is one kernel alone. Sigmoid attention is divided by its
    sum for them.
    """

    layer: str
    pi: Tensor
    temperature: float

    @property
    def shares(self) -> Tensor:
        """The attention divided by its sum, (N, K)."""
        return self.pi / self.pi.sum(1, keepdim=True)

    @property
    def entropies(self) -> Tensor:
        """Of each image's attention, (N,)."""
        return entropy(self.shares)

    @property
    def mean_entropy(self) -> float:
        """Mean over the images."""
        return self.entropies.mean().item()

    @property
    def entropy_range(self) -> tuple[float, float]:
        """5th and 95th percentile of the images' entropies."""
        low, high = self.entropies.quantile(torch.tensor([0.05, 0.95], dtype=torch.float64)).tolist()
        return low, high

    @property
    def entropy_of_mean(self) -> float:
        """Of the attention averaged over images."""
        return entropy(self.shares.mean(0, keepdim=True)).item()

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
def choices_of(run: TrainedRun, split: Split) -> list[Choice]:
    """Record the choices of every dynamic layer for every image, on the CPU, in the split's order."""
    sizes: dict[tuple[str, str], int] = {}
    batches: dict[tuple[str, str], list[Tensor]] = {}

    def record(layer: str, name: str, choice: Tensor) -> Tensor:
        numbers = choice.flatten(1)
        sizes[layer, name] = numbers.shape[1]
        if name != KERNEL_ATTENTION and numbers.shape[1] > NUMBERS:
            numbers = numbers[:, evenly_spread(numbers.shape[1], NUMBERS).to(numbers.device)]
        batches.setdefault((layer, name), []).append(numbers.float().cpu())
        return choice

    order = []
    with replaced(run.model, record):
        for indices, images, _ in run.batches(split):
            run.apply(images)
            order.append(indices.cpu())
    places = torch.cat(order).argsort()
    return [Choice(*key, sizes[key], torch.cat(recorded)[places]) for key, recorded in batches.items()]


def attentions_of(run: TrainedRun, choices: list[Choice]) -> list[Attention]:
    """Those of the choices that are attention over kernels."""
    return [
        Attention(choice.layer, choice.values, _temperature(run.model.get_submodule(choice.layer)))
        for choice in choices
        if choice.name == KERNEL_ATTENTION
    ]


def _temperature(layer: nn.Module) -> float:
    return float(getattr(layer, "temperature", math.nan))


def class_means(pi: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean attention of each class, (classes, K), from pi (N, K) and labels (N,); NaN for a class without images."""
    sums = pi.new_zeros(classes, pi.shape[1]).index_add_(0, labels, pi)
    return sums / torch.bincount(labels, minlength=classes)[:, None]


def choice_sheet(choices: list[Choice], labels: Tensor) -> Sheet[tuple[Choice, Diversity]]:
    """One row a layer and tensor of its choice; `labels` (N,) are those of the images that the choices are of."""
    three = "{:.3f}".format
    columns: list[Column[tuple[Choice, Diversity]]] = [
        column("layer", Heading("layer", is_text=True), lambda row: row[0].layer),
        column("choice", Heading("choice", is_text=True), lambda row: row[0].name),
        column("numbers", Heading("numbers"), lambda row: row[0].size, "{:,}".format),
        column("input_share", Heading("by image"), lambda row: row[1].input_share, "{:.2g}".format),
        column("class_share", Heading("of it by class"), lambda row: row[1].class_share, three),
        column("class_share_by_chance", Heading("by chance"), lambda row: row[1].class_share_by_chance, three),
    ]
    return Sheet(columns, [(choice, diversity(choice.values, labels)) for choice in choices])


def layer_sheet(layers: list[Attention], labels: Tensor) -> Sheet[tuple[Attention, Diversity]]:
    """One row a layer; `labels` (N,) are those of the images that attend."""
    three = "{:.3f}".format

    def information(attention: Attention) -> float:
        return max(attention.entropy_of_mean - attention.mean_entropy, 0.0)

    columns: list[Column[tuple[Attention, Diversity]]] = [
        column("layer", Heading("layer", is_text=True), lambda row: row[0].layer),
        column("kernels", Heading("K"), lambda row: row[0].pi.shape[1]),
        column("temperature", Heading("temperature"), lambda row: row[0].temperature, "{:g}".format),
        column("entropy", Heading("entropy"), lambda row: row[0].mean_entropy, three),
        column("entropy_p05", Heading("5 %"), lambda row: row[0].entropy_range[0], three),
        column("entropy_p95", Heading("95 %"), lambda row: row[0].entropy_range[1], three),
        column("entropy_of_mean", Heading("entropy of the mean"), lambda row: row[0].entropy_of_mean, three),
        column("information", Heading("information"), lambda row: information(row[0]), "{:.4f}".format),
        column("class_share", Heading("by class"), lambda row: row[1].class_share, three),
        column("class_share_by_chance", Heading("by chance"), lambda row: row[1].class_share_by_chance, three),
    ]
    return Sheet(columns, [(attention, diversity(attention.pi, labels)) for attention in layers])


def class_sheet(layers: list[Attention], labels: Tensor, names: tuple[str, ...]) -> Sheet[tuple[str, str, int, float]]:
    """One row a layer, class and kernel: the mean attention; `labels` (N,) as for `layer_sheet`."""
    rows = [
        (attention.layer, names[label], kernel, value)
        for attention in layers
        for label, means in enumerate(class_means(attention.pi, labels, len(names)).tolist())
        for kernel, value in enumerate(means)
    ]
    fields = ("layer", "class", "kernel", "mean_attention")
    return Sheet([column(field, Heading(field), itemgetter(i)) for i, field in enumerate(fields)], rows)
