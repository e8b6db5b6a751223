"""CSV for programs: one record a row, full precision, accuracies as fractions, undefined values empty."""

import csv
import io
import math
from collections.abc import Iterator, Sequence

from ..comparing.arrangement import in_words
from ..comparing.claims import NO_CLAIM, Claim
from ..comparing.comparison import Comparison
from ..comparing.test_images import ImageLevel
from ..comparing.variants import Row
from .columns import Column, Entry, entry
from .quantities import FURTHER


def document(comparison: Comparison, columns: Sequence[Column] | None, images: ImageLevel) -> str:
    """The whole table, without footer and caveats; the same fields whatever the rows hold.

    Chosen columns leave the fields that say what a row is, and their own; those of test images come only so.
    """
    records = []
    baselines = {row.group: row.label for row in comparison.rows if row.is_baseline}
    for row in comparison.rows:
        each = entry(row, row.against_baseline, images)
        identity = dict(_identity(row, comparison))
        fields = _numbers(each, baselines.get(row.group, ""))
        if columns is not None:
            fields = {**fields, **dict(_images(each))}
            fields = {name: fields[name] for column in columns for name in column.fields}
        records.append({**identity, **fields})
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _identity(row: Row, comparison: Comparison) -> Iterator[tuple[str, str]]:
    """What a row is; the config keys that make rows and groups are fields of their own."""
    yield "study", row.study
    yield "variant", row.variant
    for key in comparison.layout.keys:
        yield key, in_words(row.runs[0].setting(key)) if row.runs else ""
    yield "config_digest", row.digest
    yield "n", str(row.accuracy.n)
    yield "seeds", " ".join(str(seed) for seed in row.seeds)


def _numbers(entry: Entry, baseline: str) -> dict[str, str]:
    """One row's fields; differences are ours minus the rival's, as fractions like the accuracies."""
    row = entry.row
    return {
        **dict(_accuracy(row)),
        "baseline": baseline,
        **dict(_against_baseline(row)),
        "parameters": _number(row.mean("parameters")),
        "flops": _number(row.mean("flops")),
        "train_seconds_mean": _number(row.mean("train_seconds")),
        **{column.fields[0]: _number(column.best(row)) for column in FURTHER if column.best},
        **dict(_against_control(row)),
    }


def _accuracy(row: Row) -> Iterator[tuple[str, str]]:
    yield "test_accuracy_mean", _number(row.accuracy.mean)
    yield "test_accuracy_sd", _number(row.accuracy.sd)
    yield "test_accuracy_ci95_low", _number(row.accuracy.low)
    yield "test_accuracy_ci95_high", _number(row.accuracy.high)


def _against_baseline(row: Row) -> Iterator[tuple[str, str]]:
    claim = row.against_baseline or NO_CLAIM
    yield "pairs", "" if row.is_baseline else str(claim.paired.difference.n)
    yield from _paired(claim)
    yield "effect_size_dz", _number(claim.paired.effect_size)
    yield "pairing_correlation", _number(claim.paired.correlation)
    yield "welch_difference_mean", _number(claim.welch.mean)
    yield "welch_ci95_low", _number(claim.welch.low)
    yield "welch_ci95_high", _number(claim.welch.high)
    yield from _verdict(claim)


def _against_control(row: Row) -> Iterator[tuple[str, str]]:
    claim = row.against_control or NO_CLAIM
    yield "control", claim.rival
    yield "control_pairs", str(claim.paired.difference.n) if claim.rival else ""
    for name, text in (*_paired(claim), *_verdict(claim)):
        yield f"control_{name}", text


def _paired(claim: Claim) -> Iterator[tuple[str, str]]:
    yield "difference_mean", _number(claim.paired.difference.mean)
    yield "difference_sd", _number(claim.paired.difference.sd)
    yield "difference_ci95_low", _number(claim.paired.difference.low)
    yield "difference_ci95_high", _number(claim.paired.difference.high)
    yield "p", _number(claim.paired.p)
    yield "p_holm", _number(claim.p_holm)
    yield "detectable_difference", _number(claim.paired.detectable)


def _verdict(claim: Claim) -> Iterator[tuple[str, str]]:
    yield "verdict", claim.verdict if claim.rival else ""
    yield "tuned_alike", claim.tuned


def _images(entry: Entry) -> Iterator[tuple[str, str]]:
    accuracy, difference = entry.accuracy_over_images, entry.difference_over_images
    yield "images", str(accuracy.n) if accuracy.n else ""
    yield "image_se", _number(accuracy.standard_error)
    yield "image_difference_se", _number(difference.standard_error)
    yield "image_difference_mean", _number(difference.mean)
    yield "image_difference_ci95_low", _number(difference.low)
    yield "image_difference_ci95_high", _number(difference.high)


def _number(value: float) -> str:
    """Shortest text that reads back as the same float; whole numbers without a decimal point."""
    if math.isnan(value):
        return ""
    return str(int(value)) if value.is_integer() and abs(value) > 1 else repr(float(value))
