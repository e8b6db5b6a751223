"""The cache of curves: what is stored comes back bit for bit, and nothing else does."""

import math
from pathlib import Path

import pytest

from analysis.reading.wandb.online import HistoryCache

ROWS = [{"epoch": 0.5, "loss": 1 / 3}, {"epoch": 1.0, "loss": 1e-300, "temperature": 30.0}, {"epoch": 2.0}]


def test_rows_come_back_as_they_were() -> None:
    cache = HistoryCache("api.wandb.ai", "me", "pro/ject")
    assert cache.load("abc", "1") is None
    cache.store("abc", "1", ROWS)
    assert cache.load("abc", "1") == ROWS
    assert cache.load("abc", "2") is None and cache.load("ab", "1") is None
    assert HistoryCache("api.wandb.ai", "me", "project").load("abc", "1") is None
    cache.store("nan", "1", [{"epoch": 1.0, "loss": math.nan}])
    (row,) = cache.load("nan", "1") or []
    assert math.isnan(row["loss"])
    cache.store("none", "1", [])
    assert cache.load("none", "1") == []


def test_an_older_file_of_a_run_goes_and_those_of_others_stay() -> None:
    cache = HistoryCache("server", "me", "project")
    for run_id, updated in (("a", "1"), ("ab", "1"), ("a", "2")):
        cache.store(run_id, updated, ROWS)
    assert sorted(path.name for path in cache.folder.iterdir()) == ["a@2.parquet", "ab@1.parquet"]


def test_a_damaged_file_is_no_answer_and_is_replaced() -> None:
    cache = HistoryCache("server", "me", "project")
    cache.store("a", "1", ROWS)
    (file,) = cache.folder.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert cache.load("a", "1") is None
    cache.store("a", "1", ROWS)
    assert cache.load("a", "1") == ROWS


def test_names_stay_inside_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache = HistoryCache("server", "..", "../../x")
    cache.store("../../../y", "1", ROWS)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 1 and (tmp_path / "cache/dynfilt/wandb/server") in files[0].parents


def test_a_cache_that_is_a_file_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache = HistoryCache("server", "me", "project")
    cache.store("a", "1", ROWS)
    assert cache.load("a", "1") is None
