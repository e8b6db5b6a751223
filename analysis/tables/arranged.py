"""Which rows a table shows, and in which order; what they say is not touched."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..comparing.arrangement import VARIANT
from ..comparing.comparison import Comparison
from ..comparing.image_level import ImageLevel
from ..comparing.variants import Variant
from .columns import chosen, compared_by, entry
from .table import is_undefined


def arranged(comparison: Comparison, images: ImageLevel, names: Sequence[str] = (), sort: str = "") -> Comparison:
    """The comparison with the variants of these names, in that order, and in the order of a column.

    The best value of a column that has a direction comes first, what is undefined last; `variant` sorts by label. All
    statistics stay those of the whole comparison. Raises ValueError for a name or column that there is not, and for an
    order of tables side by side.
    """
    if sort and comparison.layout.by is not None:
        raise ValueError("--sort orders the rows of one table; with --by they stand in the order of the config key")
    groups = comparison.groups
    if names:
        known = {name for variant in comparison.variants for name in variant.names}
        if unknown := [name for name in names if name not in known]:
            labels = ", ".join(dict.fromkeys(variant.label for variant in comparison.variants))
            raise ValueError(f"--variants {' '.join(unknown)}: no such variant; the variants are: {labels}")
        groups = {heading: _selected(variants, names) for heading, variants in groups.items()}
        groups = {heading: variants for heading, variants in groups.items() if variants}
    if sort:
        groups = {heading: _sorted(variants, sort, comparison, images) for heading, variants in groups.items()}
    return replace(comparison, groups=groups)


def _selected(variants: Sequence[Variant], names: Sequence[str]) -> list[Variant]:
    """The variants of these names, in that order, which is that of a table side by side too."""
    rows: dict[str, Variant] = {}
    for place, name in enumerate(names):
        for variant in variants:
            if name in variant.names:
                rows.setdefault(variant.label, replace(variant, order=((0, place, ""), variant.label)))
    return list(rows.values())


def _sorted(variants: Sequence[Variant], key: str, comparison: Comparison, images: ImageLevel) -> list[Variant]:
    if key == VARIANT:
        return sorted(variants, key=lambda variant: variant.label)
    [column] = compared_by(comparison.metric, chosen([key]))
    value_of: Callable[..., Any] = next(iter(column.values.values()))
    values = {variant.label: value_of(entry(variant, variant.against_baseline, images)) for variant in variants}
    defined = [variant for variant in variants if not is_undefined(values[variant.label])]
    ordered = sorted(defined, key=lambda variant: values[variant.label], reverse=column.heading.direction == "↑")
    return [*ordered, *(variant for variant in variants if variant not in defined)]
