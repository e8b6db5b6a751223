"""Curves that were fetched from a W&B server, kept on disk: a file a run, named by when W&B last heard of it."""

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from dynfilt.identity import escape

Rows = list[dict[str, float]]


class HistoryCache:
    """The cache of one project, `$XDG_CACHE_HOME/dynfilt/wandb/<server>/<entity>/<project>/<run>@<time>.parquet`.

    A run that goes on is fetched anew; its older file is deleted. A folder that cannot be written costs only time.
    """

    def __init__(self, *project: str) -> None:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self.folder = root.joinpath("dynfilt", "wandb", *map(escape, project))

    def load(self, run_id: str, updated: str) -> Rows | None:
        """The rows, None when they are not there or not readable."""
        import pyarrow
        from pyarrow import parquet

        try:
            rows = parquet.read_table(self._file(run_id, updated)).to_pylist()
        except (OSError, pyarrow.ArrowInvalid):
            return None
        return [{key: value for key, value in row.items() if value is not None} for row in rows]

    def store(self, run_id: str, updated: str, rows: Rows) -> None:
        """Keep the rows, whole or not at all, in place of older ones of the run."""
        import pyarrow
        from pyarrow import parquet

        columns = dict.fromkeys(key for row in rows for key in row)
        table = pyarrow.table({key: pyarrow.array([row.get(key) for row in rows], "float64") for key in columns})
        path = self._file(run_id, updated)
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            older = list(self._files(run_id))
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".part", delete=False) as part:
                parquet.write_table(table, part)
            os.replace(part.name, path)
            for file in older:
                if file != path:
                    file.unlink(missing_ok=True)

    def _file(self, run_id: str, updated: str) -> Path:
        return self.folder / f"{escape(run_id)}@{escape(updated)}.parquet"

    def _files(self, run_id: str) -> Iterable[Path]:
        prefix = f"{escape(run_id)}@"
        return (file for file in self.folder.iterdir() if file.name.startswith(prefix))
