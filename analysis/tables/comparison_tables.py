"""A comparison as tables of printable cells, the same for every format that people read, and as CSV for programs."""

import json
import math
from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from typing import Any

from ..comparing.claims import EXPLORATORY, Claim
from ..comparing.comparison import Comparison
from ..comparing.equivalence import MOST_PAIRS
from ..comparing.image_level import ImageLevel
from ..comparing.variants import Variant
from ..comparing.words import in_words
from .columns import (
    BASELINE_ONLY,
    COLUMNS,
    IF_ANY,
    IMAGE_COLUMNS,
    ON_IMAGES,
    PAIRING,
    VERDICTS,
    Entry,
    compared_by,
    entry,
)
from .numbers import IN_ONE_UNIT, MISSING
from .table import RESULTS_TITLE, Column, Heading, Row, Table, csv_text, is_undefined

BOUNDS = {"pairs_needed": f">{MOST_PAIRS}"}  # what an infinite value means in JSON, which has none
Columns = Sequence[Column[Entry]]
# Group, label and column key of each cell that holds a best value.
Best = Set[tuple[str, str, str]]


def tables_of(comparison: Comparison, columns: Columns, images: ImageLevel, *, one_unit: bool = False) -> list[Table]:
    """The results in these columns; then verdicts, paired analysis and test images, where there are any.

    With `by` the results are a two-way table for each column. `one_unit` prints each column in one unit and with as
    many decimals everywhere.
    """
    claims = [entry(variant, claim, images) for variant in comparison.variants for claim in variant.claims]
    by_image = [
        each for variant in comparison.variants for each in _entries(variant, images) if each.accuracy_over_images.n
    ]
    tables = _results(comparison, compared_by(comparison.metric, columns), images, one_unit)
    if claims:
        for title, kind in (("Verdicts", VERDICTS), ("Paired analysis", PAIRING)):
            shown = compared_by(comparison.metric, _with_values(kind, claims))
            tables.append(_by_group(title, comparison, shown, claims, one_unit))
    if by_image:
        tables.append(_by_group("Test images", comparison, ON_IMAGES, by_image, one_unit))
    return tables


def claims_of(comparison: Comparison, columns: Columns) -> Table:
    """A row for the baseline, for each claim, and for a variant that makes none; no exploratory comparison."""
    entries = []
    for variant in comparison.variants:
        claims = [claim for claim in variant.claims if claim.verdict != EXPLORATORY]
        of_itself = [None] if variant.is_baseline or not claims else []
        entries += [entry(variant, claim, ImageLevel()) for claim in (*of_itself, *claims)]
    shown = compared_by(comparison.metric, _with_values(columns, entries))
    return _by_group(RESULTS_TITLE, comparison, shown, entries, one_unit=False)


def records(comparison: Comparison, columns: Columns | None, images: ImageLevel) -> str:
    """CSV: one record a variant, full precision, accuracies and differences as fractions, undefined values empty.

    Without `columns` the fields of all that need no test images, the same whatever the variants hold, those of the
    claim against the control beside those against the baseline, and where there are claims on gains those of each, from
    `gain_over` on, of a second one from `gain2_over` on; else what a variant is, and the fields of the columns.
    """
    rows = [dict(_record(variant, comparison, columns, images)) for variant in comparison.variants]
    return csv_text(rows[0], ([_shortest(value) for value in row.values()] for row in rows))


def as_json(
    comparison: Comparison, columns: Columns | None, images: ImageLevel, notes: list[str], caveats: list[str]
) -> str:
    """JSON: the metric; a list of variants with the fields of the CSV, each with its claims as a list; notes, caveats.

    Accuracies and differences are fractions; what is undefined, or infinite, is null, but `pairs_needed` beyond
    MOST_PAIRS is the text ">10000".
    """
    shown = compared_by(comparison.metric, columns or [column for column in COLUMNS if column not in IMAGE_COLUMNS])
    variants = []
    for variant in comparison.variants:
        claims = [
            {"rival": claim.rival, "is_control": claim.is_control, "gain_over": claim.over or None}
            | _fields([column for column in shown if column.compares and column.key != "against"], each)
            for claim in variant.claims
            for each in [entry(variant, claim, images)]
        ]
        of_itself = _fields([column for column in shown if not column.compares], entry(variant, None, images))
        about = {"is_baseline": variant.is_baseline, "seeds": variant.seeds}
        variants.append({**dict(_identity(variant, comparison)), **about, **of_itself, "claims": claims})
    content = {"metric": comparison.metric.name, "variants": variants, "notes": notes, "caveats": caveats}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _fields(columns: Columns, of: Entry) -> dict[str, Any]:
    values = {field: _shortest(value(of)) for column in columns for field, value in column.values.items()}
    bounded = {field: BOUNDS.get(field) if value == math.inf else value for field, value in values.items()}
    return {field: None if is_undefined(value) or value == -math.inf else value for field, value in bounded.items()}


def _identity(variant: Variant, comparison: Comparison) -> Iterator[tuple[str, Any]]:
    """What a variant is; `label` is its name in tables, by which others name it as baseline or control.

    The config keys that make rows and groups are fields too.
    """
    yield "study", variant.study
    yield "variant", variant.recorded_name
    yield "label", variant.label
    for key in comparison.layout.keys:
        yield key, in_words(variant.runs[0].setting(key)) if variant.runs else ""
    yield "config_digest", variant.digest
    yield "n", variant.summary.n


