"""What a study declares before it runs: its question, what is compared with what, and when verdicts are read."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

FEWEST_PAIRS = 2  # below there is no spread, and no test
WIDEST_MARGIN = 100
WIDEST_RATIO = 100
SPLIT_SEED = "data.split_seed"
FOLLOWS_SEED = "seed"  # its value where every seed has a validation split of its own
# What variants may be compared by, the first by default; how each is shown: analysis/reading/metrics.py.
METRICS = (
    *("test_accuracy", "val_accuracy", "train_accuracy", "last_test_accuracy", "top5_accuracy"),
    *("missing_channels_accuracy", "test_loss", "val_loss", "train_loss", "calibration_error"),
    *("latency_ms", "train_seconds"),
)


@dataclass
class About:
    """The keys of `about`; conf/config.yaml holds their values and says what they mean."""

    question: str | None
    baseline: str | None
    controls: dict[str, Any]
    gains: dict[str, Any]
    metric: str
    margin: float | None
    ratio: float | None
    looks: list[int] | None
    tuning: Any
    names: dict[str, str]


def check_about(about: dict[str, Any]) -> None:
    """Raise ValueError for a declaration that cannot be meant."""
    known = [field.name for field in dataclasses.fields(About)]
    if unknown := sorted(about.keys() - set(known)):
        raise ValueError(f"about.{unknown[0]}: no such key; there are {', '.join(known)}")
    about = {"gains": {}, "ratio": None} | about  # runs were recorded before there were these keys
    for key in ("controls", "gains", "names"):
        if not isinstance(about[key], dict):
            raise ValueError(f"about.{key}={about[key]!r}: must be a mapping, {{VARIANT: ...}}")
    for key in ("question", "baseline"):
        if not isinstance(about[key], str | None):
            raise ValueError(f"about.{key}={about[key]!r}: must be a text, or null")
    for variant in about["controls"]:
        if variant in (controls := controls_of(about, variant)):
            raise ValueError(f"about.controls: {variant} cannot be its own control")
        if not controls or not all(isinstance(control, str) and control for control in controls):
            raise ValueError(
                f"about.controls.{variant}={about['controls'][variant]!r}: must be a variant or a list of variants"
            )
    for variant, gain in about["gains"].items():
        _check_gain(variant, gain)
    if (baseline := about["baseline"]) in (named := {**about["controls"], **about["gains"]}):
        raise ValueError(
            f"about: {baseline} is the baseline and claims nothing; declare {named[baseline]!r} the other way round"
        )
    names = list(about["names"].values())
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise ValueError(f"about.names={about['names']}: each variant must have a name of its own")
    if about["metric"] not in METRICS:
        raise ValueError(f"about.metric={about['metric']}: must be {', '.join(METRICS)}")
    margin, looks, tuning = about["margin"], about["looks"], about["tuning"]
    is_number = type(margin) in (int, float)
    if margin is not None and not (is_number and 0 < margin < WIDEST_MARGIN):
        raise ValueError(
            f"about.margin={f'{margin:g}' if is_number else margin}: must be more than 0 and less than "
            f"{WIDEST_MARGIN} points, or null for none"
        )
    ratio = about["ratio"]
    if ratio is not None and not (type(ratio) in (int, float) and 0 < ratio < WIDEST_RATIO):
        raise ValueError(
            f"about.ratio={ratio}: must be the part of the baseline's {about['metric']} to reach, e.g. 0.9, or null"
        )
    if ratio is not None and not about["baseline"]:
        raise ValueError(f"about.ratio={ratio}: needs about.baseline, the row of which it is a part")
    if looks is not None and not _rises(looks):
        raise ValueError(
            f"about.looks={looks}: must be rising numbers of seeds from {FEWEST_PAIRS} on, e.g. [3, 5, 10], or null"
        )
    is_study = isinstance(tuning, str) and tuning != ""
    is_seeds = isinstance(tuning, list) and all(type(seed) is int and seed >= 0 for seed in tuning)
    if tuning is not None and not is_study and not is_seeds:
        raise ValueError(
            f"about.tuning={tuning!r}: must be a list of this study's seeds, another study's name, [] for no tuning "
            "at all, or null"
        )


def controls_of(about: dict[str, Any], variant: str) -> list[str]:
    """The rows that a variant must beat beside the baseline, as declared by one name or a list."""
    controls = about["controls"].get(variant, [])
    return controls if isinstance(controls, list) else [controls]


def gains_of(about: dict[str, Any], variant: str) -> list[tuple[str, str, str]]:
    """Of each claim on a variant's gain: the row that it is over, a second row, and the row that one is over."""
    gain = about["gains"][variant]
    return [(gain["over"], row, over) for row, over in gain["more_than"].items()]


def check_rows(about: dict[str, Any], variants: Iterable[str]) -> None:
    """Raise ValueError when a declaration names a row that none of a sweep's variants makes."""
    rows = sorted(set(variants))
    for variant, name in about["names"].items():
        if any(row == name and not is_row(variant, row) for row in rows):
            raise ValueError(f"about.names.{variant}: {name} is another row of this sweep")
    named = {f"about.controls.{variant}": [variant, *controls_of(about, variant)] for variant in about["controls"]}
    named |= {
        f"about.gains.{row}": [row, *itertools.chain.from_iterable(gains_of(about, row))] for row in about["gains"]
    }
    named |= {"about.baseline": [about["baseline"]] if about["baseline"] else [], "about.names": list(about["names"])}
    for key, names in named.items():
        for name in names:
            if not rows_meant(name, rows):
                raise ValueError(no_row(key, name, rows))


def no_row(key: str, name: str, rows: Iterable[str]) -> str:
    """What is said of a name under a key that no row of a sweep has."""
    return f"{key}: {name} is no row of this sweep; its rows are: {', '.join(sorted(set(rows)))}"


def is_row(name: str, variant: str) -> bool:
    """Whether a variant is a declared one: of the same model, with these settings and perhaps more."""
    return variant.partition(",")[0] == name.partition(",")[0] and set(name.split(",")) <= set(variant.split(","))


def rows_meant(name: str, rows: Iterable[str], declared: Iterable[str] = ()) -> list[str]:
    """The rows that a declared name means: that very row, else those with the fewest settings beside the name's.

    A row of another declared name that says more is not meant, so that settings which all runs of a sweep got on the
    command line leave each declared name its own row.
    """
    longer = [other for other in declared if other != name and is_row(name, other)]
    own = [row for row in rows if is_row(name, row) and (row == name or not any(is_row(o, row) for o in longer))]
    fewest = min((row.count(",") for row in own), default=0)
    return [row for row in own if row.count(",") == fewest]


def _check_gain(variant: str, gain: Any) -> None:
    """Raise ValueError for what is no gain of the variant over another row that exceeds a gain of two rows."""
    if isinstance(gain, dict) and gain.keys() == {"over", "more_than"} and isinstance(gain["more_than"], dict):
        pairs = [(variant, gain["over"]), *gain["more_than"].items()]
        if len(pairs) > 1 and all(isinstance(name, str) and name for pair in pairs for name in pair):
            if same := next((row for row, over in pairs if row == over), ""):
                raise ValueError(f"about.gains.{variant}: {same} has no gain over itself")
            return
    raise ValueError(f"about.gains.{variant}={gain!r}: must be {{over: VARIANT, more_than: {{VARIANT: VARIANT}}}}")


def _rises(looks: Any) -> bool:
    if not isinstance(looks, list) or not looks or not all(type(look) is int for look in looks):
        return False
    return all(a < b for a, b in itertools.pairwise([FEWEST_PAIRS - 1, *looks]))
