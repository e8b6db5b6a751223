"""CSV for programs: one record a row, full precision, accuracies as fractions, undefined values empty."""

import csv
import io
import math
from collections.abc import Iterator

from analysis.comparison import Comparison, Row
from analysis.formats.grids import NO_INTERVAL, NO_PAIRS


def document(comparison: Comparison) -> str:
    """The whole table, without footer and caveats; the same columns whatever the rows hold."""
    baselines = {row.study: row.label for row in comparison.rows if row.is_baseline}
    records = [record(row, baselines.get(row.study, "")) for row in comparison.rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def record(row: Row, baseline: str) -> dict[str, str]:
    """One row's fields; differences are ours minus the baseline's, as fractions like the accuracies."""
    return {
        "study": row.study,
        "variant": row.variant,
        "config_digest": row.digest,
        "n": str(row.accuracy.n),
        "seeds": " ".join(str(seed) for seed in row.seeds),
        **dict(_accuracy(row)),
        "baseline": baseline,
        **dict(_comparison(row)),
        "parameters": _number(row.mean("parameters")),
        "flops": _number(row.mean("flops")),
        "train_seconds_mean": _number(row.mean("train_seconds")),
    }


def _accuracy(row: Row) -> Iterator[tuple[str, str]]:
    yield "test_accuracy_mean", _number(row.accuracy.mean)
    yield "test_accuracy_sd", _number(row.accuracy.sd)
    yield "test_accuracy_ci95_low", _number(row.accuracy.low)
    yield "test_accuracy_ci95_high", _number(row.accuracy.high)


def _comparison(row: Row) -> Iterator[tuple[str, str]]:
    pairs, unpaired = row.paired or NO_PAIRS, row.welch or NO_INTERVAL
    yield "pairs", "" if row.is_baseline else str(pairs.difference.n)
    yield "difference_mean", _number(pairs.difference.mean)
    yield "difference_sd", _number(pairs.difference.sd)
    yield "difference_ci95_low", _number(pairs.difference.low)
    yield "difference_ci95_high", _number(pairs.difference.high)
    yield "p", _number(pairs.p)
    yield "p_holm", _number(row.p_holm)
    yield "detectable_difference", _number(pairs.detectable)
    yield "effect_size_dz", _number(pairs.effect_size)
    yield "pairing_correlation", _number(pairs.correlation)
    yield "welch_difference_mean", _number(unpaired.mean)
    yield "welch_ci95_low", _number(unpaired.low)
    yield "welch_ci95_high", _number(unpaired.high)


def _number(value: float) -> str:
    """Shortest text that reads back as the same float; whole numbers without a decimal point."""
    if math.isnan(value):
        return ""
    return str(int(value)) if value.is_integer() and abs(value) > 1 else repr(float(value))
