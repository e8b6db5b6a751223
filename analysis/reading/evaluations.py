"""The curves of a run: its evaluations during training, read only when somebody asks for them."""

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .results import NOT_FINITE
from .run import Run

AXIS = "epoch"


def curves(run: Run) -> list[dict[str, float]]:
    """One row an evaluation, by rising epoch, with the columns of metrics.jsonl; empty when nothing was recorded.

    Accuracies are fractions, times seconds. A column that a run does not have (`temperature` of a static model) is
    absent from its rows; NaN is a loss that was NaN. Each call reads the source anew.
    Raises ValueError when the source can no longer be read.
    """
    return by_epoch(run.rows() if run.rows else metrics_rows(run.place))


def by_epoch(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Numbers of the rows, sorted by epoch, each epoch once: of what was logged again, the last value is kept.

    A run that was killed and resumed logs some epochs twice. Rows without an epoch, W&B's own columns (`_step`)
    and everything that is no number are left out.
    """
    merged: dict[float, dict[str, float]] = {}
    for row in rows:
        numbers = {key: float(value) for key, value in row.items() if type(value) in (float, int)}
        if len(numbers) < len(row):
            numbers |= {key: NOT_FINITE[value] for key, value in row.items() if str(value) in NOT_FINITE}
        epoch = numbers.get(AXIS, math.nan)
        if math.isfinite(epoch):
            known = merged.setdefault(epoch, numbers)
            if known is not numbers:
                known |= numbers
    return [{key: value for key, value in merged[epoch].items() if key[:1] != "_"} for epoch in sorted(merged)]


def metrics_rows(folder: str) -> Iterator[dict[str, Any]]:
    """Rows of a run folder's metrics.jsonl, up to a line torn by a crash.

    Raises ValueError when the file is there and cannot be read.
    """
    path = os.path.join(folder, "metrics.jsonl")
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError:
        return
