"""Which variants are drawn: those asked for, in that order; of very many the ones that a reader looks for first."""

import argparse
from collections.abc import Mapping, Sequence

from ..comparing.variants import Variant

# More lines than this nobody tells apart, and panels and rows would fill pages.
MOST = 24


def add_variants_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--variants`, the choice of `selected`."""
    parser.add_argument(
        "--variants",
        nargs="+",
        default=[],
        metavar="V",
        help=f"what is drawn, in this order, whatever it is compared with; default: all, of more than {MOST} the "
        "baseline, controls and the best on validation",
    )


def selected(groups: Mapping[str, list[Variant]], names: Sequence[str]) -> dict[str, list[Variant]]:
    """The variants of these names, in that order, by group; without names all. A group without any is left out.

    Raises ValueError for a name that no variant with results has.
    """
    if not names:
        return dict(groups)
    known = [variant for members in groups.values() for variant in members if variant.runs]
    for name in names:
        if not any(name in variant.names for variant in known):
            labels = ", ".join(dict.fromkeys(variant.label for variant in known))
            raise ValueError(f"--variants {name}: no such variant with results; the variants are: {labels}")
    chosen: dict[str, list[Variant]] = {}
    for heading, members in groups.items():
        named = {variant.label: variant for name in names for variant in members if name in variant.names}
        if named:
            chosen[heading] = list(named.values())
    return chosen


def drawn(variants: Sequence[Variant], are_named: bool = False) -> list[Variant]:
    """At most MOST of these: baseline and controls, then the highest mean validation accuracies; in the given order.

    Chosen by validation, so that the choice says nothing of the test accuracies that are drawn. Of those that were
    named none is left out.
    """
    if are_named or len(variants) <= MOST:
        return list(variants)
    controls = {claim.rival for variant in variants for claim in variant.claims if claim.is_control}

    def importance(variant: Variant) -> tuple[bool, bool, float]:
        accuracy = variant.mean("val_accuracy")
        return not variant.is_baseline, variant.label not in controls, -accuracy if accuracy == accuracy else 0.0

    chosen = {variant.label for variant in sorted(variants, key=importance)[:MOST]}
    return [variant for variant in variants if variant.label in chosen]


def left_out(shown: Sequence[Variant], variants: Sequence[Variant]) -> str:
    """What `drawn` leaves out, in a sentence; empty where that is nothing."""
    if len(shown) == len(variants):
        return ""
    return (
        f"{len(shown)} of {len(variants)} variants: the baseline, controls, and those with the highest validation "
        "accuracy; --variants chooses others"
    )
