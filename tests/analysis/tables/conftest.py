"""Studies as run folders, for all formats."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.analysis.tables.studies import ACCURACIES, COSTS, FILTERS, predictions

WriteRun = Callable[..., Path]


@pytest.fixture
def sound(write_run: WriteRun) -> WriteRun:
    """One study as it should be."""
    for variant, accuracies in ACCURACIES.items():
        parameters, flops = COSTS.get(variant, (2_516_810, 16_700_000))
        settings = {
            "model.filter._target_": FILTERS.get(variant, "GeneratedConv2d"),
            "model.filter.gradient": "cut" if variant == "detached_3x3" else "full",
            "model.second_head": {"_target_": "GeneratorHead"} if variant == "bypass_3x3" else None,
        }
        for seed, accuracy in enumerate(accuracies):
            write_run(
                variant,
                seed,
                accuracy,
                parameters=parameters,
                flops=flops,
                train_seconds=512 + 7.5 * seed,
                settings=settings,
                predictions=predictions(accuracy, seed),
            )
    return write_run


@pytest.fixture
def two_way(write_run: WriteRun) -> WriteRun:
    """A grid of kernels and learning rates, with a cell missing and names that TeX would stumble on."""
    for lr, accuracies in {0.01: {1: 0.60, 4: 0.62, 16: 0.61}, 0.1: {1: 0.70, 4: 0.72}}.items():
        for kernels, accuracy in accuracies.items():
            variant = f"dy_conv,model.num_kernels={kernels},optimizer.lr={lr}"
            settings = {"model.num_kernels": kernels, "optimizer.lr": lr}
            for seed, luck in enumerate((0.0, 0.004 * kernels**0.5, -0.002)):
                write_run(
                    variant, seed, accuracy + luck, study="50%_grid", settings=settings, parameters=1000 * kernels
                )
    return write_run


@pytest.fixture
def troubled(sound: WriteRun) -> WriteRun:
    """Two studies with all that can go wrong in them."""
    sound(
        "dynamic_3x3",
        3,
        None,
        state="failed",
        error={"type": "ValueError", "message": "loss is NaN at step 7"},
    )
    sound("static_3x3", 3, 0.6701, commit="fedcba98", dirty=True, device="NVIDIA H200")
    sound("never_3x3", 0, None, state="running")
    sound("static_1x1", 0, 0.5123, study="100%_label", epochs=10, train_seconds=9.25, flops=999_700)
    sound("label,optimizer.lr=0.001", 0, 0.5, study="100%_label", epochs=10, train_seconds=61.5, flops=1_250)
    return sound
