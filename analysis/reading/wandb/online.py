"""Runs of a project on a W&B server; their evaluations are fetched when asked for, and kept in a cache."""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynfilt.run.identity import file_name

from ..run import Evaluation, Run, by_epoch
from .mirrored import PROJECT_PREFIX, MirroredRun, to_run
from .server import connect, one_line_errors

if TYPE_CHECKING:
    from wandb.apis.public import Run as ApiRun
    from wandb.apis.public import Runs as ApiRuns

PAGE = 200


def read_project(source: str) -> list[Run]:
    """The runs of `wandb:entity/project`, or of one group (a study) of it as `wandb:entity/project/group`.

    Sorted by study, variant and seed. Raises ValueError when there is no key, no answer, no such project or no run.
    """
    entity, project, group = parse_source(source)
    with one_line_errors(source):
        api = connect(entity)
        filters = {"group": group} if group else {}
        stored = _with_configs(api.runs(f"{entity}/{project}", filters=filters, per_page=PAGE, lazy=False))
        cache = HistoryCache(api.settings["base_url"].partition("//")[2], entity, project)
        place = f"{PROJECT_PREFIX}{entity}/{project}"
        runs = [_run(source, place, run, config, cache) for run, config in stored]
    if not runs:
        raise ValueError(f"no runs found in {source}")
    return sorted(runs, key=lambda run: (run.study, run.variant, run.seed, run.place))


def parse_source(source: str) -> tuple[str, str, str]:
    """Entity, project and group (empty for all) of `wandb:entity/project[/group]`. Raises ValueError."""
    entity, _, rest = source.removeprefix(PROJECT_PREFIX).partition("/")
    project, _, group = rest.partition("/")
    if not source.startswith(PROJECT_PREFIX) or not entity or not project:
        form = f"{PROJECT_PREFIX}entity/project"
        raise ValueError(f"{source} is no W&B project; write {form} or {form}/group")
    return entity, project, group


def _with_configs(stored: "ApiRuns") -> Iterator[tuple["ApiRun", dict[str, Any]]]:
    """Each run with its config as the server sent it.

    The client unwraps `{"value": x}` twice on the way to `Run.config`, so that a setting with a key `value`, like a
    constant schedule, would be lost.
    """
    page: dict[str, Any] = {}
    configs: dict[str, dict[str, Any]] = {}
    for run in stored:
        if stored.last_response is not page:
            page = stored.last_response or {}
            nodes = [edge["node"] for edge in page["project"]["runs"]["edges"]]
            configs = {node["name"]: json.loads(node["config"] or "{}") for node in nodes}
        yield run, {key: entry.get("value") for key, entry in configs[run.id].items() if isinstance(entry, Mapping)}


def _run(source: str, project: str, run: "ApiRun", config: dict[str, Any], cache: "HistoryCache") -> Run:
    mirrored = MirroredRun(
        run_id=run.id,
        group=run.group or "",
        job_type=run.job_type or "",
        display_name=run.name or "",
        state=run.state,
        config=config,
        summary=dict(run.summary_metrics),
    )
    return to_run(mirrored, source, f"{project}/{run.id}", partial(_fetch, run, cache))


def _fetch(run: "ApiRun", cache: "HistoryCache") -> list[Evaluation]:
    """All evaluations of a run, never a sample; W&B's own cache is left out, as it does not see a run go on."""
    updated = run.heartbeat_at or ""
    evaluations = cache.load(run.id, updated)
    if evaluations is None:
        with one_line_errors("/".join(run.path)):
            evaluations = by_epoch(run.scan_history(use_cache=False))
        cache.store(run.id, updated, evaluations)
    return evaluations


class HistoryCache:
    """Evaluations fetched from one project, on disk: a file a run, named by when W&B last heard of it.

    `$XDG_CACHE_HOME/dynfilt/wandb/<server>/<entity>/<project>/<run>@<time>.parquet`. A run that goes on is fetched
    anew and its older file deleted. A folder that cannot be written costs only time.
    """

    def __init__(self, *project: str) -> None:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self.folder = root.joinpath("dynfilt", "wandb", *map(file_name, project))

    def load(self, run_id: str, updated: str) -> list[Evaluation] | None:
        """The evaluations, None when they are not there or not readable."""
        import pyarrow
        from pyarrow import parquet

        try:
            rows = parquet.read_table(self._file(run_id, updated)).to_pylist()
        except (OSError, pyarrow.ArrowInvalid):
            return None
        return [{key: value for key, value in row.items() if value is not None} for row in rows]

    def store(self, run_id: str, updated: str, evaluations: list[Evaluation]) -> None:
        """Keep the evaluations, whole or not at all, in place of older ones of the run."""
        import pyarrow
        from pyarrow import parquet

        columns = dict.fromkeys(key for each in evaluations for key in each)
        arrays = {key: pyarrow.array([each.get(key) for each in evaluations], "float64") for key in columns}
        path = self._file(run_id, updated)
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            older = list(self._files(run_id))
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".part", delete=False) as part:
                parquet.write_table(pyarrow.table(arrays), part)
            os.replace(part.name, path)
            for file in older:
                if file != path:
                    file.unlink(missing_ok=True)

    def _file(self, run_id: str, updated: str) -> Path:
        return self.folder / f"{file_name(run_id)}@{file_name(updated)}.parquet"

    def _files(self, run_id: str) -> Iterable[Path]:
        prefix = f"{file_name(run_id)}@"
        return (file for file in self.folder.iterdir() if file.name.startswith(prefix))
