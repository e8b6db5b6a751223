"""`python -m dynfilt.cost_twins model=resnet8 model/conv=dyconv`: what a network costs, and static twins of equal cost.

Prints parameters, FLOPs (canonical form, see dynfilt.cost) and latency of the network, of its static twin, and of the
static networks whose `model.width` comes closest to its parameters and to its FLOPs. A sweep names such a twin as
`{model/conv: static, model.width: 2.0}`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dynfilt.config.checks import make
from dynfilt.config.compose import compose
from dynfilt.config.errors import explain
from dynfilt.cost import count_flops, count_parameters, measure_latency_ms
from dynfilt.wording import until_ctrl_c

MOST_WIDE = 16  # times the network
CLOSE_ENOUGH = 0.02


@dataclass(frozen=True)
class NetworkCost:
    """A network, its factor on all channels, and what it costs; FLOPs and milliseconds for one image."""

    name: str
    width: float
    parameters: int
    flops: float
    latency_ms: float = math.nan


def cost_twins(overrides: Sequence[str], image: tuple[int, int, int]) -> list[NetworkCost]:
    """The network that the overrides name, its static twin, and the static networks as large and as expensive as it.

    image: (C, H, W). Raises ValueError for a network without `conv` and `width`.
    """
    config = compose(list(overrides))
    if not {"conv", "width"} <= config["model"].keys():
        raise ValueError(
            "model: has no conv and width to vary; allowed are model=resnet8, resnet20, resnet18, resnet34"
        )
    of_layer = ("model/conv=", "model.conv.")  # of the static one there is nothing to set
    static = compose([*(each for each in overrides if not each.lstrip("+").startswith(of_layer)), "model/conv=static"])

    def cost(name: str, model: dict[str, Any], width: float) -> NetworkCost:
        network: nn.Module = make({**model, "width": width}, "model")
        latency_ms = measure_latency_ms(network, image, torch.device("cpu"))
        return NetworkCost(name, width, count_parameters(network), count_flops(network, image), latency_ms)

    def static_network(width: float) -> nn.Module:
        with torch.device("meta"):  # counted, never computed: no memory, no initialisation
            return make({**static["model"], "width": width}, "model")

    width = float(config["model"]["width"])
    network = cost("network", config["model"], width)
    # The first convolution has the fewest channels: a width is a whole number of those.
    fewest = static_network(1.0).get_parameter("conv1.weight").shape[0]
    large = _nearest_width(lambda width: count_parameters(static_network(width)), network.parameters, fewest)
    expensive = _nearest_width(lambda width: count_flops(static_network(width), image), network.flops, fewest)
    return [
        network,
        cost("static twin", static["model"], width),
        cost("static, as many parameters", static["model"], large),
        cost("static, as many FLOPs", static["model"], expensive),
    ]


def _nearest_width(cost_at: Callable[[float], float], wanted: float, channels: int) -> float:
    """The multiple of 1 / channels whose cost, which rises with the width, is nearest to the one wanted, as a ratio."""
    low, high = 1, MOST_WIDE * channels
    while low < high:
        middle = (low + high) // 2
        if cost_at(middle / channels) < wanted:
            low = middle + 1
        else:
            high = middle
    candidates = [width / channels for width in (low - 1, low) if width]
    return min(candidates, key=lambda width: abs(math.log(cost_at(width) / wanted)))


def _table(costs: Sequence[NetworkCost]) -> str:
    network = costs[0]
    lines = [f"{'':28}{'model.width':>12}{'parameters':>13}{'':>9}{'FLOPs':>15}{'':>9}{'latency, ms':>13}"]
    for cost in costs:
        shares = [cost.parameters / network.parameters - 1, cost.flops / network.flops - 1]
        more, longer = ("" if cost is network else f"{share:+.1%}" for share in shares)
        lines.append(
            f"{cost.name:28}{cost.width:>12.7g}{cost.parameters:>13,}{more:>9}"
            f"{cost.flops:>15,.0f}{longer:>9}{cost.latency_ms:>13.3f}"
        )
    return "\n".join(lines)


def _image_shape(words: str) -> tuple[int, int, int]:
    numbers = [int(word) if word.isdecimal() else 0 for word in words.split(",")]
    if len(numbers) != 3 or min(numbers) < 1:
        raise ValueError(f"--image {words}: must be channels, height and width, such as 3,32,32")
    return numbers[0], numbers[1], numbers[2]


def main() -> int:
    """Run the command in sys.argv; returns 0, or 2 after a wrong command, which is explained in one line."""
    parser = argparse.ArgumentParser(prog="python -m dynfilt.cost_twins", description=__doc__.partition("\n\n")[2])
    parser.add_argument("overrides", nargs="+", help="the network, e.g. model=resnet8 model/conv=dyconv")
    parser.add_argument("--image", default="3,32,32", help="channels, height and width of an image (3,32,32)")
    arguments = parser.parse_args()
    try:
        costs = cost_twins(arguments.overrides, _image_shape(arguments.image))
    except Exception as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return 2
    print(_table(costs))
    for twin, what in zip(costs[2:], ("parameters", "flops"), strict=True):
        off = abs(getattr(twin, what) / getattr(costs[0], what) - 1)
        if off > CLOSE_ENOUGH:
            print(f"{twin.name}: no width of whole channels comes closer than {off:.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(until_ctrl_c(main))
