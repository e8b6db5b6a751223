"""What one change did: the losses of two variants in one panel."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..drawing import style
from .curves import apply_frame, beside_the_means, draw_series, frame, name_axes
from .palette import Look
from .series import SPLITS, Series


def before_after(shown: Sequence[Series], looks: Mapping[str, Look], x: str, width: str) -> Figure:
    """Training and validation loss of two variants; `shown` holds the series of the one before first."""
    handles = [*pair_handles(shown, looks), *beside_the_means(shown)]
    figure, upper = style.new_sheet(width, 2.9 if width == "page" else 2.3, handles)
    axes = upper.subplots()
    for series in shown:
        draw_series(axes, series, looks[series.label])
    chosen = frame(shown, "loss")
    apply_frame(np.array([axes]), chosen, "loss")
    name_axes(upper, chosen, "loss", x)
    return figure


def pair_handles(shown: Sequence[Series], looks: Mapping[str, Look]) -> list[Line2D]:
    """A legend's entry for each variant's losses on each split."""
    first = shown[0].label
    return [
        style.variant_handle(
            f"{'before' if series.label == first else 'after'}, {SPLITS[series.split]}: "
            f"{style.with_count(series.label, series.n)}",
            looks[series.label],
            series.split,
        )
        for series in shown
    ]
