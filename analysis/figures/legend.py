"""The colour, marker and dashes of a variant's line, the same in every figure, and the entries of legends."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..comparing.comparison import BASELINE_PREFIX
from ..comparing.variants import Variant
from ..drawing.sheets import Handle
from ..drawing.style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION

# Neighbours in this order differ in lightness, for print in grey.
COLOURS = (BLACK, BLUE, ORANGE, GREEN, SKY, VERMILION, PURPLE)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
# Training and validation differ in print without any colour.
DASHES: dict[str, Any] = {"train": (0, (2.5, 1.2)), "val": "solid"}
SEED_WIDTH, SEED_ALPHA, BAND_ALPHA = 0.5, 0.5, 0.16


@dataclass(frozen=True)
class Look:
    """A colour, a marker, and the variant's rank, by which markers on lines are shifted apart."""

    colour: str
    marker: str
    rank: int


def looks_of(variants: Sequence[Variant], drawn: Iterable[Variant] = ()) -> dict[str, Look]:
    """A look for each variant's label; it follows from the recorded names, whatever the variants are displayed as.

    Static variants come first, then the order is by name, whatever the baseline and the order given. 7 colours and 10
    markers are cycled together, so the first 70 looks differ, the first 7 in colour alone. Where there are more
    variants than looks that differ, those that are `drawn` come first.
    """
    recorded = {variant.label: variant.recorded_name for variant in variants}
    if len(recorded) <= len(COLOURS) * len(MARKERS):
        return _ranked(recorded)
    first = _ranked({variant.label: variant.recorded_name for variant in drawn})
    return first | _ranked({label: name for label, name in recorded.items() if label not in first}, len(first))


def _ranked(recorded: Mapping[str, str], start: int = 0) -> dict[str, Look]:
    """A look for each label, by the recorded name, from a rank on."""
    ordered = sorted(
        recorded, key=lambda label: (not recorded[label].startswith(BASELINE_PREFIX), recorded[label], label)
    )
    return {
        label: Look(COLOURS[rank % len(COLOURS)], MARKERS[rank % len(MARKERS)], rank)
        for rank, label in enumerate(ordered, start)
    }


def variant_handle(label: str, look: Look, split: str) -> Line2D:
    """A legend's entry for a variant's mean."""
    return Line2D(
        [], [], color=look.colour, linestyle=DASHES[split], marker=look.marker, markeredgecolor="white", label=label
    )


def point_handle(label: str, look: Look) -> Line2D:
    """A legend's entry for a variant's point."""
    return Line2D([], [], color=look.colour, marker=look.marker, linestyle="none", label=label)


def explaining_handles(has_several_seeds: bool, has_band: bool) -> list[Handle]:
    """A legend's entries for what is beside the means."""
    seed = Line2D([], [], color=GREY, linewidth=SEED_WIDTH, label="one seed")
    band = Patch(color=GREY, alpha=2 * BAND_ALPHA, linewidth=0, label="95 % t interval")
    return [*([seed] if has_several_seeds else []), *([band] if has_band else [])]


def summary_handles(counts: Iterable[int], interval: str = "95 % t interval") -> list[Handle]:
    """A legend's entries for the dots of seeds and the error bar of their mean, with their number."""
    few, many = min(counts := list(counts)), max(counts)
    n = f"n = {many}" if few == many else f"n = {few}–{many}"
    mean = Line2D([], [], color=GREY, marker="o", markersize=5, linewidth=0.8, markeredgecolor="white")
    mean.set_label(f"mean and {interval}, {n}" if many > 1 else "one seed, no interval")
    dot = Line2D([], [], color=GREY, marker="o", markersize=2.2, linestyle="none", alpha=0.7, label="one seed")
    return [dot, mean] if many > 1 else [mean]