def _record(
    variant: Variant, comparison: Comparison, columns: Columns | None, images: ImageLevel
) -> Iterator[tuple[str, Any]]:
    """Field and value."""
    yield from _identity(variant, comparison)
    yield "seeds", " ".join(map(str, variant.seeds))
    against_baseline = entry(variant, variant.against_baseline, images)
    shown = columns or [column for column in COLUMNS if column not in IMAGE_COLUMNS]
    for column in compared_by(comparison.metric, shown):
        for field, value in column.values.items():
            yield field, value(against_baseline)
    if columns is None:
        yield from _more_fields(variant, variant.against_control, "control_", "control")
        for place in range(max(len(each.gains) for each in comparison.variants)):
            claim = variant.gains[place] if place < len(variant.gains) else None
            prefix = f"gain{place + 1}_" if place else "gain_"
            yield f"{prefix}over", claim.over if claim else None
            yield from _more_fields(variant, claim, prefix, f"{prefix}more_than")


def _more_fields(variant: Variant, claim: Claim | None, prefix: str, rival: str) -> Iterator[tuple[str, Any]]:
    """The fields of a claim that is not against the baseline, under a prefix; the rival's name under one of its own."""
    of_claim = entry(variant, claim, ImageLevel())
    for column in COLUMNS:
        if column.compares and column not in (*BASELINE_ONLY, *IMAGE_COLUMNS):
            for field, value in column.values.items():
                yield rival if field == "baseline" else f"{prefix}{field}", value(of_claim) if claim else None


def _shortest(value: Any) -> Any:
    """A whole number without its decimal point."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) > 1 else value


def _results(comparison: Comparison, columns: Columns, images: ImageLevel, one_unit: bool) -> list[Table]:
    shown = [column for column in columns if comparison.claims or not column.compares]
    best = _best(comparison, shown, images)
    if comparison.layout.by is not None:
        return [_two_way(comparison, column, images, best, one_unit) for column in shown]
    entries = [entry(variant, variant.against_baseline, images) for variant in comparison.variants]
    return [_by_group(RESULTS_TITLE, comparison, shown, entries, one_unit, best)]


def _with_values(columns: Columns, entries: Sequence[Entry]) -> Columns:
    """The columns without those of IF_ANY that have no value in any row."""
    return [
        column
        for column in columns
        if column not in IF_ANY
        or any(not is_undefined(value(each)) for each in entries for value in column.values.values())
    ]


def _entries(variant: Variant, images: ImageLevel) -> list[Entry]:
    """The variant's entries, one a claim; a variant without claims has one all the same."""
    return [entry(variant, claim, images) for claim in variant.claims or (None,)]


def _by_group(
    title: str,
    comparison: Comparison,
    columns: Columns,
    entries: Sequence[Entry],
    one_unit: bool,
    best: Best = frozenset(),
) -> Table:
    """A row for each entry, the columns side by side."""
    blocks: dict[str, list[Row]] = {}
    printed = [_printed(column, entries, one_unit) for column in columns]
    for place, each in enumerate(entries):
        group, label = each.variant.group, each.variant.label
        bold = ((group, label, column.key) in best for column in columns)
        row = Row((label, *(cells[place] for _, cells in printed)), (False, *bold))
        name = comparison.layout.titled(group) if len(comparison.groups) > 1 else ""
        blocks.setdefault(name, []).append(row)
    headings = Heading(comparison.layout.rows, is_text=True), *(heading for heading, _ in printed)
    return Table(title, comparison.studies, headings, blocks, tuple(column.key for column in columns))


def _printed(column: Column[Entry], entries: Sequence[Entry], one_unit: bool) -> tuple[Heading, list[str]]:
    """A column's heading and its cells."""
    if not one_unit or column.form not in IN_ONE_UNIT:
        return column.heading, [column.cell(each) for each in entries]
    [value] = column.values.values()
    unit, cells = IN_ONE_UNIT[column.form]([value(each) for each in entries])
    return replace(column.heading, unit=column.heading.unit or unit), cells


def _two_way(comparison: Comparison, column: Column[Entry], images: ImageLevel, best: Best, one_unit: bool) -> Table:
    """A row for each label, the groups side by side."""
    entries = [entry(each, each.against_baseline, images) for each in comparison.variants]
    heading, texts = _printed(column, entries, one_unit)
    headings = [Heading(comparison.layout.rows, is_text=True)]
    headings += [Heading(group, heading.unit, heading.direction) for group in comparison.groups]
    cells = {(each.group, each.label): text for each, text in zip(comparison.variants, texts, strict=True)}
    ordered = sorted(comparison.variants, key=lambda variant: variant.order)
    rows = []
    for label in dict.fromkeys(variant.label for variant in ordered):
        of_label = (cells.get((group, label), MISSING) for group in comparison.groups)
        bold = ((group, label, column.key) in best for group in comparison.groups)
        rows.append(Row((label, *of_label), (False, *bold)))
    title = f"{column.heading.name[:1].upper()}{column.heading.name[1:]} by {comparison.layout.by}"
    return Table(title, comparison.studies, tuple(headings), {"": rows}, (column.key,) * len(comparison.groups))


def _best(comparison: Comparison, columns: Columns, images: ImageLevel) -> Best:
    """The best of each column's first values in each group; where all are equal none is best, nor among differences."""
    best = set()
    for column in columns:
        if column.compares or not column.heading.direction:
            continue
        value_of = next(iter(column.values.values()))
        for group, variants in comparison.groups.items():
            values = {variant.label: value_of(entry(variant, None, images)) for variant in variants}
            defined = [value for value in values.values() if not math.isnan(value)]
            if defined and min(defined) < max(defined):
                top = max(defined) if column.heading.direction == "↑" else min(defined)
                best |= {(group, label, column.key) for label, value in values.items() if value == top}
    return best
