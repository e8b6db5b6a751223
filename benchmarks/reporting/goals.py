"""What the measurements are held against: each goal with what was measured."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.reporting.report import Timing
from benchmarks.reporting.tables import text_table, three_digits

DYCONV, LAB, LABEL = "resnet18 and dyconv_resnet18", "static_3x3 and dynamic_3x3", "static_1x1 and label_guided_1x1"
REST, LOOP_ALONE = "rest of the step, ms", "loop alone, ms"
Arms = Sequence[Timing]
Figure = Callable[[Arms], float]


@dataclass(frozen=True)
class Goal:
    """`figure` of the arms of a case whose name begins with `case` is to be at most, or at least, `limit`."""

    case: str
    what: str
    figure: Figure
    limit: float
    at_least: bool = False

    def rows(self, timings: Arms) -> list[list[str]]:
        """What a table of goals says about it: a line for each case in which its figure was measured, else one."""
        cases = dict.fromkeys(timing.case for timing in timings if self._is_about(timing.case))
        values = {case: self.figure([t for t in timings if t.case == case and t.ms]) for case in cases}
        measured = {case: value for case, value in values.items() if not math.isnan(value)}
        return [self._row(case, value) for case, value in (measured or {self.case: math.nan}).items()]

    def _is_about(self, case: str) -> bool:
        """Goals are set for networks as they are: a case that names overrides, behind its batch, is of another one."""
        return case.startswith(self.case) and "=" not in case.partition(", batch ")[2]

    def _row(self, case: str, value: float) -> list[str]:
        met = value >= self.limit if self.at_least else value <= self.limit
        verdict = "not measured" if math.isnan(value) else "met" if met else "missed"
        wanted = f"{'>=' if self.at_least else '<='} {self.limit:,g}"
        return [case, self.what, wanted, "-" if math.isnan(value) else three_digits(value), verdict]


def best(role: str, model: str = "", runs: tuple[str, ...] = ()) -> Figure:
    """Milliseconds of the fastest arm of a role, of those whose name begins with `model`, run as `runs` says."""

    def figure(timings: Arms) -> float:
        arms = [t for t in timings if t.role == role and t.arm.startswith(model) and (not runs or t.run in runs)]
        medians = [statistics.median(t.ms) for t in arms]
        return min(medians, default=math.nan)

    return figure


def ratio(above: Figure, below: Figure) -> Figure:
    """One figure over another."""
    return lambda timings: above(timings) / below(timings)


def images_per_second(role: str) -> Figure:
    """Of the fastest arm of a role."""

    def figure(timings: Arms) -> float:
        rates = [t.images / statistics.median(t.ms) * 1e3 for t in timings if t.role == role and t.images]
        return max(rates, default=math.nan)

    return figure


def peak_mb(role: str) -> Figure:
    """The lowest peak of a role's arms."""
    return lambda timings: min((t.peak_mb for t in timings if t.role == role and t.peak_mb), default=math.nan)


def largest(name: str) -> Figure:
    """The largest of the medians of a further figure, of arms run eagerly."""

    def figure(timings: Arms) -> float:
        eager = [t.figures[name] for t in timings if t.run == "eager" and name in t.figures]
        return max((statistics.median(values) for values in eager), default=math.nan)

    return figure


OVER_STATIC, OVER_PUBLIC = ratio(best("ours"), best("static")), ratio(best("ours"), best("public"))
EAGER = best("ours", runs=("eager",))
CPU_GOALS = [
    *(
        Goal(f"one filter an image, 64 -> 1, 8x8, batch {batch},", "ours / grouped", OVER_PUBLIC, 0.12)
        for batch in (64, 128, 512)
    ),
    Goal("DY-Conv K=4, 64 -> 64, 32x32", "ours / static", OVER_STATIC, 1.4),
    Goal("DY-Conv K=4, 128 -> 128, 16x16", "ours / static", OVER_STATIC, 1.4),
    Goal("DY-Conv K=4, 256 -> 256, 8x8", "ours / grouped", OVER_PUBLIC, 0.5),
    Goal("DY-Conv K=4, 512 -> 512, 4x4", "ours / grouped", OVER_PUBLIC, 0.15),
    Goal(f"{DYCONV}, batch 128", "ours / static", OVER_STATIC, 1.8),
    Goal(f"{DYCONV}, batch 128", "ours / grouped", OVER_PUBLIC, 0.25),
    Goal(f"{DYCONV}, batch 128", "peak of ours, MiB (3 GB)", peak_mb("ours"), 2861),
    Goal(f"{LAB}, batch 64", "ours / static", OVER_STATIC, 1.45),
    Goal(f"{LABEL}, batch 64", "ours / static", OVER_STATIC, 1.1),
    *(
        Goal(f"model=resnet8 model.stem={stem} model=resnet8 ", "ours / static", OVER_STATIC, 1.5)
        for stem in ("cifar", "stride2")
    ),
    Goal("model=resnet18 model.stem=imagenet model=dyconv_resnet18 ", "ours / static", OVER_STATIC, 2.0),
    *(Goal(case, REST, largest(REST), 0.1) for case in (LAB, LABEL, DYCONV)),
]
CUDA_GOALS = [
    Goal(f"{DYCONV}, batch 512, bfloat16", "ours / static", OVER_STATIC, 2.0),
    Goal(f"{DYCONV}, batch 512, bfloat16", "ours / static, by own kernels", OVER_STATIC, 1.5),
    Goal(f"{DYCONV}, batch 512, bfloat16", "static, images/s", images_per_second("static"), 70000, at_least=True),
    Goal(f"{DYCONV}, batch 512, bfloat16", "ours, images/s", images_per_second("ours"), 35000, at_least=True),
    # Neither side is compiled.
    Goal(f"{DYCONV}, batch 512, bfloat16", "grouped / ours", ratio(best("public"), EAGER), 8.0, at_least=True),
    Goal(f"{DYCONV}, batch 512, bfloat16", "mixed outputs / ours", ratio(best("mixed outputs"), EAGER), 1.0, True),
    *(
        Goal(
            f"{LAB}, batch 64", f"public loop / {model}", ratio(best("public loop", model), best(role, model)), 10, True
        )
        for role, model in (("static", "static_3x3"), ("ours", "dynamic_3x3"))
    ),
    # Waiting for the device at each part, as the figure of the CPU does, would count what training overlaps.
    *(Goal(case, LOOP_ALONE, largest(LOOP_ALONE), 0.1) for case in (LAB, LABEL, DYCONV)),
]


def goal_table(timings: Arms, device_type: str) -> str:
    """The goals of a CPU or of CUDA (set for an H200), as text."""
    goals = CUDA_GOALS if device_type == "cuda" else CPU_GOALS
    rows = [row for goal in goals for row in goal.rows(timings)]
    return text_table(["case", "figure", "goal", "measured", "verdict"], rows)
