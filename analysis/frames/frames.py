"""Runs, curves, predictions and comparisons as data frames with typed columns, the same from every source.

A source is what the command line takes: a folder with runs at any depth or `wandb:entity/project[/group]`. Every frame
begins with `study`, `variant` and `seed`. Accuracies are fractions, times seconds, memory is MiB, FLOPs of an image.
Each function raises ValueError for a source that cannot be read, does not exist or holds no run.
"""

import io
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from dynfilt.run.folder import RunFolder

from ..comparing.comparison import compare
from ..comparing.image_level import image_level
from ..reading.metrics import metric_named
from ..reading.predicted import with_metric
from ..reading.run import Run
from ..reading.sources import read_runs
from ..tables.comparison_tables import records

TEXT = ("study", "variant", "state", "error", "config_digest", "commit", "device", "source", "place")
# How the fields of `table --format csv` end that hold words.
TEXT_ENDS = (
    *("study", "variant", "label", "config_digest", "seeds"),
    *("baseline", "control", "verdict", "tuned_alike", "over", "more_than"),
)

T = TypeVar("T")


def runs_frame(*sources: str, metric: str | None = None) -> pd.DataFrame:
    """Return one row a run, whether it counts or not.

    Columns: what the run is (`state`, one-line `error`, `config_digest`, `commit`, `dirty`, `device`, `source`,
    `place`), each number of result.json under its own name, NaN where the run has none, and each config key as
    `config.<key>`, such as `config.optimizer.lr`, text where runs hold values of several types. A metric that is
    computed from these or from the predictions, such as `calibration_error`, is a column where it is asked for, NaN for
    runs that lack what it needs.
    Raises ValueError also for a metric that there is not.
    """
    runs = read_runs(sources)
    if metric is not None:
        found = {run.place: with_metric(run, metric_named(metric)) for run in runs}
        runs = [found[run.place] if found[run.place].counts else run for run in runs]
    asked = {} if metric is None else {metric: math.nan}
    rows = [
        {**_identity(run), **_origin(run), **asked, **run.numbers, **dict(_flat(run.config, "config"))} for run in runs
    ]
    frame = pd.DataFrame(rows)
    for name in frame:
        # A key that is a number in some runs and a word in others, such as data.split_seed.
        if frame[name].dtype == object and pd.api.types.infer_dtype(frame[name], skipna=True).startswith("mixed"):
            frame[name] = frame[name].map(str, na_action="ignore")
    return frame.astype({name: "string" for name in TEXT} | {"seed": "int64", "dirty": "bool"})


def curves_frame(*sources: str) -> pd.DataFrame:
    """Return one row for each evaluation during training, by rising epoch; columns as metrics.jsonl names them.

    Warns of a run whose evaluations cannot be read, and leaves it out.
    """
    rows = [{**_identity(run), **row} for run in read_runs(sources) for row in _sound(run, run.evaluations) or []]
    frame = pd.DataFrame(rows, columns=None if rows else ["study", "variant", "seed", "epoch"])
    return frame.astype({"study": "string", "variant": "string", "seed": "int64", "epoch": "float64"})


def predictions_frame(*sources: str) -> pd.DataFrame:
    """Return one row a run and test image: `image`, true `label`, then the columns of test_predictions.npz.

    `best_class` is what the weights kept by validation predict, `correct` whether it is the label. A run without
    predictions beside it, such as one on W&B's server, has no rows; one whose predictions are damaged is warned of.
    """
    parts = []
    for run in read_runs(sources):
        kept = _sound(run, RunFolder(Path(run.place)).predictions) if run.counts else None
        if kept:
            part = pd.DataFrame(kept)
            part.insert(0, "image", np.arange(len(part)))
            part["correct"] = part["best_class"] == part["label"]
            parts.append(part.assign(**_identity(run)))
    if not parts:
        return pd.DataFrame(columns=["study", "variant", "seed", "image", "label", "best_class", "correct"])
    frame = pd.concat(parts, ignore_index=True)
    first = ["study", "variant", "seed"]
    return frame[[*first, *(name for name in frame if name not in first)]]


def comparison_frame(
    *sources: str, baseline: str | None = None, about: str | None = None, metric: str | None = None
) -> pd.DataFrame:
    """Return one row a variant: the fields of `table --format csv`, from differences and intervals to verdicts.

    `about` is a sweep file whose declaration counts instead of what the runs recorded; `metric` is what is compared
    instead of what that declares.
    Raises ValueError also when no run has a result, for a baseline that is no variant and an unusable declaration.
    """
    comparison = compare(read_runs(sources), baseline, about=about, metric=metric)
    text = records(comparison, None, image_level(comparison))
    fields = text.partition("\n")[0].split(",")
    texts = [name for name in fields if name.endswith(TEXT_ENDS)]
    return pd.read_csv(io.StringIO(text), dtype={name: "string" for name in texts})


def _sound(run: Run, read: Callable[[], T]) -> T | None:
    """What a run's file holds; None, with a warning, of one that is damaged."""
    try:
        return read()
    except ValueError as error:
        warnings.warn(f"{run.place}: {error}; left out", stacklevel=4)
        return None


def _identity(run: Run) -> dict[str, Any]:
    return {"study": run.study, "variant": run.variant, "seed": run.seed}


def _origin(run: Run) -> dict[str, Any]:
    return {
        "state": run.state.value,
        "error": run.error,
        "config_digest": run.digest,
        "commit": " ".join(run.commits),
        "dirty": run.dirty,
        "device": ", ".join(run.devices),
        "source": run.source,
        "place": run.place,
    }


def _flat(config: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; a list stays one value, as text, so that a frame can be grouped by it."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}.{key}")
        else:
            yield f"{path}.{key}", str(value) if isinstance(value, list) else value
