"""`python -m analysis architecture`: the layers of a run's network as a table, as course reports print them."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from dynfilt.cost import LayerCost, count_layer_flops
from dynfilt.layers.choice import KERNEL_ATTENTION

from ..tables import latex, markdown, numbers
from ..tables.table import Heading, Sheet, column
from .trained import TrainedRun, add_run_arguments, open_runs

FORMATS = ("md", "tex", "csv")
CONVOLUTION = "convolution"
MIXING = "mixing"


@dataclass(frozen=True)
class Layer:
    """One row: a module's own part of the network. FLOPs are for one image; the output's shape is without batch,
    empty for a module whose parameters others use."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    kernel: str
    parameters: int
    flops: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `architecture`."""
    add_run_arguments(parser)
    parser.add_argument("--format", choices=FORMATS, default="md", help="what is printed (default: md)")
    parser.add_argument("--out", metavar="DIR", help="write DIR/study/variant/seed/architecture.<format> as well")


def run(options: argparse.Namespace) -> None:
    """Print the table of each run. Raises ValueError when several runs would share one CSV."""
    runs = open_runs(options)
    if options.format == "csv" and len(runs) > 1:
        raise ValueError(f"--format csv prints one table: name one RUN, not {len(runs)}")
    texts = []
    for opened in runs:
        texts.append(render(layers_of(opened), options.format, f"Architecture of {opened.variant}"))
        if options.out is not None:
            path = Path(options.out, opened.place, f"architecture.{options.format}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(texts[-1], encoding="utf-8")
    print("\n".join(texts), end="")


def layers_of(run: TrainedRun) -> list[Layer]:
    """All modules that compute or hold something, in the order in which they finish, then modules whose parameters are
    used by others. Parameters (trainable ones, at the first module that has them) and FLOPs add up to those in the
    run's result.json."""
    modules = dict(run.model.named_modules())
    parameters = _own_parameters(modules)
    layers: list[Layer] = []
    ran = count_layer_flops(run.model, run.data.image_shape)
    for cost in ran:
        layers += _layers(cost, modules[cost.name], parameters[cost.name])
    names = {cost.name for cost in ran}
    for name, module in modules.items():
        if name not in names and parameters[name]:
            layers.append(Layer(name, type(module).__name__, (), _kernel(module), parameters[name], 0.0))
    return layers


def render(layers: list[Layer], form: str, caption: str) -> str:
    """The table in one of FORMATS; CSV has no caption and no sums, Markdown a note on how things are counted."""
    table = sheet(layers)
    if form == "csv":
        return table.csv()
    if form == "tex":
        return latex.long_table(table, caption)
    return f"**{markdown.escaped(caption)}**\n\n{markdown.table_text(table.table())}\n\n{note(layers)}\n"


def sheet(layers: list[Layer]) -> Sheet[Layer]:
    """The table, with the sums as its last row."""

    def shape(layer: Layer) -> str:
        return "×".join(map(str, layer.output_shape)) or numbers.MISSING

    columns = [
        column("layer", Heading("layer", is_text=True), lambda layer: layer.name),
        column("type", Heading("type", is_text=True), lambda layer: layer.kind),
        column("output_shape", Heading("output"), shape),
        column("kernel", Heading("kernel"), lambda layer: layer.kernel),
        column("parameters", Heading("parameters"), lambda layer: layer.parameters, numbers.whole),
        column("flops", Heading("FLOPs"), lambda layer: layer.flops, numbers.count),
    ]
    parameters, flops = sum(layer.parameters for layer in layers), sum(layer.flops for layer in layers)
    return Sheet(columns, layers, ("sum", "", "", "", numbers.whole(parameters), numbers.count(flops)))


def note(layers: list[Layer]) -> str:
    """How the columns are counted, and what attention over kernels and mixing them cost of it."""
    lines = [
        "Output: shape for one image. Parameters: trainable. FLOPs: of one image, twice the multiply-accumulates of "
        "convolutions and matrix products; normalisation, activations and pooling count as 0."
    ]
    mixing = sum(layer.flops for layer in layers if layer.kind == MIXING)
    if mixing:
        total = sum(layer.flops for layer in layers)
        # The modules inside a layer that mixes kernels compute its attention.
        inside = tuple(f"{layer.name}." for layer in layers if layer.kind == MIXING)
        attention = sum(layer.flops for layer in layers if layer.name.startswith(inside))
        lines.append(
            f"Of the {numbers.count(total)} FLOPs attention takes {attention / total:.2%}, "
            f"mixing the kernels {mixing / total:.2%}."
        )
    return "\n".join(lines)


def _layers(cost: LayerCost, module: nn.Module, parameters: int) -> list[Layer]:
    """A module's own row, none for a mere container; a layer that attends to kernels has one more, for mixing them."""
    kind, flops = type(module).__name__, sum(cost.flops.values())
    leaf = not any(True for _ in module.children())
    if isinstance(module, nn.Identity) or not (leaf or flops or parameters):
        return []
    name = cost.name or "(network)"
    mixes = KERNEL_ATTENTION in getattr(module, "choice_names", ())
    mixing = sum(value for operation, value in cost.flops.items() if mixes and CONVOLUTION not in operation)
    own = Layer(name, kind, cost.output_shape, _kernel(module), parameters, flops - mixing)
    return [Layer(name, MIXING, (), "", 0, mixing), own] if mixing else [own]


def _own_parameters(modules: Mapping[str, nn.Module]) -> dict[str, int]:
    """How many trainable numbers each module has that no module before it has: layers may share a parameter."""
    counted: set[nn.Parameter] = set()
    own = {}
    for name, module in modules.items():
        new = {p for p in module.parameters(recurse=False) if p.requires_grad} - counted
        own[name] = sum(p.numel() for p in new)
        counted |= new
    return own


def _kernel(module: nn.Module) -> str:
    """`3×3`, `4 of 3×3` for a bank of kernels, empty for what is neither a convolution nor a pool."""
    size = getattr(module, "kernel_size", None) or getattr(module, "filter_shape", (0, 0))[-2:]
    weight = getattr(module, "weight", None)
    if size == (0, 0) and weight is not None and weight.dim() == 4:
        size = tuple(weight.shape[-2:])
    height, width = (size, size) if isinstance(size, int) else (1, *size)[-2:]
    if not height:
        return ""
    kernels = getattr(module, "num_kernels", 1)
    return f"{kernels} of {height}×{width}" if kernels > 1 else f"{height}×{width}"
