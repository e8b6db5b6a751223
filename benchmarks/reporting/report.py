"""What a benchmark leaves behind: timings, and a JSON file of them with machine, versions and commit."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dynfilt.run.provenance import collect_provenance

RESULTS = Path(__file__).resolve().parents[1] / "results"
REHEARSALS = RESULTS / "rehearsals"  # tiny sizes, which must replace no result


@dataclass(frozen=True)
class Timing:
    """How long one arm of a case took.

    `ms` has one number a repetition: milliseconds of a step, a call, a batch or a command. Repetition i of all
    arms of a case ran one after the other, so ratios are taken pair by pair. `role` is static (the twin), ours,
    public (how public code does it) or other; `run` is how it was run (eager, compiled, ...); `path` the
    formulations that were taken; `images` those that `ms` is for; `floor_ms` what the machine's measured peak
    allows; `figures` further numbers, one a repetition. `peak_mb` is the peak in MiB: on a CPU of the arm's
    process (libraries and images included), on a GPU of what it has allocated, and of a single layer what comes
    on top. An arm that failed has `failure` and no `ms`.
    """

    case: str
    arm: str
    role: str = "other"
    run: str = "-"
    path: str = "-"
    ms: list[float] = field(default_factory=list)
    images: int | None = None
    peak_mb: float | None = None
    floor_ms: float | None = None
    figures: dict[str, list[float]] = field(default_factory=dict)
    failure: str | None = None

    def failed(self, reason: str) -> Timing:
        """The same arm as one that failed, for which what it has measured before does not count."""
        return dataclasses.replace(self, ms=[], figures={}, failure=reason)


@dataclass(frozen=True)
class Result:
    """One benchmark's figures; `facts` are those of the machine."""

    name: str
    device: torch.device
    timings: list[Timing]
    facts: dict[str, float] = field(default_factory=dict)


def reference(timings: Sequence[Timing], timing: Timing, role: str) -> Timing | None:
    """The arm of the same case to compare with: of the same run where there is one, else the first."""
    there = [other for other in timings if other.case == timing.case and other.role == role and other.ms]
    return next((other for other in there if other.run == timing.run), there[0] if there else None)


def paired_ratios(timing: Timing, other: Timing) -> list[float]:
    """How many times as long as `other`, repetition by repetition."""
    return [a / b for a, b in zip(timing.ms, other.ms, strict=False)]


def require_any(timings: Sequence[Timing]) -> None:
    """Raises ValueError, with the first arm's failure, when not one of them could be timed."""
    if not any(timing.ms for timing in timings):
        first = timings[0] if timings else None
        raise ValueError(f"{first.arm}: {first.failure}" if first else "nothing to time")


def default_path(name: str, device: torch.device) -> Path:
    """Where a benchmark's file goes unless told otherwise: results/cpu_step.json, results/nvidia_h200_step.json."""
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return RESULTS / f"{re.sub(r'[^a-z0-9]+', '_', machine.lower())}_{name}.json"


def write_result(result: Result, path: Path, commit: str | None = None) -> None:
    """Write the figures with where they come from; the names of the host and of the program's folder are left out.

    `commit` stands in where the files are a copy without a history. Raises OSError when path cannot be written.
    """
    machine = collect_provenance(result.device)
    del machine["host"]
    machine["command"] = ["python -m benchmarks", *machine["command"][1:]]
    machine |= {"cpu": _cpu_model(), "cores": os.cpu_count(), "commit": machine["commit"] or commit}
    timings = [dataclasses.asdict(timing) for timing in result.timings]
    content = {"benchmark": result.name, "machine": machine, "facts": result.facts, "timings": timings}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


def require_writable(path: Path) -> None:
    """Raises OSError before a measurement, not after it, where its file could not be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    path.open("a").close()
    if is_new:
        path.unlink()


def read_result(path: Path) -> dict[str, Any]:
    """A file of write_result. Raises ValueError when it is none, OSError when it cannot be read."""
    try:
        content = json.loads(path.read_text())
        content["timings"] = [Timing(**timing) for timing in content["timings"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a result of `python -m benchmarks` ({type(error).__name__}: {error})") from error
    return content


def _cpu_model() -> str:
    """The processor's name as Linux gives it, elsewhere its family."""
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
