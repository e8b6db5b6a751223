"""The training of `benchmarks.per_image_gpu`: DY-ResNet-18 by several rules, with the options that were best."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import torch

from benchmarks import gemm_options, peers, per_image
from benchmarks.arm import Arm
from benchmarks.step import NETWORKS
from benchmarks.tables import text_table
from benchmarks.timing import Deadline
from benchmarks.turns import Turns
from dynfilt.models.resnet import ResNet18, dyconv_resnet18

Row = dict[str, Any]
TUNED_FILE = "PER_IMAGE_TUNED"  # an environment variable: processes that train read their options there
CONSTANTS = ("MIX_BLOCK", "MIX_IMAGES", "UNMIX_BLOCK", "UNMIX_ROWS")
HERE = "benchmarks.per_image_training"


def options_in_force() -> dict[str, Any]:
    """The options of this process's per-image kernels, as JSON may hold them."""
    constants = {name: getattr(per_image, name) for name in CONSTANTS}
    return {"tuned": [[list(key), options] for key, options in gemm_options.TUNED.items()], "constants": constants}


def _network(most_filters: float) -> Callable[..., ResNet18]:
    """DY-ResNet-18 with the options of TUNED_FILE, and filters for each image up to so many times a map's numbers."""

    @wraps(dyconv_resnet18)
    def network(**options: Any) -> ResNet18:
        content = json.loads(Path(os.environ[TUNED_FILE]).read_text())
        gemm_options.TUNED.update({tuple(key): value for key, value in content["tuned"]})
        for name, value in content["constants"].items():
            setattr(per_image, name, value)
        peers.MOST_FILTERS = most_filters
        return peers.per_image_resnet18(**options)

    return network


# A filter's numbers over its map's: 0.6 in the first stage, 1.1 and 4.5 in the second, 9 and 36 in the third.
stacked_resnet18 = _network(0.0)
first_stage_resnet18 = _network(1.0)
two_stages_resnet18 = _network(5.0)
RULES = {"two stages by image": "two_stages", "first stage by image": "first_stage", "all stacked": "stacked"}


def train(batch: int, device: torch.device, deadline: Deadline, rehearse: bool) -> list[Row]:
    """Rows for steps of the static twin and of DY-ResNet-18 by each rule, in turn."""
    overrides = (
        *(*NETWORKS["dyconv"].overrides, "data=cifar10_sample", f"trainer.batch_size={batch}"),
        f"trainer.precision={'float32' if rehearse else 'bfloat16'}",
    )
    way: Any = "eager" if rehearse else "compiled-graph"
    arms = [Arm("static", "other", ("model=resnet18", *overrides), way)]
    for name, network in list(RULES.items())[-1 if rehearse else 0 :]:  # the interpreter would take minutes a step
        model = ("model=dyconv_resnet18", f"model._target_={HERE}.{network}_resnet18")
        arms.append(Arm(name, "other", (*model, *overrides), way))
    turns = Turns(arms, device, 0.0 if rehearse else 1.0, deadline)
    turns.take(1 if rehearse else 3)
    rows = []
    for turn in turns.all:
        ms = statistics.median(turn.ms) if turn.ms else None
        facts = {"ms": ms, "peak_mb": turn.peak_mb, "failure": turn.failure}
        rows.append({"what": "training", "batch": batch, "way": turn.arm.name, **facts})
    return rows


def training_table(rows: list[Row]) -> str:
    """Milliseconds a step and how many times the static twin's."""
    lines, static = [], None
    for row in rows:
        if row["what"] == "training":
            if row["way"] == "static":
                static = row["ms"]
            ratio = f"{row['ms'] / static:.2f}" if row["ms"] and static else "-"
            ms = f"{row['ms']:.2f}" if row["ms"] else row["failure"]
            lines.append([str(row["batch"]), row["way"], ms, ratio, f"{row.get('peak_mb') or 0:.0f}"])
    return text_table(["batch", "network", "ms a step", "/ static", "peak, MiB"], lines)
