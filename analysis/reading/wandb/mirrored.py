"""A run as W&B knows it, and its translation into the Run that its folder would give."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dynfilt.run.folder import RunState
from dynfilt.run.identity import LARGEST_EXACT_INTEGER, with_todays_numbers
from dynfilt.tracking.mirror import ERROR, ERROR_TYPE, STATE

from ..metrics import METRICS, SPLITS
from ..run import NO_SEED, NOT_FINITE, Run, first_line, provenance_of, settings, usable_numbers

# How a SOURCE begins that is a project on a server.
PROJECT_PREFIX = "wandb:"
# How the keys of logged pictures begin.
PICTURES = "pictures/"
# W&B's summary holds the result and the last value of everything that was logged; this is not of the result.
LOGGED_ONLY = {"epoch", "step", "lr", "temperature", "seconds"} | {
    metric.key(split) for metric in METRICS for split in SPLITS if not metric.is_in_result
}
# Keys of W&B's config that are no settings of the run.
NO_SETTINGS = {"study", "seed", "provenance"}
FINISHED, FAILED = "finished", "failed"


@dataclass
class MirroredRun:
    """What W&B stores of a run; `state` is W&B's: finished, failed, running as long as a server hears of it, or any
    other for a run without an end."""

    run_id: str
    group: str = ""
    job_type: str = ""
    display_name: str = ""
    state: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)


def to_run(mirrored: MirroredRun, source: str, place: str, logged: Callable[[], Iterable[Mapping[str, Any]]]) -> Run:
    """The run as analysis sees it; it counts when W&B says that it finished and its summary holds the result."""
    summary = {key: _finite(value) for key, value in mirrored.summary.items() if not key.startswith(("_", PICTURES))}
    recorded = {**mirrored.config, **summary}
    seed = _seed(recorded.get("seed"))
    numbers, state, error = _outcome(mirrored, summary, seed)
    kind = summary.get(ERROR_TYPE)
    failure = {"type": kind, "message": str(summary.get(ERROR)).removeprefix(f"{kind}: ")}
    return Run(
        source=source,
        place=place,
        study=str(recorded.get("study") or mirrored.group),
        variant=with_todays_numbers(
            str(summary.get("variant") or mirrored.job_type or mirrored.display_name or mirrored.run_id)
        ),
        seed=seed,
        state=state,
        error=error,
        failure=failure if state == RunState.FAILED else {},
        numbers=numbers,
        digest=str(summary.get("config_digest") or "") if numbers else "",
        config=settings({k: v for k, v in mirrored.config.items() if k not in NO_SETTINGS and k[:1] != "_"}),
        logged=logged,
        **provenance_of(mirrored.config.get("provenance")),
    )


def _outcome(mirrored: MirroredRun, summary: Mapping[str, Any], seed: int) -> tuple[dict[str, float], RunState, str]:
    """Numbers, state and error. A summary outlives its run, so without a good end it is no result.

    W&B also calls a run failed that was killed and uploaded later; one that an exception ended has its error.
    """
    error = first_line(summary.get(ERROR))
    if mirrored.state == FAILED and error and summary.get(STATE) != RunState.INTERRUPTED:
        return {}, RunState.FAILED, error
    if mirrored.state != FINISHED:
        return {}, RunState.RUNNING if mirrored.state == RunState.RUNNING else RunState.INTERRUPTED, ""
    if "test_accuracy" not in summary:
        return {}, RunState.DAMAGED, "it finished, but its summary holds no test_accuracy"
    result = {key: value for key, value in summary.items() if key not in LOGGED_ONLY}
    numbers, flaw = usable_numbers(result, "the summary")
    if numbers and seed == NO_SEED:
        numbers, flaw = {}, "neither its summary nor its config tells the seed"
    return numbers, RunState.DAMAGED if flaw else RunState.COMPLETED, flaw


def _seed(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and 0 <= value <= LARGEST_EXACT_INTEGER else NO_SEED


def _finite(value: Any) -> Any:
    return NOT_FINITE.get(value, value) if isinstance(value, str) else value
