"""Whom a row is compared with: the baseline of its group, and the control of equal capacity."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .variants import Row

BASELINE_PREFIX = "static"
CONTROL_KEY = "second_head"
CONTROL_TOLERANCE = 0.05


def baseline_of(rows: Sequence[Row], named: str | None) -> Row:
    """The row that a group's others are compared with; `rows` have results.

    It is the named one where the group has it, else the first variant named static*, else the one with the fewest
    parameters, of several the first.
    """
    asked = [row for row in rows if named in row.names]
    static = [row for row in rows if row.variant.startswith(BASELINE_PREFIX)]
    return (asked or static or sorted(rows, key=_parameters))[0]


def control_of(row: Row, rows: Sequence[Row], baseline: Row) -> Row | None:
    """The row that has the capacity of `row` without its filter, if there is one.

    A control is the baseline's network with a second head beside it (the config's `model` differs from the baseline's
    in `model.second_head` alone) that brings its parameters within 5 % of the row's. Among several, the one whose
    config agrees with the row's in all but `model` is chosen, else none.
    """
    found = [other for other in rows if _is_control(other, baseline) and _is_equal_in_size(other, row)]
    if row is baseline or _is_control(row, baseline):
        return None
    alike = [other for other in found if _without(other, "model") == _without(row, "model")]
    candidates = alike if len(found) > 1 else found
    return candidates[0] if len(candidates) == 1 else None


def check_baseline(groups: Mapping[str, Sequence[Row]], baseline: str) -> None:
    """Raise ValueError when a baseline names several rows of a group, or no row with results anywhere."""
    for heading, rows in groups.items():
        named = [row for row in rows if baseline in row.names]
        if len(named) > 1:
            labels = ", ".join(repr(row.label) for row in named)
            raise ValueError(f"baseline {baseline} is several rows of {heading}; choose one of {labels}")
    every = [row for rows in groups.values() for row in rows if row.runs]
    if not any(baseline in row.names for row in every):
        known = ", ".join(dict.fromkeys(sorted(row.label for row in every)))
        raise ValueError(f"no variant {baseline} with results to serve as baseline; the variants are: {known}")


def _parameters(row: Row) -> float:
    parameters = row.mean("parameters")
    return math.inf if math.isnan(parameters) else parameters


def _is_control(row: Row, baseline: Row) -> bool:
    model, plain = _model(row), _model(baseline)
    return bool(model.get(CONTROL_KEY)) and not plain.get(CONTROL_KEY) and _headless(model) == _headless(plain)


def _is_equal_in_size(control: Row, row: Row) -> bool:
    return abs(control.mean("parameters") - row.mean("parameters")) <= CONTROL_TOLERANCE * row.mean("parameters")


def _model(row: Row) -> Mapping[str, Any]:
    model = row.runs[0].config.get("model")
    return model if isinstance(model, Mapping) else {}


def _headless(model: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in model.items() if key != CONTROL_KEY}


def _without(row: Row, group: str) -> dict[str, Any]:
    return {key: value for key, value in row.runs[0].config.items() if key != group}
