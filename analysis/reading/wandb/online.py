"""Runs of a project on a W&B server; their curves are fetched when asked for, and kept in a cache."""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ..evaluations import by_epoch
from ..run import Run
from .history_cache import HistoryCache
from .mirrored import MirroredRun, to_run
from .server import connect, one_line_errors

if TYPE_CHECKING:
    from wandb.apis.public import Run as ApiRun
    from wandb.apis.public import Runs as ApiRuns

PREFIX = "wandb:"
PAGE = 200


def read_project(source: str) -> list[Run]:
    """The runs of `wandb:entity/project`, or of one group (a study) of it as `wandb:entity/project/group`.

    Sorted by study, variant and seed. Raises ValueError when there is no key, no answer, no such project or no run.
    """
    entity, project, group = parse_source(source)
    with one_line_errors(source):
        api = connect(entity)
        filters = {"group": group} if group else {}
        found = _with_configs(api.runs(f"{entity}/{project}", filters=filters, per_page=PAGE, lazy=False))
        cache = HistoryCache(api.settings["base_url"].partition("//")[2], entity, project)
        place = f"{PREFIX}{entity}/{project}"
        runs = [_run(source, place, run, config, cache) for run, config in found]
    if not runs:
        raise ValueError(f"no runs found in {source}")
    return sorted(runs, key=lambda run: (run.study, run.variant, run.seed, run.place))


def parse_source(source: str) -> tuple[str, str, str]:
    """Entity, project and group (empty for all) of `wandb:entity/project[/group]`. Raises ValueError."""
    entity, _, rest = source.removeprefix(PREFIX).partition("/")
    project, _, group = rest.partition("/")
    if not source.startswith(PREFIX) or not entity or not project:
        raise ValueError(f"{source} is no W&B project; write {PREFIX}entity/project or {PREFIX}entity/project/group")
    return entity, project, group


def _with_configs(found: "ApiRuns") -> Iterator[tuple["ApiRun", dict[str, Any]]]:
    """Each run with its config as the server sent it.

    The client unwraps `{"value": x}` twice on the way to `Run.config`, so that a setting with a key `value` of
    its own, like a constant schedule, would be lost.
    """
    page: dict[str, Any] = {}
    configs: dict[str, dict[str, Any]] = {}
    for run in found:
        if found.last_response is not page:
            page = found.last_response or {}
            nodes = [edge["node"] for edge in page["project"]["runs"]["edges"]]
            configs = {node["name"]: json.loads(node["config"] or "{}") for node in nodes}
        yield run, {key: entry.get("value") for key, entry in configs[run.id].items() if isinstance(entry, Mapping)}


def _run(source: str, project: str, run: "ApiRun", config: dict[str, Any], cache: HistoryCache) -> Run:
    mirrored = MirroredRun(
        run_id=run.id,
        group=run.group or "",
        job_type=run.job_type or "",
        display_name=run.name or "",
        state=run.state,
        config=config,
        summary=dict(run.summary_metrics),
    )
    return to_run(mirrored, source, f"{project}/{run.id}", partial(_rows, run, cache))


def _rows(run: "ApiRun", cache: HistoryCache) -> Iterable[Mapping[str, Any]]:
    """All rows of a run, never a sample of them; W&B's own cache is left out, as it does not see a run go on."""
    updated = run.heartbeat_at or ""
    rows = cache.load(run.id, updated)
    if rows is None:
        with one_line_errors("/".join(run.path)):
            rows = by_epoch(run.scan_history(use_cache=False))
        cache.store(run.id, updated, rows)
    return rows
